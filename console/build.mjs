// Builds static/graphiql.js and static/graphiql.css from source/, and writes THIRD-PARTY-LICENSES for what is in them.
// Usage: npm ci && npm run build

import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));

// GraphiQL's style carries 370 kB of fonts as data: addresses; system fonts do, and the policy needs no font-src data:.
const withoutFonts = {
  name: "without-fonts",
  setup(bundler) {
    bundler.onLoad({ filter: /graphiql[/\\]dist[/\\]style\.css$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf-8").replace(/@font-face\s*\{[^}]*\}/g, ""),
      loader: "css",
    }));
  },
};

// graphql knows production by a global of Node's; in a browser it would run, and carry, its development check.
const inProduction = {
  name: "in-production",
  setup(bundler) {
    bundler.onLoad({ filter: /graphql[/\\]jsutils[/\\]instanceOf\.mjs$/ }, () => ({
      contents: "export const instanceOf = (value, constructor) => value instanceof constructor;",
    }));
  },
};

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: ["source/graphiql.js"],
  outdir: "static",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome110", "firefox115", "safari16.4"],
  define: { "process.env.NODE_ENV": '"production"' },
  alias: { "react-style-singleton": "./source/style-singleton.js" },
  legalComments: "none",
  metafile: true,
  plugins: [withoutFonts, inProduction],
  logLevel: "info",
});

const packages = new Map();
for (const output of Object.values(metafile.outputs)) {
  for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
    const folder = input.match(/^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0];
    if (folder && bytesInOutput > 0) {
      const { name, version, license } = JSON.parse(readFileSync(join(here, folder, "package.json"), "utf-8"));
      packages.set(`${name} ${version}`, { folder: join(here, folder), license });
    }
  }
}

const notices = [...packages].sort(([a], [b]) => (a < b ? -1 : 1)).map(([title, { folder, license }]) => {
  const file = readdirSync(folder).find((name) => /^(licen[sc]e|copying)/i.test(name));
  const text = file && existsSync(join(folder, file)) ? readFileSync(join(folder, file), "utf-8").trim() : "";
  return `${title} (${license})\n\n${text || "The package brings no license text; its package.json names the license above."}`;
});

const intro = "Software in static/graphiql.js and static/graphiql.css, with its license texts. Written by build.mjs.";
const rule = `\n\n${"-".repeat(80)}\n\n`;
writeFileSync(join(here, "THIRD-PARTY-LICENSES"), [intro, ...notices].join(rule).replace(/\r\n?/g, "\n") + "\n");
console.log(`  THIRD-PARTY-LICENSES: ${packages.size} packages`);
