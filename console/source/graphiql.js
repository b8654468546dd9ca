// The page /graphql: GraphiQL over our endpoint, with the token of this tab and the query of the address' fragment.

import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createClient } from "graphql-ws";
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import "graphiql/style.css";
import "./graphiql.css";

import { ENDPOINT, authorization, fetchWithToken } from "../static/ask.js";
import { askForToken } from "../static/token.js";

const WELCOME = `# Ask for an audience in the audience language. Ctrl+Enter runs the query, Ctrl+Space completes.
{
  audience(where: { text: "everyone" }) {
    text
    size
    at
  }
}
`;

const address = new URL(ENDPOINT, location.href);
const socket = new URL(address);
socket.protocol = address.protocol === "https:" ? "wss:" : "ws:";

const fetcher = createGraphiQLFetcher({
  url: address.href,
  fetch: fetchWithToken,
  wsClient: createClient({ url: socket.href, connectionParams: authorization, lazy: true }),
});

const asked = new URLSearchParams(location.hash.slice(1));

function Explorer() {
  return createElement(
    GraphiQL,
    {
      fetcher,
      defaultQuery: WELCOME,
      query: asked.get("query") ?? undefined,
      variables: asked.get("variables") ?? undefined,
      isHeadersEditorEnabled: false,
      shouldPersistHeaders: false,
    },
    createElement(GraphiQL.Logo, null, createElement("a", { href: "/", className: "home" }, "Tagroar")),
  );
}

askForToken(() => location.reload());
createRoot(document.getElementById("graphiql")).render(createElement(Explorer));
