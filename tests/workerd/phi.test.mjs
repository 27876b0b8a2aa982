// Patient data on the way, in the real Worker: what reaches the origin of each event, redacted by one setting and by the other.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { textOf } from "../../examples/consumer/consumer.mjs";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { ADMIN_KEY, KEY, SEAL_KEY, SECRETS, remove, settings, startWorkerd, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const PHI_KEY = "canary-phi-key-0123456789abcdefghij";
const MIB = 1024 * 1024;

let origin;
let worker;

before(async () => {
  origin = await startOrigin();
  const sound = settings(origin.port);
  const more = {
    SOURCE_DROP: { ...sound.SOURCE_OSIGU, phi: "drop" },
    SOURCE_PSEUDONYM: { ...sound.SOURCE_OSIGU, phi: "pseudonym", phi_key: { secret: "PHI_KEY" }, max_body_bytes: MIB },
  };
  worker = await startWorkerd({ vars: { ...sound, ...more }, secrets: { ...SECRETS, PHI_KEY } });
});

after(async () => {
  await worker?.kill();
  await origin?.close();
});

const hook = (source) => `${worker.url}/hooks/${source}`;

/// What a pseudonym has to be.
function pseudonym(name, value) {
  const tag = createHmac("sha256", PHI_KEY).update(`${name}\0${value}`).digest();
  return `psn_${tag.subarray(0, 18).toString("base64url")}`;
}

/// Sends an event that the origin takes, and gives the bytes that it got.
async function deliver(source, event) {
  const answer = await osigu.send(hook(source), event.body, { key: KEY });
  assert.deepEqual([answer.status, answer.code], [200, "delivered"]);
  const { body } = origin.of(event.id).at(-1);
  return body.toString();
}

describe("patient data on the way", () => {
  for (const source of ["drop", "pseudonym"]) {
    test(`${source}: no event's patient data reaches the origin, nor the log`, async () => {
      const secrets = ["bnf_01HW8GQ", "AUTH-2026-001234", "MED-042", "1c/8h", "López", "Ana", "pat_01HX", "RX-2026-9182", "@example.com", "CMP-44120"];
      for (const type of Object.keys(osigu.DATA)) {
        // Each round has its own authorization: after its voided, a created would be withheld.
        const own = type.startsWith("authorization.") && type !== "authorization.rejected" ? { authorization_id: `auth_${source}` } : {};
        const plain = osigu.event(type, { data: own });
        const event = osigu.event(type, { data: { ...own, new_field: { Ana: ["López", 4711.5] } } });
        const passed = await deliver("osigu", plain);
        const redacted = await deliver(source, event);
        for (const secret of [...secrets, "4711.5"]) assert.ok(!redacted.includes(secret), `${type}: ${secret} in ${redacted}`);
        const { data } = JSON.parse(redacted);
        assert.equal(data.redacted, true);
        assert.equal(JSON.parse(redacted).dataschema, `${JSON.parse(passed).dataschema}:${source}`);
        assert.equal("new_field" in data.original.data, source === "pseudonym");
      }
      for (const secret of [...secrets, PHI_KEY]) assert.ok(!worker.output().includes(secret), secret);
    });
  }

  test("a pseudonym is the same in the canonical fields, in original and by node's own HMAC", async () => {
    const id = unique("dsp");
    const body = JSON.parse(await deliver("pseudonym", osigu.event("dispensing.completed", { data: { dispensation_id: id } })));
    assert.equal(body.subject, `dispense/${pseudonym("identifier", id)}`);
    assert.equal(body.data.patient.id, pseudonym("identifier", "bnf_01HW8GQ"));
    assert.equal(body.data.original.data.beneficiary_id, body.data.patient.id);
    assert.equal(body.data.items[0].quantity, pseudonym("clinical", "30"));
    assert.equal(body.data.total.amount, "375.00");
  });

  test("a dispensation is one entity, though its id never leaves the gateway", async () => {
    const data = { dispensation_id: unique("dsp") };
    const completed = osigu.event("dispensing.completed", { data });
    const started = osigu.event("dispensing.started", { data });
    await deliver("drop", completed);
    const late = JSON.parse(await deliver("drop", started));
    assert.equal(late.data.state, "redeemed");
    assert.equal(late.subject, undefined);
    const again = await osigu.send(hook("drop"), completed.body, { key: KEY });
    assert.equal(again.code, "duplicate");
  });

  test("a body full of numbers that nobody documents is delivered in time, cut to what is bounded", async () => {
    const event = osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), filler: Array(500_000).fill(0) } });
    assert.ok(event.body.length < MIB);
    const before = Date.now();
    const body = await deliver("pseudonym", event);
    const took = Date.now() - before;
    assert.equal(JSON.parse(body).data.original.data.filler.length, 65_536);
    assert.match(body, /"notes":\[\{"path":"original"/);
    // Some 160 ms where nothing else runs; Osigu waits for 10 s.
    assert.ok(took < 5_000, `${took} ms`);
  });
});

describe("patient data on its way through queues", () => {
  const [OURS, LETTERS, THEIRS] = ["rxgate-deliveries", "rxgate-dead-letters", "clinic-events"];
  const SECRET = ["López", "bnf_01HW8GQ", "MED-042", "AUTH-2026-001234"];
  let platform;
  let queueing;

  before(async () => {
    platform = await startPlatform();
    const { SOURCE_OSIGU, DESTINATION_LOCAL } = settings(origin.port);
    const source = (phi, destination) => ({ ...SOURCE_OSIGU, max_body_bytes: MIB, phi, ...(phi === "pseudonym" && { phi_key: { secret: "PHI_KEY" } }), destination });
    const sources = ["pass", "drop", "pseudonym"].flatMap((phi) => [
      [`SOURCE_${phi.toUpperCase()}_EVENTS`, source(phi, "events")],
      [`SOURCE_${phi.toUpperCase()}_QUEUED`, source(phi, "queued")],
    ]);
    const more = { ...Object.fromEntries(sources), DESTINATION_EVENTS: { queue: "EVENTS" }, DESTINATION_QUEUED: { ...DESTINATION_LOCAL, delivery: "queue" } };
    queueing = await startWorkerd({ vars: settings(origin.port, { more }), secrets: { ...SECRETS, PHI_KEY }, platform });
  });

  after(async () => {
    await queueing?.kill();
    remove(queueing?.state);
    await platform?.close();
  });

  const held = (text) => SECRET.filter((secret) => text.includes(secret));
  const make = (more = {}) => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), note: "López", ...more } });
  const large = () => make({ filler: "x".repeat(200_000) });
  const send = async (event, source) => {
    const { status, code } = await osigu.send(`${queueing.url}/hooks/${source}`, event.body, { key: KEY });
    return `${status} ${code}`;
  };
  /// What a consumer of the customer's gets of its queue and of KV.
  const env = { KV: { get: async (key) => platform.kv.get(key) }, SEAL_KEYS: [{ id: "first", secret: "SEAL_KEY" }], SEAL_KEY };

  for (const phi of ["pass", "drop", "pseudonym"]) {
    const expected = phi === "pass" ? SECRET : [];

    test(`${phi}: a customer's queue gets what the setting lets through, in the message or opened out of KV`, async () => {
      for (const event of [make(), large()]) {
        assert.equal(await send(event, `${phi}-events`), "200 enqueued");
        const { body } = platform.messages()[THEIRS].at(-1);
        const text = await textOf(String(body), env);
        assert.equal(JSON.parse(text).id, event.id);
        assert.deepEqual(held(text), expected);
        // What is sealed shows nothing either way.
        if (event.body.length > 200_000) assert.deepEqual(held(String(body)), []);
      }
    });

    test(`${phi}: an origin behind our queue gets what the setting lets through`, async () => {
      for (const event of [make(), large()]) {
        assert.equal(await send(event, `${phi}-queued`), "200 enqueued");
        await platform.advance(OURS, 5000);
        await until(() => origin.of(event.id).length > 0, { what: "the delivery" });
        assert.deepEqual(held(origin.of(event.id)[0].body.toString()), expected);
      }
    });

    test(`${phi}: so does an operator who reads a letter`, async () => {
      const event = make();
      origin.rule({ status: 422, when: (entry) => entry.event?.id === event.id });
      assert.equal(await send(event, `${phi}-queued`), "200 enqueued");
      await platform.advance(OURS, 5000);
      const api = async (path) => (await fetch(`${queueing.url}/v1/dead-letters${path}`, { headers: { authorization: `Bearer ${ADMIN_KEY}` } })).json();
      const kept = async () => {
        await platform.advance(LETTERS, 60_000);
        return (await api(`?source=${phi}-queued`)).dead_letters[0];
      };
      let letter;
      await until(async () => (letter = await kept()) !== undefined, { what: "the letter" });
      const read = await api(`/${letter.id}`);
      assert.deepEqual([read.readable, read.withheld, held(JSON.stringify(read))], [true, phi !== "pass", expected]);
    });
  }
});
