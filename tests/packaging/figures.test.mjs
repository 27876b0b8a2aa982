// How large the package is, how fast it starts, and that it doesn't grow. The figures are printed.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { OSIGU_SOURCE, osiguRequest, project, run } from "./pack.mjs";

const WASM_GZIP_BYTES = 150 * 1024;
const INSTANTIATION_MS = 10;
const SOURCES_GROWTH_BYTES = 1024 * 1024;
const RSS_GROWTH_BYTES = 20 * 1024 * 1024;

// The package's own class makes the instance, as at the first call of a process.
const START = `
import { readFileSync } from "node:fs";
import { Core } from "./node_modules/rxgate/src/core.js";
const bytes = readFileSync("node_modules/rxgate/wasm/rxgate.wasm");
const median = (run) => {
  const times = [];
  for (let turn = 0; turn < 20; turn += 1) {
    const start = performance.now();
    run();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[10];
};
// V8 keeps what it compiled, by its bytes: each turn has a custom section of its own.
let turns = 0;
const compile = median(() => new WebAssembly.Module(Buffer.concat([bytes, Buffer.from([0, 3, 1, 0x78, (turns += 1)])])));
const module = new WebAssembly.Module(bytes);
console.log(JSON.stringify({ compile, instantiate: median(() => new Core(module)) }));
`;

/// A thousand signed events of about 1200 bytes, which the host hashes, none like another.
function growth() {
  const now = Date.now();
  const seconds = Math.floor(now / 1000);
  const sample = JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/osigu/authorization_created/body.json"), "utf8"));
  sample.data.additional_data = { note: "x".repeat(610) };
  const requests = Array.from({ length: 1000 }, (_, place) => {
    const body = JSON.stringify({ ...sample, event_id: `evt_01HX${String(place).padStart(12, "0")}` });
    return osiguRequest(body, seconds);
  });
  return { source: OSIGU_SOURCE, requests, now };
}

// The instance is the package's own; its exports are noted as it is made.
const NOTED = `
import { readFileSync } from "node:fs";
const memories = [];
WebAssembly.Instance = class extends WebAssembly.Instance {
  constructor(...arguments_) {
    super(...arguments_);
    memories.push(this.exports.memory);
  }
};
const { source: open, verify } = await import("rxgate");
const { source: settings, requests, now } = JSON.parse(readFileSync("growth.json", "utf8"));
const measure = () => {
  gc();
  gc();
  return { rss: process.memoryUsage.rss(), heap: process.memoryUsage().heapUsed, wasm: memories.map(({ buffer }) => buffer.byteLength) };
};
`;

const GROWTH = `${NOTED}
const source = open(settings);
const start = performance.now();
let verified = 0;
const until = (calls) => {
  while (verified < calls) {
    if (!verify(source, requests[verified % requests.length], { now }).ok) throw new Error("one was refused");
    verified += 1;
  }
  return measure();
};
const early = until(100_000);
const late = until(1_000_000);
console.log(JSON.stringify({ early, late, verified, bytes: requests[0].body.length, each: (performance.now() - start) / verified }));
`;

const SOURCES = `${NOTED}
let opened = 0;
const until = async (count) => {
  while (opened < count) {
    if (!verify(open(settings), requests[opened % requests.length], { now }).ok) throw new Error("one was refused");
    opened += 1;
    // What is collected is told between turns.
    if (opened % 500 === 0) {
      gc();
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  return measure();
};
const early = await until(5_000);
const late = await until(30_000);
console.log(JSON.stringify({ early, late, opened }));
`;

let folder;
before(async () => {
  folder = await project({ files: { "start.mjs": START, "growth.mjs": GROWTH, "sources.mjs": SOURCES, "growth.json": JSON.stringify(growth()) } });
});

const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;

test("the wasm is under 150 KiB when it is compressed", (context) => {
  const wasm = readFileSync(join(folder, "node_modules/rxgate/wasm/rxgate.wasm"));
  const compressed = gzipSync(wasm, { level: 9 }).length;
  context.diagnostic(`wasm: ${wasm.length} bytes, ${kib(wasm.length)}; gzip -9: ${compressed} bytes, ${kib(compressed)}`);
  assert.ok(compressed < WASM_GZIP_BYTES, `${compressed}`);
});

// Besides the host's HMAC: wasm-bindgen's start function imports one, which sets up a table that the package doesn't use; its start isn't called.
test("the wasm imports nothing but the host's HMAC", () => {
  const module = new WebAssembly.Module(readFileSync(join(folder, "node_modules/rxgate/wasm/rxgate.wasm")));
  const names = WebAssembly.Module.imports(module).map(({ name }) => name.replace(/_[0-9a-f]{16}$/, ""));
  assert.deepEqual(names, ["__wbg_rxgateHostForget", "__wbg_rxgateHostKey", "__wbg_rxgateHostTag", "__wbindgen_init_externref_table"]);
});

test("an instance is made in under 10 ms", async (context) => {
  const { compile, instantiate } = JSON.parse(await run(process.execPath, ["start.mjs"], { cwd: folder }));
  context.diagnostic(`median of 20: compile ${compile.toFixed(2)} ms, instantiate ${instantiate.toFixed(2)} ms`);
  assert.ok(instantiate < INSTANTIATION_MS, `${instantiate} ms`);
});

test("import to first verified event", async (context) => {
  const first = `
    const start = performance.now();
    const { source, verify } = await import("rxgate");
    const imported = performance.now() - start;
    const { readFileSync } = await import("node:fs");
    const { source: settings, requests, now } = JSON.parse(readFileSync("growth.json", "utf8"));
    const begun = performance.now();
    const { ok } = verify(source(settings), requests[0], { now });
    console.log(JSON.stringify({ ok, imported, first: performance.now() - begun }));
  `;
  const { ok, imported, first: took } = JSON.parse(await run(process.execPath, ["--input-type=module", "--eval", first], { cwd: folder }));
  context.diagnostic(`import with compilation ${imported.toFixed(1)} ms, source and first verify ${took.toFixed(1)} ms`);
  assert.equal(ok, true);
});

test("a million events are verified without growth", { timeout: 240_000 }, async (context) => {
  const { early, late, verified, bytes, each } = JSON.parse(await run(process.execPath, ["--expose-gc", "growth.mjs"], { cwd: folder, timeout: 230_000 }));
  context.diagnostic(`${verified} events of ${bytes} bytes, ${(each * 1000).toFixed(1)} µs each; wasm memory ${kib(late.wasm[0])}`);
  context.diagnostic(`after 100,000 and 1,000,000: RSS ${kib(early.rss)} and ${kib(late.rss)}, heap ${kib(early.heap)} and ${kib(late.heap)}`);
  assert.ok(bytes > 1150 && bytes < 1250, `${bytes}`);
  assert.equal(late.wasm.length, 1, "one instance served them all");
  assert.deepEqual(late.wasm, early.wasm);
  assert.ok(late.rss - early.rss < RSS_GROWTH_BYTES, `${late.rss - early.rss}`);
});

test("sources that are dropped are given back", async (context) => {
  const { early, late, opened } = JSON.parse(await run(process.execPath, ["--expose-gc", "sources.mjs"], { cwd: folder }));
  context.diagnostic(`after 5,000 and ${opened} sources: wasm memory ${kib(early.wasm[0])} and ${kib(late.wasm[0])}`);
  // When what was collected is told is the engine's affair, so a page more may be needed once; a hundred bytes kept of each source would be forty.
  assert.equal(late.wasm.length, 1);
  assert.ok(late.wasm[0] - early.wasm[0] < SOURCES_GROWTH_BYTES, `${late.wasm[0] - early.wasm[0]}`);
});
