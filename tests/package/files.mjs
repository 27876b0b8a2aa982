// The vectors and fixtures of the core, read.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const FIXTURES = join(import.meta.dirname, "../fixtures");
const text = (path) => readFileSync(join(FIXTURES, path), "utf8");

function ofProvider(provider) {
  const names = readdirSync(join(FIXTURES, provider)).filter((name) => existsSync(join(FIXTURES, provider, name, "event.json")));
  return Object.fromEntries(names.map((name) => [name, { body: text(`${provider}/${name}/body.json`), event: text(`${provider}/${name}/event.json`) }]));
}

export function files() {
  const vectors = readdirSync(join(FIXTURES, "vectors")).map((name) => [name.replace(".json", ""), JSON.parse(text(`vectors/${name}`))]);
  const fixtures = ["osigu", "evitalrx", "phil-callback"].map((provider) => [provider, ofProvider(provider)]);
  return { vectors: Object.fromEntries(vectors), golden: JSON.parse(text("schemes/golden.json")), fixtures: Object.fromEntries(fixtures) };
}
