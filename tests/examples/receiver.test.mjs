// The example receiver, with requests that the official Standard Webhooks library signs as rxgate does.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { CloudEvent, HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";
import { memoryStore, startReceiver } from "../../examples/receiver/receiver.mjs";

const newKey = () => `whsec_${randomBytes(24).toString("base64")}`;
const KEY = newKey();
const SOURCE = "/sources/osigu-production";

let receiver;
before(async () => {
  receiver = await startReceiver({ secrets: [KEY] });
});
after(() => receiver.close());

let count = 0;
const newId = () => `evt_${randomBytes(32).toString("base64url")}`;

/// A canonical event of its own entity, unless told otherwise.
function event({ type = "rx.dispense.completed", state = "redeemed", subject = `dispense/dsp_${(count += 1)}`, sequence = 1795318402666, ...more } = {}) {
  return {
    specversion: "1.0",
    id: `evt_01HX${count}`,
    source: SOURCE,
    type,
    ...(subject === null ? {} : { subject }),
    time: "2026-06-25T14:22:00Z",
    datacontenttype: "application/json",
    dataschema: `urn:rxgate:schema:${type}:1`,
    rxprovider: "osigu",
    rxeventtype: "dispensing.completed",
    rxenvironment: "production",
    rxapiversion: "2026-01-01",
    rxauth: "signature",
    rxkeyid: "first",
    rxpharmacy: "pharmacy-x",
    rxbranch: "branch_01HX",
    rxemittedat: "2026-06-25T14:22:11.789Z",
    sequence: String(sequence).padStart(16, "0"),
    rxordering: "unknown",
    data: { ...(state ? { state } : {}), total: { amount: "375.00", currency: "USD" }, original: { event_type: "dispensing.completed" } },
    ...more,
  };
}

function signed(body, { id = newId(), keys = [KEY], at = new Date() } = {}) {
  return {
    "content-type": "application/cloudevents+json",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
    "webhook-signature": keys.map((key) => new Webhook(key).sign(id, at, body)).join(" "),
  };
}

async function post(body, headers, { to = receiver, method = "POST" } = {}) {
  const response = await fetch(to.url, { method, headers, body });
  const text = await response.text();
  return { status: response.status, outcome: text ? JSON.parse(text).outcome : undefined };
}

/// Signs an event and sends it.
async function send(value, options = {}) {
  const body = JSON.stringify(value);
  return post(body, signed(body, options), options);
}

const entity = ({ source, subject }) => receiver.store.entity(source, subject);

test("an event that verifies is stored, and its state applied", async () => {
  const completed = event();
  assert.deepEqual(await send(completed), { status: 200, outcome: "applied" });
  assert.deepEqual(entity(completed), { sequence: completed.sequence, state: "redeemed", type: "rx.dispense.completed" });
});

test("a tampered body is refused", async () => {
  const before = receiver.store.count();
  const body = JSON.stringify(event());
  const answer = await post(body.replace("375.00", "975.00"), signed(body));
  assert.deepEqual(answer, { status: 401, outcome: "signature_mismatch" });
  assert.equal(receiver.store.count(), before);
});

test("another webhook-id than the signed one is refused", async () => {
  const body = JSON.stringify(event());
  const answer = await post(body, { ...signed(body), "webhook-id": newId() });
  assert.equal(answer.status, 401);
});

test("a signature of another key, an old one and none at all are refused", async () => {
  const body = JSON.stringify(event());
  assert.equal((await post(body, signed(body, { keys: [newKey()] }))).status, 401);
  assert.equal((await post(body, signed(body, { at: new Date(Date.now() - 6 * 60 * 1000) }))).status, 401);
  assert.equal((await post(body, { "content-type": "application/cloudevents+json" })).status, 401);
});

test("one of the two signatures of a rotation is enough", async () => {
  assert.equal((await send(event(), { keys: [newKey(), KEY] })).outcome, "applied");
});

test("a duplicate is acknowledged and applied once", async () => {
  const completed = event();
  const id = newId();
  const before = receiver.store.count();
  assert.equal((await send(completed, { id })).outcome, "applied");
  assert.deepEqual(await send(completed, { id }), { status: 200, outcome: "duplicate" });
  // Delivered again after a lost answer, an event has a higher sequence and the same webhook-id.
  assert.deepEqual(await send({ ...completed, sequence: "0001795318402999" }, { id }), { status: 200, outcome: "duplicate" });
  assert.equal(receiver.store.count(), before + 1);
  assert.equal(entity(completed).sequence, completed.sequence);
});

test("of ten duplicates at a time one is applied", async () => {
  const completed = event();
  const id = newId();
  const answers = await Promise.all(Array.from({ length: 10 }, () => send(completed, { id })));
  assert.deepEqual(answers.map(({ status }) => status), Array(10).fill(200));
  assert.equal(answers.filter(({ outcome }) => outcome === "applied").length, 1);
});

test("an event of a lower sequence is stored and not applied", async () => {
  const completed = event({ sequence: 1795318402700 });
  const started = event({ type: "rx.dispense.started", state: "in_flight", subject: completed.subject, sequence: 1795318402600 });
  const id = newId();
  assert.equal((await send(completed)).outcome, "applied");
  assert.deepEqual(await send(started, { id }), { status: 200, outcome: "superseded" });
  assert.equal(entity(completed).state, "redeemed");
  assert.equal(receiver.store.event(id).type, "rx.dispense.started");
});

test("the state is applied and not the type: an approved after a voided says voided", async () => {
  const subject = "authorization/auth_01HXA";
  await send(event({ type: "rx.authorization.voided", state: "voided", subject, sequence: 1 }));
  await send(event({ type: "rx.authorization.approved", state: "voided", subject, sequence: 2 }));
  assert.equal(receiver.store.entity(SOURCE, subject).state, "voided");
});

test("an event that brings no state leaves the one that is there", async () => {
  const subject = "prescription/rx_01HXB";
  await send(event({ type: "rx.prescription.issued", state: "issued", subject, sequence: 1 }));
  await send(event({ type: "rx.prescription.notification_failed", state: null, subject, sequence: 2 }));
  assert.equal(receiver.store.entity(SOURCE, subject).state, "issued");
});

test("sequences of different entities, and of different sources, have nothing to do with each other", async () => {
  const one = event({ sequence: 9 });
  const other = event({ sequence: 1 });
  const astray = event({ subject: one.subject, source: "/sources/osigu-sandbox", sequence: 1 });
  for (const value of [one, other, astray]) assert.equal((await send(value)).outcome, "applied");
});

test("an event of an unknown type is stored", async () => {
  const id = newId();
  const unknown = event({ type: "rx.unknown", subject: null, state: null, data: { original: { event_type: "dispensing.rescheduled" } } });
  assert.deepEqual(await send(unknown, { id }), { status: 200, outcome: "stored" });
  assert.deepEqual(receiver.store.event(id), unknown);
});

test("what couldn't be stored isn't acknowledged, and is applied when it comes again", async () => {
  const store = memoryStore();
  let failing = true;
  const failOnce = { ...store, save: async (...args) => (failing ? Promise.reject(new Error("no database")) : store.save(...args)) };
  const to = await startReceiver({ secrets: [KEY], store: failOnce });
  const completed = event();
  const id = newId();
  assert.equal((await send(completed, { id, to })).status, 500);
  failing = false;
  assert.deepEqual(await send(completed, { id, to }), { status: 200, outcome: "applied" });
  await to.close();
});

test("the official CloudEvents SDK reads the event", () => {
  const body = JSON.stringify(event());
  const read = HTTP.toEvent({ headers: signed(body), body });
  assert.ok(read instanceof CloudEvent);
  assert.ok(read.validate());
  assert.equal(read.type, "rx.dispense.completed");
  assert.equal(read.source, SOURCE);
  assert.equal(read.sequence, "0001795318402666");
  assert.equal(read.rxpharmacy, "pharmacy-x");
  assert.equal(read.data.total.amount, "375.00");
});

test("only POST to its path is taken, and no body above its limit", async () => {
  assert.equal((await post(undefined, {}, { method: "GET" })).status, 405);
  assert.equal((await fetch(receiver.url.replace("/rxgate", "/"), { method: "POST" })).status, 404);
  const tooLarge = "x".repeat(4 * 1024 * 1024 + 1);
  assert.equal((await post(tooLarge, signed(tooLarge))).status, 413);
});

test("without a key it doesn't start", async () => {
  await assert.rejects(startReceiver({ secrets: [] }), /at least one whsec_ key/);
  await assert.rejects(startReceiver({ secrets: [""] }));
});

test("what is told of an event holds none of its data", async () => {
  const told = [];
  const to = await startReceiver({ secrets: [KEY], onEvent: (line) => told.push(line) });
  const id = newId();
  await send(event(), { id, to });
  assert.deepEqual(told, [{ status: 200, outcome: "applied", type: "rx.dispense.completed", webhookId: id }]);
  await to.close();
});
