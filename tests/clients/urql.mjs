// urql, which names text/event-stream in every Accept: queries come back as JSON, subscriptions as events.
import { Client, fetchExchange, gql } from "@urql/core";
import { authorization, endpoint, report } from "./shared.mjs";

const told = [];
const client = new Client({
  url: endpoint,
  exchanges: [fetchExchange],
  fetchSubscriptions: true,
  preferGetMethod: false,
  fetchOptions: { headers: { authorization } },
  fetch: async (url, options) => {
    const response = await fetch(url, options);
    told.push(`${options.headers.accept.includes("text/event-stream")} ${response.headers.get("content-type")}`);
    return response;
  },
});

const USE = gql`mutation Use($user: String!) { assignTags(input: [{ user: $user, tag: "used" }]) { changed } }`;
const SIZE = gql`query Size($text: String!) { audience(where: { text: $text }) { id size } }`;
const MEMBERS = gql`
  query Members($after: String) {
    audience(where: { text: "vip" }) {
      id
      members(first: 5, after: $after) { edges { node { id userId } } pageInfo { hasNextPage endCursor } }
    }
  }
`;

async function asked(result) {
  const { data, error } = await result;
  if (error) throw error;
  return data;
}

async function query() {
  return (await asked(client.query(SIZE, { text: "vip" }))).audience.size;
}

async function mutation() {
  return (await asked(client.mutation(USE, { user: "urql" }))).assignTags.changed;
}

async function pages() {
  const users = [];
  for (let page = { hasNextPage: true, endCursor: null }; page.hasNextPage; ) {
    const { members } = (await asked(client.query(MEMBERS, { after: page.endCursor }))).audience;
    users.push(...members.edges.map((edge) => edge.node.userId));
    page = members.pageInfo;
  }
  return users;
}

function subscription() {
  const versions = [];
  return new Promise((resolve, reject) => {
    const { unsubscribe } = client.subscription(gql`subscription Versions { dataVersion }`, {}).subscribe(async (result) => {
      if (result.error) return reject(result.error);
      versions.push(result.data.dataVersion);
      if (versions.length === 1) return asked(client.mutation(USE, { user: "urql-2" })).catch(reject);
      setImmediate(() => {
        unsubscribe(); // not from within: urql would let the end of its own request go uncaught
        resolve(versions);
      });
    });
  });
}

async function error() {
  return (await client.query(SIZE, { text: "vipp" })).error.graphQLErrors[0].extensions;
}

await report({ query, mutation, pages, subscription, error, told: () => [...new Set(told)].sort() });
