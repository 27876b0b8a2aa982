// The installed package in each Node that is supported.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { join } from "node:path";
import { allHeld, project, run, tool, versions } from "./pack.mjs";

const MODULE = `
import * as rx from "rxgate";
import { readFileSync } from "node:fs";
import { check } from "./check.mjs";
await rx.init();
console.log(JSON.stringify(await check(rx, JSON.parse(readFileSync("given.json", "utf8")))));
`;

const COMMONJS = `
const rx = require("rxgate");
const { readFileSync } = require("node:fs");
import("./check.mjs")
  .then(({ check }) => rx.init().then(() => check(rx, JSON.parse(readFileSync("given.json", "utf8")))))
  .then((result) => console.log(JSON.stringify(result)));
`;

const WEB = `
const rx = await import("rxgate/web");
import { readFileSync } from "node:fs";
import { check } from "./check.mjs";
try {
  rx.providers();
  throw new Error("it was there before init");
} catch (fault) {
  if (!fault.message.includes("await init()")) throw fault;
}
await rx.init(readFileSync(new URL(import.meta.resolve("rxgate/rxgate.wasm"))));
console.log(JSON.stringify(await check(rx, JSON.parse(readFileSync("given.json", "utf8")))));
`;

// Names that are imported one by one have to be exports of each form, and the same ones.
const NAMES = `
import { createRequire } from "node:module";
const names = (object) => Object.keys(object).filter((name) => name !== "default" && name !== "module.exports").sort();
console.log(JSON.stringify([await import("rxgate"), createRequire(import.meta.url)("rxgate"), await import("rxgate/web")].map(names)));
`;

let folder;
before(async () => {
  folder = await project({ files: { "module.mjs": MODULE, "commonjs.cjs": COMMONJS, "web.mjs": WEB, "names.mjs": NAMES } });
});

for (const major of versions.TESTED_NODES.split(",")) {
  const node = () => tool(`nodes/${major}/bin/node`);
  const answer = async (file) => JSON.parse(await run(node(), [file], { cwd: folder }));

  test(`Node ${major} is Node ${major}`, async () => {
    assert.match(await run(node(), ["--version"]), new RegExp(`^v${major}\\.`));
  });
  test(`Node ${major} imports the package`, async () => allHeld(await answer("module.mjs")));
  test(`Node ${major} requires the package`, async () => allHeld(await answer("commonjs.cjs")));
  test(`Node ${major} gives rxgate/web its bytes`, async () => allHeld(await answer("web.mjs")));
  test(`Node ${major} finds the same exports by import, require and in rxgate/web`, async () => {
    const [imported, required, web] = await answer("names.mjs");
    assert.ok(imported.includes("verify"));
    assert.deepEqual(required, imported);
    assert.deepEqual(web, imported);
  });
  test(`Node ${major} runs the command`, async () => {
    assert.match(await run(node(), [join(folder, "node_modules/rxgate/src/cli/main.js"), "--version"], { cwd: folder }), /^0\.1\.0$/m);
  });
}

test("npx finds the command", async () => {
  assert.match(await run("npx", ["--no-install", "rxgate", "--help"], { cwd: folder }), /usage/i);
});
