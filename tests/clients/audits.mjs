// All audits of graphql-http against the endpoint, one object of JSON each: {"id", "name", "status", "reason"}.
import { serverAudits } from "graphql-http";

const { ADDRESS, TOKEN } = process.env;

function fetchFn(url, options = {}) {
  return fetch(url, { ...options, headers: { ...options.headers, authorization: `Bearer ${TOKEN}` } });
}

for (const { id, name, fn } of serverAudits({ url: `${ADDRESS}/graphql`, fetchFn })) {
  const { status, reason = null } = await fn();
  console.log(JSON.stringify({ id, name, status, reason }));
}
