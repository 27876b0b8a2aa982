// The host's HMAC for what is long: the same answers and the same signatures with it, without it, and where it fails.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Webhook } from "standardwebhooks";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, NEXT_KEY, SECRETS, SIGNING_KEY, settings, startWorkerd, unique } from "./harness.mjs";

/// Of what is hashed: the host is asked from here on. See `auth/host.rs`.
const LEAST_BYTES = 4096;
/// In front of the body, `t` and a dot.
const FRONT = `${osigu.seconds()}.`.length;
const SIZES = [1000, 4031, 4032, 4095, 4096, 4097, 4159, 4160, 70_000, 250_000];

const entry = join(import.meta.dirname, "entries/host.mjs");
let origin;
const workers = {};

before(async () => {
  origin = await startOrigin();
  for (const host of ["there", "absent", "failing"]) {
    workers[host] = await startWorkerd({ vars: settings(origin.port), secrets: { ...SECRETS, HOST: host }, bundle: "test-hooks", entry });
  }
});

after(async () => {
  for (const worker of Object.values(workers)) await worker.kill();
  await origin?.close();
});

/// An event of which so many bytes are hashed.
function dispense(size) {
  const event = (posology) => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), note: posology } });
  const room = size - FRONT - event("").body.length;
  const made = event("x".repeat(room));
  assert.equal(made.body.length + FRONT, size);
  return made;
}

for (const host of ["there", "absent", "failing"]) {
  test(`an HMAC of the host's that is ${host}: what is authentic is delivered, signed, and nothing else is taken`, async () => {
    const worker = workers[host];
    const made = async () => (await fetch(`${worker.url}/made`)).json();
    for (const size of SIZES) {
      const { id, body } = dispense(size);
      const before = await made();
      const code = async (body, options) => (await osigu.send(worker.hook, body, { key: KEY, ...options })).code;
      assert.equal(await code(body, { key: NEXT_KEY }), "signature_mismatch", String(size));
      assert.equal(await code(`${body} `, { header: osigu.signatureHeader(KEY, body) }), "signature_mismatch", String(size));
      const forged = await made();
      assert.equal(forged - before, host === "absent" ? 0 : Number(size >= LEAST_BYTES) + Number(size + 1 >= LEAST_BYTES), String(size));
      assert.equal(await code(body), "delivered", String(size));
      assert.equal(await code(body), "duplicate", String(size));
      const [{ headers, body: delivered }, ...more] = origin.of(id);
      assert.equal(more.length, 0);
      assert.equal(new Webhook(SIGNING_KEY).verify(delivered.toString(), headers).id, id);
    }
  });
}
