// The Worker in JavaScript that rxgate is measured beside does the same job: what is refused, delivered once, and put off is the same, and the origin gets the same event.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { Webhook } from "standardwebhooks";
import { bodies, onTheWire, signature } from "../../benches/lib/events.mjs";
import { startContender } from "../../benches/lib/contenders.mjs";
import { load } from "../../benches/lib/generator.mjs";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, NEXT_KEY, SIGNING_KEY, unique, until } from "../workerd/harness.mjs";

let origin;
const workers = {};

before(async () => {
  origin = await startOrigin();
  for (const name of ["rxgate", "js", "empty"]) workers[name] = await startContender(name, { originPort: origin.port, logs: true });
});

afterEach(() => origin.clear());

after(async () => {
  for (const worker of Object.values(workers)) await worker.stop();
  await origin.close();
});

const send = (worker, body, options) => osigu.send(worker.hook, body, { key: KEY, ...options });
const dispense = (type = "dispensing.completed", data = {}) =>
  osigu.event(type, { data: { dispensation_id: unique("dsp"), ...(type === "dispensing.completed" && { products: [], total_amount: 375.5 }), ...data } });

for (const name of ["rxgate", "js"]) {
  describe(name, () => {
    const ends = async (body, options) => {
      const { status, code, eventId } = await send(workers[name], body, options);
      return { status, code, eventId };
    };

    test("refuses what isn't signed, what is forged, and what is old", async () => {
      const { id, body } = dispense();
      const refused = (code) => ({ status: 401, code, eventId: undefined });
      assert.deepEqual(await ends(body, { header: null }), refused("signature_missing"));
      assert.deepEqual(await ends(body, { header: "t=1" }), refused("signature_malformed"));
      assert.deepEqual(await ends(body, { key: NEXT_KEY }), refused("signature_mismatch"));
      assert.equal((await ends(`${body} `, { header: osigu.signatureHeader(KEY, body) })).code, "signature_mismatch");
      assert.equal((await ends(body, { t: osigu.seconds() - 301 })).code, "timestamp_out_of_tolerance");
      assert.equal(origin.of(id).length, 0);
    });

    test("delivers an event, signed, and its resend not again", async () => {
      const { id, body } = dispense();
      assert.deepEqual(await ends(body), { status: 200, code: "delivered", eventId: id });
      assert.deepEqual(await ends(body), { status: 200, code: "duplicate", eventId: id });
      assert.equal(origin.of(id).length, 1);
      const [{ headers, body: delivered }] = origin.of(id);
      assert.equal(new Webhook(SIGNING_KEY).verify(delivered.toString(), headers).id, id);
    });

    test("delivers one of fifty at once", async () => {
      const { id, body } = dispense();
      origin.rule({ delay: 300 });
      const answers = await Promise.all(Array.from({ length: 50 }, () => ends(body)));
      assert.equal(answers.filter(({ code }) => code === "delivered").length, 1);
      for (const { code, status } of answers) assert.equal(status, { delivered: 200, duplicate: 200, in_flight: 503 }[code], code);
      assert.equal(origin.of(id).length, 1);
    });

    test("puts off what the origin doesn't take", async () => {
      const { id, body } = dispense();
      origin.rule({ status: 500 });
      assert.equal((await ends(body)).status, 200);
      assert.equal((await ends(body)).status, 200);
      await workers[name].platform.advance("rxgate-deliveries", 60_000);
      await until(() => origin.of(id).length === 2, { what: "the delivery by the queue" });
    });
  });
}

test("both hand over the same event, and the same words about its order", async () => {
  const data = { dispensation_id: unique("dsp") };
  const events = [
    dispense("dispensing.completed", data),
    dispense("dispensing.started", data),
    dispense("dispensing.cancelled", data),
    dispense("dispensing.started"),
    { body: bodies(700)() },
    { body: bodies(32 * 1024)() },
  ];
  const received = {};
  for (const name of ["js", "rxgate"]) {
    origin.received.splice(0);
    for (const { body } of events) await send(workers[name], body);
    received[name] = origin.received.map(({ event }) => event);
    const sequences = received[name].map(({ sequence }) => sequence);
    assert.deepEqual(sequences, [...new Set(sequences)].sort());
    for (const event of received[name]) {
      assert.match(event.sequence, /^\d{16}$/);
      delete event.sequence;
    }
  }
  assert.deepEqual(
    received.js.map(({ rxordering, data: { state } }) => [rxordering, state]),
    [["in_order", "redeemed"], ["superseded", "redeemed"], ["out_of_sequence", "redeemable"], ["in_order", "in_flight"], ["in_order", "redeemed"], ["in_order", "redeemed"]],
  );
  assert.deepEqual(received.js, received.rxgate);
});

test("the load generator counts what was answered, also by the empty Worker", async () => {
  for (const [name, answer] of Object.entries({ rxgate: "200 delivered", js: "200 delivered", empty: "200" })) {
    const { port } = workers[name];
    const body = bodies(700);
    const requests = Array.from({ length: 40 }, () => body()).map((body) => onTheWire(port, body, signature(KEY, body)));
    const taken = origin.received.length;
    const { answers, latencies } = await load({ port, connections: 4, requests });
    assert.deepEqual(answers, { [answer]: 40 });
    assert.ok(latencies.every((latency) => latency > 0));
    assert.equal(origin.received.length - taken, name === "empty" ? 0 : 40);
  }
});
