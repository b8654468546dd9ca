// The tags of the server by category; a click writes a tag, or one of its values, into the audience box.

import { ask } from "./ask.js";
import { quotedKey } from "./audience.js";
import { element, grouped, make } from "./page.js";

const TAGS_MAX = 500;
const VALUES_MAX = 40;

const TAGS = `query Tags($first: Int!) {
  tags(first: $first) {
    totalCount
    edges { node { key name kind definition size category { name } } }
  }
}`;

const VALUES = `query Values($key: String!, $first: Int!) {
  tag(key: $key) { values(first: $first) { totalCount edges { node { value size } } } }
}`;

const VALUED = ["CHOICE", "CHOICES", "EVENT"];

/** Starts the list beside the audience box; `load` reads it anew. */
export function startTags(audience) {
  const list = element("tags");
  const search = element("tags-search");

  async function load() {
    const { answer } = await ask(TAGS, { first: TAGS_MAX });
    const tags = answer.data?.tags;
    if (!tags) return;
    const shelves = new Map();
    for (const { node } of tags.edges) {
      const shelf = node.category?.name ?? "Without a category";
      shelves.set(shelf, [...(shelves.get(shelf) ?? []), node]);
    }
    const groups = [...shelves].map(([name, nodes]) =>
      make("details", {}, make("summary", { textContent: name }), make("ul", {}, ...nodes.map(tagItem))),
    );
    list.replaceChildren(...groups);
    if (tags.totalCount > tags.edges.length) {
      list.append(make("p", { className: "quiet", textContent: `and ${grouped(tags.totalCount - tags.edges.length)} more` }));
    }
    filter();
  }

  function tagItem(tag) {
    const key = quotedKey(tag.key);
    const button = pick(key, tag.size, tag.definition ?? tag.name);
    button.dataset.words = `${tag.key} ${tag.name} ${tag.definition ?? ""}`.toLowerCase();
    const item = make("li", {}, button);
    if (VALUED.includes(tag.kind)) {
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => toggleValues(tag, item, button));
    } else {
      button.addEventListener("click", () => audience.insert(tag.kind === "NUMBER" ? `${key} >= 0` : key));
    }
    return item;
  }

  async function toggleValues(tag, item, button) {
    const shown = item.querySelector("ul");
    if (shown) {
      shown.remove();
      button.setAttribute("aria-expanded", "false");
      return;
    }
    const { answer } = await ask(VALUES, { key: tag.key, first: VALUES_MAX });
    const values = answer.data?.tag?.values;
    if (!values || item.querySelector("ul")) return;
    const key = quotedKey(tag.key);
    const any = pick("any value", tag.size, `${tag.name}: any value`);
    any.addEventListener("click", () => audience.insert(key));
    const buttons = values.edges.map(({ node }) => {
      const one = pick(node.value, node.size, `${tag.name}: ${node.value}`);
      one.addEventListener("click", () => audience.insert(`${key} in (${JSON.stringify(node.value)})`));
      return one;
    });
    const rows = [any, ...buttons].map((each) => make("li", {}, each));
    const hidden = values.totalCount - values.edges.length;
    if (hidden > 0) rows.push(make("li", { className: "quiet", textContent: `and ${grouped(hidden)} more` }));
    item.append(make("ul", {}, ...rows));
    button.setAttribute("aria-expanded", "true");
  }

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    for (const group of list.querySelectorAll("details")) {
      const items = [...group.querySelectorAll(":scope > ul > li")];
      for (const item of items) {
        item.hidden = !item.firstElementChild.dataset.words.includes(wanted);
      }
      group.hidden = items.every((item) => item.hidden);
      group.open = wanted ? !group.hidden : group.open;
    }
  }

  search.addEventListener("input", filter);
  return { load };
}

function pick(text, size, title) {
  const number = size === null || size === undefined ? "" : grouped(size);
  return make(
    "button",
    { type: "button", className: "pick", title },
    make("span", { textContent: text }),
    make("span", { className: "quiet", textContent: number }),
  );
}
