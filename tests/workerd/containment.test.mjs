// What a trap in the wasm costs: the request that it hit, and no other. The traps are the test build's; that the production build has none of them is tested at the end.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, ROOT, settings, startWorkerd, unique, until } from "./harness.mjs";

const MARK = "rxgate-test-hooks";
/// How src/worker/hooks.rs can trap, and what JavaScript sees of it.
const WAYS = { unreachable: "RuntimeError", stack: "RuntimeError", calls: "RangeError", panic: "RuntimeError" };

let origin;
let worker;

before(async () => {
  origin = await startOrigin();
  const entry = join(import.meta.dirname, "entries/faults.mjs");
  worker = await startWorkerd({ vars: settings(origin.port), bundle: "test-hooks", entry });
});

afterEach(() => origin.clear());

after(async () => {
  await worker?.kill();
  await origin?.close();
});

const dispense = () => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp") } });

/// Sends; answers status, code and Retry-After.
async function send(event, headers = {}) {
  const { status, code, retryAfter } = await osigu.send(worker.hook, event.body, { key: KEY, headers });
  return [status, code, retryAfter];
}

const trap = (way = "unreachable", event = dispense()) => send(event, { traceparent: `${MARK}:${way}` });
const trapNextObject = async (way) => (await fetch(`${worker.url}/faults/next?object=${way}`)).text();
const records = (code) => worker.records().filter((record) => record.code === code);
/// How often an object has trapped, once that is `count`.
async function trapped(count) {
  await until(() => records("store_trapped").length >= count, { what: "the log line" });
  assert.equal(records("store_trapped").length, count);
}

const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${worker.pid}/status`, "utf8"))[1]) / 1024;

const INTERNAL = [503, "internal_error", "5"];
const UNAVAILABLE = [503, "store_unavailable", "5"];
const DELIVERED = [200, "delivered", null];
const DUPLICATE = [200, "duplicate", null];

describe("a trap in the machine", () => {
  for (const [way, fault] of Object.entries(WAYS)) {
    test(`(${way}) is 503 with Retry-After for its request, and the next one is served`, async () => {
      const event = dispense();
      const before = records("internal_error").length;
      assert.deepEqual(await trap(way, event), INTERNAL);
      await until(() => records("internal_error").length === before + 1, { what: "the log line" });
      assert.deepEqual(records("internal_error").at(-1), { level: "error", code: "internal_error", status: 503, fault });
      const delivered = records("delivered").length;
      assert.deepEqual(await send(event), DELIVERED);
      assert.deepEqual(await send(event), DUPLICATE);
      assert.equal(origin.of(event.id).length, 1);
      // A fresh instance is one that doesn't know the layout yet.
      await until(() => records("delivered").length > delivered, { what: "the record" });
      assert.equal(records("delivered")[delivered].store_calls, 3);
    });

    test(`(${way}) leaves a request under way to end as it should: delivered once, and committed`, async () => {
      origin.rule({ delay: 600 });
      const event = dispense();
      const underWay = send(event);
      await until(() => origin.of(event.id).length === 1, { what: "the delivery" });
      let ended = false;
      underWay.then(() => (ended = true));
      assert.deepEqual(await trap(way), INTERNAL);
      assert.deepEqual(await send(dispense()), DELIVERED);
      assert.equal(ended, false, "it was still under way");
      assert.deepEqual(await underWay, DELIVERED);
      assert.deepEqual(await send(event), DUPLICATE);
      assert.equal(origin.of(event.id).length, 1);
    });
  }

  test("leaves a request whose body is still on its way to be served by the fresh instance", async () => {
    const event = dispense();
    const head = [
      "POST /hooks/osigu HTTP/1.1",
      "host: x",
      "connection: close",
      "content-type: application/json",
      `x-osigu-signature: ${osigu.signatureHeader(KEY, event.body)}`,
      `content-length: ${event.body.length}`,
    ];
    const socket = connect(worker.port, "127.0.0.1");
    let text = "";
    socket.on("data", (chunk) => (text += chunk));
    const closed = new Promise((resolve, reject) => socket.once("close", resolve).once("error", reject));
    await new Promise((resolve) => socket.write(`${head.join("\r\n")}\r\n\r\n`, resolve));
    await new Promise((resolve) => socket.write(event.body.subarray(0, 100), resolve));
    assert.deepEqual(await trap(), INTERNAL);
    socket.write(event.body.subarray(100));
    await closed;
    assert.match(text, /^HTTP\/1\.1 200 /);
    assert.equal(origin.of(event.id).length, 1);
  });

  test("hits its request only, when traps and events come all at once", async () => {
    const events = Array.from({ length: 40 }, dispense);
    const answers = await Promise.all(events.map((event, place) => (place % 2 ? trap("unreachable", event) : send(event))));
    for (const [place, answer] of answers.entries()) assert.deepEqual(answer, place % 2 ? INTERNAL : DELIVERED, `request ${place}`);
    for (const [place, event] of events.entries()) {
      assert.equal(origin.of(event.id).length, place % 2 ? 0 : 1);
      assert.deepEqual(await send(event), place % 2 ? DELIVERED : DUPLICATE);
    }
  });

  test("costs no memory that isn't given back: three hundred in a row", async (t) => {
    const traps = async (count) => {
      for (let sent = 0; sent < count; sent += 10) {
        for (const answer of await Promise.all(Array.from({ length: 10 }, () => trap()))) assert.deepEqual(answer, INTERNAL);
      }
    };
    const linux = existsSync("/proc/self/status");
    const before = linux ? rss() : 0;
    await traps(300);
    assert.deepEqual(await send(dispense()), DELIVERED);
    if (!linux) return;
    const grown = rss() - before;
    t.diagnostic(`RSS of workerd: ${before.toFixed()} MiB before, ${(before + grown).toFixed()} MiB after`);
    // Instances that are kept cost 1.2 MiB each.
    assert.ok(grown < 200, `grew by ${grown} MiB`);
  });
});

describe("a trap in the objects' wasm", () => {
  for (const way of Object.keys(WAYS)) {
    test(`(${way}) fails its call, and the next call of every object works`, async () => {
      // So many entities that each of the four objects is open.
      const earlier = Array.from({ length: 16 }, dispense);
      for (const event of earlier) assert.deepEqual(await send(event), DELIVERED);
      const before = records("store_trapped").length;
      const event = dispense();
      await trapNextObject(way);
      assert.deepEqual(await send(event), UNAVAILABLE);
      await trapped(before + 1);
      assert.equal(origin.of(event.id).length, 0);
      assert.deepEqual(await send(event), DELIVERED);
      for (const event of earlier) assert.deepEqual(await send(event), DUPLICATE);
      for (const event of Array.from({ length: 16 }, dispense)) assert.deepEqual(await send(event), DELIVERED);
      await trapped(before + 1);
    });
  }

  test("at the commit is tried once more: the event is delivered, and its resend is a duplicate", async () => {
    origin.rule({ delay: 400 });
    const event = dispense();
    const underWay = send(event);
    await until(() => origin.of(event.id).length === 1, { what: "the delivery" });
    const before = records("store_trapped").length;
    await trapNextObject("unreachable");
    assert.deepEqual(await underWay, DELIVERED);
    await trapped(before + 1);
    assert.deepEqual(await send(event), DUPLICATE);
    assert.equal(origin.of(event.id).length, 1);
  });

  test("says nothing of what it was about", async () => {
    await trapNextObject("panic");
    assert.deepEqual(await send(dispense()), UNAVAILABLE);
    assert.ok(!worker.output().includes(MARK), worker.output());
    assert.doesNotMatch(worker.output(), /panic/);
  });
});

test("the production build holds none of the test build's code", () => {
  const exportsOf = (bytes) => WebAssembly.Module.exports(new WebAssembly.Module(bytes)).map(({ name }) => name);
  const production = readFileSync(join(ROOT, "build/wasm/rxgate_bg.wasm"));
  const tests = readFileSync(join(ROOT, "build/wasm-test-hooks/rxgate_bg.wasm"));
  const found = (bytes) => [bytes.includes(MARK), exportsOf(bytes).includes("entityobject_fill")];
  assert.deepEqual(found(tests), [true, true]);
  assert.deepEqual(found(production), [false, false]);
  const more = exportsOf(tests).filter((name) => !exportsOf(production).includes(name));
  assert.deepEqual(more, ["entityobject_fill"]);
  const bundle = readFileSync(join(ROOT, "build/worker/entry.js"), "utf8");
  assert.ok(!bundle.includes(MARK));
});
