// workerd is killed, without a chance to tidy up, at each point of an event's way, and its storage is opened again. Nothing may be lost, and nothing delivered
// again that was remembered as delivered. The origin's own log is the count.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, SECRETS, remove, settings, sleep, startWorkerd, temporary, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const STALL = join(import.meta.dirname, "entries/stall.mjs");
const LEASE_MS = 15_000;
const MESSAGE_LEASE_MS = 40_000;

let origin;
const running = [];
const states = [];

before(async () => {
  origin = await startOrigin();
});

after(async () => {
  for (const worker of running) await worker.kill();
  states.forEach(remove);
  await origin.close();
});

function newState() {
  states.push(temporary());
  return states.at(-1);
}

/// The Worker as it is deployed; with `stall` the one that stands still there.
async function start(state, stall, { destination = { on_origin_failure: "sender_retries" }, ...options } = {}) {
  const test = stall && { bundle: "test-hooks", entry: STALL, secrets: { ...SECRETS, STALL: stall } };
  // What the origin doesn't take stays with the sender: what becomes of it in our queue is another test's.
  const worker = await startWorkerd({ vars: settings(origin.port, { destination }), state, ...test, ...options });
  running.push(worker);
  return worker;
}

const dispense = () => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp") } });
const send = (worker, event) => osigu.send(worker.hook, event.body, { key: KEY });

/// Sends an event whose sender will never hear of it.
function sendAndForget(worker, event) {
  const sent = Date.now();
  const answer = send(worker, event).then(
    ({ code }) => `answered ${code}`,
    () => "no answer",
  );
  return { sent, answer };
}

const rule = (event, what) => origin.rule({ ...what, when: (entry) => entry.event?.id === event.id });
const stalled = (worker) => until(() => worker.records().some(({ code }) => code === "stalled"), { what: "the point to kill it at" });

/// After the crash: the sender's retry waits for the lease of the dead holder, and is then delivered; what comes after that is a duplicate.
async function assertTakenOver(state, event, sent) {
  const reopened = await start(state);
  const seen = origin.of(event.id).length;
  const early = await send(reopened, event);
  assert.deepEqual([early.status, early.code, early.eventId], [503, "in_flight", event.id]);
  assert.ok(early.retryAfter >= 1 && early.retryAfter <= 15, early.retryAfter);
  assert.equal(origin.of(event.id).length, seen);
  await sleep(early.retryAfter * 1000 + 20);
  const retry = await send(reopened, event);
  assert.deepEqual([retry.status, retry.code], [200, "delivered"]);
  assert.ok(Date.now() - sent > LEASE_MS, "not before the lease has lapsed");
  assert.equal(origin.of(event.id).length, seen + 1);
  assert.equal((await send(reopened, event)).code, "duplicate");
  assert.equal(origin.of(event.id).length, seen + 1);
}

/// All attempts say that they are the same event, and the later has the higher sequence.
function assertSameEvent(event) {
  const [first, second] = origin.of(event.id);
  assert.equal(first.headers["webhook-id"], second.headers["webhook-id"]);
  assert.ok(first.event.sequence < second.event.sequence);
}

describe("workerd is killed", { concurrency: true }, () => {
  test("after the claim and before the delivery: the retry is delivered once the lease lapses, once", async () => {
    const state = newState();
    const worker = await start(state, "delivery");
    const event = dispense();
    const { sent, answer } = sendAndForget(worker, event);
    await stalled(worker);
    await worker.kill("SIGKILL");
    assert.equal(await answer, "no answer");
    assert.equal(origin.of(event.id).length, 0);
    await assertTakenOver(state, event, sent);
    assert.equal(origin.of(event.id).length, 1);
  });

  test("while the origin has the request and hasn't answered: the retry is delivered once the lease lapses", async () => {
    const state = newState();
    const worker = await start(state);
    const event = dispense();
    rule(event, { hang: true });
    const { sent, answer } = sendAndForget(worker, event);
    await until(() => origin.of(event.id).length === 1, { what: "the delivery" });
    await worker.kill("SIGKILL");
    assert.equal(await answer, "no answer");
    await assertTakenOver(state, event, sent);
    assert.equal(origin.of(event.id).length, 2);
    assertSameEvent(event);
  });

  test("after the delivery and before the commit: the origin gets it again, under the same webhook-id", async () => {
    const state = newState();
    const worker = await start(state, "commit");
    const event = dispense();
    const { sent, answer } = sendAndForget(worker, event);
    await stalled(worker);
    await worker.kill("SIGKILL");
    assert.equal(await answer, "no answer");
    assert.equal(origin.of(event.id).length, 1);
    await assertTakenOver(state, event, sent);
    assert.equal(origin.of(event.id).length, 2);
    assertSameEvent(event);
  });

  test("right after the answer: what was answered is remembered, and what was released is tried at once", async () => {
    const state = newState();
    const events = Array.from({ length: 5 }, dispense);
    for (const event of events) {
      const worker = await start(state);
      assert.equal((await send(worker, event)).code, "delivered");
      await worker.kill("SIGKILL");
    }
    const failing = await start(state);
    const failed = dispense();
    rule(failed, { status: 500 });
    assert.equal((await send(failing, failed)).code, "delivery_failed");
    await failing.kill("SIGKILL");

    const reopened = await start(state);
    for (const event of events) {
      const retry = await send(reopened, event);
      assert.deepEqual([retry.status, retry.code], [200, "duplicate"]);
      assert.equal(origin.of(event.id).length, 1);
    }
    assert.equal((await send(reopened, failed)).code, "delivered");
    assertSameEvent(failed);
  });

  test("after the delivery of a message and before its commit: the message comes again, waits for the lease, and is delivered once more at most", async () => {
    const queue = "rxgate-deliveries";
    const state = newState();
    const platform = await startPlatform();
    try {
      const options = { destination: { delivery: "queue" }, platform };
      const worker = await start(state, "message", options);
      const event = dispense();
      assert.equal((await send(worker, event)).code, "enqueued");
      await stalled(worker);
      // No earlier than the claim.
      const began = Date.now();
      assert.equal(origin.of(event.id).length, 1);
      await worker.kill("SIGKILL");

      const reopened = await start(state, undefined, options);
      const records = (code) => reopened.records().filter((record) => record.code === code && record.attempt !== undefined);
      await until(() => records("in_flight").length > 0, { what: "the message again" });
      assert.equal((await send(reopened, event)).code, "duplicate");
      // What the queue's clock says doesn't shorten the lease.
      // The line is written before the queue hears of it; the retry before has no delay.
      const delay = () => platform.retries().at(-1).delaySeconds;
      await until(() => delay() !== undefined, { what: "the queue's word" });
      const delaySeconds = delay();
      assert.ok(delaySeconds >= 20 && delaySeconds <= 40, `${delaySeconds} s`);
      await platform.advance(queue, delaySeconds * 1000);
      await until(() => records("in_flight").length > 1, { what: "the message once more" });
      assert.equal(origin.of(event.id).length, 1);
      await sleep(MESSAGE_LEASE_MS - (Date.now() - began) + 100);
      await platform.advance(queue, 3600 * 1000);
      await until(() => records("delivered").length > 0, { what: "the delivery" });
      await platform.advance(queue, 3600 * 1000);
      await platform.idle();
      assert.equal(origin.of(event.id).length, 2);
      assertSameEvent(event);
      assert.equal((await send(reopened, event)).code, "duplicate");
    } finally {
      await platform.close();
    }
  });

  test("after an event was enqueued and before that was committed: its message is delivered, once, and the sender's retry is a duplicate", async () => {
    const state = newState();
    const platform = await startPlatform();
    try {
      const options = { destination: { delivery: "queue" }, platform };
      for (const takenBefore of [true, false]) {
        const hold = platform.fault({ on: "queue.deliver", how: "hang" });
        if (takenBefore) platform.clearFaults();
        const worker = await start(state, "enqueued", options);
        const event = dispense();
        const { answer } = sendAndForget(worker, event);
        await stalled(worker);
        if (takenBefore) await until(() => worker.records().some(({ code }) => code === "delivered"), { what: "the delivery" });
        await worker.kill("SIGKILL");
        assert.equal(await answer, "no answer");
        assert.equal(hold.hits, takenBefore ? 0 : 1);
        platform.clearFaults();
        const reopened = await start(state, undefined, options);
        await until(() => origin.of(event.id).length > 0, { what: "the delivery" });
        await platform.idle();
        assert.equal((await send(reopened, event)).code, "duplicate");
        await platform.idle();
        assert.equal(origin.of(event.id).length, 1);
        await reopened.kill();
      }
    } finally {
      await platform.close();
    }
  });

  test("while messages wait: they are in the queue, and are delivered once it is back", async () => {
    const state = newState();
    const platform = await startPlatform({ waitForGateway: 30_000 });
    try {
      const options = { destination: { delivery: "queue" }, platform };
      const worker = await start(state, undefined, options);
      platform.fault({ on: "queue.deliver", how: "hang" });
      const events = Array.from({ length: 25 }, dispense);
      for (const event of events) assert.equal((await send(worker, event)).code, "enqueued");
      await worker.kill("SIGKILL");
      platform.clearFaults();
      const reopened = await start(state, undefined, options);
      await until(() => events.every((event) => origin.of(event.id).length > 0), { what: "the deliveries" });
      await platform.idle();
      for (const event of events) {
        assert.equal((await send(reopened, event)).code, "duplicate");
        assert.equal(origin.of(event.id).length, 1);
      }
    } finally {
      await platform.close();
    }
  });

  test("in the middle of many: whatever was answered is a duplicate, the rest is delivered, and none is lost", async () => {
    const state = newState();
    const worker = await start(state);
    const events = Array.from({ length: 60 }, dispense);
    // The last ones are under way when it is killed, however slow everything is.
    events.forEach((event, place) => rule(event, { delay: place < 40 ? 20 : 2000 }));
    const answers = [];
    const sending = events.map(async (event, place) => {
      await sleep(place * 5);
      const { code } = await send(worker, event).catch(() => ({ code: "no answer" }));
      answers[place] = code;
    });
    await until(() => answers.filter(Boolean).length >= 20, { what: "some answers" });
    await worker.kill("SIGKILL");
    await Promise.all(sending);
    const delivered = answers.filter((code) => code === "delivered").length;
    assert.deepEqual([...new Set(answers)].sort(), ["delivered", "no answer"], "it was killed in the middle");

    const reopened = await start(state);
    const settled = async (event, place) => {
      const once = answers[place] === "delivered";
      let retry = await send(reopened, event);
      if (once) assert.equal(retry.code, "duplicate");
      if (retry.code === "in_flight") {
        await sleep(retry.retryAfter * 1000 + 20);
        retry = await send(reopened, event);
      }
      assert.equal(retry.status, 200, retry.code);
      assert.equal((await send(reopened, event)).code, "duplicate");
      const attempts = origin.of(event.id);
      if (once) assert.equal(attempts.length, 1);
      else assert.ok(attempts.length >= 1 && attempts.length <= 2, `${attempts.length} attempts`);
      assert.equal(new Set(attempts.map(({ headers }) => headers["webhook-id"])).size, 1);
    };
    await Promise.all(events.map(settled));
    assert.ok(delivered >= 20);
  });
});
