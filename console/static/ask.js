// One way to the endpoint for both pages: adds the token of this tab, times the answer, and tells when a token is needed.

export const ENDPOINT = "/graphql";

const KEPT = "tagroar.token";

/** What a request or a WebSocket says of who asks; empty without a token. */
export function authorization() {
  const token = sessionStorage.getItem(KEPT);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Keeps the token until this tab is closed; an empty one forgets it. */
export function keepToken(token) {
  if (token) {
    sessionStorage.setItem(KEPT, token);
  } else {
    sessionStorage.removeItem(KEPT);
  }
}

/** `fetch` with the token; raises the event "unauthenticated" on the document when the answer is 401. */
export async function fetchWithToken(address, options = {}) {
  const response = await fetch(address, { ...options, headers: { ...options.headers, ...authorization() } });
  if (response.status === 401) {
    document.dispatchEvent(new Event("unauthenticated"));
  }
  return response;
}

/** The answer {data, errors} of a query, with its milliseconds as seen from here. Fails only if no answer came. */
export async function ask(query, variables = {}, signal = undefined) {
  const started = performance.now();
  const response = await fetchWithToken(ENDPOINT, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/graphql-response+json, application/json" },
    body: JSON.stringify({ query, variables }),
    signal,
  });
  const text = await response.text();
  const milliseconds = performance.now() - started;
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = null;
  }
  if (answer === null || typeof answer !== "object") {
    answer = { errors: [{ message: `The server answered ${response.status} without JSON.` }] };
  }
  return { answer, milliseconds };
}

/** The address of the GraphQL page with this query in it; in the fragment, so that it is in no log. */
export function explorerAddress(query, variables = undefined) {
  const asked = new URLSearchParams({ query });
  if (variables) {
    asked.set("variables", JSON.stringify(variables, null, 2));
  }
  return `${ENDPOINT}#${asked}`;
}
