// What an origin gets, and what the sender is told of an origin's faults. The origin's own log is the count.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { request } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { HTTP } from "cloudevents";
import { Webhook, WebhookVerificationError } from "standardwebhooks";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, NEXT_SIGNING_KEY, SECRETS, SIGNING_KEY, freePort, remove, settings, sleep, startWorkerd, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

/// What the origin doesn't take stays with the sender; tests/workerd/queue.test.mjs has the other way.
const DIRECT = { destination: { on_origin_failure: "sender_retries" } };

const running = [];
let origin;
/// A Worker with the plain settings.
let worker;
let platform;

before(async () => {
  origin = await startOrigin();
  // The other Workers of this file don't take its messages.
  platform = await startPlatform();
  worker = await start(DIRECT, { platform });
});

after(async () => {
  for (const each of running) {
    await each.kill();
    remove(each.state);
  }
  await platform?.close();
  await origin.close();
});

async function start(options, { port = origin.port, ...more } = {}) {
  const started = await startWorkerd({ vars: settings(port, options), ...more });
  running.push(started);
  return started;
}

function dispense(data = {}) {
  return osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), ...data } });
}

const send = (to, event, options = {}) => osigu.send(to.hook, event.body, { key: KEY, ...options });

/// Makes the origin treat the next request with this event so.
const rule = (event, what) => origin.rule({ ...what, when: (entry) => idOf(entry) === event.id });

const idOf = ({ event }) => event?.id ?? event?.event_id;

/// Sends an event that the origin takes, and says what it got.
async function deliver(to, event) {
  const answer = await send(to, event);
  assert.deepEqual([answer.status, answer.code, answer.eventId, answer.retryAfter], [200, "delivered", event.id, null]);
  return origin.of(event.id).at(-1);
}

const webhookId = (event) => `evt_${createHash("sha256").update(`osigu\0${event.id}`).digest("base64url")}`;

/// The attempts of one event: one id, and a sequence that rises.
function assertAttempts(event, count) {
  const attempts = origin.of(event.id);
  assert.equal(attempts.length, count);
  for (const attempt of attempts) assert.equal(attempt.headers["webhook-id"], webhookId(event));
  const sequences = attempts.map((attempt) => attempt.event.sequence);
  for (const sequence of sequences) assert.match(sequence, /^\d{16}$/);
  assert.deepEqual(sequences, [...new Set(sequences)].sort());
  for (const attempt of attempts) new Webhook(SIGNING_KEY).verify(attempt.body, attempt.headers);
}

const recordOf = (to, event) => to.records().findLast((record) => record.webhook_id === webhookId(event));

describe("a delivery", { concurrency: true }, () => {
  test("is a POST of the canonical event with these headers and no others", async () => {
    const event = dispense();
    const delivery = await deliver(worker, event);
    assert.deepEqual([delivery.method, delivery.url], ["POST", "/rxgate"]);
    const { "webhook-timestamp": timestamp, "webhook-signature": signature, ...headers } = delivery.headers;
    assert.deepEqual(headers, {
      host: `127.0.0.1:${origin.port}`,
      "content-length": String(delivery.body.length),
      "content-type": "application/cloudevents+json",
      "user-agent": "rxgate/0.1.0",
      "webhook-id": webhookId(event),
    });
    assert.match(timestamp, /^\d{10}$/);
    assert.ok(Math.abs(Number(timestamp) - osigu.seconds()) <= 5);
    assert.match(signature, /^v1,[A-Za-z0-9+/]{43}=$/);
    assert.equal(delivery.event.id, event.id);
    assert.ok(delivery.body.includes(event.body), "the sender's bytes are in the event");
    assert.ok(!JSON.stringify(delivery.headers).includes(event.id), "no id of the sender's in a header");
  });

  test("has an id of its own for each event, and a sequence that rises within an entity", async () => {
    const dispensation_id = unique("dsp");
    const events = ["started", "completed", "cancelled"].map((what) => osigu.event(`dispensing.${what}`, { data: { dispensation_id } }));
    const deliveries = [];
    for (const event of events) deliveries.push(await deliver(worker, event));
    assert.deepEqual(deliveries.map(({ headers }) => headers["webhook-id"]), events.map(webhookId));
    const sequences = deliveries.map(({ event }) => event.sequence);
    assert.deepEqual(sequences, [...new Set(sequences)].sort());
    assert.equal(sequences.length, 3);
    assert.deepEqual(deliveries.map(({ event }) => event.subject), Array(3).fill(`dispense/${dispensation_id}`));
  });

  test("is verified by the official Standard Webhooks library, and nothing else is", async () => {
    const { body, headers } = await deliver(worker, dispense());
    assert.deepEqual(new Webhook(SIGNING_KEY).verify(body, headers), JSON.parse(body));
    const refused = (key, body, headers) => assert.throws(() => new Webhook(key).verify(body, headers), WebhookVerificationError);
    refused(NEXT_SIGNING_KEY, body, headers);
    refused(SIGNING_KEY, Buffer.concat([body, Buffer.from(" ")]), headers);
    refused(SIGNING_KEY, body, { ...headers, "webhook-id": "evt_other" });
    refused(SIGNING_KEY, body, { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) + 1) });
  });

  test("is verified with either key while the key is rotated", async () => {
    const keys = [
      { id: "next", secret: "NEXT_SIGNING_KEY" },
      { id: "first", secret: "SIGNING_KEY" },
    ];
    const rotating = await start({ destination: { keys } });
    const { body, headers } = await deliver(rotating, dispense());
    assert.match(headers["webhook-signature"], /^v1,\S{44} v1,\S{44}$/);
    for (const key of [NEXT_SIGNING_KEY, SIGNING_KEY]) assert.deepEqual(new Webhook(key).verify(body, headers), JSON.parse(body));
    const other = `whsec_${Buffer.from("rxgate-signing-key-for-tests-003").toString("base64")}`;
    assert.throws(() => new Webhook(other).verify(body, headers), WebhookVerificationError);
  });

  test("is read by the official CloudEvents SDK, whatever its type", async () => {
    for (const type of [...osigu.EVENT_TYPES, "brand.new"]) {
      const event = osigu.event(type);
      const { body, headers } = await deliver(worker, event);
      const read = HTTP.toEvent({ headers, body: body.toString() });
      assert.ok(read.validate(), type);
      assert.equal(read.specversion, "1.0");
      assert.equal(read.id, event.id);
      assert.equal(read.source, "/sources/osigu");
      assert.match(read.type, type === "brand.new" ? /^rx\.unknown$/ : /^rx\.(authorization|dispense|prescription|settlement)\.[a-z_]+$/);
      assert.equal(read.dataschema, `urn:rxgate:schema:${read.type}:1`);
      assert.equal(read.datacontenttype, "application/json");
      assert.equal(read.rxeventtype, type);
      assert.match(read.sequence, /^\d{16}$/);
      assert.deepEqual(read.data.original, JSON.parse(event.body));
    }
  });

  test("in the original format is the sender's bytes with the sender's signature", async () => {
    const original = await start({ destination: { format: "original" } });
    const text = dispense({ note: "¡Señal! \u{1F48A}" }).body.toString().replace('{"event_id"', '  {\n\t"event_id"');
    const event = { id: JSON.parse(text).event_id, body: Buffer.from(text) };
    const header = osigu.signatureHeader(KEY, event.body);
    const { code } = await send(original, event, { header });
    assert.equal(code, "delivered");
    const [delivery, ...more] = origin.of(event.id);
    assert.equal(more.length, 0);
    assert.ok(delivery.body.equals(event.body), "byte for byte");
    assert.equal(delivery.headers["x-osigu-signature"], header);
    assert.equal(delivery.headers["content-type"], "application/json");
    assert.equal(delivery.headers["webhook-id"], webhookId(event));
    new Webhook(SIGNING_KEY).verify(delivery.body, delivery.headers);
    assert.equal((await send(original, event)).code, "duplicate");
  });

  test("carries static headers whose values are secrets", async () => {
    const headers = { authorization: "ORIGIN_TOKEN", "X-Clinic": "CLINIC_NAME" };
    const secrets = { ...SECRETS, ORIGIN_TOKEN: "Bearer origin-token-for-tests", CLINIC_NAME: "clinic-example" };
    const fixed = await start({ destination: { headers } }, { secrets });
    const delivery = await deliver(fixed, dispense());
    assert.equal(delivery.headers.authorization, "Bearer origin-token-for-tests");
    assert.equal(delivery.headers["x-clinic"], "clinic-example");
    assert.ok(!fixed.output().includes("origin-token-for-tests"));
  });

  test("goes where the first route that matches says: by type, by pharmacy, by branch, else to the source's own", async () => {
    const at = (path) => ({ url: `http://127.0.0.1:${origin.port}/${path}`, keys: [{ id: "first", secret: "SIGNING_KEY" }] });
    const routes = [
      { types: ["rx.settlement.*", "rx.unknown"], destination: "finance" },
      { types: ["rx.dispense.*"], pharmacies: ["pharmacy-y"], branches: ["branch-2"], destination: "branch" },
      { pharmacies: ["pharmacy-y", "pharmacy-z"], destination: "pharmacy" },
    ];
    const more = { DESTINATION_FINANCE: at("finance"), DESTINATION_BRANCH: at("branch"), DESTINATION_PHARMACY: at("pharmacy") };
    const routed = await start({ source: { routes }, more });
    const started = (provider_slug, branch_id) => osigu.event("dispensing.started", { data: { dispensation_id: unique("dsp"), pharmacy: { provider_slug, branch_id } } });
    const cases = [
      [osigu.event("settlement.paid"), "/finance", "finance"],
      [osigu.event("brand.new"), "/finance", "finance"],
      [started("pharmacy-y", "branch-2"), "/branch", "branch"],
      [started("pharmacy-y", "branch-3"), "/pharmacy", "pharmacy"],
      [started("pharmacy-z", "branch-2"), "/pharmacy", "pharmacy"],
      [started("pharmacy-x", "branch-2"), "/rxgate", "local"],
      [osigu.event("prescription.issued"), "/rxgate", "local"],
    ];
    for (const [event, url, destination] of cases) {
      assert.equal((await deliver(routed, event)).url, url, event.type);
      await until(() => recordOf(routed, event), { what: "the log record" });
      assert.equal(recordOf(routed, event).destination, destination);
      assert.equal(origin.of(event.id).length, 1);
    }
  });
});

describe("an origin's fault", { concurrency: true }, () => {
  const faults = [
    [302, "delivery_failed"],
    [307, "delivery_failed"],
    [401, "delivery_failed"],
    [403, "delivery_failed"],
    [404, "delivery_failed"],
    [408, "delivery_failed"],
    [409, "delivery_failed"],
    [425, "delivery_failed"],
    [429, "delivery_failed"],
    [500, "delivery_failed"],
    [503, "delivery_failed"],
  ];
  for (const [status, code] of faults) {
    test(`${status} is ${code}, and the sender's retry is tried at once`, async () => {
      const event = dispense();
      // A redirect is never followed.
      const elsewhere = `/elsewhere-${event.id}`;
      rule(event, { status, headers: status < 400 ? { location: elsewhere } : {}, body: "not for the sender" });
      const answer = await send(worker, event);
      assert.deepEqual([answer.status, answer.code, answer.eventId, answer.retryAfter], [502, code, event.id, null]);
      assert.equal(answer.text, JSON.stringify({ code, event_id: event.id }));
      await until(() => recordOf(worker, event), { what: "the log record" });
      const { level, origin_status, release } = recordOf(worker, event);
      assert.deepEqual({ level, origin_status, release }, { level: "error", origin_status: status, release: undefined });
      await deliver(worker, event);
      assertAttempts(event, 2);
      assert.equal((await send(worker, event)).code, "duplicate");
      assert.equal(origin.of(event.id).length, 2);
      assert.deepEqual(origin.received.filter((entry) => entry.url === elsewhere), []);
    });
  }

  for (const status of [400, 410, 413, 415, 422]) {
    test(`${status} is for good: the event is a dead letter, which is kept, and its resend a duplicate`, async () => {
      const event = dispense();
      rule(event, { status, headers: { "retry-after": "9" }, body: "not for the sender" });
      const answer = await send(worker, event);
      assert.deepEqual([answer.status, answer.code, answer.eventId, answer.retryAfter], [200, "dead_lettered", event.id, null]);
      assert.equal(answer.text, JSON.stringify({ code: "dead_lettered", reason: "delivery_rejected", event_id: event.id }));
      const those = (code) => worker.records().filter((record) => record.webhook_id === webhookId(event) && record.code === code);
      await until(() => those("dead_letter_kept").length > 0, { what: "the letter" });
      const [{ level, reason, origin_status }] = those("dead_lettered");
      assert.deepEqual({ level, reason, origin_status }, { level: "error", reason: "delivery_rejected", origin_status: status });
      assert.equal((await send(worker, event)).code, "duplicate");
      assertAttempts(event, 1);
    });
  }

  test("that permanent_statuses doesn't name isn't for good", async () => {
    const lenient = await start({ destination: { on_origin_failure: "sender_retries", permanent_statuses: [404] } });
    for (const [status, expected] of [[422, "delivery_failed"], [404, "dead_lettered"]]) {
      const event = dispense();
      rule(event, { status });
      assert.equal((await send(lenient, event)).code, expected, status);
    }
  });

  for (const status of [201, 202, 204]) {
    test(`${status} is none`, async () => {
      const event = dispense();
      rule(event, { status });
      await deliver(worker, event);
      assert.equal((await send(worker, event)).code, "duplicate");
      assertAttempts(event, 1);
    });
  }

  test("with Retry-After is passed on with it, up to an hour", async () => {
    const cases = [
      [429, "7", "delivery_failed", "7"],
      [503, "86400", "delivery_failed", "3600"],
      [503, "soon", "delivery_failed", null],
    ];
    for (const [status, value, code, passed] of cases) {
      const event = dispense();
      rule(event, { status, headers: { "retry-after": value } });
      const answer = await send(worker, event);
      assert.deepEqual([answer.status, answer.code, answer.retryAfter], [502, code, passed]);
      assert.equal(origin.of(event.id).length, 1);
    }
  });

  test("that resets the connection is delivery_failed, one attempt, and the retry is delivered", async () => {
    const event = dispense();
    rule(event, { reset: true });
    const answer = await send(worker, event);
    assert.deepEqual([answer.status, answer.code], [502, "delivery_failed"]);
    assertAttempts(event, 1);
    await deliver(worker, event);
    assertAttempts(event, 2);
  });

  test("that refuses the connection is delivery_failed, and the retry is delivered once it is up", async () => {
    const port = await freePort();
    const gateway = await start(DIRECT, { port });
    const event = dispense();
    const answer = await send(gateway, event);
    assert.deepEqual([answer.status, answer.code], [502, "delivery_failed"]);
    const late = await startOrigin({ port });
    try {
      assert.equal((await send(gateway, event)).code, "delivered");
      assert.equal((await send(gateway, event)).code, "duplicate");
      assert.equal(late.of(event.id).length, 1);
    } finally {
      await late.close();
    }
  });

  test("that isn't HTTP is delivery_failed", async () => {
    const server = createServer((socket) => socket.on("error", () => {}).end("220 mail.example ready\r\n"));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const gateway = await start(DIRECT, { port: server.address().port });
    const answer = await send(gateway, dispense());
    assert.deepEqual([answer.status, answer.code], [502, "delivery_failed"]);
    server.close();
  });

  test("that is only a body without end is none: the status line counts", async () => {
    const event = dispense();
    rule(event, { slowBody: true });
    const began = Date.now();
    await deliver(worker, event);
    assert.ok(Date.now() - began < 3000, "it isn't waited for");
    assert.equal((await send(worker, event)).code, "duplicate");
    assertAttempts(event, 1);
  });
});

describe("the lease", { concurrency: true }, () => {
  test("outlives a delivery without an answer: 504 before the sender hangs up; the retry waits for the lease, and then is delivered", async () => {
    const event = dispense();
    rule(event, { hang: true });
    const began = Date.now();
    const answer = await send(worker, event);
    const took = Date.now() - began;
    assert.deepEqual([answer.status, answer.code, answer.eventId, answer.retryAfter], [504, "delivery_timed_out", event.id, "15"]);
    assert.ok(took > 6000 && took < 9000, `${took} ms`);
    const early = await send(worker, event);
    assert.deepEqual([early.status, early.code], [503, "in_flight"]);
    assert.ok(early.retryAfter >= 6 && early.retryAfter <= 9, `what is left of 15 s after ${took} ms: ${early.retryAfter}`);
    assertAttempts(event, 1);
    await sleep(early.retryAfter * 1000 + 20);
    await deliver(worker, event);
    assert.ok(Date.now() - began > 15_000, "not before the lease has lapsed");
    assertAttempts(event, 2);
    assert.equal((await send(worker, event)).code, "duplicate");
  });

  /// Sends an event to a slow origin, hangs up after a second, and sends it again when the lease would have lapsed. Answers the retries' codes.
  async function hangUp(to, event, how) {
    rule(event, { delay: 3000 });
    const began = Date.now();
    const headers = { "content-type": "application/json", "x-osigu-signature": osigu.signatureHeader(KEY, event.body) };
    const sent = request(to.hook, { method: "POST", headers });
    const ended = new Promise((resolve) => sent.once("close", resolve).on("error", () => {}));
    let answered = false;
    sent.once("response", () => (answered = true));
    sent.end(event.body);
    await until(() => origin.of(event.id).length === 1, { what: "the delivery" });
    await sleep(1000 - (Date.now() - began));
    if (how === "closes") sent.destroy();
    else sent.socket.resetAndDestroy();
    await ended;
    assert.ok(!answered && Date.now() - began < 2500, "it hung up before the origin answered");
    await sleep(3500 - (Date.now() - began));
    const early = await send(to, event);
    await sleep(15_500 - (Date.now() - began));
    const late = await send(to, event);
    return [early.code, late.code];
  }

  for (const how of ["closes", "resets"]) {
    test(`isn't needed where a sender ${how} the connection: the delivery goes on, and the retries are duplicates`, async () => {
      const event = dispense();
      assert.deepEqual(await hangUp(worker, event, how), ["duplicate", "duplicate"]);
      assert.equal(recordOf(worker, event).code, "duplicate");
      assert.equal(worker.records().filter(({ code, webhook_id }) => code === "delivered" && webhook_id === webhookId(event)).length, 1);
      assertAttempts(event, 1);
    });
  }

  test("is all that is left where the work ends with the connection: a second delivery", async () => {
    const ending = await start(DIRECT, { bundle: "test-hooks", entry: join(import.meta.dirname, "entries/no-wait.mjs") });
    const event = dispense();
    assert.deepEqual(await hangUp(ending, event, "resets"), ["in_flight", "delivered"]);
    assertAttempts(event, 2);
  });
});
