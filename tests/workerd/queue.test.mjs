// Queues: a customer's own, and ours behind an origin. Both are real, and so is the Worker; the origin's own log and the queue's are the count.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { Webhook } from "standardwebhooks";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, SIGNING_KEY, remove, settings, startWorkerd, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const OURS = "rxgate-deliveries";
const LETTERS = "rxgate-dead-letters";
const THEIRS = "clinic-events";
const HOUR = 3600;

let origin;
let platform;
let worker;
/// A Worker whose deliveries a test hands to it itself: their queue has another consumer.
let apart;
let platformApart;

before(async () => {
  origin = await startOrigin();
  platform = await startPlatform();
  platformApart = await startPlatform({ queues: { [OURS]: { consumer: "test" } } });
  const { SOURCE_OSIGU, DESTINATION_LOCAL } = settings(origin.port);
  const more = {
    SOURCE_EVENTS: { ...SOURCE_OSIGU, destination: "events" },
    SOURCE_QUEUED: { ...SOURCE_OSIGU, destination: "queued" },
    DESTINATION_EVENTS: { queue: "EVENTS" },
    DESTINATION_QUEUED: { ...DESTINATION_LOCAL, delivery: "queue" },
  };
  const vars = settings(origin.port, { more });
  worker = await startWorkerd({ vars, platform });
  apart = await startWorkerd({ vars, platform: platformApart });
  // The isolate's first event asks for the layout as well: what is counted comes after it.
  assert.equal((await send(dispense())).code, "delivered");
});

afterEach(() => {
  origin.clear();
  platform.clearFaults();
  platformApart.clearFaults();
});

after(async () => {
  for (const each of [worker, apart]) {
    await each?.kill();
    remove(each?.state);
  }
  await platform?.close();
  await platformApart?.close();
  await origin?.close();
});

const dispense = (data = {}, type = "dispensing.completed") => osigu.event(type, { data: { dispensation_id: unique("dsp"), ...data } });
const send = (event, source = "osigu", to = worker) => osigu.send(`${to.url}/hooks/${source}`, event.body, { key: KEY });
const webhookId = (event, source = "osigu") => `evt_${createHash("sha256").update(`${source}\0${event.id}`).digest("base64url")}`;
const of = (event) => (entry) => (entry.event?.id ?? entry.event?.event_id) === event.id;
/// From now on the origin treats this event so, until the rules are cleared.
const rule = (event, what) => origin.rule({ once: false, ...what, when: of(event) });
const records = (event, source, of = worker) => of.records().filter(({ webhook_id }) => webhook_id === webhookId(event, source));
/// The record with this code of this event; waited for.
async function recordOf(event, code, source, of = worker) {
  const found = () => records(event, source, of).find((record) => record.code === code);
  await until(found, { what: `${code} in the log` });
  return found();
}
const consumed = (event) => platform.consumed(THEIRS).filter(({ body }) => JSON.parse(body).id === event.id);
/// The last message that was sent to a queue.
const lastSent = (queue) => platform.messages()[queue].at(-1);
const cost = ({ store_calls, rows_written = 0, messages_sent = 0, kv_reads = 0, kv_writes = 0 }) => ({ store_calls, rows_written, messages_sent, kv: kv_reads + kv_writes });

/// Makes the platform pass on what is due in so many seconds from now, and waits until that is through.
async function pass(seconds, queue = OURS, on = platform) {
  await on.advance(queue, seconds * 1000);
  await on.idle();
}

/// The message of an event, which nobody has taken yet.
async function parcelOf(event) {
  assert.equal((await send(event, "queued", apart)).code, "enqueued");
  return platformApart.messages()[OURS].at(-1).body;
}

describe("a customer's queue", () => {
  test("gets the canonical event as text, in plaintext, with its sequence and state; a resend is a duplicate and no message", async () => {
    const dispensation_id = unique("dsp");
    const events = ["dispensing.started", "dispensing.completed"].map((type) => dispense({ dispensation_id }, type));
    for (const event of events) {
      const answer = await send(event, "events");
      assert.deepEqual([answer.status, answer.code, answer.eventId], [200, "enqueued", event.id]);
      assert.equal((await send(event, "events")).code, "duplicate");
    }
    await platform.idle();
    const messages = events.map((event) => consumed(event));
    assert.deepEqual(messages.map(({ length }) => length), [1, 1]);
    const bodies = messages.map(([{ body }]) => JSON.parse(body));
    assert.deepEqual(bodies.map(({ specversion, type, source, subject, data: { state } }) => [specversion, type, source, subject, state]), [
      ["1.0", "rx.dispense.started", "/sources/events", `dispense/${dispensation_id}`, "in_flight"],
      ["1.0", "rx.dispense.completed", "/sources/events", `dispense/${dispensation_id}`, "redeemed"],
    ]);
    const sequences = bodies.map(({ sequence }) => sequence);
    for (const sequence of sequences) assert.match(sequence, /^\d{16}$/);
    assert.ok(sequences[0] < sequences[1]);
    for (const [place, event] of events.entries()) assert.ok(messages[place][0].body.includes(event.body), "the sender's bytes are in the event");
    const { contentType, delaySeconds } = lastSent(THEIRS);
    assert.deepEqual([contentType, delaySeconds ?? 0], ["text", 0]);
    assert.equal(origin.of(events[0].id).length, 0);
  });

  test("costs an event two calls to its object, two rows and one message; a duplicate one call", async () => {
    const event = dispense();
    platform.resetCounts();
    await send(event, "events");
    assert.deepEqual(cost(await recordOf(event, "enqueued", "events")), { store_calls: 2, rows_written: 2, messages_sent: 1, kv: 0 });
    await send(event, "events");
    assert.deepEqual(cost(await recordOf(event, "duplicate", "events")), { store_calls: 1, rows_written: 0, messages_sent: 0, kv: 0 });
    const { kv, queues } = platform.counts();
    assert.deepEqual([queues[THEIRS].sends, queues[OURS].sends, kv.reads, kv.writes], [1, 0, 0, 0]);
  });

  test("is waited for: the sender has its 2xx only when the message was taken", async () => {
    const event = dispense();
    platform.fault({ on: "queue.send", queue: THEIRS, how: { delay: 1200 }, times: 1 });
    const began = Date.now();
    let answered = false;
    const answer = send(event, "events").finally(() => (answered = true));
    await until(() => platform.messages()[THEIRS].some(({ body }) => body.includes(event.id)), { what: "the message on its way" });
    assert.ok(!answered);
    assert.equal((await send(event, "events")).code, "in_flight");
    assert.equal((await answer).code, "enqueued");
    assert.ok(Date.now() - began >= 1200);
  });

  test("that fails before it takes the message: 503, and the sender's resend is enqueued at once", async () => {
    const event = dispense();
    platform.fault({ on: "queue.send", queue: THEIRS, how: "fail", times: 1 });
    const answer = await send(event, "events");
    assert.deepEqual([answer.status, answer.code, answer.eventId, answer.retryAfter], [503, "enqueue_failed", event.id, "5"]);
    assert.equal((await recordOf(event, "enqueue_failed", "events")).level, "error");
    await platform.idle();
    assert.equal(consumed(event).length, 0);
    assert.equal((await send(event, "events")).code, "enqueued");
    await platform.idle();
    assert.equal(consumed(event).length, 1);
  });

  for (const [how, what] of [["fail_after", "fails after it took the message"], ["hang", "hangs"]]) {
    test(`that ${what}: 503 in time, and the resend is enqueued; a message too many has the same id and an earlier sequence`, async () => {
      const event = dispense();
      platform.fault({ on: "queue.send", queue: THEIRS, how, times: 1 });
      const began = Date.now();
      const answer = await send(event, "events");
      assert.deepEqual([answer.status, answer.code], [503, "enqueue_failed"]);
      assert.ok(Date.now() - began < 9000);
      assert.equal((await send(event, "events")).code, "enqueued");
      assert.equal((await send(event, "events")).code, "duplicate");
      platform.clearFaults();
      await platform.idle();
      const sequences = consumed(event).map(({ body }) => JSON.parse(body).sequence);
      assert.equal(sequences.length, how === "hang" ? 1 : 2);
      assert.deepEqual(sequences, [...new Set(sequences)].sort());
    });
  }
});

describe("an origin that is down", () => {
  test("costs nobody an event: it is enqueued, tried again with growing delays, and delivered when the origin is back", async () => {
    const event = dispense();
    rule(event, { status: 503 });
    const answer = await send(event);
    assert.deepEqual([answer.status, answer.code, answer.eventId, answer.retryAfter], [200, "enqueued", event.id, null]);
    assert.deepEqual([lastSent(OURS).contentType, lastSent(OURS).delaySeconds], ["bytes", 5]);
    const before = platform.retries().length;
    for (const [attempt, seconds] of [5, 10, 20].entries()) {
      await pass(seconds);
      assert.equal(origin.of(event.id).length, attempt + 2);
      // For the sender it is safe, and done with.
      assert.equal((await send(event)).code, "duplicate");
    }
    origin.clear();
    await pass(40);
    assert.equal(origin.of(event.id).length, 5);
    assert.equal((await recordOf(event, "delivered")).attempt, 4);
    const delays = platform.retries().slice(before).map(({ delaySeconds }) => delaySeconds);
    assert.equal(delays.length, 3);
    for (const [place, full] of [5, 10, 20].entries()) assert.ok(delays[place] <= full && delays[place] >= full * 7 / 8, `${delays}`);
    // All attempts are the same event, signed anew, each with a higher sequence.
    const attempts = origin.of(event.id);
    for (const { body, headers } of attempts) {
      assert.equal(headers["webhook-id"], webhookId(event));
      new Webhook(SIGNING_KEY).verify(body, headers);
    }
    const sequences = attempts.map(({ event }) => event.sequence);
    assert.deepEqual(sequences, [...new Set(sequences)].sort());
    assert.ok(attempts.every(({ event }) => event.data.state === "redeemed"));
    assert.equal((await send(event)).code, "duplicate");
    await pass(HOUR);
    assert.equal(origin.of(event.id).length, 5);
  });

  test("is asked again at the latest after an hour, however often it was down", async () => {
    for (const [attempts, full] of [[1, 5], [2, 10], [4, 40], [5, 80], [9, 1280], [10, 2560], [11, HOUR], [60, HOUR], [95, HOUR]]) {
      const event = dispense();
      const body = await parcelOf(event);
      rule(event, { status: 500 });
      const { acks, retries } = await apart.queue(OURS, [{ body, attempts }]);
      assert.deepEqual([acks, retries.length], [[], 1]);
      const [{ delaySeconds }] = retries;
      assert.ok(delaySeconds >= full * 7 / 8 && delaySeconds <= full, `after attempt ${attempts}: ${delaySeconds} s`);
      assert.equal(origin.of(event.id).length, 1);
      const { attempt, level, origin_status } = await recordOf(event, "delivery_failed", "queued", apart);
      assert.deepEqual({ attempt, level, origin_status }, { attempt: attempts, level: "error", origin_status: 500 });
    }
  });

  test("says with Retry-After when to come again, up to an hour", async () => {
    for (const [value, seconds] of [["600", 600], ["86400", HOUR], ["1", 5]]) {
      const event = dispense();
      rule(event, { status: 429, headers: { "retry-after": value } });
      assert.equal((await send(event)).code, "enqueued");
      assert.equal(lastSent(OURS).delaySeconds, seconds, value);
      const before = platform.retries().length;
      await pass(seconds - 1);
      assert.equal(origin.of(event.id).length, 1, "not before");
      await pass(2);
      assert.equal(origin.of(event.id).length, 2);
      const [{ delaySeconds }] = platform.retries().slice(before);
      assert.ok(delaySeconds <= seconds && delaySeconds >= seconds * 7 / 8, `${delaySeconds} s`);
      origin.clear();
      await pass(HOUR);
      assert.equal(origin.of(event.id).length, 3);
    }
  });

  test("and resets the connection, or isn't there, is the same", async () => {
    const event = dispense();
    rule(event, { reset: true });
    assert.equal((await send(event)).code, "enqueued");
    origin.clear();
    await pass(5);
    assert.equal(origin.of(event.id).length, 2);
    assert.equal((await recordOf(event, "delivered")).attempt, 1);
  });

  test("and a queue that doesn't take the event: the sender is told, and sends again", async () => {
    for (const how of ["fail", "fail_after"]) {
      const event = dispense();
      rule(event, { status: 500 });
      platform.fault({ on: "queue.send", queue: OURS, how, times: 1 });
      const answer = await send(event);
      assert.deepEqual([answer.status, answer.code], [502, "delivery_failed"], how);
      origin.clear();
      assert.equal((await send(event)).code, "delivered");
      await pass(HOUR);
      // The message that was taken after all found that it isn't needed.
      assert.equal(origin.of(event.id).length, 2);
      assert.equal(records(event).filter(({ attempt, code }) => attempt === 1 && code === "duplicate").length, how === "fail" ? 0 : 1);
    }
  });

  test("and hangs: the sender is answered before it hangs up, and the message waits for the lease of the delivery that may still be at work", async () => {
    const event = dispense();
    rule(event, { hang: true });
    const began = Date.now();
    const answer = await send(event);
    const took = Date.now() - began;
    assert.deepEqual([answer.status, answer.code], [200, "enqueued"]);
    assert.ok(took > 5500 && took < 9500, `${took} ms`);
    assert.equal(lastSent(OURS).delaySeconds, 15);
    origin.clear();
    await pass(15);
    assert.equal(origin.of(event.id).length, 2);
    assert.equal((await recordOf(event, "delivered")).attempt, 1);
  });
});

describe('delivery = "queue"', () => {
  test("answers when the event is in the queue, and delivers from there: four calls and at most four rows in all", async () => {
    const event = dispense();
    platform.resetCounts();
    // The origin isn't in the sender's way.
    rule(event, { delay: 1000 });
    // The message doesn't overtake the request's commit: then there is a row less.
    platform.fault({ on: "queue.deliver", queue: OURS, how: { delay: 500 }, times: 1 });
    const began = Date.now();
    const answer = await send(event, "queued");
    assert.deepEqual([answer.status, answer.code, answer.eventId], [200, "enqueued", event.id]);
    assert.ok(Date.now() - began < 1000);
    assert.equal(lastSent(OURS).delaySeconds ?? 0, 0);
    await platform.idle();
    assert.deepEqual(cost(await recordOf(event, "enqueued", "queued")), { store_calls: 2, rows_written: 2, messages_sent: 1, kv: 0 });
    assert.deepEqual(cost(await recordOf(event, "delivered", "queued")), { store_calls: 2, rows_written: 2, messages_sent: 0, kv: 0 });
    const [{ body, headers, event: delivered }, ...more] = origin.of(event.id);
    assert.equal(more.length, 0);
    assert.equal(headers["webhook-id"], webhookId(event, "queued"));
    assert.match(delivered.sequence, /^\d{16}$/);
    assert.ok(body.includes(event.body), "the sender's bytes are in the event");
    assert.equal((await send(event, "queued")).code, "duplicate");
    const { sends, deliveries, acks, retries } = platform.counts().queues[OURS];
    assert.deepEqual({ sends, deliveries, acks, retries }, { sends: 1, deliveries: 1, acks: 1, retries: 0 });
  });

  test("where the queue fails is 503, and the resend is enqueued", async () => {
    const event = dispense();
    platform.fault({ on: "queue.send", queue: OURS, how: "fail", times: 1 });
    const answer = await send(event, "queued");
    assert.deepEqual([answer.status, answer.code, answer.retryAfter], [503, "enqueue_failed", "5"]);
    assert.equal((await send(event, "queued")).code, "enqueued");
    await platform.idle();
    assert.equal(origin.of(event.id).length, 1);
  });

  for (const [how, what, settled] of [
    ["twice", "the same batch twice", "duplicate"],
    ["at_once", "the same batch twice at once", "in_flight"],
    ["fail_after", "a batch whose acknowledgements are lost", "duplicate"],
  ]) {
    test(`${what} is one delivery of each event`, async () => {
      // As many as a consumer works on at a time: of a further one the two copies may begin one when the other has ended.
      const events = Array.from({ length: 4 }, () => dispense());
      // Long enough for the other batch to find all of them under way, on a busy machine too.
      for (const event of events) rule(event, { delay: settled === "in_flight" ? 3000 : 200 });
      // Held, for all of them to be there: not failed, or their attempts would be used up by then.
      platform.fault({ on: "queue.deliver", queue: OURS, how: "hang" });
      for (const event of events) assert.equal((await send(event, "queued")).code, "enqueued");
      platform.clearFaults();
      const fault = platform.fault({ on: "queue.deliver", queue: OURS, how });
      await until(() => fault.hits > 0, { what: "the fault" });
      await pass(1);
      await until(() => events.every((event) => records(event, "queued").some(({ code }) => code === settled)), { what: settled });
      fault.clear();
      await pass(60);
      await platform.idle();
      for (const event of events) {
        assert.equal(origin.of(event.id).length, 1);
        assert.equal(records(event, "queued").filter(({ code }) => code === "delivered").length, 1);
      }
    });
  }

  test("one event of a batch that fails doesn't keep the others", async () => {
    const events = Array.from({ length: 6 }, () => dispense());
    const bodies = [];
    for (const event of events) bodies.push(await parcelOf(event));
    rule(events[2], { status: 500 });
    const foreign = Buffer.from("not ours");
    const messages = [...bodies, foreign].map((body, place) => ({ body, id: `m${place}` }));
    const { outcome, acks, retries } = await apart.queue(OURS, messages);
    assert.equal(outcome, "ok");
    assert.deepEqual(acks.toSorted(), ["m0", "m1", "m3", "m4", "m5"]);
    assert.deepEqual(retries.map(({ id }) => id).toSorted(), ["m2", "m6"]);
    for (const event of events) assert.equal(origin.of(event.id).length, 1);
  });
});

describe("a message", () => {
  test("of a queue that isn't configured is tried again and again, and never acknowledged", async () => {
    const event = dispense();
    const body = await parcelOf(event);
    for (const attempts of [1, 96, 100]) {
      const { acks, retries } = await apart.queue("other", [{ body, attempts }]);
      assert.deepEqual([acks, retries.length], [[], 1]);
      assert.ok(retries[0].delaySeconds >= 60);
    }
    const those = () => apart.records().filter(({ code }) => code === "queue_unknown");
    await until(() => those().length >= 3, { what: "three lines" });
    const unknown = those();
    assert.deepEqual(unknown.map(({ level, attempt }) => [level, attempt]), [["error", 1], ["error", 96], ["error", 100]]);
    assert.equal(origin.of(event.id).length, 0);
  });

  test("that isn't ours is tried again, and isn't acknowledged before it is a dead letter", async () => {
    const foreign = {
      text: `a text ${unique("x")}`,
      json: { event_id: unique("x") },
      "no bytes": Buffer.alloc(0),
      "random bytes": randomBytes(200),
      "what looks sealed": Buffer.concat([Buffer.from([1, 1, 5]), Buffer.from("first"), randomBytes(200)]),
      "what looks like a pointer": Buffer.concat([Buffer.from([2, 1, 5]), Buffer.from("first"), randomBytes(60)]),
      "one of an unknown key": Buffer.concat([Buffer.from([1, 1, 5]), Buffer.from("other"), randomBytes(200)]),
      "one that was changed": (() => {
        const sealed = Buffer.from(platformApart.messages()[OURS][0].body);
        sealed[sealed.length - 1] ^= 1;
        return sealed;
      })(),
    };
    const kept = () => apart.records().filter(({ code, reason }) => code === "dead_letter_kept" && reason === "message_unreadable").length;
    for (const [what, body] of Object.entries(foreign)) {
      for (const attempts of [1, 50, 95]) {
        const { acks, retries } = await apart.queue(OURS, [{ body, attempts }]);
        assert.deepEqual([acks, retries.length], [[], 1], what);
      }
      // The dead-letter queue doesn't take it.
      platformApart.fault({ on: "queue.send", queue: LETTERS, how: "fail", times: 1 });
      const refused = await apart.queue(OURS, [{ body, attempts: 96 }]);
      assert.deepEqual([refused.acks, refused.retries.length], [[], 1], what);
      const before = kept();
      const last = await apart.queue(OURS, [{ body, attempts: 97 }]);
      assert.deepEqual([last.acks.length, last.retries], [1, []], what);
      // Nobody could read it, so nobody takes it for settled: it is kept as it came.
      await pass(60, LETTERS, platformApart);
      assert.equal(kept(), before, what);
      await apart.queue(LETTERS, [{ body: platformApart.messages()[LETTERS].at(-1).body, attempts: 96 }]);
      assert.equal(kept(), before + 1, what);
    }
    assert.ok(apart.records().filter(({ code }) => code === "message_unreadable").length >= 4 * 8);
  });

  for (const [what, message] of [["of 96 attempts", { attempts: 96 }], ["of 80 hours", { timestamp: Date.now() - 81 * HOUR * 1000 }]]) {
    test(`${what} has used up its attempts: it is a dead letter, and a resend a duplicate`, async () => {
      const event = dispense();
      const body = await parcelOf(event);
      rule(event, { status: 500 });
      // Not before the dead-letter queue has it; it is tried with what the attempt made of it, and then with the message as it came.
      platformApart.fault({ on: "queue.send", queue: LETTERS, how: "fail", times: 2 });
      const first = await apart.queue(OURS, [{ body, ...message }]);
      assert.deepEqual([first.acks, first.retries.length], [[], 1]);
      assert.equal((await recordOf(event, "dead_letter_failed", "queued", apart)).reason, "attempts_used_up");
      const second = await apart.queue(OURS, [{ body, ...message }]);
      assert.deepEqual([second.acks.length, second.retries], [1, []]);
      assert.equal((await recordOf(event, "dead_lettered", "queued", apart)).reason, "attempts_used_up");
      await platformApart.idle();
      assert.equal((await recordOf(event, "dead_letter_kept", "queued", apart)).reason, "attempts_used_up");
      assert.equal(origin.of(event.id).length, 2);
      assert.equal((await send(event, "queued", apart)).code, "duplicate");
      // And so is the message, should it come again.
      assert.equal((await apart.queue(OURS, [{ body, ...message }])).acks.length, 1);
      assert.equal(origin.of(event.id).length, 2);
    });
  }

  test("that the origin refuses for good is a dead letter at once", async () => {
    const event = dispense();
    rule(event, { status: 422 });
    const body = await parcelOf(event);
    assert.equal((await apart.queue(OURS, [{ body }])).acks.length, 1);
    const { reason, attempt, origin_status } = await recordOf(event, "dead_lettered", "queued", apart);
    assert.deepEqual({ reason, attempt, origin_status }, { reason: "delivery_rejected", attempt: 1, origin_status: 422 });
    await recordOf(event, "dead_letter_kept", "queued", apart);
    assert.equal(origin.of(event.id).length, 1);
    assert.equal((await send(event, "queued", apart)).code, "duplicate");
  });

  test("whose number of attempts the platform has used up is moved to the dead letters by it, and kept there as what it is", async () => {
    const event = dispense();
    const body = await parcelOf(event);
    const { acks } = await apart.queue(LETTERS, [{ body }]);
    assert.equal(acks.length, 1);
    assert.equal((await recordOf(event, "dead_letter_kept", "queued", apart)).reason, "attempts_used_up");
  });
});
