// Apollo Client: hashes instead of queries, by GET where they are known; its cache puts pages together; a WebSocket.
import { createHash } from "node:crypto";
import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { relayStylePagination } from "@apollo/client/utilities";
import { OperationTypeNode } from "graphql";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { authorization, endpoint, report } from "./shared.mjs";

const sent = [];
const live = createClient({ url: endpoint.replace("http", "ws"), webSocketImpl: WebSocket, connectionParams: { authorization } });
const http = new HttpLink({
  uri: endpoint,
  headers: { authorization },
  fetch: (url, options) => {
    sent.push(options.method);
    return fetch(url, options);
  },
});
const hashed = new PersistedQueryLink({
  sha256: (text) => createHash("sha256").update(text).digest("hex"),
  useGETForHashedQueries: true,
});
const client = new ApolloClient({
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(live),
    hashed.concat(http),
  ),
  cache: new InMemoryCache({ typePolicies: { Audience: { fields: { members: relayStylePagination() } } } }),
});

const USE = gql`mutation Use($user: String!) { assignTags(input: [{ user: $user, tag: "used" }]) { changed } }`;
const SIZE = gql`query Size($text: String!) { audience(where: { text: $text }) { id size } }`;
const MEMBERS = gql`
  query Members($after: String) {
    audience(where: { text: "vip" }) {
      id
      members(first: 5, after: $after) {
        edges { cursor node { id userId } }
        pageInfo { hasNextPage endCursor hasPreviousPage startCursor }
      }
    }
  }
`;

async function query() {
  return (await client.query({ query: SIZE, variables: { text: "vip" } })).data.audience.size;
}

async function mutation() {
  return (await client.mutate({ mutation: USE, variables: { user: "apollo" } })).data.assignTags.changed;
}

async function pages() {
  const { data } = await client.query({ query: MEMBERS });
  const watched = client.watchQuery({ query: MEMBERS });
  const subscription = watched.subscribe(() => {});
  let page = data.audience.members.pageInfo;
  while (page.hasNextPage) {
    const more = await watched.fetchMore({ variables: { after: page.endCursor } });
    page = more.data.audience.members.pageInfo;
  }
  subscription.unsubscribe();
  return client.readQuery({ query: MEMBERS }).audience.members.edges.map((edge) => edge.node.userId);
}

function subscription() {
  const versions = [];
  return new Promise((resolve, reject) => {
    const told = client.subscribe({ query: gql`subscription Versions { dataVersion }` }).subscribe({
      next: async ({ data, error }) => {
        if (error) reject(error);
        versions.push(data.dataVersion);
        if (versions.length === 1) await client.mutate({ mutation: USE, variables: { user: "apollo-2" } });
        else {
          told.unsubscribe();
          resolve(versions);
        }
      },
      error: reject,
    });
  });
}

async function error() {
  const found = await client.query({ query: SIZE, variables: { text: "vipp" }, errorPolicy: "all" });
  return found.error.errors[0].extensions;
}

await report({ query, mutation, pages, subscription, error, sent: () => sent });
await live.dispose();
