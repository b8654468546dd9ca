// Relay: what its compiler made, run by its runtime. Only ids are sent; subscriptions are server-sent events.
import { createClient } from "graphql-sse";
import relay from "relay-runtime";
import PAGE from "../generated/relay/documentsPageQuery.graphql.js";
import SIZE from "../generated/relay/documentsSizeQuery.graphql.js";
import USE from "../generated/relay/documentsUseMutation.graphql.js";
import VERSIONS from "../generated/relay/documentsVersionsSubscription.graphql.js";
import MEMBERS from "../generated/relay/documents_members.graphql.js";
import { authorization, endpoint, report } from "../shared.mjs";

const events = createClient({ url: endpoint, headers: { authorization }, retryAttempts: 0 });

async function fetched({ id }, variables) {
  const answer = await fetch(endpoint, {
    method: "POST",
    headers: { authorization, accept: "application/graphql-response+json", "content-type": "application/json" },
    body: JSON.stringify({ documentId: id, variables }),
  });
  return answer.json();
}

function subscribed({ id }, variables) {
  return relay.Observable.create((sink) => events.subscribe({ documentId: id, variables }, sink));
}

const environment = new relay.Environment({
  network: relay.Network.create(fetched, subscribed),
  store: new relay.Store(new relay.RecordSource()),
});

function asked(document, variables) {
  return relay.fetchQuery(environment, document, variables).toPromise();
}

async function query() {
  const operation = relay.createOperationDescriptor(SIZE, { text: "vip" });
  environment.retain(operation);
  return (await asked(SIZE, { text: "vip" })).audience.size;
}

async function pages() {
  const { audience } = environment.lookup(relay.createOperationDescriptor(SIZE, { text: "vip" }).fragment).data;
  const connection = () => environment.lookup(relay.getSingularSelector(MEMBERS, audience)).data.members;
  while (connection().pageInfo.hasNextPage) {
    await asked(PAGE, { id: audience.id, first: 5, after: connection().pageInfo.endCursor });
  }
  return connection().edges.map((edge) => edge.node.userId);
}

function changed(user, tag) {
  return new Promise((resolve, reject) =>
    relay.commitMutation(environment, {
      mutation: USE,
      variables: { user, tag },
      onCompleted: (data, errors) => resolve({ data, errors }),
      onError: reject,
    }),
  );
}

async function mutation() {
  return (await changed("relay", "used")).data.assignTags.changed;
}

function subscription() {
  const versions = [];
  return new Promise((resolve, reject) => {
    const told = relay.requestSubscription(environment, {
      subscription: VERSIONS,
      variables: {},
      onNext: async ({ dataVersion }) => {
        versions.push(dataVersion);
        if (versions.length === 1) return changed("relay-2", "used");
        told.dispose();
        resolve(versions);
      },
      onError: reject,
    });
  });
}

async function error() {
  return (await changed("relay", "vipp")).errors[0].extensions;
}

await report({ query, mutation, pages, subscription, error });
events.dispose();
