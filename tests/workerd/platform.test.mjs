// The harness itself: KV, queues and rate limits for the Worker in workerd, the faults that tests can order, and that all of it outlives a killed gateway.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { sleep, startWorkerd, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const entry = join(import.meta.dirname, "entries/platform.mjs");
const start = (state) => startWorkerd({ vars: {}, bundle: "entry", entry, platform, state });

let platform;
let worker;

before(async () => {
  platform = await startPlatform({ queues: { "rxgate-deliveries": { maxRetries: 4 } }, rateLimits: { FAILED_AUTHENTICATIONS: { limit: 3, period: 60 } } });
  worker = await start();
});

afterEach(() => platform.clearFaults());

after(async () => {
  await worker?.kill();
  await platform?.close();
});

async function ask(method, path, body) {
  const answer = await fetch(`${worker.url}/${path}`, { method, body });
  return { status: answer.status, ...(await answer.json()) };
}
const put = (key, value) => ask("PUT", `kv/${key}`, value);
const get = async (key) => {
  const answer = await ask("GET", `kv/${key}`);
  return answer.error ?? answer.value;
};
const seen = (body) => worker.records().filter((record) => record.body === body);

test("KV keeps a value with its metadata and expiry, on disk", async () => {
  const key = unique("key");
  assert.equal(await get(key), null);
  assert.deepEqual(await put(key, "a value that is on disk"), { status: 200 });
  const { whole } = await ask("GET", `kv/${key}`);
  assert.deepEqual([whole.value, whole.metadata], ["a value that is on disk", { a: 1 }]);
  assert.ok(platform.files().some((path) => readFileSync(path).includes("a value that is on disk")));
  const [{ name, expiration }] = await platform.kv.list(key);
  assert.equal(name, key);
  assert.ok(Math.abs(expiration - Date.now() / 1000 - 3600) < 10);
  await ask("DELETE", `kv/${key}`);
  assert.equal(await platform.kv.get(key), null);
});

test("KV operations are counted by kind", async () => {
  platform.resetCounts();
  const key = unique("key");
  await put(key, "1");
  await ask("GET", `kv/${key}`);
  await ask("DELETE", `kv/${key}`);
  assert.deepEqual(platform.counts().kv, { reads: 2, writes: 1, deletes: 1, lists: 0 });
});

test("a put that fails before it is applied leaves nothing, one that fails after leaves the value", async () => {
  const key = unique("key");
  const fault = platform.fault({ on: "kv.put", key, how: "fail", times: 1 });
  assert.match((await put(key, "1")).error, /500/);
  assert.equal(fault.hits, 1);
  assert.equal(await get(key), null);
  platform.fault({ on: "kv.put", key, how: "fail_after", times: 1 });
  assert.match((await put(key, "2")).error, /500/);
  assert.equal(await get(key), "2");
});

test("a get or put may be told to come back later, be slow, fail for one key only", async () => {
  const key = unique("key");
  platform.fault({ on: "kv", key: /^key_/, how: "rate_limited", times: 1 });
  assert.match((await put(key, "1")).error, /429/);
  await put(key, "1");
  platform.fault({ on: "kv.get", key, how: "fail" });
  assert.match(await get(key), /500/);
  assert.equal(await get(unique("other")), null);
  platform.clearFaults();
  platform.fault({ on: "kv.get", how: { delay: 300 }, times: 1 });
  const began = Date.now();
  assert.equal(await get(key), "1");
  assert.ok(Date.now() - began >= 300);
});

test("a hung get has no answer until the faults are cleared, then the connection breaks", async () => {
  platform.fault({ on: "kv.get", how: "hang", times: 1 });
  const answer = get("any");
  assert.equal(await Promise.race([answer, sleep(200)]), undefined);
  platform.clearFaults();
  assert.match(await answer, /connection/i);
});

test("while gets are stale they answer what was there before", async () => {
  const key = unique("key");
  platform.fault({ on: "kv.get", how: { stale: 400 } });
  await put(key, "1");
  assert.equal(await get(key), null);
  await put(key, "2");
  assert.equal(await get(key), null);
  assert.equal(await platform.kv.get(key).then(String), "2");
  await sleep(400);
  assert.equal(await get(key), "2");
});

test("a misspelt fault is refused", () => {
  assert.throws(() => platform.fault({ on: "kv.gets", how: "fail" }), /no such fault/);
  assert.throws(() => platform.fault({ on: "kv.get", how: "twice" }), /no such fault/);
  assert.throws(() => platform.fault({ on: "queue.send", how: { stale: 1 } }), /no such fault/);
});

test("text and bytes reach the handler with id, timestamp and attempts, and are counted and kept", async () => {
  platform.resetCounts();
  const body = unique("text");
  await ask("POST", "text/DELIVERIES", body);
  await ask("POST", "bytes/DELIVERIES", Buffer.from([0, 255, 128, 1]));
  await platform.idle();
  await until(() => seen(body).length === 1 && seen("0,255,128,1").length === 1);
  const [record] = seen(body);
  assert.deepEqual([record.queue, record.attempts, record.bytes], ["rxgate-deliveries", 1, false]);
  assert.match(record.id, /^[0-9a-f]{32}$/);
  assert.ok(record.age >= -5 && record.age < 1000, `${record.age} ms old`);
  assert.equal(seen("0,255,128,1")[0].bytes, true);
  const { sends, sentBytes, deliveries, acks, retries } = platform.counts().queues["rxgate-deliveries"];
  assert.deepEqual([sends, sentBytes, deliveries, acks, retries], [2, body.length + 4, 2, 2, 0]);
  const last = platform.messages()["rxgate-deliveries"].at(-1);
  assert.deepEqual([last.contentType, [...last.body]], ["bytes", [0, 255, 128, 1]]);
});

test("a retry comes after its delay by the queue's clock, and the message has aged by it", async () => {
  const body = `retry 1 ${unique("retry")}`;
  await ask("POST", "text/DELIVERIES", body);
  await platform.idle();
  await until(() => seen(body).length === 1);
  const { id } = seen(body)[0];
  assert.deepEqual(
    platform.retries().filter(({ messageId }) => messageId === id),
    [{ queue: "rxgate-deliveries", messageId: id, attempts: 1, delaySeconds: 3600, last: false }],
  );
  await platform.advance("rxgate-deliveries", 3590_000);
  await platform.idle();
  assert.equal(seen(body).length, 1);
  await platform.advance("rxgate-deliveries", 10_000);
  await until(() => seen(body).length === 2);
  const again = seen(body)[1];
  assert.deepEqual([again.id, again.attempts], [id, 2]);
  assert.ok(again.age >= 3600_000 && again.age < 3610_000, `${again.age} ms old`);
});

test("delays pass by themselves too: of a retry and of a send", async () => {
  const soon = `soon ${unique("soon")}`;
  const later = unique("later");
  await ask("POST", "text/DELIVERIES/1", later);
  await ask("POST", "text/DELIVERIES", soon);
  const began = Date.now();
  await until(() => seen(soon).length === 2 && seen(later).length === 1);
  const took = Date.now() - began;
  assert.ok(took >= 900 && took < 2500, `${took} ms`);
});

test("a message that was acked isn't retried though the handler failed, the others are", async () => {
  const acked = `ack ${unique("ack")}`;
  platform.fault({ on: "queue.deliver", how: { delay: 100 }, times: 1 });
  await ask("POST", "text/DELIVERIES", unique("first"));
  await ask("POST", "batch/DELIVERIES", JSON.stringify(["throw", acked]));
  await until(() => seen("throw").length === 2);
  await platform.idle();
  assert.deepEqual([seen("throw").length, seen(acked).length], [2, 1]);
});

test("a message may be delivered twice, one after the other or at once", async () => {
  for (const how of ["twice", "at_once"]) {
    const body = unique(how);
    platform.fault({ on: "queue.deliver", how, times: 1 });
    await ask("POST", "text/DELIVERIES", body);
    await platform.idle();
    await until(() => seen(body).length === 2);
    const [first, second] = seen(body);
    assert.deepEqual([first.id, first.attempts], [second.id, second.attempts]);
  }
});

test("a delivery whose acks are lost comes again", async () => {
  const body = unique("lost");
  platform.fault({ on: "queue.deliver", queue: "rxgate-deliveries", how: "fail_after", times: 1 });
  await ask("POST", "text/DELIVERIES", body);
  await until(() => seen(body).length === 2);
  assert.deepEqual(seen(body).map(({ attempts }) => attempts), [1, 2]);
});

test("a message goes to the dead-letter queue after the last retry, with its id", async () => {
  const body = `fail ${unique("dead")}`;
  await ask("POST", "text/DELIVERIES", body);
  await until(() => seen(body).some(({ queue }) => queue === "rxgate-dead-letters"));
  const records = seen(body).slice(0, 6);
  assert.deepEqual(records.map(({ queue, attempts }) => [queue, attempts]), [
    ...[1, 2, 3, 4, 5].map((attempt) => ["rxgate-deliveries", attempt]),
    ["rxgate-dead-letters", 1],
  ]);
  assert.equal(new Set(records.map(({ id }) => id)).size, 1);
});

test("a send that fails before it is applied enqueues nothing, one that fails after enqueues", async () => {
  const [lost, kept, unsure] = [unique("lost"), unique("kept"), unique("unsure")];
  platform.fault({ on: "queue.send", queue: "rxgate-deliveries", how: "fail", times: 1 });
  assert.equal((await ask("POST", "text/DELIVERIES", lost)).status, 500);
  platform.fault({ on: "queue.send", how: "fail_after", times: 1 });
  assert.equal((await ask("POST", "text/DELIVERIES", unsure)).status, 500);
  await ask("POST", "text/DELIVERIES", kept);
  await until(() => seen(kept).length === 1 && seen(unsure).length === 1);
  assert.equal(seen(lost).length, 0);
});

test("the customer's queue is consumed by the test", async () => {
  const body = unique("event");
  await ask("POST", "text/EVENTS", body);
  await ask("POST", "bytes/EVENTS", Buffer.from([7, 8]));
  await platform.idle();
  const [first, second] = platform.consumed("clinic-events");
  assert.deepEqual([first.body, first.attempts], [body, 1]);
  assert.deepEqual(second.body, Buffer.from([7, 8]));
  assert.ok(Math.abs(first.timestamp - Date.now()) < 2000);
});

test("a test may hand messages to the handler itself", async () => {
  const result = await worker.queue("rxgate-deliveries", [
    { id: "a", body: "plain" },
    { id: "b", body: "retry 3", attempts: 2 },
    { id: "c", body: Buffer.from([1]) },
  ]);
  assert.deepEqual(result, { outcome: "ok", acks: ["a", "c"], retries: [{ id: "b", delaySeconds: 3600 }] });
  const failed = await worker.queue("rxgate-deliveries", [{ id: "a", body: "throw" }]);
  assert.deepEqual(failed, { outcome: "exception", acks: [], retries: [{ id: "a", delaySeconds: undefined }] });
});

test("a test may run the scheduled handler", async () => {
  assert.deepEqual(await worker.cron({ cron: "*/5 * * * *", at: 1_790_000_000_000 }), { outcome: "ok" });
  assert.equal(String(await platform.kv.get("cron")), "*/5 * * * * 1790000000000");
});

test("the rate limit holds for each key, and may be ordered", async () => {
  const [key, other] = [unique("ip"), unique("ip")];
  // Its minute begins with the clock's: one that is about to end would count anew.
  if (Date.now() % 60_000 > 59_000) await sleep(1100);
  const answers = [];
  for (let time = 0; time < 4; time += 1) answers.push((await ask("GET", `limit/${key}`)).success);
  assert.deepEqual(answers, [true, true, true, false]);
  assert.equal((await ask("GET", `limit/${other}`)).success, true);
  platform.fault({ on: "ratelimit", how: "limited", times: 1 });
  assert.equal((await ask("GET", `limit/${other}`)).success, false);
  platform.fault({ on: "ratelimit", how: "fail", times: 1 });
  assert.equal((await ask("GET", `limit/${other}`)).status, 500);
});

test("what is in KV and queues outlives a gateway that is killed in the middle of a batch", async () => {
  const [key, slow, waiting] = [unique("key"), `slow 2000 ${unique("slow")}`, unique("waiting")];
  await put(key, "1");
  await ask("POST", "text/DELIVERIES", slow);
  await until(() => seen(slow).length === 1);
  await ask("POST", "text/DELIVERIES", waiting);
  const { id } = seen(slow)[0];
  const { state } = worker;
  await worker.kill();
  await until(() => platform.retries().some(({ messageId }) => messageId === id));
  worker = await start(state);
  assert.equal(await get(key), "1");
  await until(() => seen(slow).length === 1 && seen(waiting).length === 1);
  // The one that was cut off counts; and so does one more if the process that was dying still took its connection.
  const attempts = (text) => seen(text)[0].attempts;
  assert.equal(seen(slow)[0].id, id);
  assert.ok([2, 3].includes(attempts(slow)), `${attempts(slow)} attempts`);
  assert.ok([1, 2].includes(attempts(waiting)), `${attempts(waiting)} attempts`);
  await platform.idle();
});

test("a batch waits for more as long as its queue says, and a gateway that isn't there counts as a failed attempt if nothing is to wait for it", async () => {
  const other = await startPlatform({
    waitForGateway: 0,
    queues: {
      "clinic-events": { maxBatchSize: 3, maxBatchTimeout: 1 },
      "rxgate-deliveries": { maxRetries: 2, retryDelay: 60 },
      "rxgate-dead-letters": { consumer: "test" },
    },
  });
  let gateway;
  try {
    gateway = await startWorkerd({ vars: {}, bundle: "entry", entry, platform: other });
    const send = (queue, body) => fetch(`${gateway.url}/text/${queue}`, { method: "POST", body }).then((answer) => answer.json());
    const began = Date.now();
    for (const body of ["1", "2", "3", "4"]) await send("EVENTS", body);
    await until(() => other.consumed("clinic-events").length === 3);
    assert.ok(Date.now() - began < 900);
    await until(() => other.consumed("clinic-events").length === 4);
    assert.ok(Date.now() - began >= 900);
    assert.equal(other.counts().queues["clinic-events"].batches, 2);

    other.fault({ on: "queue.deliver", queue: "rxgate-deliveries", how: { delay: 300 }, times: 1 });
    await send("DELIVERIES", "nobody is there");
    await gateway.kill();
    await until(() => other.retries().length === 1);
    // By the queue's clock alone nothing comes before its delay.
    await other.idle();
    assert.equal(other.retries().length, 1);
    await other.advance("rxgate-deliveries", 60_000);
    await until(() => other.retries().length === 2);
    await other.advance("rxgate-deliveries", 60_000);
    await until(() => other.consumed("rxgate-dead-letters").length === 1);
    assert.deepEqual(other.retries().map(({ attempts, last }) => [attempts, last]), [[1, false], [2, false], [3, true]]);
    assert.equal(other.consumed("rxgate-dead-letters")[0].body, "nobody is there");
    assert.equal(other.counts().queues["rxgate-deliveries"].deadLettered, 1);
  } finally {
    await gateway?.kill();
    await other.close();
  }
});
