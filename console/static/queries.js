// The ready-made queries of the demo: a reading one runs when it is chosen, a writing one when its button is pressed.

import { ask, explorerAddress } from "./ask.js";
import { duration, element, make } from "./page.js";

const SOURCE = "/demo/queries.graphql";

/** Starts the list; `wrote` is called after a query that writes. A server without the demo shows no list. */
export function startQueries(audience, wrote) {
  let chosen;

  async function load() {
    if (element("query-list").childElementCount) return;
    const response = await fetch(SOURCE);
    if (!response.ok) return;
    const source = await response.text();
    audience.offer([...source.matchAll(/^# try: (.+)$/gm)].map(([, text]) => text));
    const queries = split(source);
    element("query-list").replaceChildren(...queries.map(item));
    element("ready-made").hidden = queries.length === 0;
    element("query-list").querySelector("button")?.click();
  }

  function item(query) {
    const title = make("span", {}, make("strong", { textContent: query.title }));
    if (query.writes) title.append(make("span", { className: "writes", textContent: "writes" }));
    const button = make("button", { type: "button", "aria-pressed": "false" }, title);
    button.addEventListener("click", () => choose(query, button));
    return make("li", {}, button);
  }

  function choose(query, button) {
    chosen = query;
    for (const other of element("query-list").querySelectorAll("button")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    element("query-title").textContent = query.title;
    element("query-about").textContent = query.about;
    element("query-text").textContent = query.text;
    element("query-open").href = explorerAddress(query.text);
    element("query-run").textContent = query.writes ? "Run it: this writes" : "Run again";
    element("query-time").textContent = "";
    element("query-answer").replaceChildren();
    element("query-panel").hidden = false;
    if (!query.writes) run();
  }

  async function run() {
    const query = chosen;
    element("query-time").textContent = "running";
    try {
      const { answer, milliseconds } = await ask(query.text);
      if (query !== chosen) return;
      element("query-time").textContent = `${answer.errors ? "failed after" : "answered in"} ${duration(milliseconds)}`;
      element("query-answer").replaceChildren(...colored(JSON.stringify(answer, null, 2)));
      if (query.writes) await wrote();
    } catch (problem) {
      element("query-time").textContent = `The server did not answer: ${problem.message}`;
    }
  }

  element("query-run").addEventListener("click", run);
  return { load };
}

/** The queries of the file: "# == title", comment lines that tell about it, then the text. */
function split(source) {
  return source
    .split(/^# == /m)
    .slice(1)
    .map((part) => {
      const [title, ...lines] = part.trim().split("\n");
      const start = lines.findIndex((line) => !line.startsWith("#"));
      const about = lines.slice(0, start).map((line) => line.replace(/^#\s*/, "")).join(" ");
      const text = lines.slice(start).join("\n");
      return { title, about, text, writes: text.startsWith("mutation") };
    });
}

/** JSON as text nodes and spans of color. */
function colored(json) {
  const parts = [];
  let end = 0;
  for (const match of json.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|\b(?:true|false|null)\b/g)) {
    const [whole, text, colon] = match;
    const word = text ?? whole;
    const kind = text ? (colon ? "key" : "text") : /^[a-z]/.test(whole) ? "word" : "number";
    parts.push(json.slice(end, match.index), make("span", { className: `json-${kind}`, textContent: word }));
    end = match.index + word.length;
  }
  return [...parts, json.slice(end)];
}
