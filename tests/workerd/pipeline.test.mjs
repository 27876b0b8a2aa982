// One event through the real Worker.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, settings, startWorkerd } from "./harness.mjs";

let origin;
let worker;

before(async () => {
  origin = await startOrigin();
  worker = await startWorkerd({ vars: settings(origin.port) });
});

after(async () => {
  await worker.kill();
  await origin.close();
});

test("a signed event is delivered once, and its resend is a duplicate", async () => {
  const event = osigu.event("dispensing.completed");
  const first = await osigu.send(worker.hook, event.body, { key: KEY });
  assert.deepEqual([first.status, first.code, first.eventId], [200, "delivered", event.id]);
  const second = await osigu.send(worker.hook, event.body, { key: KEY });
  assert.deepEqual([second.status, second.code, second.eventId], [200, "duplicate", event.id]);
  const [delivery, ...more] = origin.of(event.id);
  assert.equal(more.length, 0);
  assert.equal(delivery.headers["content-type"], "application/cloudevents+json");
  assert.equal(delivery.event.data.total.amount, "375.00");
  assert.ok(delivery.body.includes(event.body), "the sender's bytes are in the event");
});
