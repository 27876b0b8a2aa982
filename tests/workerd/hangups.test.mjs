// Senders that announce a body and hang up must not use up the room that others need.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, settings, startWorkerd } from "./harness.mjs";

let origin;
let worker;

before(async () => {
  origin = await startOrigin();
  worker = await startWorkerd({ vars: settings(origin.port, { source: { max_body_bytes: 1048576 } }) });
});

after(async () => {
  await worker?.kill();
  await origin?.close();
});

/// Announces 1 MiB, sends a little of it, and hangs up.
function hangUp() {
  return new Promise((resolve, reject) => {
    const socket = connect(worker.port, "127.0.0.1", () => {
      socket.write(
        "POST /hooks/osigu HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-osigu-signature: t=1,v1=00\r\ncontent-length: 1048576\r\n\r\n{",
        () => setTimeout(() => socket.destroy(), 30),
      );
    });
    socket.on("close", resolve);
    socket.on("error", reject);
  });
}

test("a hundred senders that announce a body and hang up leave room for an authentic event", async () => {
  for (let round = 0; round < 4; round += 1) await Promise.all(Array.from({ length: 25 }, hangUp));
  const event = osigu.event("dispensing.completed");
  let answer = await osigu.send(worker.hook, event.body, { key: KEY });
  for (let tries = 0; answer.code === "overloaded" && tries < 20; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    answer = await osigu.send(worker.hook, event.body, { key: KEY });
  }
  assert.deepEqual([answer.status, answer.code], [200, "delivered"]);
  assert.equal(origin.of(event.id).length, 1);
});
