// Every vector of the core runs through the package too, in Node and in workerd: the same answer.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as esm from "../../pkg/src/node.js";
import { ROOT, remove, startWorkerd } from "../workerd/harness.mjs";
import { files } from "./files.mjs";
import { run } from "./vectors.mjs";

const COUNTS = {
  rfc2202_sha1: 7,
  rfc4231_sha256: 7,
  rfc4231_sha512: 6,
  wycheproof_hmac_sha1: 170,
  wycheproof_hmac_sha256: 174,
  wycheproof_hmac_sha512: 174,
  wycheproof_ed25519: 151,
  senders: 5,
  golden: 21,
  osigu_signature: 3,
  osigu: 17,
  evitalrx: 18,
  "phil-callback": 6,
};

const holds = ({ counts, failures }) => {
  assert.deepEqual(failures, []);
  assert.deepEqual(counts, COUNTS);
};

test("the vectors hold in Node, as ESM and as CommonJS", () => {
  holds(run(esm, files()));
  holds(run(createRequire(import.meta.url)("../../pkg/src/node.cjs"), files()));
});

test("the vectors hold in workerd", async () => {
  const sources = readdirSync(join(ROOT, "pkg/src")).filter((name) => name.endsWith(".js"));
  const imports = [...sources.map((name) => join(ROOT, "pkg/src", name)), join(ROOT, "pkg/wasm/rxgate.wasm"), join(import.meta.dirname, "vectors.mjs")];
  const worker = await startWorkerd({ vars: {}, secrets: {}, bundle: "entry", entry: join(import.meta.dirname, "vectors-worker.mjs"), imports: imports.filter((file) => !/\/(node|cjs|bundler|web)\.js$/.test(file)) });
  try {
    const response = await fetch(worker.url, { method: "POST", body: JSON.stringify(files()) });
    assert.equal(response.status, 200, worker.output());
    holds(await response.json());
  } finally {
    await worker.kill();
    remove(worker.state);
  }
});

test("a vector that is altered fails", () => {
  const altered = files();
  altered.vectors.wycheproof_hmac_sha256.cases[0].valid = false;
  altered.golden.cases[0].headers["webhook-timestamp"] = "1795000001";
  const [osigu] = Object.values(altered.fixtures.osigu);
  osigu.event = osigu.event.replace("approved", "rejected");
  assert.equal(run(esm, altered).failures.length, 3);
});
