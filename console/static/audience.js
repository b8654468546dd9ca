// The audience box: asks for the size while somebody types, and shows where a text is wrong.

import { ask, explorerAddress } from "./ask.js";
import { duration, element, grouped, make } from "./page.js";

const PAUSE_MS = 120;
const KEEP_MS = 1000; // browsers bound how often an address may change

const QUERY = `query Audience($text: String!) {
  audience(where: { text: $text }) {
    text
    size
    share
    explain { nodes { path text size } }
  }
}`;

/**
 * Starts the box around `field`. `update` asks anew, `insert` writes a condition at the cursor, `offer` shows examples.
 * The text is kept in the fragment of the address, so that it can be shared and survives a reload.
 */
export function startAudience(field) {
  let pending;
  let timer;
  let keeping;

  async function update() {
    clearTimeout(timer);
    pending?.abort();
    pending = new AbortController();
    const { signal } = pending;
    const text = field.value.trim() ? field.value : "everyone";
    element("audience-open").href = explorerAddress(QUERY, { text });
    element("audience-answer").classList.add("outdated");
    clearTimeout(keeping);
    keeping = setTimeout(keepInAddress, KEEP_MS);
    try {
      const { answer, milliseconds } = await ask(QUERY, { text }, signal);
      if (!signal.aborted) show(answer, milliseconds);
    } catch (problem) {
      if (!signal.aborted) showProblem({ message: `The server did not answer: ${problem.message}` });
    }
  }

  function keepInAddress() {
    const text = field.value.trim();
    history.replaceState(null, "", text ? `#${new URLSearchParams({ text })}` : location.pathname);
  }

  function show(answer, milliseconds) {
    const audience = answer.data?.audience;
    if (answer.errors || !audience) {
      showProblem(answer.errors?.[0] ?? { message: "The server gave no answer." });
      return;
    }
    element("audience-problem").replaceChildren();
    field.removeAttribute("aria-invalid");
    element("audience-answer").classList.remove("outdated");
    element("audience-size").textContent = audience.size === null ? "withheld" : grouped(audience.size);
    const share = audience.share;
    element("audience-share").textContent =
      share === null ? "" : `${share.toLocaleString("en-US", { style: "percent", maximumFractionDigits: 2 })} of everyone`;
    element("audience-time").textContent = `in ${duration(milliseconds)}`;
    showNodes(audience.explain?.nodes ?? []);
  }

  function showNodes(nodes) {
    const largest = Math.max(1, ...nodes.map(({ size }) => size ?? 0));
    const depths = depthsOf(nodes.map(({ path }) => path));
    const rows = nodes.map(({ text, size }, i) => {
      const words = make("td", { className: "code", textContent: text });
      words.style.setProperty("--depth", depths[i]);
      const bar = make("div", { className: "bar" });
      bar.style.setProperty("--share", (size ?? 0) / largest);
      const number = make("td", { className: "number", textContent: size === null ? "withheld" : grouped(size) });
      return make("tr", {}, words, number, make("td", {}, bar));
    });
    const table = element("audience-nodes");
    table.tBodies[0].replaceChildren(...rows);
    table.hidden = rows.length < 2;
  }

  function showProblem({ message, extensions = {} }) {
    const { line, column, suggestions = [] } = extensions;
    const parts = [];
    const wrong = field.value.split("\n")[line - 1];
    if (wrong !== undefined && column) {
      const before = Array.from(wrong).slice(0, column - 1).join("");
      parts.push(make("pre", { "aria-hidden": "true", textContent: `${wrong}\n${before.replace(/[^\t]/g, " ")}^` }));
      parts.push(`Line ${line}, column ${column}: `);
    }
    parts.push(message);
    for (const suggestion of suggestions) {
      parts.push(suggestionButton(suggestion, line, column));
    }
    element("audience-problem").replaceChildren(...parts);
    element("audience-time").textContent = "";
    field.setAttribute("aria-invalid", "true");
  }

  /** A nearest name as a button that puts it where the wrong one stands; as words where that is not told. */
  function suggestionButton(suggestion, line, column) {
    if (!line || !column) return make("code", { className: "suggestion", textContent: suggestion });
    const button = make("button", { type: "button", className: "suggestion", textContent: suggestion });
    button.addEventListener("click", () => {
      const lines = field.value.split("\n");
      const letters = Array.from(lines[line - 1]);
      const rest = letters.slice(column - 1).join("");
      const old = rest.match(/^(?:"(?:[^"\\]|\\.)*"|@?`[^`]*`|@?[\p{L}_][\p{L}\p{N}_.-]*)/u)?.[0] ?? "";
      lines[line - 1] = letters.slice(0, column - 1).join("") + inPlaceOf(old, suggestion) + rest.slice(old.length);
      field.value = lines.join("\n");
      field.focus();
      update();
    });
    return button;
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(update, PAUSE_MS);
  });
  field.value = new URLSearchParams(location.hash.slice(1)).get("text") ?? "";

  function offer(examples) {
    const buttons = examples.map((example) => {
      const button = make("button", { type: "button", className: "example", textContent: example });
      button.addEventListener("click", () => {
        field.value = example;
        update();
      });
      return button;
    });
    element("audience-examples").replaceChildren(...buttons);
    element("audience-examples").hidden = buttons.length === 0;
    if (!field.value && document.activeElement !== field && buttons.length) buttons[0].click();
  }

  /** Writes a name or a condition where the cursor is, joined by `and` to what stands before it. */
  function insert(text) {
    const before = field.value.slice(0, field.selectionStart);
    const starts = !before.trim() || /(?:\b(?:and|or|not|of)|[(,])\s*$/i.test(before);
    const space = /[^\s(]$/.test(before) ? " " : "";
    field.setRangeText(`${space}${starts ? "" : "and "}${text}`, field.selectionStart, field.selectionEnd, "end");
    field.focus();
    update();
  }

  return { update, insert, offer };
}

function inPlaceOf(old, name) {
  if (old.startsWith('"')) return JSON.stringify(name);
  return (old.startsWith("@") ? "@" : "") + quotedKey(name);
}

/** A key as the audience language writes it: in backticks where it is not one plain word. */
export function quotedKey(key) {
  return /^[\p{L}_][\p{L}\p{N}_.-]*$/u.test(key) ? key : `\`${key}\``;
}

/** How deep each path of a preorder list is: how many of the paths before it lead to it. */
function depthsOf(paths) {
  return paths.map((path) => paths.filter((above) => above !== path && (above === "" || path.startsWith(`${above}.`))).length);
}
