// Events that are too large for a message go by KV, sealed, and the message says where. The origin's own log, the queue's and KV's are the count.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { ADMIN_KEY, KEY, remove, settings, startWorkerd, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const OURS = "rxgate-deliveries";
const LETTERS = "rxgate-dead-letters";
const THEIRS = "clinic-events";
const MIB = 1024 * 1024;
const DAY = 24 * 3600;

let origin;
let platform;
let worker;

before(async () => {
  origin = await startOrigin();
  platform = await startPlatform();
  const { SOURCE_OSIGU, DESTINATION_LOCAL } = settings(origin.port);
  const source = { max_body_bytes: MIB };
  const more = {
    SOURCE_EVENTS: { ...SOURCE_OSIGU, ...source, destination: "events" },
    SOURCE_QUEUED: { ...SOURCE_OSIGU, ...source, destination: "queued" },
    DESTINATION_EVENTS: { queue: "EVENTS" },
    DESTINATION_QUEUED: { ...DESTINATION_LOCAL, delivery: "queue" },
  };
  worker = await startWorkerd({ vars: settings(origin.port, { source, more }), platform });
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

/// An event of exactly so many bytes.
function eventOf(bytes) {
  const make = (length) => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), posology: "x".repeat(length) } });
  return make(bytes - make(0).body.length);
}

const send = (event, source = "osigu") => osigu.send(`${worker.url}/hooks/${source}`, event.body, { key: KEY });
const webhookId = (event, source = "osigu") => `evt_${createHash("sha256").update(`${source}\0${event.id}`).digest("base64url")}`;
const records = (event, source) => worker.records().filter(({ webhook_id }) => webhook_id === webhookId(event, source));
const down = (event) => origin.rule({ status: 503, once: false, when: (entry) => entry.event?.id === event.id });
const lastSent = (queue) => platform.messages()[queue].at(-1);
const bodies = () => platform.kv.list("body/");

async function pass(seconds, queue = OURS) {
  await platform.advance(queue, seconds * 1000);
  await platform.idle();
}

describe("our own queue", () => {
  for (const bytes of [119_000, 300_000, MIB]) {
    const byReference = bytes > 120_000;
    test(`takes an event of ${bytes} bytes ${byReference ? "by reference" : "whole"}, and delivers it`, async () => {
      for (const source of ["osigu", "queued"]) {
        const event = eventOf(bytes);
        if (source === "osigu") down(event);
        const before = await bodies();
        assert.equal((await send(event, source)).code, "enqueued");
        const { body } = lastSent(OURS);
        assert.ok(body.length < 128_000 && body.length < 300 === byReference, `${body.length} bytes`);
        const written = (await bodies()).filter(({ name }) => !before.some((other) => other.name === name));
        assert.equal(written.length, byReference ? 1 : 0);
        for (const { name, expiration } of written) {
          const sealed = await platform.kv.get(name);
          assert.equal(name, `body/${createHash("sha256").update(sealed).digest("hex")}`);
          assert.ok(sealed.length > bytes && !sealed.includes("posology") && !sealed.includes(event.id));
          // For as long as any queue may have the message, and the dead letters after that.
          const days = (expiration - Date.now() / 1000) / DAY;
          assert.ok(days > 57.9 && days < 58.1, `${days} days`);
        }
        origin.clear();
        await pass(5);
        const { event: delivered, body: got } = origin.of(event.id).at(-1);
        assert.ok(got.includes(event.body), "byte for byte");
        assert.match(delivered.sequence, /^\d{16}$/);
        assert.equal(origin.of(event.id).length, source === "osigu" ? 2 : 1);
        assert.equal((await send(event, source)).code, "duplicate");
      }
    });
  }

  test("tries again after a minute where KV doesn't have the body yet, fails or hangs, and then delivers", async () => {
    const event = eventOf(300_000);
    const before = platform.retries().length;
    const faults = [{ stale: 60_000 }, "fail", "rate_limited", "hang"];
    const stale = platform.fault({ on: "kv.get", how: faults[0], key: /^body\// });
    assert.equal((await send(event, "queued")).code, "enqueued");
    await platform.idle();
    assert.equal(stale.hits, 1);
    stale.clear();
    for (const how of faults.slice(1)) {
      const fault = platform.fault({ on: "kv.get", how, key: /^body\// });
      await pass(60);
      assert.equal(fault.hits, 1, how);
      platform.clearFaults();
    }
    assert.equal(origin.of(event.id).length, 0);
    const retried = platform.retries().slice(before);
    assert.equal(retried.length, faults.length);
    for (const { delaySeconds } of retried) assert.ok(delaySeconds >= 60, `${delaySeconds} s`);
    const missing = worker.records().filter(({ code }) => code === "body_missing");
    assert.deepEqual(missing.map(({ level, attempt }) => [level, attempt]), [["error", 1], ["error", 2], ["error", 3], ["error", 4]]);
    await pass(60);
    assert.equal(origin.of(event.id).length, 1);
    assert.ok(records(event, "queued").some(({ code, attempt }) => code === "delivered" && attempt === 5));
  });

  test("isn't left by a message whose body is gone: it becomes a dead letter as it is", async () => {
    const event = eventOf(300_000);
    const before = await bodies();
    down(event);
    assert.equal((await send(event)).code, "enqueued");
    const [{ name }] = (await bodies()).filter((body) => !before.some((other) => other.name === body.name));
    const sealed = await platform.kv.get(name);
    await platform.kv.delete(name);
    const { body } = lastSent(OURS);
    for (const attempts of [1, 95]) {
      const { acks, retries } = await worker.queue(OURS, [{ body, attempts }]);
      assert.deepEqual([acks, retries.length], [[], 1]);
      assert.ok(retries[0].delaySeconds >= 60);
    }
    const letters = () => worker.records().filter(({ code }) => code === "dead_letter_kept").length;
    const kept = letters();
    assert.equal((await worker.queue(OURS, [{ body, attempts: 96 }])).acks.length, 1);
    // The consumer of dead letters finds it there again: nothing is lost while anything may come back.
    await platform.kv.put(name, sealed);
    await pass(60, LETTERS);
    await until(() => letters() === kept + 1, { what: "the letter" });
    assert.ok(records(event).some(({ code, reason }) => code === "dead_letter_kept" && reason === "attempts_used_up"));
    origin.clear();
    await pass(60);
  });

  for (const how of ["fail", "rate_limited", "hang"]) {
    test(`isn't told of a body that KV doesn't take (${how}), and the sender isn't told that all is well`, async () => {
      for (const [source, code, status] of [["queued", "enqueue_failed", 503], ["osigu", "delivery_failed", 502]]) {
        const event = eventOf(300_000);
        down(event);
        const before = platform.messages()[OURS].length;
        const fault = platform.fault({ on: "kv.put", how, key: /^body\// });
        const answer = await send(event, source);
        assert.deepEqual([answer.status, answer.code], [status, code]);
        assert.ok(fault.hits > 0);
        assert.equal(platform.messages()[OURS].length, before);
        platform.clearFaults();
        origin.clear();
        assert.ok(["delivered", "enqueued"].includes((await send(event, source)).code));
        await platform.idle();
        assert.equal(origin.of(event.id).length, source === "queued" ? 1 : 2);
      }
    });
  }
});

describe("a customer's queue", () => {
  test("gets a reference: where the sealed event is, the hash of what is there, and the id that names the event", async () => {
    const event = eventOf(300_000);
    assert.equal((await send(event, "events")).code, "enqueued");
    await platform.idle();
    const { body } = platform.consumed(THEIRS).at(-1);
    const { key, hash, ...rest } = JSON.parse(body);
    assert.deepEqual(rest, { rxgate: "reference", namespace: "KV", webhook_id: webhookId(event, "events") });
    const sealed = await platform.kv.get(key);
    assert.equal(hash, `sha256:${createHash("sha256").update(sealed).digest("hex")}`);
    assert.ok(!sealed.includes(event.id));
    assert.equal((await send(event, "events")).code, "duplicate");
  });

  test("gets nothing, and the sender no 2xx, where KV doesn't take the body; the resend does it", async () => {
    for (const how of ["fail", "fail_after", "hang"]) {
      const event = eventOf(MIB);
      const before = platform.messages()[THEIRS].length;
      platform.fault({ on: "kv.put", how, key: /^body\// });
      const answer = await send(event, "events");
      assert.deepEqual([answer.status, answer.code, answer.retryAfter], [503, "enqueue_failed", "5"], how);
      assert.equal(platform.messages()[THEIRS].length, before);
      platform.clearFaults();
      assert.equal((await send(event, "events")).code, "enqueued");
      assert.equal(platform.messages()[THEIRS].length, before + 1);
    }
  });
});

test("a dead letter of 1 MiB goes by reference as well, is kept whole, and can be read", async () => {
  const event = eventOf(MIB);
  origin.rule({ status: 422, when: (entry) => entry.event?.id === event.id });
  assert.equal((await send(event)).code, "dead_lettered");
  assert.ok(lastSent(LETTERS).body.length < 300);
  await platform.idle();
  const kept = records(event).find(({ code }) => code === "dead_letter_kept");
  assert.ok(kept, worker.output().slice(-2000));
  const answer = await fetch(`${worker.url}/v1/dead-letters/${kept.dead_letter}`, { headers: { authorization: `Bearer ${ADMIN_KEY}` } });
  const letter = await answer.json();
  assert.deepEqual([answer.status, letter.code, letter.readable, letter.body_bytes], [200, "dead_letter_read", true, event.body.length]);
  assert.equal(letter.body, event.body.toString());
});
