// The types and documents of GraphQL Code Generator: answers are typed, only ids are sent, subscriptions use a WebSocket.
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { graphql } from "../generated/codegen/gql.js";
import type { TypedDocumentString } from "../generated/codegen/graphql.js";

declare const process: { env: Record<string, string> };

const endpoint = `${process.env.ADDRESS}/graphql`;
const authorization = `Bearer ${process.env.TOKEN}`;
const live = createClient({
  url: endpoint.replace("http", "ws"),
  webSocketImpl: WebSocket,
  connectionParams: { authorization },
});

const SIZE = graphql(`query Size($text: String!) { audience(where: { text: $text }) { size } }`);
const USE = graphql(`mutation Use($user: String!) { assignTags(input: [{ user: $user, tag: "used" }]) { changed } }`);
const VERSIONS = graphql(`subscription Versions { dataVersion }`);
const MEMBERS = graphql(`
  query Members($after: String) {
    audience(where: { text: "vip" }) {
      members(first: 5, after: $after) { edges { node { userId } } pageInfo { hasNextPage endCursor } }
    }
  }
`);

interface Answer<Data> {
  data?: Data | null;
  errors?: { message: string; extensions: { code: string; suggestions?: string[] } }[];
}

function named<Data, Variables>(document: TypedDocumentString<Data, Variables>, variables: Variables) {
  return { documentId: document.__meta__?.["hash"] as string, variables };
}

async function asked<Data, Variables>(document: TypedDocumentString<Data, Variables>, variables: Variables) {
  const answer = await fetch(endpoint, {
    method: "POST",
    headers: { authorization, "content-type": "application/json", accept: "application/graphql-response+json" },
    body: JSON.stringify(named(document, variables)),
  });
  return (await answer.json()) as Answer<Data>;
}

async function pages(): Promise<string[]> {
  const users: string[] = [];
  let after: string | null | undefined = null;
  do {
    const answer: Awaited<ReturnType<typeof members>> = await members(after);
    users.push(...answer.edges.map((edge) => edge.node.userId));
    after = answer.pageInfo.hasNextPage ? answer.pageInfo.endCursor : null;
  } while (after);
  return users;
}

async function members(after: string | null | undefined) {
  const found = (await asked(MEMBERS, { after })).data?.audience?.members;
  if (!found) throw new Error("no page");
  return found;
}

async function subscription(): Promise<number[]> {
  const versions: number[] = [];
  const payload = { query: "", ...named(VERSIONS, {}) }; // graphql-ws does not let it be left out
  for await (const { data } of live.iterate<{ dataVersion: number }>(payload)) {
    versions.push(data?.dataVersion ?? -1);
    if (versions.length === 2) break;
    await asked(USE, { user: "codegen-2" });
  }
  return versions;
}

const size: number | null | undefined = (await asked(SIZE, { text: "vip" })).data?.audience?.size;
const changed: number | undefined = (await asked(USE, { user: "codegen" })).data?.assignTags?.changed;
console.log(
  JSON.stringify({
    query: size,
    mutation: changed,
    pages: await pages(),
    subscription: await subscription(),
    error: (await asked(SIZE, { text: "vipp" })).errors?.[0]?.extensions,
  }),
);
await live.dispose();
