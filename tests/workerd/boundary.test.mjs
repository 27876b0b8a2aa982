// How often a request crosses between JavaScript and wasm: once for each effect, and nothing is called back but the host's HMAC for what is long; in an entity's object once, and once for each statement. Counted in workerd, on every export and every import.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { ADMIN_KEY, KEY, NEXT_KEY, settings, startWorkerd, unique, until } from "./harness.mjs";

/// The exports by which the machine is called.
const MACHINE = ["input", "configure", "begin", "attempt", "operate", "tick", "watch", "resume", "abandon"];

let origin;
let worker;
let atStart;

before(async () => {
  origin = await startOrigin();
  const entry = join(import.meta.dirname, "entries/counting.mjs");
  const { SOURCE_OSIGU, DESTINATION_LOCAL } = settings(origin.port);
  const more = {
    SOURCE_DIRECT: { ...SOURCE_OSIGU, destination: "direct" },
    SOURCE_EVENTS: { ...SOURCE_OSIGU, destination: "events" },
    DESTINATION_DIRECT: { ...DESTINATION_LOCAL, on_origin_failure: "sender_retries" },
    DESTINATION_EVENTS: { queue: "EVENTS" },
  };
  worker = await startWorkerd({ vars: settings(origin.port, { gateway: { shards: 1 }, more }), bundle: "test-hooks", entry });
  atStart = await crossings();
});

after(async () => {
  await worker?.kill();
  await origin?.close();
});

/// The crossings since the last time: those of the machine's instance, and those of the objects'.
async function crossings() {
  const counts = await (await fetch(`${worker.url}/crossings`)).json();
  const [machine, ...more] = counts.filter(({ exports }) => MACHINE.some((name) => exports[name]));
  assert.equal(more.length, 0, "one instance of the machine");
  const objects = counts.filter((instance) => instance !== machine);
  return { machine: machine ?? { exports: {}, imports: {} }, objects };
}

const dispense = (data = {}) => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), ...data } });

/// Sends, and counts what that alone cost.
async function counted(body, { to = "osigu", ...options } = {}) {
  const { code } = await osigu.send(`${worker.url}/hooks/${to}`, body, { key: KEY, ...options });
  return { code, ...(await crossings()) };
}

const large = { posology: "x".repeat(200_000) };

test("start-up is two calls: where the input is, and the configuration", () => {
  assert.deepEqual(atStart.machine, { exports: { input: 1, configure: 1 }, imports: {} });
  assert.deepEqual(atStart.objects, []);
});

test("the first event of an isolate is five calls, since it asks for the layout", async () => {
  const { code, machine } = await counted(dispense().body);
  assert.equal(code, "delivered");
  assert.deepEqual(machine, { exports: { begin: 1, resume: 4 }, imports: {} });
});

for (const [size, { data, hashed }] of Object.entries({ "of webhook size": { data: {}, hashed: {} }, "of 200 KB": { data: large, hashed: { rxgateHostTag: 1 } } })) {
  test(`a new event ${size} is four calls: begin, and one each for claim, delivery and commit`, async () => {
    // The host is told a key when it first hashes with it.
    if (data === large) await counted(dispense(data).body);
    const event = dispense(data);
    assert.ok(data !== large || event.body.length > 200_000);
    const { code, machine, objects } = await counted(event.body);
    assert.equal(code, "delivered");
    // What comes is hashed, and what goes.
    assert.deepEqual(machine, { exports: { begin: 1, resume: 3 }, imports: data === large ? { rxgateHostTag: 2 } : {} });
    // Read and written, and written once more: what the claim wrote is still held at the commit.
    assert.deepEqual(objects, [{ exports: { entityobject_serve: 2 }, imports: { rxgateSql: 3 } }]);
  });

  test(`a duplicate ${size} is two calls: begin, and one for the claim`, async () => {
    const event = dispense(data);
    await counted(event.body);
    const { code, machine, objects } = await counted(event.body);
    assert.equal(code, "duplicate");
    assert.deepEqual(machine, { exports: { begin: 1, resume: 1 }, imports: hashed });
    assert.deepEqual(objects, [{ exports: { entityobject_serve: 1 }, imports: {} }]);
  });

  test(`a refused signature ${size} is two calls: begin, and one for the limit of log lines`, async () => {
    const { code, machine, objects } = await counted(dispense(data).body, { key: NEXT_KEY });
    assert.equal(code, "signature_mismatch");
    assert.deepEqual(machine, { exports: { begin: 1, resume: 1 }, imports: hashed });
    assert.deepEqual(objects, [{ exports: {}, imports: {} }]);
  });
}

test("an event that the origin doesn't take is four calls where it stays with its sender: begin, and one each for claim, delivery and release", async () => {
  origin.rule({ status: 500 });
  const { code, machine } = await counted(dispense().body, { to: "direct" });
  assert.equal(code, "delivery_failed");
  assert.deepEqual(machine, { exports: { begin: 1, resume: 3 }, imports: {} });
});

test("an event into a customer's queue is four calls: begin, and one each for claim, queue and commit", async () => {
  const { code, machine } = await counted(dispense().body, { to: "events" });
  assert.equal(code, "enqueued");
  assert.deepEqual(machine, { exports: { begin: 1, resume: 3 }, imports: {} });
});

test("an event that is refused for good is five calls, and keeping it two more", async () => {
  origin.rule({ status: 422 });
  const { code, machine } = await counted(dispense().body);
  assert.equal(code, "dead_lettered");
  await until(() => worker.records().some((record) => record.code === "dead_letter_kept"), { what: "the letter" });
  const kept = await crossings();
  const sum = (name) => (machine.exports[name] ?? 0) + (kept.machine.exports[name] ?? 0);
  assert.deepEqual(["begin", "attempt", "resume"].map(sum), [1, 1, 4 + 1]);
});

test("an event by our own queue is five calls, and its delivery four more", async () => {
  const event = dispense();
  origin.rule({ status: 500, when: (entry) => entry.event?.id === event.id });
  const { code, machine } = await counted(event.body);
  assert.equal(code, "enqueued");
  assert.deepEqual(machine, { exports: { begin: 1, resume: 4 }, imports: {} });
  await until(() => worker.records().some((record) => record.code === "delivered" && record.attempt === 1), { what: "the delivery" });
  assert.deepEqual((await crossings()).machine, { exports: { attempt: 1, resume: 3 }, imports: {} });
});

test("a call of an operator and a turn of the cron are two calls each", async () => {
  const answer = await fetch(`${worker.url}/v1/dead-letters`, { headers: { authorization: `Bearer ${ADMIN_KEY}` } });
  assert.equal((await answer.json()).code, "dead_letters_listed");
  assert.deepEqual((await crossings()).machine, { exports: { operate: 1, resume: 1 }, imports: {} });
  assert.equal((await worker.cron()).outcome, "ok");
  assert.deepEqual((await crossings()).machine, { exports: { tick: 1, resume: 1 }, imports: {} });
});

test("twenty events at once are four calls each", async () => {
  origin.rule({ delay: 200, once: false });
  const answers = await Promise.all(Array.from({ length: 20 }, () => osigu.send(worker.hook, dispense().body, { key: KEY })));
  origin.clear();
  assert.deepEqual([...new Set(answers.map(({ code }) => code))], ["delivered"]);
  const { machine } = await crossings();
  assert.deepEqual(machine, { exports: { begin: 20, resume: 60 }, imports: {} });
});
