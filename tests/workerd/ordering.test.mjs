// Osigu's order is best effort. What an origin gets of an entity whose events come in order, and out of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startReceiver } from "../../examples/receiver/receiver.mjs";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, SIGNING_KEY, remove, settings, startWorkerd, unique, until } from "./harness.mjs";

let origin;
let receiver;
let worker;

before(async () => {
  origin = await startOrigin();
  receiver = await startReceiver({ secrets: [SIGNING_KEY] });
  const more = {
    SOURCE_RECEIVER: { provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: "OSIGU_KEY" }], destination: "receiver" },
    DESTINATION_RECEIVER: { url: receiver.url, keys: [{ id: "first", secret: "SIGNING_KEY" }] },
  };
  worker = await startWorkerd({ vars: settings(origin.port, { more }) });
});

after(async () => {
  await worker.kill();
  remove(worker.state);
  await receiver.close();
  await origin.close();
});

const at = (seconds) => new Date(Date.UTC(2026, 5, 25, 14, 0, seconds)).toISOString();

/// Sends events of one entity, each as [type, second of created_at], in this order; answers what the origin got of each.
async function sent(data, events) {
  const deliveries = [];
  for (const [type, second] of events) {
    const event = osigu.event(type, { data, envelope: { created_at: at(second) } });
    const answer = await osigu.send(worker.hook, event.body, { key: KEY });
    assert.deepEqual([answer.status, answer.code], [200, "delivered"], type);
    const received = origin.of(event.id);
    assert.equal(received.length, 1);
    deliveries.push(received[0].event);
  }
  const sequences = deliveries.map(({ sequence }) => sequence);
  assert.deepEqual(sequences, [...new Set(sequences)].sort(), "the sequence rises");
  assert.equal(new Set(deliveries.map(({ subject }) => subject)).size, 1);
  return deliveries.map(({ type, data: { state } }) => [type, state]);
}

test("approved and then voided: both come, with a rising sequence", async () => {
  const events = [["authorization.created", 1], ["authorization.updated", 2], ["authorization.voided", 3]];
  assert.deepEqual(await sent({ authorization_id: unique("auth") }, events), [
    ["rx.authorization.approved", "approved"],
    ["rx.authorization.updated", "approved"],
    ["rx.authorization.voided", "voided"],
  ]);
});

test("voided before created: both come, and both say voided", async () => {
  for (const emitted of [1, 5]) {
    const events = [["authorization.voided", 3], ["authorization.created", emitted]];
    assert.deepEqual(await sent({ authorization_id: unique("auth") }, events), [
      ["rx.authorization.voided", "voided"],
      ["rx.authorization.approved", "voided"],
    ]);
  }
});

test("started after completed says redeemed", async () => {
  const events = [["dispensing.completed", 2], ["dispensing.started", 1]];
  assert.deepEqual(await sent({ dispensation_id: unique("dsp") }, events), [
    ["rx.dispense.completed", "redeemed"],
    ["rx.dispense.started", "redeemed"],
  ]);
});

test("started and then cancelled: the code is redeemable again", async () => {
  const events = [["dispensing.started", 1], ["dispensing.cancelled", 2]];
  assert.deepEqual(await sent({ dispensation_id: unique("dsp") }, events), [
    ["rx.dispense.started", "in_flight"],
    ["rx.dispense.cancelled", "redeemable"],
  ]);
});

test("two events of one authorization that differ in their id are two events", async () => {
  const events = [["authorization.created", 1], ["authorization.created", 1]];
  assert.deepEqual(await sent({ authorization_id: unique("auth") }, events), [
    ["rx.authorization.approved", "approved"],
    ["rx.authorization.approved", "approved"],
  ]);
});

test("the example receiver ends up with what is so, in whatever order the events come", async () => {
  const hook = `${worker.url}/hooks/receiver`;
  const authorization_id = unique("auth");
  for (const type of ["authorization.voided", "authorization.created"]) {
    const event = osigu.event(type, { data: { authorization_id } });
    assert.equal((await osigu.send(hook, event.body, { key: KEY })).code, "delivered");
    assert.equal((await osigu.send(hook, event.body, { key: KEY })).code, "duplicate");
  }
  assert.equal(receiver.store.entity("/sources/receiver", `authorization/${authorization_id}`).state, "voided");
});

test("an unknown event type is logged at error level, and says why", async () => {
  const event = osigu.event("dispensing.rescheduled", { data: { dispensation_id: unique("dsp") } });
  assert.equal((await osigu.send(worker.hook, event.body, { key: KEY })).code, "delivered");
  const record = () => worker.records().find((found) => found.event_type === "dispensing.rescheduled");
  await until(record, { what: "the log record" });
  const { level, code, unknown, type, event_type } = record();
  const expected = { level: "error", code: "delivered", unknown: "event_type", type: "rx.unknown", event_type: "dispensing.rescheduled" };
  assert.deepEqual({ level, code, unknown, type, event_type }, expected);
});
