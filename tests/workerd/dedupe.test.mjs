// Dedupe, in workerd with real Durable Objects. The origin's own log is the count of deliveries, the Worker's log is the count of store calls and rows.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, remove, settings, startWorkerd, temporary, unique, until } from "./harness.mjs";

const entry = (name) => join(import.meta.dirname, "entries", name);
const DAY = 24 * 3600 * 1000;

let origin;
let running = [];

before(async () => {
  origin = await startOrigin();
});

afterEach(async () => {
  origin.clear();
  for (const worker of running) {
    await worker.kill();
    remove(worker.state);
  }
  running = [];
});

after(() => origin.close());

/// What the origin doesn't take stays with the sender.
const DIRECT = { on_origin_failure: "sender_retries" };

async function start(options = {}) {
  const worker = await startWorkerd({ vars: settings(origin.port, { destination: DIRECT, ...options }), ...options });
  running.push(worker);
  return worker;
}

/// An event of an entity of its own.
function dispense(data = {}) {
  return osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), ...data } });
}

const send = (worker, event, { hook = worker.hook, headers = {} } = {}) => osigu.send(hook, event.body, { key: KEY, headers });

/// Sends, and waits for the log record of just that request.
async function sendLogged(worker, event, options) {
  const before = worker.records().length;
  const answer = await send(worker, event, options);
  await until(() => worker.records().length > before, { what: "the log record" });
  const record = worker.records()[before];
  assert.equal(record.code, answer.code);
  return { ...answer, calls: record.store_calls, read: record.rows_read ?? 0, written: record.rows_written ?? 0, record };
}

/// Asks the object's test door.
async function door(worker, object, what, query = {}) {
  const response = await fetch(`${worker.url}/door/${object}/${what}?${new URLSearchParams(query)}`);
  assert.equal(response.status, 200, worker.output());
  return response.json();
}

/// The same event `count` times at once, each over a connection of its own.
async function storm(worker, event, count) {
  const agent = new Agent({ keepAlive: true, maxSockets: count });
  const ports = new Set();
  const headers = { "content-type": "application/json", "x-osigu-signature": osigu.signatureHeader(KEY, event.body) };
  const one = () =>
    new Promise((resolve, reject) => {
      const sent = request(worker.hook, { method: "POST", agent, headers }, (response) => {
        ports.add(response.socket.localPort);
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () => {
          const { code } = JSON.parse(Buffer.concat(chunks));
          resolve({ status: response.statusCode, code, retryAfter: response.headers["retry-after"] });
        });
      });
      sent.once("error", reject);
      sent.end(event.body);
    });
  const answers = await Promise.all(Array.from({ length: count }, one));
  agent.destroy();
  return { answers, connections: ports.size };
}

describe("a hundred duplicates at once", () => {
  const SLOW = { delay: 700, once: false };

  test("are one delivery, and every other answer is 200 or 503 with Retry-After", async () => {
    const worker = await start();
    const event = dispense();
    origin.rule(SLOW);
    const { answers, connections } = await storm(worker, event, 100);
    assert.ok(connections >= 4, `${connections} connections`);
    assert.equal(origin.of(event.id).length, 1);
    const counts = { delivered: 0, duplicate: 0, in_flight: 0 };
    for (const { status, code, retryAfter } of answers) {
      counts[code] += 1;
      assert.equal(status, code === "in_flight" ? 503 : 200, code);
      if (code === "in_flight") assert.ok(/^\d+$/.test(retryAfter) && retryAfter >= 1 && retryAfter <= 15, `Retry-After: ${retryAfter}`);
      else assert.equal(retryAfter, undefined);
    }
    assert.equal(counts.delivered, 1);
    assert.ok(counts.in_flight > 0, JSON.stringify(counts));
    assert.equal(counts.delivered + counts.duplicate + counts.in_flight, 100, JSON.stringify(counts));
    const resend = await send(worker, event);
    assert.deepEqual([resend.status, resend.code], [200, "duplicate"]);
    assert.equal(origin.of(event.id).length, 1);
  });

  test("are many deliveries when the claim is taken out", async () => {
    const worker = await start({ bundle: "test-hooks", entry: entry("no-claim.mjs") });
    const event = dispense();
    origin.rule(SLOW);
    const { answers } = await storm(worker, event, 100);
    assert.deepEqual([...new Set(answers.map((answer) => answer.code))], ["delivered"]);
    assert.equal(origin.of(event.id).length, 100);
  });
});

describe("the cost of an event, counted from the log", () => {
  test("is two calls and two rows; a duplicate is one call and no row", async () => {
    const worker = await start();
    const cost = ({ status, code, calls, written }) => ({ status, code, calls, written });
    // The isolate's first event asks the layout as well, and records it.
    const first = dispense();
    assert.deepEqual(cost(await sendLogged(worker, first)), { status: 200, code: "delivered", calls: 3, written: 3 });
    const second = dispense();
    assert.deepEqual(cost(await sendLogged(worker, second)), { status: 200, code: "delivered", calls: 2, written: 2 });
    const sameEntity = osigu.event("dispensing.cancelled", { data: { dispensation_id: JSON.parse(second.body).data.dispensation_id } });
    assert.deepEqual(cost(await sendLogged(worker, sameEntity)), { status: 200, code: "delivered", calls: 2, written: 2 });
    for (const event of [first, second, sameEntity]) {
      assert.deepEqual(cost(await sendLogged(worker, event)), { status: 200, code: "duplicate", calls: 1, written: 0 });
    }
    const failing = dispense();
    origin.rule({ status: 500 });
    assert.deepEqual(cost(await sendLogged(worker, failing)), { status: 502, code: "delivery_failed", calls: 2, written: 2 });
    const held = dispense();
    origin.rule({ delay: 1000 });
    const holder = send(worker, held);
    await until(() => origin.of(held.id).length === 1, { what: "the delivery" });
    assert.deepEqual(cost(await sendLogged(worker, held)), { status: 503, code: "in_flight", calls: 1, written: 0 });
    assert.equal((await holder).code, "delivered");
  });

  test("is at most three rows in an entity of many events, and the first of them stays a duplicate", async () => {
    const worker = await start();
    await send(worker, dispense());
    const dispensation_id = unique("dsp");
    const events = Array.from({ length: 140 }, () => dispense({ dispensation_id }));
    const written = [];
    for (const event of events) {
      const answer = await sendLogged(worker, event);
      assert.deepEqual([answer.code, answer.calls], ["delivered", 2]);
      written.push(answer.written);
    }
    assert.equal(Math.max(...written), 3);
    // Every 64 events a page is written besides the head.
    assert.equal(written.filter((rows) => rows !== 2).length, 2);
    for (const event of [events[0], events[70], events[139]]) {
      const { code, calls, written } = await sendLogged(worker, event);
      assert.deepEqual({ code, calls, written }, { code: "duplicate", calls: 1, written: 0 });
    }
    assert.equal(origin.received.filter(({ event }) => event.subject === `dispense/${dispensation_id}`).length, 140);
  });
});

describe("an object that holds many events", () => {
  const OBJECT = "entity-v1-1-1-0";
  const STEP = 50_000;

  const startFillable = () => start({ gateway: { shards: 1 }, bundle: "test-hooks", entry: entry("door.mjs") });

  const fill = (worker, from, to, expires_in_ms) => door(worker, OBJECT, "fill", { from, to, expires_in_ms });

  async function multiply(worker, from, to) {
    for (let at = from; at < to; at += STEP) await door(worker, OBJECT, "multiply", { from: at, to: Math.min(at + STEP, to) });
  }

  test("takes a claim at 1,000,000 events for what it costs at 1,000", async (t) => {
    const worker = await startFillable();
    await send(worker, dispense());
    const measure = async () => {
      const event = dispense();
      const fresh = await sendLogged(worker, event);
      const again = await sendLogged(worker, event);
      assert.deepEqual([fresh.code, again.code], ["delivered", "duplicate"]);
      const of = ({ calls, read, written }) => ({ calls, read, written });
      return { fresh: of(fresh), again: of(again) };
    };
    const time = async () => {
      const times = [];
      for (let n = 0; n < 50; n += 1) {
        const start = performance.now();
        assert.equal((await send(worker, dispense())).code, "delivered");
        times.push(performance.now() - start);
      }
      return times.sort((a, b) => a - b)[25].toFixed(1);
    };
    await fill(worker, 0, 1000, 7 * DAY);
    assert.ok((await door(worker, OBJECT, "count")).rows > 1000);
    const atThousand = await measure();
    const timeAtThousand = await time();
    const began = performance.now();
    await multiply(worker, 1000, 1_000_000);
    const filled = Math.round(performance.now() - began);
    assert.ok((await door(worker, OBJECT, "count")).rows > 1_000_000);
    const atMillion = await measure();
    const timeAtMillion = await time();
    assert.deepEqual(atMillion, atThousand);
    assert.deepEqual(atThousand.fresh.written, 2);
    assert.deepEqual(atThousand.again.written, 0);
    t.diagnostic(`rows per event: ${JSON.stringify(atMillion)}; filled in ${filled} ms`);
    t.diagnostic(`median request: ${timeAtThousand} ms at 1,000, ${timeAtMillion} ms at 1,000,000`);
  });

  test("deletes what has expired in bounded steps, a row each, and leaves what is live", async () => {
    const worker = await startFillable();
    const live = dispense();
    await send(worker, live);
    await fill(worker, 0, 12_000, 0);
    await fill(worker, 12_000, 12_500, 7 * DAY);
    assert.deepEqual(await door(worker, OBJECT, "count"), { rows: 12_501, live: 501 });
    const steps = [];
    do steps.push(await door(worker, OBJECT, "sweep"));
    while (steps.at(-1).next < DAY / 2);
    assert.deepEqual(
      steps.map((step) => step.next),
      [1000, 1000, DAY / 2],
    );
    for (const step of steps) {
      assert.ok(step.deletes > 0 && step.deletes <= 5000, JSON.stringify(steps));
      assert.equal(step.notes, 1);
      // It looks at each row of the step twice, whatever else there is.
      assert.ok(step.read <= 2 * 5000 + 10, JSON.stringify(steps));
    }
    assert.equal(steps.reduce((sum, step) => sum + step.deletes, 0), 12_000);
    assert.deepEqual(await door(worker, OBJECT, "count"), { rows: 501, live: 501 });
    assert.equal((await send(worker, live)).code, "duplicate");
  });

  test("is woken by its alarm for that, step after step, and rests in between", async () => {
    const worker = await startFillable();
    const live = dispense();
    await send(worker, live);
    const { at } = await door(worker, OBJECT, "alarm");
    assert.ok(at > Date.now() + 11 * 3600 * 1000 && at < Date.now() + 13 * 3600 * 1000, "the first claim sets it");
    await fill(worker, 0, 6000, 0);
    assert.equal((await door(worker, OBJECT, "count")).rows, 6001);
    await door(worker, OBJECT, "wake");
    await until(async () => (await door(worker, OBJECT, "count")).rows === 1, { what: "the walk's end" });
    const { at: next } = await door(worker, OBJECT, "alarm");
    assert.ok(next > Date.now() + 11 * 3600 * 1000, "it rests");
    assert.equal((await send(worker, live)).code, "duplicate");
  });

  test("a row that the walk deleted isn't remembered elsewhere: the event is delivered again", async () => {
    const worker = await startFillable();
    const event = dispense();
    assert.equal((await send(worker, event)).code, "delivered");
    // Nothing is read for it: what was written is held.
    const resent = await sendLogged(worker, event);
    assert.deepEqual([resent.code, resent.read], ["duplicate", 0]);
    await door(worker, OBJECT, "sql", { statement: "UPDATE rows SET expires = 0" });
    await door(worker, OBJECT, "wake");
    await until(async () => (await door(worker, OBJECT, "count")).rows === 0, { what: "the walk" });
    assert.equal((await send(worker, event)).code, "delivered");
    assert.equal(origin.of(event.id).length, 2);
  });
});

describe("an object that fails", () => {
  /// Sends an event while calls fail, and then again while none does. Says how both ended, and how often the origin got it.
  async function fail(worker, fault) {
    const event = dispense();
    if (fault.startsWith("release")) origin.rule({ status: 500 });
    const { status, code, retryAfter, calls, record } = await sendLogged(worker, event, { headers: { "x-fault": fault } });
    const { level, commit, release } = record;
    const retry = await send(worker, event);
    return { first: [status, code, retryAfter], calls, level, commit, release, retry: [retry.status, retry.code], deliveries: origin.of(event.id).length };
  }

  test("never means a lost event or a false duplicate", async () => {
    const worker = await start({ bundle: "test-hooks", entry: entry("failing.mjs") });
    const none = { commit: undefined, release: undefined };
    const unavailable = { first: [503, "store_unavailable", "5"], level: "error", ...none };
    const delivered = { first: [200, "delivered", null], level: "info", ...none };
    const failed = { first: [502, "delivery_failed", null], level: "error", ...none };
    const cases = {
      // Nothing is delivered without a claim; where the claim was granted and nobody heard of it, its lease has to lapse first.
      "layout before 1": { ...unavailable, calls: 1, retry: [200, "delivered"], deliveries: 1 },
      "claim before 1": { ...unavailable, calls: 1, retry: [200, "delivered"], deliveries: 1 },
      "claim after 1": { ...unavailable, calls: 1, retry: [503, "in_flight"], deliveries: 0 },
      "claim hang 1": { ...unavailable, calls: 1, retry: [200, "delivered"], deliveries: 1 },
      // What is delivered is answered so. The commit is tried twice; should it fail, the log says so.
      "commit before 1": { ...delivered, calls: 3, retry: [200, "duplicate"], deliveries: 1 },
      "commit after 1": { ...delivered, calls: 3, retry: [200, "duplicate"], deliveries: 1 },
      "commit after 2": { ...delivered, calls: 3, level: "error", commit: "commit_failed", retry: [200, "duplicate"], deliveries: 1 },
      "commit before 2": { ...delivered, calls: 3, level: "error", commit: "commit_failed", retry: [503, "in_flight"], deliveries: 1 },
      "release before 1": { ...failed, calls: 2, release: "release_failed", retry: [503, "in_flight"], deliveries: 1 },
      "release after 1": { ...failed, calls: 2, release: "release_failed", retry: [200, "delivered"], deliveries: 2 },
    };
    for (const [fault, expected] of Object.entries(cases)) assert.deepEqual(await fail(worker, fault), expected, fault);
  });
});

describe("another number of shards", () => {
  const with_ = (gateway) => settings(origin.port, { gateway, destination: DIRECT });

  test("is refused without previous_shards; with it, what was delivered before stays a duplicate", async () => {
    const state = temporary();
    const old = await start({ state, gateway: { shards: 4 } });
    const events = Array.from({ length: 12 }, () => dispense());
    for (const event of events) assert.equal((await send(old, event)).code, "delivered");
    await old.kill();

    const silent = await start({ state, gateway: { shards: 8 } });
    for (const event of [events[0], dispense()]) {
      const { status, code, retryAfter, record } = await sendLogged(silent, event);
      assert.deepEqual({ status, code, retryAfter }, { status: 503, code: "shards_changed", retryAfter: "60" });
      assert.deepEqual([record.level, record.recorded_shards], ["error", 4]);
      assert.equal(origin.of(event.id).length, event === events[0] ? 1 : 0);
    }
    await silent.kill();

    const wrong = await start({ state, gateway: { shards: 8, previous_shards: 2 } });
    assert.equal((await send(wrong, events[0])).code, "shards_changed");
    await wrong.kill();

    const changed = await start({ state, gateway: { shards: 8, previous_shards: 4 } });
    for (const event of events) assert.equal((await send(changed, event)).code, "duplicate");
    const fresh = dispense();
    assert.deepEqual([(await send(changed, fresh)).code, (await send(changed, fresh)).code], ["delivered", "duplicate"]);
    await changed.kill();

    const back = await start({ state, gateway: { shards: 4 } });
    assert.equal((await send(back, events[0])).code, "shards_changed");
    for (const event of [...events, fresh]) assert.equal(origin.of(event.id).length, 1);
  });

  test("answers a late Worker of the old number 503, never with a second delivery", async () => {
    const worker = await start({ vars: with_({ shards: 8, previous_shards: 4 }), otherVars: with_({ shards: 4 }) });
    const late = (event) => send(worker, event, { hook: worker.otherHook });
    // The old one runs, and has agreed on its number, when the new one comes.
    const before = dispense();
    assert.equal((await late(before)).code, "delivered");
    assert.equal((await send(worker, before)).code, "duplicate");
    // An entity that the new one has not asked for is still the old one's.
    const stillOld = dispense();
    assert.equal((await late(stillOld)).code, "delivered");
    assert.equal((await send(worker, stillOld)).code, "duplicate");
    // What the old one holds right now, the new one waits for.
    const held = dispense();
    origin.rule({ delay: 1000, when: ({ event }) => event?.id === held.id });
    const holder = late(held);
    await until(() => origin.of(held.id).length === 1, { what: "the delivery" });
    const waiting = await send(worker, held);
    assert.deepEqual([waiting.status, waiting.code], [503, "in_flight"]);
    assert.equal((await holder).code, "delivered");
    assert.equal((await send(worker, held)).code, "duplicate");
    // An entity that has moved is the new one's.
    const moved = dispense();
    assert.equal((await send(worker, moved)).code, "delivered");
    const refused = await late(moved);
    assert.deepEqual([refused.status, refused.code], [503, "store_unavailable"]);
    const informed = await late(dispense());
    assert.deepEqual([informed.status, informed.code], [503, "shards_changed"]);
    for (const event of [before, stillOld, held, moved]) assert.equal(origin.of(event.id).length, 1);
  });
});

test("neither an object's name nor a byte of its storage tells an id, a name or an address", async () => {
  const worker = await start({ bundle: "test-hooks", entry: entry("door.mjs") });
  const ids = { dispensation_id: unique("dsp"), beneficiary_id: unique("bnf"), authorization_id: unique("auth") };
  const issued = { prescription_id: unique("rx"), patient: { patient_id: unique("pat"), first_name: "Filomena", last_name: "Zacarías" } };
  const email = { prescription_id: issued.prescription_id, email: "filomena.zacarias@example.com" };
  const events = [
    osigu.event("dispensing.completed", { data: ids }),
    osigu.event("prescription.issued", { data: issued }),
    osigu.event("prescription.email_delivered", { data: email }),
    osigu.event("brand.new", { data: { beneficiary_id: ids.beneficiary_id } }),
  ];
  for (const event of events) assert.equal((await send(worker, event)).code, "delivered");
  const names = await (await fetch(`${worker.url}/door/names`)).json();
  assert.ok(names.length > 1);
  for (const name of names) assert.match(name, /^(layout-v1|entity-v1-1-4-[0-3])$/);
  await worker.kill();

  const files = readdirSync(worker.state, { recursive: true }).filter((name) => statSync(join(worker.state, name)).isFile());
  const stored = Buffer.concat(files.map((name) => readFileSync(join(worker.state, name))));
  // That the search would find what is there:
  for (const event of events) {
    const hash = createHash("sha256").update(`osigu\0${event.id}`).digest().subarray(0, 16);
    assert.ok(stored.includes(hash), "the event's hash is stored");
  }
  const secrets = [...Object.values(ids), issued.prescription_id, ...Object.values(issued.patient), email.email, "clinic-example", "MED-042", KEY];
  for (const text of [...events.map((event) => event.id), ...secrets]) {
    for (const form of [text, Buffer.from(text, "utf16le")]) {
      assert.ok(!stored.includes(form), `${text} is in the storage`);
      assert.ok(!files.some((name) => name.includes(form)), `${text} is in a file's name`);
    }
  }
});
