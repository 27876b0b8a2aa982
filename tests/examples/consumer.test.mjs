// The example consumer, in workerd, with real queues and KV, of what rxgate puts there. It needs the builds of the Worker.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { KEY, ROOT, SECRETS, SEAL_KEY, remove, settings, startWorkerd, temporary, unique } from "../workerd/harness.mjs";
import { startPlatform } from "../workerd/platform.mjs";

const THEIRS = "clinic-events";
const NEXT_SEAL_KEY = Buffer.from("rxgate-seal-key-for-the-tests-02").toString("base64");
const states = [temporary(), temporary()];
const running = [];
let platform;

before(async () => {
  platform = await startPlatform({ queues: { [THEIRS]: { consumer: "gateway" } } });
});

after(async () => {
  for (const worker of running) await worker.kill();
  states.forEach(remove);
  await platform?.close();
});

async function start(options) {
  const worker = await startWorkerd({ platform, ...options });
  running.push(worker);
  return worker;
}

const startGateway = (seal_keys = [{ id: "first", secret: "SEAL_KEY" }]) => {
  const more = { DESTINATION_EVENTS: { queue: "EVENTS" } };
  const source = { destination: "events", max_body_bytes: 1024 * 1024 };
  return start({ vars: settings(1, { gateway: { seal_keys }, source, more }), secrets: { ...SECRETS, NEXT_SEAL_KEY }, state: states[0] });
};

const startConsumer = (keys) =>
  start({
    vars: { SEAL_KEYS: keys },
    secrets: { SEAL_KEY, NEXT_SEAL_KEY },
    bundle: "entry",
    entry: join(ROOT, "tests/workerd/entries/consumer.mjs"),
    imports: [join(ROOT, "examples/consumer/consumer.mjs")],
    state: states[1],
  });

const dispense = (bytes = 0) => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), posology: "ñ".repeat(bytes / 2) } });
const rowsOf = async (worker, event) => (await (await fetch(worker.url)).json()).filter(({ id }) => id === event.id);

async function send(gateway, event) {
  const { code } = await osigu.send(gateway.hook, event.body, { key: KEY });
  assert.equal(code, "enqueued");
}

test("keeps each event once: small ones, large ones, and one that comes twice", async () => {
  const gateway = await startGateway();
  const consumer = await startConsumer([{ id: "first", secret: "SEAL_KEY" }]);
  const events = [dispense(), dispense(60_000), dispense(300_000), dispense(900_000)];
  platform.fault({ on: "queue.deliver", queue: THEIRS, how: "twice", times: 2 });
  for (const event of events) await send(gateway, event);
  await platform.idle();
  for (const event of events) {
    const [row, ...more] = await rowsOf(consumer, event);
    assert.equal(more.length, 0);
    assert.deepEqual([row.source, row.type], ["/sources/osigu", "rx.dispense.completed"]);
    assert.match(row.sequence, /^\d{16}$/);
    assert.ok(Buffer.from(row.body).includes(event.body), "the sender's bytes are in it");
  }
  // The large ones did travel by reference.
  const bytes = platform.messages()[THEIRS].map(({ body }) => body.length);
  assert.deepEqual(bytes.map((length) => length < 1000), [false, false, true, true], `${bytes}`);
  assert.equal((await platform.kv.list("body/")).length, 2);
  const { deliveries, sends } = platform.counts().queues[THEIRS];
  assert.ok(deliveries > sends, "some came twice");
});

test("opens what an earlier key sealed, as long as it has that key; without it, or without the body, the message stays", async () => {
  const event = dispense(200_000);
  const gateway = await startGateway();
  let consumer = await startConsumer([{ id: "next", secret: "NEXT_SEAL_KEY" }]);
  await send(gateway, event);
  await platform.idle();
  assert.deepEqual(await rowsOf(consumer, event), []);
  assert.equal(platform.retries().at(-1).delaySeconds, 60);
  const both = [{ id: "next", secret: "NEXT_SEAL_KEY" }, { id: "first", secret: "SEAL_KEY" }];
  await consumer.kill();
  consumer = await startConsumer(both);
  const missing = platform.fault({ on: "kv.get", key: /^body\//, how: "fail" });
  await platform.advance(THEIRS, 60_000);
  await platform.idle();
  assert.ok(missing.hits > 0);
  assert.deepEqual(await rowsOf(consumer, event), []);
  missing.clear();
  await platform.advance(THEIRS, 60_000);
  await platform.idle();
  assert.equal((await rowsOf(consumer, event)).length, 1);
  // And what the next key seals.
  const rotated = await startGateway(both);
  consumer = await startConsumer(both);
  const later = dispense(200_000);
  await send(rotated, later);
  await platform.idle();
  assert.equal((await rowsOf(consumer, later)).length, 1);
});

test("doesn't keep what was changed on its way", async () => {
  const gateway = await startGateway();
  const consumer = await startConsumer([{ id: "first", secret: "SEAL_KEY" }]);
  const event = dispense(200_000);
  platform.fault({ on: "queue.deliver", queue: THEIRS, how: "hang" });
  await send(gateway, event);
  const { key } = JSON.parse(platform.messages()[THEIRS].at(-1).body);
  const sealed = await platform.kv.get(key);
  const changed = Buffer.from(sealed);
  changed[changed.length - 20] ^= 1;
  await platform.kv.put(key, changed);
  platform.clearFaults();
  await platform.advance(THEIRS, 1000);
  await platform.idle();
  assert.deepEqual(await rowsOf(consumer, event), []);
  // With the hash of the change as well, the seal itself still holds.
  const reference = { ...JSON.parse(platform.messages()[THEIRS].at(-1).body), hash: `sha256:${createHash("sha256").update(changed).digest("hex")}` };
  const { acks, retries } = await consumer.queue(THEIRS, [{ body: JSON.stringify(reference) }]);
  assert.deepEqual([acks, retries.length], [[], 1]);
  assert.deepEqual(await rowsOf(consumer, event), []);
  await platform.kv.put(key, sealed);
  await platform.advance(THEIRS, 60_000);
  await platform.idle();
  assert.equal((await rowsOf(consumer, event)).length, 1);
});
