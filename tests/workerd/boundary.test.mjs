// How often a request crosses between JavaScript and the machine's wasm: once for each effect, and nothing is called back. Counted in workerd, on every export and every import.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, NEXT_KEY, settings, startWorkerd, unique } from "./harness.mjs";

let origin;
let worker;
let atStart;

before(async () => {
  origin = await startOrigin();
  const entry = join(import.meta.dirname, "entries/counting.mjs");
  worker = await startWorkerd({ vars: settings(origin.port), bundle: "test-hooks", entry });
  atStart = await crossings();
});

after(async () => {
  await worker?.kill();
  await origin?.close();
});

/// The crossings since the last time: those of the machine's instance, and those of the objects'.
async function crossings() {
  const counts = await (await fetch(`${worker.url}/crossings`)).json();
  const [machine, ...more] = counts.filter(({ exports }) => exports.input || exports.begin);
  assert.equal(more.length, 0, "one instance of the machine");
  const objects = counts.filter((instance) => instance !== machine);
  assert.ok(objects.every(({ exports }) => !exports.begin && !exports.resume));
  return { machine, objects };
}

const dispense = (data = {}) => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), ...data } });

/// Sends, and counts what that alone cost.
async function counted(body, options = {}) {
  const { code } = await osigu.send(worker.hook, body, { key: KEY, ...options });
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

for (const [size, data] of Object.entries({ "of webhook size": {}, "of 200 KB": large })) {
  test(`a new event ${size} is four calls: begin, and one each for claim, delivery and commit`, async () => {
    const event = dispense(data);
    assert.ok(size === "of webhook size" || event.body.length > 200_000);
    const { code, machine, objects } = await counted(event.body);
    assert.equal(code, "delivered");
    assert.deepEqual(machine, { exports: { begin: 1, resume: 3 }, imports: {} });
    // The counting counts: the objects' glue makes calls of its own, and is called back.
    assert.equal(objects.length, 1);
    assert.equal(objects[0].exports.entityobject_serve, 2);
    assert.ok(Object.keys(objects[0].imports).length > 0);
  });

  test(`a duplicate ${size} is two calls: begin, and one for the claim`, async () => {
    const event = dispense(data);
    await counted(event.body);
    const { code, machine, objects } = await counted(event.body);
    assert.equal(code, "duplicate");
    assert.deepEqual(machine, { exports: { begin: 1, resume: 1 }, imports: {} });
    assert.equal(objects[0].exports.entityobject_serve, 1);
  });

  test(`a refused signature ${size} is one call`, async () => {
    const { code, machine, objects } = await counted(dispense(data).body, { key: NEXT_KEY });
    assert.equal(code, "signature_mismatch");
    assert.deepEqual(machine, { exports: { begin: 1 }, imports: {} });
    assert.deepEqual(objects, [{ exports: {}, imports: {} }]);
  });
}

test("an event that the origin refuses is four calls: begin, and one each for claim, delivery and release", async () => {
  origin.rule({ status: 422, headers: { "retry-after": "7" } });
  const { code, machine } = await counted(dispense().body);
  assert.equal(code, "delivery_rejected");
  assert.deepEqual(machine, { exports: { begin: 1, resume: 3 }, imports: {} });
});

test("twenty events at once are four calls each", async () => {
  origin.rule({ delay: 200, once: false });
  const answers = await Promise.all(Array.from({ length: 20 }, () => osigu.send(worker.hook, dispense().body, { key: KEY })));
  origin.clear();
  assert.deepEqual([...new Set(answers.map(({ code }) => code))], ["delivered"]);
  const { machine } = await crossings();
  assert.deepEqual(machine, { exports: { begin: 20, resume: 60 }, imports: {} });
});
