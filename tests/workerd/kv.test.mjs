// What KV remembers: all that there is where dedupe = "kv", and a short cut where edge_cache = true. KV is real, and fails, lags and lies as it is told to. The origin's own log is the count.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, remove, settings, sleep, startWorkerd, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const OURS = "rxgate-deliveries";
const LETTERS = "rxgate-dead-letters";
const THEIRS = "clinic-events";
const WINDOW_DAYS = 7;
const DAY = 24 * 3600;

let origin;
let platform;
let worker;

before(async () => {
  origin = await startOrigin();
  platform = await startPlatform();
  const { SOURCE_OSIGU, DESTINATION_LOCAL } = settings(origin.port);
  const kv = { ...SOURCE_OSIGU, dedupe: "kv", dedupe_window_days: WINDOW_DAYS };
  const edge = { ...SOURCE_OSIGU, edge_cache: true, dedupe_window_days: WINDOW_DAYS };
  const more = {
    SOURCE_KV: kv,
    SOURCE_KV_DIRECT: { ...kv, destination: "direct" },
    SOURCE_KV_QUEUED: { ...kv, destination: "queued" },
    SOURCE_KV_EVENTS: { ...kv, destination: "events" },
    SOURCE_EDGE: edge,
    SOURCE_EDGE_DIRECT: { ...edge, destination: "direct" },
    // Of a sender that may not send again.
    SOURCE_UNSURE: { ...edge, retry_policy: "unknown" },
    SOURCE_UNSURE_EVENTS: { ...edge, retry_policy: "unknown", destination: "events" },
    DESTINATION_DIRECT: { ...DESTINATION_LOCAL, on_origin_failure: "sender_retries" },
    DESTINATION_QUEUED: { ...DESTINATION_LOCAL, delivery: "queue" },
    DESTINATION_EVENTS: { queue: "EVENTS" },
  };
  const entry = join(import.meta.dirname, "entries/failing.mjs");
  worker = await startWorkerd({ vars: settings(origin.port, { more }), platform, bundle: "test-hooks", entry });
  // The isolate's first event asks for the layout as well.
  assert.equal((await send(dispense(), "osigu")).code, "delivered");
});

afterEach(() => {
  origin.clear();
  platform.clearFaults();
});

after(async () => {
  await worker?.kill();
  remove(worker?.state);
  await platform?.close();
  await origin?.close();
});

const dispense = (data = {}) => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), ...data } });
const send = (event, source, headers = {}) => osigu.send(`${worker.url}/hooks/${source}`, event.body, { key: KEY, headers });
const digest = (event, source) => createHash("sha256").update(`${source}\0${event.id}`).digest();
const webhookId = (event, source) => `evt_${digest(event, source).toString("base64url")}`;
const hashOf = (event, source) => digest(event, source).subarray(0, 16).toString("hex");
const rule = (event, what) => origin.rule({ once: false, ...what, when: (entry) => entry.event?.id === event.id });
const records = (event, source) => worker.records().filter(({ webhook_id }) => webhook_id === webhookId(event, source));
const names = async (prefix) => (await platform.kv.list(prefix)).map(({ name }) => name);
const daysLeft = ({ expiration }) => (expiration - Date.now() / 1000) / DAY;

/// Sends, and waits for the record of just that request.
async function sendLogged(event, source, headers) {
  const before = records(event, source).length;
  const began = performance.now();
  const answer = await send(event, source, headers);
  const took = performance.now() - began;
  await until(() => records(event, source).length > before, { what: "the log record" });
  const { store_calls = 0, rows_written = 0, kv_reads = 0, kv_writes = 0, ...record } = records(event, source)[before];
  return { ...answer, took, record, cost: { store_calls, rows_written, kv_reads, kv_writes } };
}

async function pass(seconds, queue = OURS) {
  await platform.advance(queue, seconds * 1000);
  await platform.idle();
}

describe('dedupe = "kv"', () => {
  test("remembers a delivered event for the window, under a hash, once it is delivered: one read, one write, no object", async () => {
    const event = dispense();
    rule(event, { delay: 700 });
    platform.resetCounts();
    const before = await names("seen/");
    const sending = sendLogged(event, "kv");
    await until(() => origin.of(event.id).length === 1, { what: "the delivery" });
    assert.deepEqual(await names("seen/"), before, "nothing is written before it is handed over");
    const { code, cost, record } = await sending;
    assert.equal(code, "delivered");
    assert.deepEqual(cost, { store_calls: 0, rows_written: 0, kv_reads: 1, kv_writes: 1 });
    assert.deepEqual([record.dedupe, record.sequence, record.commit], [undefined, undefined, undefined]);
    const { reads, writes } = platform.counts().kv;
    assert.deepEqual([reads, writes], [1, 1]);
    const key = `seen/${hashOf(event, "kv")}`;
    const [entry] = await platform.kv.list(key);
    assert.ok(Math.abs(daysLeft(entry) - WINDOW_DAYS) < 0.01, `${daysLeft(entry)} days`);
    assert.deepEqual([String(await platform.kv.get(key)), entry.metadata ?? null], ["1", null]);
    // It knows of no order, and says so.
    const { event: got } = origin.of(event.id)[0];
    assert.deepEqual([got.sequence, got.data.state, got.rxdedupe, got.rxordering], [undefined, undefined, undefined, "unknown"]);
    const again = await sendLogged(event, "kv");
    assert.deepEqual([again.status, again.code], [200, "duplicate"]);
    assert.deepEqual(again.cost, { store_calls: 0, rows_written: 0, kv_reads: 1, kv_writes: 0 });
    assert.equal(origin.of(event.id).length, 1);
  });

  for (const [what, how, most] of [
    ["fails", "fail", 1000],
    ["is limited", "rate_limited", 1000],
    ["hangs", "hang", 2500],
    ["is slow", { delay: 2000 }, 2500],
  ]) {
    test(`delivers where reading KV ${what}, marks the event, and remembers it`, async () => {
      const event = dispense();
      const fault = platform.fault({ on: "kv.get", how });
      const { status, code, took, record } = await sendLogged(event, "kv");
      assert.deepEqual([status, code, fault.hits], [200, "delivered", 1]);
      assert.ok(took < most, `${took} ms`);
      assert.deepEqual([record.dedupe, record.level], ["unknown", "info"]);
      const { event: got } = origin.of(event.id)[0];
      assert.equal(got.rxdedupe, "unknown");
      platform.clearFaults();
      assert.equal((await send(event, "kv")).code, "duplicate");
    });
  }

  test("waits for a KV that takes half a second", async () => {
    const event = dispense();
    platform.fault({ on: "kv.get", how: { delay: 500 } });
    assert.equal((await sendLogged(event, "kv")).record.dedupe, undefined);
    assert.equal((await send(event, "kv")).code, "duplicate");
    assert.equal(origin.of(event.id).length, 1);
  });

  for (const how of ["fail", "rate_limited", "hang", { delay: 3000 }]) {
    test(`delivers where KV can't be written (${JSON.stringify(how)}), says so in the log, and can't tell the resend`, async () => {
      const event = dispense();
      platform.fault({ on: "kv.put", how });
      const { status, code, took, record, cost } = await sendLogged(event, "kv");
      assert.deepEqual([status, code], [200, "delivered"]);
      // KV takes a key once a second: of duplicates that race one is never remembered, and nobody has to do anything about it.
      assert.deepEqual([record.commit, record.level], ["commit_failed", "info"]);
      assert.equal(cost.kv_writes, 2, "it is tried twice");
      assert.ok(took < 9000, `${took} ms`);
      platform.clearFaults();
      if (how.delay) await sleep(1500);
      const again = await send(event, "kv");
      assert.equal(again.code, how.delay ? "duplicate" : "delivered", "a duplicate of the same webhook-id, and no loss");
      assert.equal(new Set(origin.of(event.id).map(({ headers }) => headers["webhook-id"])).size, 1);
      assert.equal((await send(event, "kv")).code, "duplicate");
    });
  }

  test("remembers nothing of what the origin didn't take, wherever that goes", async () => {
    const direct = dispense();
    rule(direct, { status: 500 });
    assert.equal((await send(direct, "kv-direct")).code, "delivery_failed");
    assert.deepEqual(await names(`seen/${hashOf(direct, "kv-direct")}`), []);
    origin.clear();
    assert.equal((await send(direct, "kv-direct")).code, "delivered");
    assert.equal((await send(direct, "kv-direct")).code, "duplicate");

    // Not before the queue has it.
    const queued = dispense();
    rule(queued, { status: 500 });
    platform.fault({ on: "queue.send", queue: OURS, how: "fail", times: 1 });
    assert.equal((await send(queued, "kv")).code, "delivery_failed");
    assert.deepEqual(await names(`seen/${hashOf(queued, "kv")}`), []);
    assert.equal((await send(queued, "kv")).code, "enqueued");
    assert.equal((await send(queued, "kv")).code, "duplicate");
    assert.deepEqual(await names(`done/${hashOf(queued, "kv")}`), []);
    origin.clear();
    await pass(5);
    assert.equal(origin.of(queued.id).length, 3);
    assert.equal((await names(`done/${hashOf(queued, "kv")}`)).length, 1);

    const lost = dispense();
    rule(lost, { status: 422 });
    platform.fault({ on: "queue.send", queue: LETTERS, how: "fail", times: 1 });
    assert.equal((await send(lost, "kv")).code, "dead_letter_failed");
    assert.deepEqual(await names(`seen/${hashOf(lost, "kv")}`), []);
    assert.equal((await send(lost, "kv")).code, "dead_lettered");
    assert.equal((await send(lost, "kv")).code, "duplicate");
  });

  test("delivers a message of our queue once, though it comes again, and needs no object there either", async () => {
    const event = dispense();
    const fault = platform.fault({ on: "queue.deliver", queue: OURS, how: "twice", times: 1 });
    assert.equal((await send(event, "kv-queued")).code, "enqueued");
    await platform.idle();
    assert.equal(fault.hits, 1);
    assert.equal(origin.of(event.id).length, 1);
    assert.ok(records(event, "kv-queued").every(({ store_calls }) => store_calls === undefined));
    // KV failing there: delivered, too.
    const other = dispense();
    const reads = platform.fault({ on: "kv.get", how: "fail" });
    assert.equal((await send(other, "kv-queued")).code, "enqueued");
    await platform.idle();
    assert.equal(reads.hits, 2);
    assert.equal(origin.of(other.id)[0].event.rxdedupe, "unknown");
  });

  test("puts an event into a customer's queue without a sequence, and marked where KV couldn't tell", async () => {
    const [plain, marked] = [dispense(), dispense()];
    assert.equal((await send(plain, "kv-events")).code, "enqueued");
    assert.equal((await send(plain, "kv-events")).code, "duplicate");
    platform.fault({ on: "kv.get", how: "fail" });
    assert.equal((await send(marked, "kv-events")).code, "enqueued");
    await platform.idle();
    const got = platform.consumed(THEIRS).map(({ body }) => JSON.parse(body));
    const of = ({ id }) => got.filter((event) => event.id === id).map(({ sequence, rxdedupe }) => [sequence, rxdedupe]);
    assert.deepEqual([of(plain), of(marked)], [[[undefined, undefined]], [[undefined, "unknown"]]]);
  });

  test("is a window and no lock: how many of 100 resends at once get through while the origin takes 300 ms (measured)", async (t) => {
    const event = dispense();
    rule(event, { delay: 300 });
    const answers = await Promise.all(Array.from({ length: 100 }, () => send(event, "kv")));
    const deliveries = origin.of(event.id).length;
    const of = (code) => answers.filter((answer) => answer.code === code).length;
    t.diagnostic(`100 at once: ${deliveries} delivered, ${of("duplicate")} duplicates`);
    assert.equal(of("delivered") + of("duplicate"), 100);
    assert.equal(of("delivered"), deliveries);
    // All that came before the first was through: with the same webhook-id, so an origin can tell.
    assert.ok(deliveries >= 2);
    assert.equal(new Set(origin.of(event.id).map(({ headers }) => headers["webhook-id"])).size, 1);
    assert.equal((await send(event, "kv")).code, "duplicate");
  });

  test("lets through what comes before the first is through, and nothing afterwards: 100 resends in a second while the origin takes 300 ms (measured)", async (t) => {
    const event = dispense();
    rule(event, { delay: 300 });
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, place) => {
        await sleep(place * 10);
        return send(event, "kv");
      }),
    );
    const codes = answers.map(({ code }) => code);
    const deliveries = origin.of(event.id).length;
    t.diagnostic(`100 in a second: ${deliveries} delivered, ${codes.filter((code) => code === "duplicate").length} duplicates`);
    assert.equal(codes.filter((code) => code === "delivered").length, deliveries);
    assert.ok(deliveries >= 2 && deliveries < 100, `${deliveries} delivered`);
    assert.equal(codes.at(-1), "duplicate");
  });

  test("lets resends through for as long as KV says what was (measured, with KV stale for 2 s of the 60 s that it may be)", async (t) => {
    const event = dispense();
    const STALE_MS = 2000;
    platform.fault({ on: "kv.get", how: { stale: STALE_MS } });
    const began = Date.now();
    let through = 0;
    let sent = 0;
    for (; Date.now() - began < STALE_MS - 300; sent += 1) {
      const { code } = await send(event, "kv");
      if (code === "delivered") through += 1;
      await sleep(50);
    }
    t.diagnostic(`${sent} resends one after the other while KV is stale: ${through} delivered`);
    assert.equal(through, sent);
    await sleep(600);
    assert.equal((await send(event, "kv")).code, "duplicate");
    assert.equal(origin.of(event.id).length, through);
  });
});

describe("edge_cache = true", () => {
  /// So many resends, ten at a time.
  async function storm(event, source, count) {
    const before = records(event, source).length;
    const left = Array.from({ length: count });
    const codes = {};
    const one = async () => {
      while (left.pop() !== undefined || left.length > 0) {
        const { code } = await send(event, source);
        codes[code] = (codes[code] ?? 0) + 1;
      }
    };
    left.fill(1);
    await Promise.all(Array.from({ length: 10 }, one));
    const sum = (name) => records(event, source).slice(before).reduce((total, record) => total + (record[name] ?? 0), 0);
    const total = Object.values(codes).reduce((a, b) => a + b, 0);
    await until(() => records(event, source).length >= before + total, { what: "the records" });
    return { codes, total, calls: sum("store_calls"), reads: sum("kv_reads"), writes: sum("kv_writes") };
  }

  test("answers a storm of 200 resends from KV after the first duplicate (counted)", async (t) => {
    const event = dispense();
    const first = await sendLogged(event, "edge");
    assert.deepEqual([first.code, first.cost], ["delivered", { store_calls: 2, rows_written: 2, kv_reads: 1, kv_writes: 0 }]);
    const second = await sendLogged(event, "edge");
    assert.deepEqual([second.code, second.cost], ["duplicate", { store_calls: 1, rows_written: 0, kv_reads: 1, kv_writes: 1 }]);
    const { codes, total, calls, reads, writes } = await storm(event, "edge", 200);
    t.diagnostic(`${total} resends: ${JSON.stringify(codes)}, ${calls} calls to objects, ${reads} reads and ${writes} writes of KV`);
    assert.deepEqual(codes, { duplicate: 200 });
    assert.deepEqual([calls, reads, writes], [0, 200, 0]);
    assert.equal(origin.of(event.id).length, 1);

    // Without it each is a call.
    const plain = dispense();
    await send(plain, "osigu");
    const without = await storm(plain, "osigu", 200);
    assert.deepEqual([without.codes, without.calls, without.reads], [{ duplicate: 200 }, 200, 0]);
    t.diagnostic(`without edge_cache: ${without.calls} calls to objects`);
  });

  test("of a storm at once, right after the delivery, writes KV once", async (t) => {
    const event = dispense();
    await send(event, "edge");
    const before = records(event, "edge").length;
    const answers = await Promise.all(Array.from({ length: 100 }, () => send(event, "edge")));
    assert.deepEqual([...new Set(answers.map(({ code }) => code))], ["duplicate"]);
    await until(() => records(event, "edge").length >= before + 100, { what: "the records" });
    const sum = (name) => records(event, "edge").slice(before).reduce((total, record) => total + (record[name] ?? 0), 0);
    t.diagnostic(`100 at once: ${sum("store_calls")} calls to objects, ${sum("kv_writes")} writes of KV`);
    assert.equal(sum("kv_writes"), 1);
    assert.equal(origin.of(event.id).length, 1);
  });

  test("keeps hashes only, and for less than the object will go on saying so", async () => {
    const event = dispense();
    await send(event, "edge");
    assert.deepEqual((await names("dup/")).filter((name) => name.endsWith(hashOf(event, "edge"))), []);
    await send(event, "edge");
    const entry = (await platform.kv.list("dup/")).find(({ name }) => name.endsWith(hashOf(event, "edge")));
    assert.match(entry.name, /^dup\/[0-9a-f]{64}$/);
    // KV may say it for a minute longer than it knows it: two are left for that.
    const short = WINDOW_DAYS * DAY - daysLeft(entry) * DAY;
    assert.ok(short >= 119 && short < 180, `${short} s`);
  });

  test("never makes a duplicate of what wasn't delivered, however stale KV is: only the object's own word is in it", async () => {
    for (const ms of [0, 60_000]) {
      if (ms) platform.fault({ on: "kv.get", how: { stale: ms } });
      const dispensation_id = unique("dsp");
      const [held, failed, other] = [dispense({ dispensation_id }), dispense({ dispensation_id }), dispense({ dispensation_id })];
      rule(held, { delay: 500 });
      const holding = send(held, "edge-direct");
      await until(() => origin.of(held.id).length === 1, { what: "the delivery" });
      assert.equal((await send(held, "edge-direct")).code, "in_flight");
      assert.equal((await holding).code, "delivered");
      rule(failed, { status: 500 });
      for (let n = 0; n < 3; n += 1) assert.equal((await send(failed, "edge-direct")).code, "delivery_failed");
      assert.ok((await names("dup/")).every((name) => !name.endsWith(hashOf(held, "edge-direct")) && !name.endsWith(hashOf(failed, "edge-direct"))));
      origin.clear();
      assert.equal((await send(failed, "edge-direct")).code, "delivered");
      assert.equal((await send(other, "edge-direct")).code, "delivered");
      for (const event of [held, failed, other]) {
        for (let n = 0; n < 3; n += 1) assert.equal((await send(event, "edge-direct")).code, "duplicate");
      }
      for (const [event, count] of [[held, 1], [failed, 4], [other, 1]]) assert.equal(origin.of(event.id).length, count);
    }
  });

  for (const [what, how, most] of [
    ["fails", "fail", 2000],
    ["is limited", "rate_limited", 2000],
    ["hangs", "hang", 3500],
    ["is slow", { delay: 1000 }, 3500],
  ]) {
    test(`costs a call and no event where KV ${what}`, async () => {
      const event = dispense();
      platform.fault({ on: "kv", how });
      const first = await sendLogged(event, "edge");
      assert.deepEqual([first.code, first.cost.store_calls, first.record.dedupe], ["delivered", 2, undefined]);
      assert.match(origin.of(event.id)[0].event.sequence, /^\d{16}$/);
      const second = await sendLogged(event, "edge");
      assert.deepEqual([second.code, second.cost.store_calls], ["duplicate", 1]);
      assert.ok(first.took < most && second.took < most, `${first.took} and ${second.took} ms`);
      assert.equal(origin.of(event.id).length, 1);
    });
  }

  test("answers what it knows while the object fails; what it doesn't know is 503, and delivered later", async () => {
    const known = dispense();
    for (const code of ["delivered", "duplicate"]) assert.equal((await send(known, "edge")).code, code);
    for (const how of ["before", "hang"]) {
      const fault = { "x-fault": `any ${how} 100` };
      assert.equal((await send(known, "edge", fault)).code, "duplicate");
      const event = dispense();
      const answer = await send(event, "edge", fault);
      assert.deepEqual([answer.status, answer.code, answer.retryAfter], [503, "store_unavailable", "5"], how);
      // And KV as well.
      platform.fault({ on: "kv", how: how === "hang" ? "hang" : "fail" });
      for (const either of [event, known]) assert.equal((await send(either, "edge", fault)).code, "store_unavailable");
      platform.clearFaults();
      assert.equal((await send(event, "edge")).code, "delivered");
      assert.equal((await send(event, "edge")).code, "duplicate");
      assert.equal(origin.of(event.id).length, 1);
    }
    const slow = dispense();
    assert.equal((await send(slow, "edge", { "x-fault": "any slow 100" })).code, "delivered");
    assert.equal((await send(slow, "edge")).code, "duplicate");
    assert.equal(origin.of(known.id).length, 1);
  });
});

describe("a sender that may not send again, while the object can't tell", () => {
  test("loses nothing: the event goes into our queue, which claims it later; both failing is the same", async () => {
    for (const kv of [undefined, "fail"]) {
      const event = dispense();
      if (kv) platform.fault({ on: "kv", how: kv });
      const { status, code, record } = await sendLogged(event, "unsure", { "x-fault": "any before 100" });
      assert.deepEqual([status, code, record.dedupe], [200, "enqueued", "unknown"]);
      platform.clearFaults();
      // The sender sends it again after all, before the message comes: one delivery all the same.
      if (kv) assert.equal((await send(event, "unsure")).code, "delivered");
      await pass(5);
      assert.equal(origin.of(event.id).length, 1);
      assert.match(origin.of(event.id)[0].event.sequence, /^\d{16}$/);
      assert.equal((await send(event, "unsure")).code, "duplicate");
    }
  });

  test("has it in a customer's queue, marked and without a sequence", async () => {
    const event = dispense();
    const answer = await send(event, "unsure-events", { "x-fault": "any hang 100" });
    assert.deepEqual([answer.status, answer.code], [200, "enqueued"]);
    await platform.idle();
    const [{ sequence, rxdedupe }] = platform.consumed(THEIRS).map(({ body }) => JSON.parse(body)).filter(({ id }) => id === event.id);
    assert.deepEqual([sequence, rxdedupe], [undefined, "unknown"]);
  });

  test("is told where the queue fails as well", async () => {
    const event = dispense();
    platform.fault({ on: "queue.send", queue: OURS, how: "fail", times: 1 });
    const answer = await send(event, "unsure", { "x-fault": "any before 100" });
    assert.deepEqual([answer.status, answer.code], [503, "store_unavailable"]);
    assert.equal((await send(event, "unsure")).code, "delivered");
    assert.equal(origin.of(event.id).length, 1);
  });
});
