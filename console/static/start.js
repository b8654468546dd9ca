// The start page: facts of the server, the audience box, the tags and the ready-made queries.

import { ask } from "./ask.js";
import { startAudience } from "./audience.js";
import { element, grouped } from "./page.js";
import { startQueries } from "./queries.js";
import { startTags } from "./tags.js";
import { askForToken } from "./token.js";

const FACTS = `query Facts {
  entities { key count }
  tags(first: 1) { totalCount }
  audience(where: { everyone: true }) { dataVersion at }
}`;

const audience = startAudience(element("audience-text"));
const tags = startTags(audience);
const queries = startQueries(audience, showFacts);

async function showFacts() {
  const { answer } = await ask(FACTS);
  const { entities, tags: catalog, audience: everyone } = answer.data ?? {};
  if (!entities || !catalog || !everyone) return;
  const users = entities.find(({ key }) => key === "user") ?? entities[0];
  element("fact-users").textContent = users.count === null ? "withheld" : grouped(users.count);
  element("fact-entity").textContent = `${users.key}s`;
  element("fact-tags").textContent = grouped(catalog.totalCount);
  element("fact-version").textContent = grouped(everyone.dataVersion);
  element("fact-at").textContent = everyone.at;
  element("facts").hidden = false;
}

function refresh() {
  audience.update();
  for (const load of [showFacts, tags.load, queries.load]) {
    load().catch((problem) => console.warn(problem.message));
  }
}

askForToken(refresh);
refresh();
