// The installed package in Deno and in Bun.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { allHeld, project, run, tool } from "./pack.mjs";

const MAIN = `
import * as rx from "rxgate";
import given from "./given.json" with { type: "json" };
import { check } from "./check.mjs";
await rx.init();
console.log(JSON.stringify(await check(rx, given)));
`;

// Here the module is found from beside the package's file, by fetch.
const WEB = `
import * as rx from "rxgate/web";
import given from "./given.json" with { type: "json" };
import { check } from "./check.mjs";
await rx.init();
console.log(JSON.stringify(await check(rx, given)));
`;

let folder;
before(async () => {
  folder = await project({ files: { "main.mjs": MAIN, "web.mjs": WEB } });
});

const answer = async (program, args) => JSON.parse(await run(program, args, { cwd: folder, env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" } }));
const deno = (file) => answer(tool("deno/node_modules/.bin/deno"), ["run", "--quiet", "--no-remote", "--node-modules-dir=manual", "--allow-read", file]);
const bun = (file) => answer(tool("bun/node_modules/.bin/bun"), ["run", file]);

test("Deno imports the package, and needs no right but to read", async () => allHeld(await deno("main.mjs")));
test("Deno initialises rxgate/web by itself", async () => allHeld(await deno("web.mjs")));
test("Bun imports the package", async () => allHeld(await bun("main.mjs")));
test("Bun initialises rxgate/web by itself", async () => allHeld(await bun("web.mjs")));

test("Deno without the right to read says so", async () => {
  await assert.rejects(run(tool("deno/node_modules/.bin/deno"), ["run", "--quiet", "--no-prompt", "--no-remote", "--node-modules-dir=manual", "main.mjs"], { cwd: folder }), /NotCapable|read access/);
});
