// The table of Osigu's statements names tests: each of them has to be there.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "../..");
const table = readFileSync(join(ROOT, "docs/osigu-conformance.md"), "utf8");

test("every native test that the table names is there", () => {
  const named = [...table.matchAll(/`(\w+)::(\w+)`/g)];
  assert.ok(named.length > 40, `${named.length} tests are named`);
  const missing = named.filter(([, module, name]) => {
    const file = join(ROOT, `tests/it/${module}.rs`);
    return !existsSync(file) || !readFileSync(file, "utf8").includes(`fn ${name}(`);
  });
  assert.deepEqual(missing.map(([name]) => name), []);
});

test("every test file of the Worker and the examples that the table names is there", () => {
  const named = new Set([...table.matchAll(/`(\w+\.test\.mjs)`/g)].map(([, name]) => name));
  assert.ok(named.size > 3, `${named.size} files are named`);
  const missing = [...named].filter((name) => !["workerd", "examples"].some((folder) => existsSync(join(ROOT, "tests", folder, name))));
  assert.deepEqual(missing, []);
});
