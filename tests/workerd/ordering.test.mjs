// Osigu's order is best effort. What an origin gets of an entity whose events come in order, and out of it.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { startReceiver } from "../../examples/receiver/receiver.mjs";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { ADMIN_KEY, KEY, SIGNING_KEY, remove, settings, sleep, startWorkerd, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

let origin;
let receiver;
let platform;
let worker;

before(async () => {
  origin = await startOrigin();
  receiver = await startReceiver({ secrets: [SIGNING_KEY] });
  const more = {
    SOURCE_RECEIVER: { provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: "OSIGU_KEY" }], destination: "receiver" },
    SOURCE_DELIVERING: { provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: "OSIGU_KEY" }], destination: "local", withhold_superseded: false },
    DESTINATION_RECEIVER: { url: receiver.url, keys: [{ id: "first", secret: "SIGNING_KEY" }] },
  };
  platform = await startPlatform();
  worker = await startWorkerd({ vars: settings(origin.port, { more }), platform });
});

after(async () => {
  await worker.kill();
  await platform.close();
  remove(worker.state);
  await receiver.close();
  await origin.close();
});

const at = (seconds) => new Date(Date.UTC(2026, 5, 25, 14, 0, seconds)).toISOString();

/// Sends events of one entity, each as [type, second of created_at], in this order; answers what the origin got of each.
async function sent(data, events, source = "delivering") {
  const deliveries = [];
  for (const [type, second] of events) {
    const event = osigu.event(type, { data, envelope: { created_at: at(second) } });
    const answer = await osigu.send(`${worker.url}/hooks/${source}`, event.body, { key: KEY });
    assert.deepEqual([answer.status, answer.code], [200, "delivered"], type);
    const received = origin.of(event.id);
    assert.equal(received.length, 1);
    deliveries.push(received[0].event);
  }
  const sequences = deliveries.map(({ sequence }) => sequence);
  assert.deepEqual(sequences, [...new Set(sequences)].sort(), "the sequence rises");
  assert.equal(new Set(deliveries.map(({ subject }) => subject)).size, 1);
  return deliveries.map(({ type, rxordering, data: { state } }) => [type, state, rxordering]);
}

test("approved and then voided: both come, with a rising sequence", async () => {
  const events = [["authorization.created", 1], ["authorization.updated", 2], ["authorization.voided", 3]];
  assert.deepEqual(await sent({ authorization_id: unique("auth") }, events), [
    ["rx.authorization.approved", "approved", "in_order"],
    ["rx.authorization.updated", "approved", "in_order"],
    ["rx.authorization.voided", "voided", "in_order"],
  ]);
});

test("voided before created, where nothing is withheld: both come, both say voided, and the created carries no code", async () => {
  for (const emitted of [1, 5]) {
    const events = [["authorization.voided", 3], ["authorization.created", emitted]];
    assert.deepEqual(await sent({ authorization_id: unique("auth") }, events), [
      ["rx.authorization.voided", "voided", "early"],
      ["rx.authorization.approved", "voided", "superseded"],
    ]);
  }
});

test("started after completed says redeemed", async () => {
  const events = [["dispensing.completed", 2], ["dispensing.started", 1]];
  assert.deepEqual(await sent({ dispensation_id: unique("dsp") }, events), [
    ["rx.dispense.completed", "redeemed", "in_order"],
    ["rx.dispense.started", "redeemed", "superseded"],
  ]);
});

test("started and then cancelled: the code is redeemable again", async () => {
  const events = [["dispensing.started", 1], ["dispensing.cancelled", 2]];
  assert.deepEqual(await sent({ dispensation_id: unique("dsp") }, events), [
    ["rx.dispense.started", "in_flight", "in_order"],
    ["rx.dispense.cancelled", "redeemable", "in_order"],
  ]);
});

test("two events of one authorization that differ in their id are two events", async () => {
  const events = [["authorization.created", 1], ["authorization.created", 1]];
  assert.deepEqual(await sent({ authorization_id: unique("auth") }, events), [
    ["rx.authorization.approved", "approved", "in_order"],
    ["rx.authorization.approved", "approved", "in_order"],
  ]);
});

const operator = async (method, path) => (await fetch(`${worker.url}/v1/dead-letters${path}`, { method, headers: { authorization: `Bearer ${ADMIN_KEY}` } })).json();

test("voided before created: the created is kept, and comes when an operator asks for it, without its code", async () => {
  const authorization_id = unique("auth");
  const codes = [];
  const events = ["authorization.voided", "authorization.created", "authorization.created"].map((type) => osigu.event(type, { data: { authorization_id } }));
  events[2] = events[1];
  for (const { body } of events) codes.push((await osigu.send(worker.hook, body, { key: KEY })).code);
  assert.deepEqual(codes, ["delivered", "withheld", "duplicate"]);
  const kept = async () => (await operator("GET", "?code=withheld_superseded")).dead_letters.find(({ type }) => type === "rx.authorization.approved");
  await until(kept, { what: "the letter" });
  // Not among what waits: nobody has to do anything about it.
  assert.deepEqual((await operator("GET", "?waiting=true")).dead_letters, []);
  assert.deepEqual(origin.of(events[1].id), []);
  const { id } = await kept();
  assert.equal((await operator("POST", `/${id}/redeliver`)).code, "dead_letter_redelivered");
  await until(() => origin.of(events[1].id).length === 1, { what: "the redelivery" });
  const [{ event }] = origin.of(events[1].id);
  assert.deepEqual([event.rxordering, event.data.state, event.data.entity.code], ["superseded", "voided", undefined]);
});

test("the example receiver ends up with what is so, in whatever order the events come", async () => {
  const hook = `${worker.url}/hooks/receiver`;
  const authorization_id = unique("auth");
  for (const [type, code] of [["authorization.voided", "delivered"], ["authorization.created", "withheld"]]) {
    const event = osigu.event(type, { data: { authorization_id } });
    assert.equal((await osigu.send(hook, event.body, { key: KEY })).code, code);
    assert.equal((await osigu.send(hook, event.body, { key: KEY })).code, "duplicate");
  }
  assert.equal(receiver.store.entity("/sources/receiver", `authorization/${authorization_id}`).state, "voided");
});

/// Stands in front of the receiver, and holds back the deliveries of one type.
async function startHoldUp(type, milliseconds) {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    if (JSON.parse(body).type === type) await sleep(milliseconds);
    const { host, connection, ...headers } = request.headers;
    const answer = await fetch(receiver.url, { method: "POST", headers, body });
    if (!response.destroyed) response.writeHead(answer.status).end(await answer.text());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: server.address().port, close: () => (server.closeAllConnections(), new Promise((resolve) => server.close(resolve))) };
}

test("a created hangs for 8 s, its voided passes it: the receiver ends in the right state", async () => {
  const holdUp = await startHoldUp("rx.authorization.approved", 8000);
  const vars = settings(origin.port, { destination: { url: `http://127.0.0.1:${holdUp.port}/rxgate` } });
  const raced = await startWorkerd({ vars, platform });
  const authorization_id = unique("auth");
  const before = receiver.store.count();
  const [created, voided] = ["authorization.created", "authorization.voided"].map((type) => osigu.event(type, { data: { authorization_id } }));
  const first = osigu.send(raced.hook, created.body, { key: KEY });
  await sleep(500);
  assert.equal((await osigu.send(raced.hook, voided.body, { key: KEY })).code, "delivered");
  assert.equal((await first).code, "enqueued");
  // Its next attempt is told apart anew.
  await sleep(2000);
  await platform.advance("rxgate-deliveries", 60_000);
  await until(() => raced.records().some(({ code, attempt }) => code === "withheld" && attempt === 1), { what: "the second attempt" });
  // Both came: the created under a mark that was right when it was claimed, and with a lower sequence.
  const subject = `authorization/${authorization_id}`;
  assert.equal(receiver.store.count(), before + 2);
  const id = (type) => raced.records().find((record) => record.event_type === type && record.webhook_id).webhook_id;
  const [approved, undone] = ["authorization.created", "authorization.voided"].map((type) => receiver.store.event(id(type)));
  assert.deepEqual([approved, undone].map(({ type, rxordering }) => [type, rxordering]), [["rx.authorization.approved", "in_order"], ["rx.authorization.voided", "in_order"]]);
  assert.ok(undone.sequence > approved.sequence);
  assert.equal(receiver.store.entity("/sources/osigu", subject).state, "voided");
  const letters = await (await fetch(`${raced.url}/v1/dead-letters?code=withheld_superseded`, { headers: { authorization: `Bearer ${ADMIN_KEY}` } })).json();
  assert.equal(letters.dead_letters.length, 1);
  await raced.kill();
  await holdUp.close();
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
