// Dead letters: what can't be delivered for good is answered 2xx, kept, listed, read, redelivered, deleted. The queue, the store and the Worker are real.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { Webhook, WebhookVerificationError } from "standardwebhooks";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { ADMIN_KEY, KEY, NEXT_SIGNING_KEY, SECRETS, SIGNING_KEY, remove, settings, sleep, startWorkerd, temporary, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const OURS = "rxgate-deliveries";
const LETTERS = "rxgate-dead-letters";
const OBJECT = "dead-letters-v1";
const DAY_MS = 24 * 3600 * 1000;
const entry = (name) => join(import.meta.dirname, "entries", name);

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

/// A Worker with two sources, on a platform of its own.
async function start({ gateway = {}, state = temporary(), platform, secrets = SECRETS, ...options } = {}) {
  platform ??= await newPlatform();
  const source = { provider_slug: "clinic-example" };
  const more = { SOURCE_SECOND: { ...settings(origin.port).SOURCE_OSIGU, ...source } };
  const worker = await startWorkerd({ vars: settings(origin.port, { gateway, source, more }), secrets, state, platform, ...options });
  running.push({ worker, state });
  const started = { worker, platform, state };
  return Object.assign(started, {
    send: (event, source = "osigu") => osigu.send(`${worker.url}/hooks/${source}`, event.body, { key: KEY }),
    api: (method, path = "", options) => api(worker, method, path, options),
    records: (code) => worker.records().filter((record) => record.code === code),
  });
}

async function newPlatform(options) {
  platforms.push(await startPlatform(options));
  return platforms.at(-1);
}

/// A call of an operator: { status, code, … } of its answer.
async function api(worker, method, path = "", { authorization = `Bearer ${ADMIN_KEY}` } = {}) {
  const response = await fetch(`${worker.url}/v1/dead-letters${path}`, { method, headers: authorization === null ? {} : { authorization } });
  return { status: response.status, ...(await response.json()) };
}

const dispense = ({ data = {}, ...more } = {}) => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), ...data }, ...more });
const raw = (text) => ({ id: undefined, body: Buffer.from(text) });
const webhookId = (event, source = "osigu") => `evt_${createHash("sha256").update(`${source}\0${event.id}`).digest("base64url")}`;
const rule = (event, what) => origin.rule({ once: false, ...what, when: (entry) => entry.event?.id === event.id });
const refuse = (event) => rule(event, { status: 422 });

/// An event that the origin refuses, sent and kept; answers its letter.
async function lost(at, event = dispense(), source = "osigu") {
  refuse(event);
  const answer = await at.send(event, source);
  assert.deepEqual([answer.status, answer.code], [200, "dead_lettered"]);
  await at.platform.idle();
  return letterOf(at, event, source);
}

async function letterOf(at, event, source) {
  const { dead_letters } = await at.api("GET", "?limit=100");
  return dead_letters.findLast((letter) => letter.webhook_id === webhookId(event, source));
}

async function door({ worker }, what, query = {}) {
  const response = await fetch(`${worker.url}/door/${OBJECT}/${what}?${new URLSearchParams(query)}`);
  assert.equal(response.status, 200, worker.output());
  return response.json();
}

describe("what can't be delivered for good", () => {
  let at;
  before(async () => {
    at = await start();
  });

  const nested = `{"a":${"[".repeat(40)}1${"]".repeat(40)}}`;
  const cases = {
    "isn't JSON": { event: () => raw(`no json ${unique("x")}`), reason: "body_malformed", problem: "not_an_object" },
    "isn't UTF-8": { event: () => ({ body: Buffer.concat([Buffer.from(`{"a":"${unique("x")}`), Buffer.from([0xff]), Buffer.from('"}')]) }), reason: "body_malformed", problem: "not_utf8" },
    "has a key twice": { event: () => raw(`{"${unique("x")}":1,"event_id":"a","event_id":"b"}`), reason: "body_malformed", problem: "duplicate_key" },
    "is nested too deep": { event: () => raw(nested.replace("1", `"${unique("x")}"`)), reason: "body_malformed", problem: "too_deep" },
    "has no entity": { event: () => dispense({ data: { dispensation_id: undefined } }), reason: "event_invalid", problem: "missing", path: "data.dispensation_id" },
    "has no type": { event: () => dispense({ envelope: { event_type: undefined } }), reason: "event_invalid", problem: "missing", path: "event_type" },
    "is of another environment": { event: () => dispense({ envelope: { environment: "production" } }), reason: "environment_mismatch" },
    "is of another account": { event: () => dispense({ envelope: { provider: { provider_slug: "another" } } }), reason: "provider_mismatch" },
    "is refused by the origin": { event: () => dispense(), reason: "delivery_rejected", type: "rx.dispense.completed", refused: true },
  };
  for (const [what, { event: make, reason, problem, path, type, refused }] of Object.entries(cases)) {
    test(`because it ${what} is 200 dead_lettered, kept with the reason ${reason}, and can be read; a resend is a duplicate`, async () => {
      const event = make();
      if (refused) refuse(event);
      const answer = await at.send(event);
      assert.deepEqual([answer.status, answer.code, answer.retryAfter], [200, "dead_lettered", null]);
      const id = event.id === undefined ? {} : { event_id: event.id };
      assert.deepEqual(JSON.parse(answer.text), { code: "dead_lettered", reason, ...id });
      await at.platform.idle();
      const { dead_letters } = await at.api("GET", "?limit=100");
      const { id: letterId, received_at, kept_at, expires_at, webhook_id, ...rest } = dead_letters.at(-1);
      assert.equal(webhook_id, event.id && webhookId(event));
      assert.match(letterId, /^dl_[\w-]{22}$/);
      for (const time of [received_at, kept_at]) assert.ok(Math.abs(Date.parse(time) - Date.now()) < 20_000, time);
      assert.equal(Date.parse(expires_at) - Date.parse(kept_at), 30 * DAY_MS);
      const known = Object.fromEntries(Object.entries({ type, problem, path }).filter(([, value]) => value !== undefined));
      assert.deepEqual(rest, { source: "osigu", reason, ...known, redeliveries: 0, body_bytes: event.body.length });

      const read = await at.api("GET", `/${letterId}`);
      assert.deepEqual([read.status, read.code, read.readable], [200, "dead_letter_read", true]);
      const body = read.body === undefined ? Buffer.from(read.body_base64, "base64") : Buffer.from(read.body);
      assert.ok(body.equals(event.body), "byte for byte");
      assert.equal(read.body === undefined, problem === "not_utf8");

      const again = await at.send(event);
      assert.deepEqual([again.status, again.code], [200, "duplicate"]);
      await at.platform.idle();
      assert.equal((await at.api("GET", "?limit=100")).dead_letters.length, dead_letters.length);
      if (event.id) assert.equal(origin.of(event.id).length, refused ? 1 : 0);
    });
  }

  test("and comes again mended, under the same id, is delivered", async () => {
    const event_id = osigu.eventId();
    const broken = dispense({ data: { dispensation_id: undefined }, envelope: { event_id } });
    assert.equal((await at.send(broken)).code, "dead_lettered");
    const mended = dispense({ envelope: { event_id } });
    assert.equal((await at.send(mended)).code, "delivered");
    assert.equal((await at.send(mended)).code, "duplicate");
    assert.equal((await at.send(broken)).code, "duplicate");
    assert.equal(origin.of(event_id).length, 1);
  });

  test("and a dead-letter queue that doesn't take it: 503, nothing is marked seen, and the resend does it", async () => {
    for (const how of ["fail", "fail_after", "hang"]) {
      for (const event of [dispense(), raw(`no json ${unique("x")}`)]) {
        if (event.id) refuse(event);
        at.platform.fault({ on: "queue.send", queue: LETTERS, how, times: 1 });
        const answer = await at.send(event);
        assert.deepEqual([answer.status, answer.code, answer.retryAfter], [503, "dead_letter_failed", "5"], how);
        at.platform.clearFaults();
        assert.equal((await at.send(event)).code, "dead_lettered");
        assert.equal((await at.send(event)).code, "duplicate");
        await at.platform.idle();
        const { dead_letters } = await at.api("GET", "?limit=100");
        if (event.id) assert.equal(dead_letters.filter((letter) => letter.webhook_id === webhookId(event)).length, 1, "one letter, also of two messages");
      }
    }
    // And one that the origin takes after all.
    const event = dispense();
    refuse(event);
    at.platform.fault({ on: "queue.send", queue: LETTERS, how: "fail", times: 1 });
    assert.equal((await at.send(event)).code, "dead_letter_failed");
    origin.clear();
    assert.equal((await at.send(event)).code, "delivered");
    assert.equal(origin.of(event.id).length, 2);
  });
});

describe("the list", () => {
  test("filters by source, code, time and whether it waits, goes on with a cursor, and says what is wrong with a parameter", async () => {
    const at = await start();
    const letters = [];
    for (let n = 0; n < 3; n += 1) {
      letters.push(await lost(at, dispense()));
      await sleep(5);
      letters.push(await lost(at, dispense(), "second"));
      await sleep(5);
    }
    await at.send(raw("no json"));
    await at.platform.idle();
    const ids = async (query) => {
      const answer = await at.api("GET", `?${query}`);
      assert.deepEqual([answer.status, answer.code], [200, "dead_letters_listed"], query);
      return answer.dead_letters.map(({ id }) => id);
    };
    const all = await ids("");
    assert.equal(all.length, 7);
    assert.deepEqual(all.slice(0, 6), letters.map(({ id }) => id), "by the time of receipt");
    assert.deepEqual(await ids("source=second"), [1, 3, 5].map((n) => letters[n].id));
    assert.deepEqual(await ids("source=nobody"), []);
    assert.deepEqual(await ids("code=body_malformed"), [all[6]]);
    assert.deepEqual(await ids("code=delivery_rejected&source=osigu"), [0, 2, 4].map((n) => letters[n].id));
    assert.deepEqual(await ids(`since=${letters[4].received_at}`), all.slice(4));
    assert.deepEqual(await ids(`since=${encodeURIComponent(new Date(Date.now() + 60_000).toISOString())}`), []);
    assert.deepEqual(await ids("waiting=false"), all);
    origin.clear();
    assert.equal((await at.api("POST", `/${letters[0].id}/redeliver`)).status, 202);
    assert.deepEqual(await ids("waiting=true"), all.slice(1));

    const pages = [];
    let cursor;
    do {
      const answer = await at.api("GET", `?limit=3${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      pages.push(answer.dead_letters.map(({ id }) => id));
      cursor = answer.cursor;
    } while (cursor);
    assert.deepEqual(pages, [all.slice(0, 3), all.slice(3, 6), all.slice(6)]);

    for (const [query, problem] of [
      ["limit=0", /^limit: /],
      ["limit=101", /^limit: /],
      ["since=yesterday", /^since: /],
      ["waiting=yes", /^waiting: /],
      ["cursor=x", /^cursor: /],
      ["code=a&code=b", /^code: stands there twice/],
      ["reason=x", /isn't known/],
    ]) {
      const answer = await at.api("GET", `?${query}`);
      assert.deepEqual([answer.status, answer.code], [400, "parameter_invalid"], query);
      assert.match(answer.problem, problem);
    }
    const [record] = at.records("dead_letters_listed");
    assert.deepEqual([record.level, record.key_id, record.store_calls, record.status], ["info", "first", 1, 200]);
  });

  test("is empty where there are none, and what isn't there is 404", async () => {
    const at = await start();
    assert.deepEqual(await at.api("GET"), { status: 200, code: "dead_letters_listed", dead_letters: [], cursor: null });
    const unknown = `dl_${"A".repeat(22)}`;
    for (const [method, path] of [["GET", `/${unknown}`], ["DELETE", `/${unknown}`], ["POST", `/${unknown}/redeliver`], ["GET", "/x"], ["POST", "/dl_/redeliver"]]) {
      const answer = await at.api(method, path);
      assert.deepEqual([answer.status, answer.code], [404, "dead_letter_unknown"], `${method} ${path}`);
    }
    for (const [method, path] of [["PUT", ""], ["DELETE", ""], ["POST", `/${unknown}`], ["GET", `/${unknown}/redeliver`], ["PATCH", `/${unknown}`]]) {
      const answer = await at.api(method, path);
      assert.deepEqual([answer.status, answer.code], [405, "method_not_allowed"], `${method} ${path}`);
    }
    assert.deepEqual([(await at.api("GET", "/a/b/c")).code, (await at.api("GET", "s")).code], ["path_unknown", "path_unknown"]);
  });
});

describe("redelivery", () => {
  let at;
  before(async () => {
    at = await start();
  });

  test("brings the event to its origin once, though its message comes twice: the same webhook-id, a higher sequence", async () => {
    for (const how of ["twice", "at_once", "fail_after"]) {
      const event = dispense();
      const letter = await lost(at, event);
      origin.clear();
      rule(event, { delay: 100 });
      at.platform.fault({ on: "queue.deliver", queue: OURS, how, times: 1 });
      const answer = await at.api("POST", `/${letter.id}/redeliver`);
      assert.deepEqual(answer, { status: 202, code: "dead_letter_redelivered" });
      await at.platform.idle();
      await at.platform.advance(OURS, 60_000);
      await at.platform.idle();
      const [first, second, ...more] = origin.of(event.id);
      assert.equal(more.length, 0, how);
      assert.equal(second.headers["webhook-id"], webhookId(event));
      new Webhook(SIGNING_KEY).verify(second.body, second.headers);
      assert.ok(first.event.sequence < second.event.sequence);
      const { redelivered_at, redeliveries } = await letterOf(at, event);
      assert.equal(redeliveries, 1);
      assert.ok(Math.abs(Date.parse(redelivered_at) - Date.now()) < 20_000);
      // For its sender it stays what it was.
      assert.equal((await at.send(event)).code, "duplicate");
    }
  });

  test("asked for a second time is a second one; and one that fails again is a letter of its own", async () => {
    const event = dispense();
    const letter = await lost(at, event);
    // It is still refused.
    assert.equal((await at.api("POST", `/${letter.id}/redeliver`)).status, 202);
    await at.platform.idle();
    const { dead_letters } = await at.api("GET", "?limit=100");
    const letters = dead_letters.filter(({ webhook_id }) => webhook_id === webhookId(event));
    assert.deepEqual(letters.map(({ redeliveries, reason }) => [redeliveries, reason]).sort(), [[0, "delivery_rejected"], [1, "delivery_rejected"]]);
    origin.clear();
    for (const { id } of letters) assert.equal((await at.api("POST", `/${id}/redeliver`)).status, 202);
    await at.platform.idle();
    assert.equal(origin.of(event.id).length, 4);
    assert.deepEqual(new Set(origin.of(event.id).map(({ headers }) => headers["webhook-id"])).size, 1);
  });

  test("asked for twice at once is one", async () => {
    const event = dispense();
    const letter = await lost(at, event);
    origin.clear();
    const answers = await Promise.all(Array.from({ length: 4 }, () => at.api("POST", `/${letter.id}/redeliver`)));
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [202]);
    await at.platform.idle();
    await at.platform.advance(OURS, 60_000);
    await at.platform.idle();
    assert.equal(origin.of(event.id).length, 2);
    assert.equal((await letterOf(at, event)).redeliveries, 1);
  });

  test("that the queue doesn't take is 502, the letter waits on, and is redelivered by the next call", async () => {
    const event = dispense();
    const letter = await lost(at, event);
    origin.clear();
    at.platform.fault({ on: "queue.send", queue: OURS, how: "fail", times: 1 });
    const failed = await at.api("POST", `/${letter.id}/redeliver`);
    assert.deepEqual(failed, { status: 502, code: "redelivery_failed" });
    assert.equal((await letterOf(at, event)).redeliveries, 0);
    // Taken, and nobody knows: the next call is the same redelivery.
    at.platform.fault({ on: "queue.send", queue: OURS, how: "fail_after", times: 1 });
    assert.equal((await at.api("POST", `/${letter.id}/redeliver`)).code, "redelivery_failed");
    assert.equal((await at.api("POST", `/${letter.id}/redeliver`)).code, "dead_letter_redelivered");
    await at.platform.idle();
    assert.equal(origin.of(event.id).length, 2);
  });

  test("of all that an outage left behind goes by pages, brings each once, and leaves none", async () => {
    const events = Array.from({ length: 30 }, () => dispense());
    const since = encodeURIComponent(new Date().toISOString());
    for (const event of events) refuse(event);
    for (const event of events) assert.equal((await at.send(event, "second")).code, "dead_lettered");
    const other = dispense();
    refuse(other);
    assert.equal((await at.send(other)).code, "dead_lettered");
    await at.platform.idle();
    origin.clear();
    const query = `?source=second&code=delivery_rejected&since=${since}`;
    const first = await at.api("POST", `/redeliver${query}`);
    assert.deepEqual([first.status, first.code, first.redelivered.length, first.failed], [202, "dead_letters_redelivered", 25, []]);
    assert.ok(first.cursor);
    const second = await at.api("POST", `/redeliver${query}&cursor=${encodeURIComponent(first.cursor)}`);
    assert.deepEqual([second.redelivered.length, second.failed, second.cursor], [5, [], null]);
    assert.deepEqual((await at.api("POST", `/redeliver${query}`)).redelivered, []);
    await at.platform.idle();
    for (const event of events) assert.equal(origin.of(event.id).length, 2);
    assert.equal(origin.of(other.id).length, 1);
    const { dead_letters, sent } = { ...at.records("dead_letters_redelivered")[0], sent: at.records("dead_letters_redelivered")[0].messages_sent };
    assert.deepEqual([dead_letters, sent], [25, 25]);
  });

  test("of several goes on where one can't be opened", async () => {
    const fresh = await start();
    const events = [dispense(), dispense()];
    await lost(fresh, events[0]);
    const [message] = (await fresh.worker.queue(LETTERS, [{ body: Buffer.from("not ours"), attempts: 96 }])).acks;
    assert.ok(message);
    await lost(fresh, events[1]);
    origin.clear();
    const answer = await fresh.api("POST", "/redeliver");
    assert.equal(answer.redelivered.length, 2);
    assert.deepEqual(answer.failed.map(({ code }) => code), ["dead_letter_unreadable"]);
    await fresh.platform.idle();
    for (const event of events) assert.equal(origin.of(event.id).length, 2);
  });

  test("without our own queue is a delivery within the call", async () => {
    const platform = await newPlatform({ queues: { [OURS]: { binding: undefined } } });
    const direct = await start({ platform });
    const event = dispense();
    const letter = await lost(direct, event);
    const refused = await direct.api("POST", `/${letter.id}/redeliver`);
    assert.deepEqual(refused, { status: 502, code: "redelivery_failed" });
    assert.equal((await letterOf(direct, event)).redeliveries, 0);
    origin.clear();
    assert.equal((await direct.api("POST", `/${letter.id}/redeliver`)).status, 202);
    assert.equal(origin.of(event.id).length, 3);
    assert.equal(origin.of(event.id).at(-1).headers["webhook-id"], webhookId(event));
    const { redeliveries } = await letterOf(direct, event);
    assert.equal(redeliveries, 1);
    assert.equal((await direct.api("GET", "?limit=100")).dead_letters.length, 1);
  });
});

describe("a letter", () => {
  test("is one, however often its message comes; deleted, it doesn't come back with it", async () => {
    const at = await start();
    const event = dispense();
    const fault = at.platform.fault({ on: "queue.deliver", queue: LETTERS, how: "fail_after", times: 2 });
    const { id } = await lost(at, event);
    assert.equal(fault.hits, 2);
    assert.equal(at.records("dead_letter_kept").length, 3);
    const { body } = at.platform.messages()[LETTERS].at(-1);
    assert.equal((await at.api("GET")).dead_letters.length, 1);
    assert.deepEqual(await at.api("DELETE", `/${id}`), { status: 200, code: "dead_letter_deleted" });
    assert.equal((await at.api("DELETE", `/${id}`)).code, "dead_letter_unknown");
    assert.equal((await at.worker.queue(LETTERS, [{ body }])).acks.length, 1);
    assert.equal((await at.api("GET")).dead_letters.length, 0);
    for (const [method, path] of [["GET", `/${id}`], ["POST", `/${id}/redeliver`]]) assert.equal((await at.api(method, path)).code, "dead_letter_unknown");
  });

  test("waits in its queue while its object fails, and is kept later", async () => {
    const at = await start({ bundle: "test-hooks", entry: entry("failing.mjs") });
    const event = dispense();
    refuse(event);
    const order = (what) => fetch(`${at.worker.url}/faults/next?object=${encodeURIComponent(what)}`).then((response) => response.text());
    await order("keep before 1");
    assert.equal((await at.send(event)).code, "dead_lettered");
    await at.platform.idle();
    assert.equal((await at.api("GET")).dead_letters.length, 0);
    assert.equal(at.platform.retries().length, 1);
    const [{ delaySeconds }] = at.platform.retries();
    assert.ok(delaySeconds >= 5);
    // This time it is kept, and the answer is lost.
    await order("keep after 1");
    await at.platform.advance(LETTERS, delaySeconds * 1000);
    await at.platform.idle();
    assert.equal(at.platform.retries().length, 2);
    await at.platform.advance(LETTERS, 60_000);
    await at.platform.idle();
    assert.equal(at.platform.retries().length, 2);
    assert.equal((await at.api("GET")).dead_letters.length, 1);
    assert.equal(at.records("dead_letter_kept").length, 1);
    // What an operator asks of it is 503 then, and redelivering what can't be marked is the same redelivery when it is asked for again.
    const { id: letterId } = await letterOf(at, event);
    for (const [call, method, path] of [["list", "GET", ""], ["read", "GET", "/ID"], ["remove", "DELETE", "/ID"], ["read", "POST", "/ID/redeliver"], ["list", "POST", "/redeliver"]]) {
      await order(`${call} before 1`);
      const answer = await at.api(method, path.replace("ID", letterId));
      assert.deepEqual([answer.status, answer.code], [503, "store_unavailable"], call);
    }
    await order("count before 1");
    assert.equal((await at.worker.cron()).outcome, "ok");
    await until(() => at.records("store_unavailable").some(({ status }) => status === undefined), { what: "the cron's record" });
    origin.clear();
    await order("mark before 1");
    assert.equal((await at.api("POST", `/${letterId}/redeliver`)).status, 202);
    assert.equal((await letterOf(at, event)).redeliveries, 0);
    assert.equal((await at.api("POST", `/${letterId}/redeliver`)).status, 202);
    await at.platform.idle();
    assert.equal(origin.of(event.id).length, 2);
    assert.equal((await letterOf(at, event)).redeliveries, 1);
  });

  test("survives that the Worker is killed, on its way and when it is kept", async () => {
    const first = await start();
    const events = [dispense(), dispense()];
    await lost(first, events[0]);
    first.platform.fault({ on: "queue.deliver", queue: LETTERS, how: "hang" });
    refuse(events[1]);
    assert.equal((await first.send(events[1])).code, "dead_lettered");
    await first.worker.kill("SIGKILL");
    first.platform.clearFaults();
    const second = await start({ platform: first.platform, state: first.state });
    await until(() => second.records("dead_letter_kept").length > 0, { what: "the letter" });
    for (const event of events) {
      const { id } = await letterOf(second, event);
      assert.equal((await second.api("GET", `/${id}`)).body, event.body.toString());
      assert.equal((await second.send(event)).code, "duplicate");
    }
    assert.equal((await second.api("GET")).dead_letters.length, 2);
  });

  test("expires, and its row is deleted when its object is woken; a deleted one's, too", async () => {
    const at = await start({ gateway: { dead_letter_days: 2 }, bundle: "test-hooks", entry: entry("door.mjs") });
    const [old, deleted, live] = [dispense(), dispense(), dispense()];
    const letter = await lost(at, old);
    assert.equal(Date.parse(letter.expires_at) - Date.parse(letter.kept_at), 2 * DAY_MS);
    await at.api("DELETE", `/${(await lost(at, deleted)).id}`);
    const { at: alarm } = await door(at, "alarm");
    assert.ok(alarm > Date.now(), "the first letter sets it");
    assert.deepEqual(await door(at, "letters"), { rows: 2, tombstones: 1 });
    await door(at, "wake");
    await until(async () => (await door(at, "alarm")).at > Date.now() + DAY_MS / 4, { what: "the walk's end" });
    assert.deepEqual(await door(at, "letters"), { rows: 2, tombstones: 1 });
    await door(at, "expire", { expires_in_ms: 3 * DAY_MS });
    assert.equal((await at.api("GET")).dead_letters.length, 0);
    await lost(at, live);
    await door(at, "wake");
    // The trace of the deleted one stays for as long as a message of it may come.
    await until(async () => (await door(at, "letters")).rows === 2, { what: "the walk's end" });
    assert.deepEqual(await door(at, "letters"), { rows: 2, tombstones: 1 });
    await door(at, "expire", { expires_in_ms: 31 * DAY_MS });
    await door(at, "wake");
    await until(async () => (await door(at, "letters")).rows === 0, { what: "the walk's end" });
    await until(async () => (await door(at, "alarm")).at === null, { what: "the alarm's end" });
  });

  test("stays readable while its key is listed, and isn't lost when it is gone", async () => {
    const NEXT_SEAL_KEY = Buffer.from("rxgate-seal-key-for-the-tests-02").toString("base64");
    const secrets = { ...SECRETS, NEXT_SEAL_KEY };
    const first = { id: "first", secret: "SEAL_KEY" };
    const next = { id: "next", secret: "NEXT_SEAL_KEY" };
    const old = await start({ secrets });
    const event = dispense();
    const { id } = await lost(old, event);
    await old.worker.kill();
    const restart = (seal_keys) => start({ gateway: { seal_keys }, secrets, platform: old.platform, state: old.state });

    const rotated = await restart([next, first]);
    assert.equal((await rotated.api("GET", `/${id}`)).body, event.body.toString());
    await rotated.worker.kill();

    const without = await restart([next]);
    const { status, readable, body, ...rest } = await without.api("GET", `/${id}`);
    assert.deepEqual([status, readable, body], [200, false, undefined]);
    assert.deepEqual([rest.webhook_id, rest.reason, rest.body_bytes], [webhookId(event), "delivery_rejected", event.body.length]);
    origin.clear();
    assert.deepEqual(await without.api("POST", `/${id}/redeliver`), { status: 409, code: "dead_letter_unreadable" });
    // A message on its way is kept as it is, and is what it was when the key is back.
    const { body: sealed } = without.platform.messages()[LETTERS].at(-1);
    assert.equal((await without.worker.queue(LETTERS, [{ body: sealed, attempts: 96 }])).acks.length, 1);
    const { dead_letters } = await without.api("GET", "?code=message_unreadable");
    assert.equal(dead_letters.length, 1);
    await without.worker.kill();

    const back = await restart([next, first]);
    for (const letter of [id, dead_letters[0].id]) assert.equal((await back.api("GET", `/${letter}`)).body, event.body.toString());
    assert.equal((await back.api("POST", `/${dead_letters[0].id}/redeliver`)).status, 202);
    await back.platform.idle();
    assert.equal(origin.of(event.id).length, 2);
  });
});

describe("an operator", () => {
  test("is who has one of the keys; everybody else is 401, and finds nothing where there are no keys", async () => {
    const at = await start();
    const { id } = await lost(at);
    const wrong = [null, "", "Bearer", "Bearer ", `Bearer ${ADMIN_KEY}x`, `Bearer ${ADMIN_KEY.slice(0, -1)}`, `Bearer ${KEY}`, `Basic ${ADMIN_KEY}`, ADMIN_KEY, `Bearer ${"x".repeat(5000)}`];
    for (const authorization of wrong) {
      for (const [method, path] of [["GET", ""], ["GET", `/${id}`], ["DELETE", `/${id}`], ["POST", `/${id}/redeliver`], ["POST", "/redeliver"], ["GET", "/no/such/path"]]) {
        assert.deepEqual(await at.api(method, path, { authorization }), { status: 401, code: "operator_unauthorized" }, `${authorization?.slice(0, 60)}`);
      }
    }
    assert.equal((await at.api("GET", "", { authorization: `bearer ${ADMIN_KEY}` })).status, 200);
    assert.ok(await at.api("GET", `/${id}`));
    // As many lines as there are in the limit, and then one in so many.
    const lines = at.records("operator_unauthorized");
    assert.ok(lines.length >= 10 && lines.length < 25, `${lines.length} lines`);

    const keyless = await start({ gateway: { operator_keys: undefined } });
    assert.deepEqual(await keyless.api("GET"), { status: 404, code: "path_unknown" });
  });

  test("reads with a key what is wrong with the settings", async () => {
    const at = await start({ gateway: { dead_letter_days: 1000 } });
    const health = async (headers) => {
      const response = await fetch(`${at.worker.url}/healthz`, { headers });
      return [response.status, await response.json()];
    };
    assert.deepEqual(await health({}), [503, { status: "faulty" }]);
    const [status, { code, faults }] = await health({ authorization: `Bearer ${ADMIN_KEY}` });
    assert.deepEqual([status, code, faults.length], [200, "health_read", 1]);
    assert.match(faults[0], /^RXGATE\.dead_letter_days/);
    assert.deepEqual((await health({ authorization: "Bearer x" }))[0], 401);
  });

  test("with a key past its not_after is nobody", async () => {
    const key = { id: "first", secret: "ADMIN_KEY" };
    const at = await start({ gateway: { operator_keys: [{ ...key, not_after: "2020-01-01T00:00:00Z" }] } });
    assert.equal((await at.api("GET")).status, 401);
  });
});

describe("the cron", () => {
  test("says in the log how many letters there are, how many wait, and since when", async () => {
    const at = await start();
    const tick = async () => {
      const before = at.records("dead_letters").length;
      assert.equal((await at.worker.cron()).outcome, "ok");
      await until(() => at.records("dead_letters").length > before, { what: "the record" });
      const { duration_ms, store_calls, rows_read, rows_written, ...record } = at.records("dead_letters").at(-1);
      return record;
    };
    assert.deepEqual(await tick(), { level: "info", code: "dead_letters", dead_letters: 0, waiting: 0 });
    const { id } = await lost(at);
    await sleep(1100);
    await lost(at);
    const { oldest_age_seconds, ...some } = await tick();
    assert.deepEqual(some, { level: "error", code: "dead_letters", dead_letters: 2, waiting: 2 });
    assert.ok(oldest_age_seconds >= 1 && oldest_age_seconds < 20, `${oldest_age_seconds}`);
    origin.clear();
    assert.equal((await at.api("POST", "/redeliver")).redelivered.length, 2);
    assert.deepEqual(await tick(), { level: "info", code: "dead_letters", dead_letters: 2, waiting: 0 });
    await at.api("DELETE", `/${id}`);
    assert.equal((await tick()).dead_letters, 1);
  });

  test("sends an alert, signed, while letters wait; one that isn't taken is said to be so", async () => {
    const alert = { url: `http://127.0.0.1:${origin.port}/alert`, keys: [{ id: "first", secret: "SIGNING_KEY" }] };
    const at = await start({ gateway: { alert } });
    const alerts = () => origin.received.filter(({ url }) => url === "/alert");
    const tick = async () => {
      const before = at.records("dead_letters").length;
      await at.worker.cron();
      await until(() => at.records("dead_letters").length > before, { what: "the record" });
      return at.records("dead_letters").at(-1).alert;
    };
    assert.equal(await tick(), undefined);
    assert.equal(alerts().length, 0);
    await lost(at);
    assert.equal(await tick(), "sent");
    const [{ method, headers, body, event: said }, ...more] = alerts();
    assert.equal(more.length, 0);
    assert.deepEqual([method, headers["content-type"]], ["POST", "application/json"]);
    assert.deepEqual(new Webhook(SIGNING_KEY).verify(body, headers), said);
    assert.throws(() => new Webhook(NEXT_SIGNING_KEY).verify(body, headers), WebhookVerificationError);
    const { oldest_age_seconds, ...rest } = said;
    assert.deepEqual(rest, { code: "dead_letters", dead_letters: 1, waiting: 1 });
    assert.ok(oldest_age_seconds >= 0);
    origin.rule({ status: 500, when: ({ url }) => url === "/alert" });
    assert.equal(await tick(), "failed");
    assert.equal(alerts().length, 2);
  });
});
