// Expected callbacks: announced, met, missed, late. The objects, their alarms and the queue are real; a door moves the time at which a callback is due.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import * as phil from "../../scripts/lib/phil.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, SECRETS, remove, settings, startWorkerd, temporary, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const HOUR_MS = 3600 * 1000;
const OURS = "rxgate-deliveries";
const OBJECT = "entity-v1-1-1-0";
const EXPECTATION_KEY = "rxgate-expectation-key-for-the-tests-01";
const PHIL_KEY = "phil-key-for-tests-0123456789";
const MISSING = "rx.transfer.callback_missing";

let origin;
const running = [];
const platforms = [];

before(async () => {
  origin = await startOrigin();
});

afterEach(() => {
  origin.clear();
  for (const platform of platforms) platform.clearFaults();
});

after(async () => {
  for (const { worker, state } of running) {
    await worker.kill();
    remove(state);
  }
  for (const platform of platforms) await platform.close();
  await origin.close();
});

/// A Worker with one shard and a source `phil`, on a platform of its own.
async function start({ source = {}, state = temporary(), platform } = {}) {
  if (!platform) {
    platform = await startPlatform();
    platforms.push(platform);
  }
  const { SOURCE_OSIGU, ...vars } = settings(origin.port, { gateway: { shards: 1 } });
  const { destination } = SOURCE_OSIGU;
  const keys = [{ id: "phil-1", secret: "PHIL_KEY" }];
  const expectation_keys = [{ id: "portal", secret: "EXPECTATION_KEY" }];
  vars.SOURCE_PHIL = { provider: "phil-callback", keys, destination, expectation_keys, ...source };
  const worker = await startWorkerd({ vars, secrets: { ...SECRETS, PHIL_KEY, EXPECTATION_KEY }, state, platform, bundle: "test-hooks", entry: join(import.meta.dirname, "entries/door.mjs") });
  running.push({ worker, state });
  return {
    worker,
    platform,
    state,
    ask: (method, query = "", body = undefined, key = EXPECTATION_KEY) => ask(worker, method, query, body, key),
    register: (requestID) => ask(worker, "POST", "", JSON.stringify({ requestID })),
    stands: async (requestID) => (await ask(worker, "GET", `?requestID=${requestID}`)).state,
    door: (what, query = {}) => door(worker, what, query),
    /// Five hours later: what is due is sent, and what was sent is consumed.
    later: async () => {
      await door(worker, "due", { expires_in_ms: 5 * HOUR_MS });
      await door(worker, "wake");
    },
    /// Answers with the code of its record: PHIL's form has none.
    callback: async (requestID, responseType = "CONFIRMED") => {
      const ended = () => worker.records().filter(({ provider, status }) => provider === "phil-callback" && status !== undefined && status !== null);
      const before = ended().length;
      const { body } = phil.event(responseType, { data: { requestID }, metadata: { responseID: unique("res") } });
      const response = await fetch(`${worker.url}/hooks/phil`, { method: "POST", headers: { authorization: PHIL_KEY }, body });
      const answer = await response.json();
      await until(() => ended().length > before, { what: "its record" });
      const { code, reason } = ended().at(-1);
      return { status: response.status, code, reason, answer };
    },
    records: (code) => worker.records().filter((record) => record.code === code),
  };
}

async function ask(worker, method, query = "", body = undefined, key = EXPECTATION_KEY) {
  const headers = key === null ? {} : { authorization: `Bearer ${key}` };
  const response = await fetch(`${worker.url}/v1/expectations/phil${query}`, { method, headers, body });
  return { status: response.status, ...(await response.json()) };
}

async function door(worker, what, query = {}) {
  const response = await fetch(`${worker.url}/door/${OBJECT}/${what}?${new URLSearchParams(query)}`);
  assert.equal(response.status, 200, worker.output());
  return response.json();
}

const told = (requestID, type = MISSING) => origin.received.filter(({ event }) => event?.subject === `transfer/${requestID}` && event.type === type);
const noticed = (at) => until(async () => (await at.door("expected")).pending === 0, { what: "the notice" });

test("one that is met is told of nowhere; one that isn't is told of once, by the queue, and what comes after that is late", async () => {
  const at = await start();
  const [met, missed, gone, early] = ["met", "missed", "gone", "early"].map(unique);
  assert.deepEqual([(await at.callback(early)).code, (await at.register(early)).code], ["delivered", "expectation_met"]);
  const first = await at.register(met);
  assert.deepEqual([first.status, first.code, first.state], [201, "expectation_registered", "pending"]);
  const { at: alarm } = await at.door("alarm");
  assert.ok(Math.abs(alarm - Date.now() - 4 * HOUR_MS) < 20_000, "the object wakes when it is due");
  for (const id of [missed, gone]) assert.equal((await at.register(id)).status, 201);
  const again = await at.register(met);
  assert.deepEqual([again.status, again.due_at], [200, first.due_at]);
  assert.deepEqual([(await at.ask("DELETE", `?requestID=${gone}`)).code, (await at.ask("GET", `?requestID=${gone}`)).status], ["expectation_deleted", 404]);
  await at.callback(met);
  assert.deepEqual([await at.stands(met), await at.stands(missed)], ["met", "pending"]);

  await at.later();
  await noticed(at);
  await at.platform.idle();
  assert.deepEqual([await at.stands(met), await at.stands(missed)], ["met", "notified"]);
  assert.equal(at.platform.messages()[OURS].length, 1);
  assert.deepEqual([met, missed, gone, early].map((id) => told(id).length), [0, 1, 0, 0]);
  const [{ event }] = told(missed);
  assert.deepEqual([event.data.state, event.rxordering, event.rxkeyid], ["failed", "in_order", "portal"]);
  assert.equal((await at.callback(missed)).code, "delivered");
  assert.equal(told(missed, "rx.transfer.confirmed")[0].event.rxordering, "late");
  const { at: next } = await at.door("alarm");
  assert.ok(next > Date.now() + 11 * HOUR_MS, "it rests");
  for (const id of [met, missed, gone, early]) assert.ok(!at.worker.output().includes(id), "no id in the log");
});

test("nobody without its key is told or changes anything", async () => {
  const at = await start();
  for (const key of [null, "wrong", KEY, SECRETS.ADMIN_KEY]) {
    for (const [method, query, body] of [["POST", "", '{"requestID":"a"}'], ["GET", "?requestID=a"], ["DELETE", "?requestID=a"]]) {
      assert.deepEqual(await at.ask(method, query, body, key), { status: 401, code: "unauthorized" });
    }
  }
  const long = await at.ask("POST", "", JSON.stringify({ requestID: "a".repeat(9000) }));
  assert.deepEqual([long.status, long.code], [413, "body_too_large"]);
  // Without the key it isn't read.
  assert.equal((await at.ask("POST", "", JSON.stringify({ requestID: "a".repeat(9000) }), "wrong")).code, "unauthorized");
});

test("a send that fails, or whose answer is lost, is done again, and delivered once", async () => {
  const at = await start();
  for (const how of ["fail", "fail_after"]) {
    const id = unique("req");
    await at.register(id);
    at.platform.fault({ on: "queue.send", queue: OURS, how, times: 1 });
    const failed = at.records("notices_failed").length;
    await at.later();
    await until(() => at.records("notices_failed").length > failed);
    assert.equal(await at.stands(id), "pending");
    await until(async () => (await at.door("alarm")).at > Date.now() + 30_000, { what: "the next alarm" });
    assert.ok((await at.door("alarm")).at < Date.now() + 61_000, "it is tried again soon");
    await at.door("wake");
    await noticed(at);
    await at.platform.idle();
    assert.equal(await at.stands(id), "notified");
    assert.equal(told(id).length, 1, how);
  }
});

test("a Worker that is killed while it sends a notice goes on after it is back, and delivers it once", async () => {
  const at = await start();
  for (const how of ["hang", "hang_after"]) {
    const current = how === "hang" ? at : await start(at);
    const id = unique("req");
    await current.register(id);
    const fault = at.platform.fault({ on: "queue.send", queue: OURS, how, times: 1 });
    await current.later();
    await until(() => fault.hits > 0, { what: "the send" });
    await current.worker.kill();
    at.platform.clearFaults();
    const back = await start(at);
    assert.equal(await back.stands(id), "pending");
    assert.ok((await back.door("alarm")).at < Date.now() + 61_000, "its alarm is there still");
    await back.door("wake");
    await noticed(back);
    // The message may have been with the Worker that was killed: then its lease has to lapse first.
    await until(() => told(id).length > 0, { within: 90_000, what: `the notice (${how})` });
    await at.platform.idle();
    assert.equal(told(id).length, 1, how);
    await back.worker.kill();
  }
});

test("more than a page goes out page by page, what can't be read holds nobody, and what was met or told of is forgotten", async () => {
  const at = await start();
  const [first, met] = ["first", "met"].map(unique);
  await at.register(first);
  await at.door("expect", { from: 1, to: 250 });
  await at.door("sql", { statement: "UPDATE expected SET notice = 'no bytes', at = at - 1000 WHERE entity = (SELECT entity FROM expected ORDER BY at DESC LIMIT 1)" });
  await at.register(met);
  await at.callback(met);
  await at.later();
  await until(async () => (await at.door("expected")).pending === 1, { what: "the notices" });
  const { rows, notified } = await at.door("expected");
  assert.deepEqual([rows, notified], [251, 249]);
  await at.platform.idle();
  // All have the first one's notice.
  assert.equal(told(first).length, 1);
  assert.equal(told(met).length, 0);
  await until(async () => (await at.door("alarm")).at > Date.now() + 30_000, { what: "the next alarm" });
  assert.ok((await at.door("alarm")).at < Date.now() + 61_000, "what can't be read stays overdue");
  await at.door("sql", { statement: "UPDATE expected SET at = at - 30 * 24 * 3600 * 1000" });
  await at.door("sweep");
  assert.deepEqual(await at.door("expected"), { rows: 1, pending: 1, notified: 0 });
});

test("an alarm that fails is rung again, and what it sent is delivered once", async () => {
  const at = await start();
  const id = unique("req");
  await at.register(id);
  await at.door("sql", { statement: "INSERT OR REPLACE INTO notes VALUES ('walks', 'no bytes')" });
  await at.later();
  await noticed(at);
  await at.platform.idle();
  assert.ok((await at.door("alarm")).at < Date.now() + 3601_000, "it is set");
  await at.door("sql", { statement: "DELETE FROM notes WHERE name = 'walks'" });
  await at.door("wake");
  await until(async () => (await at.door("alarm")).at > Date.now() + 11 * HOUR_MS, { what: "its rest" });
  assert.equal(told(id).length, 1);
});

test("what the object makes only for expectations isn't there where nobody expects anything", async () => {
  const at = await start({ source: { require_expectation: true } });
  await at.callback(unique("req"));
  assert.equal((await at.ask("GET", "?requestID=a")).status, 404);
  assert.equal((await at.ask("DELETE", "?requestID=a")).status, 404);
  await at.worker.cron();
  assert.deepEqual(await at.door("sql", { statement: "SELECT name FROM sqlite_master WHERE name LIKE 'expected%'" }), []);
});

test("an alarm that got lost is set again by the cron", async () => {
  const at = await start();
  const id = unique("req");
  await at.register(id);
  await at.door("due", { expires_in_ms: 5 * HOUR_MS });
  await at.door("sleep");
  assert.equal((await at.worker.cron()).outcome, "ok");
  await noticed(at);
  await at.platform.idle();
  assert.equal(told(id).length, 1);
  assert.deepEqual(at.records("expectations_checked").map(({ level, overdue }) => [level, overdue]), [["warn", 1]]);
});

test("with require_expectation one that nobody expects is a dead letter, and comes through once somebody does", async () => {
  const at = await start({ source: { require_expectation: true } });
  const id = unique("req");
  const refused = await at.callback(id);
  assert.deepEqual([refused.status, refused.code, refused.reason], [400, "dead_lettered", "expectation_unknown"]);
  assert.deepEqual(refused.answer.error, { type: "INVALID_INFO", description: "could not map callback - no callback is expected for this requestID." });
  await at.register(id);
  assert.equal((await at.callback(id)).code, "delivered");
});

test("a hundred thousand that are waited for cost a callback what a hundred do", async () => {
  const at = await start({ source: { require_expectation: true } });
  const costs = [];
  await at.register(unique("req"));
  // Others' rows, so that a look for one that isn't there finds a neighbour.
  await at.door("fill", { from: 0, to: 200, expires_in_ms: 24 * HOUR_MS });
  let from = 1;
  for (const to of [100, 100_000]) {
    await at.door("expect", { from, to });
    from = to;
    assert.ok((await at.door("expected")).pending >= to);
    const worst = { store_calls: 0, rows_read: 0, rows_written: 0 };
    for (let n = 0; n < 5; n += 1) {
      const id = unique("req");
      await at.register(id);
      assert.equal((await at.callback(id)).code, "delivered");
      const record = at.records("delivered").at(-1);
      for (const what of Object.keys(worst)) worst[what] = Math.max(worst[what], record[what]);
    }
    costs.push(worst);
  }
  assert.deepEqual(costs[0], costs[1]);
  assert.deepEqual([costs[0].store_calls, costs[0].rows_written], [2, 2]);
});
