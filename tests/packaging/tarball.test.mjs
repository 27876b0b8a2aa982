// What is in the package, and what isn't.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ALL, check } from "./check.mjs";
import { PACKAGE, given, pack } from "./pack.mjs";

const TARBALL_BYTES = 400 * 1024;

const manifest = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
const targets = (value) => (typeof value === "string" ? [value.slice(2)] : Object.values(value).flatMap(targets));

test("the tarball has its licences, README, types and wasm", async () => {
  const { names } = await pack();
  const needed = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "dist/exports.cjs", "package.json", "types/index.d.cts", "types/index.d.ts", "types/web.d.ts", "wasm/rxgate.wasm"];
  assert.deepEqual(needed.filter((name) => !names.includes(name)), []);
});

test("the tarball has all that package.json names", async () => {
  const { names } = await pack();
  const named = [...targets(manifest.exports), ...targets(manifest.bin), ...targets(manifest.main), ...targets(manifest.types), ...manifest.sideEffects.flatMap(targets)];
  assert.ok(named.length > 15, named.join());
  assert.deepEqual(named.filter((name) => !names.includes(name)), []);
});

test("the tarball has no tests, no maps and no other folder", async () => {
  const { names } = await pack();
  assert.deepEqual(names.filter((name) => /test|fixture|\.map$|\.rs$|\.tgz$|(^|\/)\./.test(name)), []);
  const folders = [...new Set(names.map((name) => name.split("/")[0]))];
  assert.deepEqual(folders.sort(), ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "dist", "package.json", "src", "types", "wasm"]);
});

test("the tarball names no folder of the machine that built it", async () => {
  const { names } = await pack();
  const home = /\/(home|root|Users|work)\/[a-z.]|\/\.cargo\//;
  assert.deepEqual(names.filter((name) => home.test(readFileSync(join(PACKAGE, name), "latin1"))), []);
});

test("the tarball is smaller than 400 KiB", async (context) => {
  const { bytes } = await pack();
  context.diagnostic(`tarball: ${bytes} bytes, ${(bytes / 1024).toFixed(1)} KiB`);
  assert.ok(bytes < TARBALL_BYTES, `${bytes}`);
});

test("the package's version is the Worker's", () => {
  const cargo = readFileSync(join(PACKAGE, "../Cargo.toml"), "utf8");
  assert.equal(manifest.version, /^version = "(.*)"$/m.exec(cargo)[1]);
});

// The check that the other tests of this folder run has to be able to fail.
test("a package that is wrong doesn't pass the check", async () => {
  const rx = await import("../../pkg/src/node.js");
  assert.deepEqual(await check(rx, given()), { held: ALL, failed: [] });

  const trusting = { ...rx, verify: (source, request, options) => ({ ok: true, event: rx.normalise(source, request, options).event }) };
  const { held } = await check(trusting, given());
  assert.ok(!held.includes("a tampered request is refused"), held.join());
  assert.ok(!held.includes("a request of 400 seconds ago is refused, and told by how much"), held.join());

  const other = given();
  other.osigu.source = { ...other.osigu.source, keys: [{ id: "first", secret: "another-key-0123456789abcdef0123456789" }] };
  other.standard.signed.headers["webhook-signature"] = "v1,AAAA";
  const failed = (await check(rx, other)).failed.map((text) => text.split(":")[0]);
  assert.ok(failed.includes("a signed request is verified"), failed.join());
  assert.ok(failed.includes("a signature of the Standard Webhooks library is verified"), failed.join());
});
