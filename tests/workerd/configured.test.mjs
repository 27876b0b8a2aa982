// Senders that only the settings know, through the real Worker: README's worked example, and a sender of each algorithm.

import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { unstable_readConfig as readConfig } from "wrangler";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { ROOT, SECRETS, readText, remove, settings, startWorkerd, temporary, unique } from "./harness.mjs";

const LAB_KEY = "lab-key-for-tests-0123456789";
const SENDER_KEY = "sender-key-for-tests-0123456789";
const STANDARD_KEY = Buffer.from("standard-webhooks-key-for-tests");
const pair = generateKeyPairSync("ed25519");
const publicKey = pair.publicKey.export({ format: "der", type: "spki" }).subarray(12);

/// The first block of TOML under a heading of README, as wrangler reads it.
function ofReadme(heading) {
  const section = readText(join(ROOT, "README.md")).split(`\n## ${heading}\n`)[1];
  const toml = /```toml\n([^]*?)```/.exec(section)[1];
  const folder = temporary();
  try {
    const path = join(folder, "wrangler.toml");
    writeFileSync(path, `name = "example"\ncompatibility_date = "2026-10-01"\n${toml}`);
    return { toml, vars: readConfig({ config: path }).vars };
  } finally {
    remove(folder);
  }
}

let origin;
let worker;
const example = ofReadme("Any other sender");

before(async () => {
  origin = await startOrigin();
  const configured = (more, secret = "SENDER_KEY") => ({ provider: "configured", keys: [{ id: "first", secret }], destination: "local", ...more });
  const { DESTINATION_LOCAL, ...sound } = settings(origin.port);
  worker = await startWorkerd({
    vars: {
      ...sound,
      ...example.vars,
      DESTINATION_LOCAL,
      DESTINATION_CLINIC: DESTINATION_LOCAL,
      DESTINATION_OLD: { ...DESTINATION_LOCAL, format: "original" },
      SOURCE_STRIPE: configured({ preset: "stripe", types: { "invoice.paid": "rx.invoice.paid" } }),
      SOURCE_STANDARD: configured({ preset: "standard-webhooks" }, "STANDARD_KEY"),
      SOURCE_ASYMMETRIC: configured({ preset: "standard-webhooks-v1a" }, "PUBLIC_KEY"),
      SOURCE_SLACK: configured({ preset: "slack" }),
      SOURCE_SHA1: configured({ scheme: { algorithm: "hmac-sha1", header: "X-Sig" } }),
      SOURCE_URL: configured({ scheme: { algorithm: "hmac-sha256", header: "X-Sig", encoding: "base64", signed: "{method} {url}{body}" } }),
      SOURCE_TOKEN: configured({ scheme: { algorithm: "token", prefix: "Bearer " }, event: { id: "/id" } }),
      SOURCE_BASIC: configured({ scheme: { algorithm: "basic" }, event: { id: "/id" } }, "BASIC_KEY"),
      SOURCE_NONE: { provider: "configured", scheme: { algorithm: "none" }, accept_unsigned: true, event: { id: "/id" }, destination: "local" },
      SOURCE_NOTIFICATIONS: configured({ preset: "osigu-prescription-notifications", scheme: { api_key: { secret: "API_KEY" } }, destination: "old" }),
    },
    secrets: {
      ...SECRETS,
      LAB_KEY,
      SENDER_KEY,
      STANDARD_KEY: `whsec_${STANDARD_KEY.toString("base64")}`,
      PUBLIC_KEY: `whpk_${publicKey.toString("base64")}`,
      BASIC_KEY: "clinic:password-for-tests",
      API_KEY: "api-key-for-tests-0123456789",
    },
  });
});

after(async () => {
  await worker?.kill();
  await origin?.close();
});

const now = () => Math.floor(Date.now() / 1000);
const hmac = (algorithm, key, text, encoding = "hex") => createHmac(algorithm, key).update(text).digest(encoding);

async function post(source, headers, body, query = "") {
  const response = await fetch(`${worker.url}/hooks/${source}${query}`, { method: "POST", headers, body });
  return { status: response.status, ...(await response.json()) };
}

const short = ({ status, code }) => `${status} ${code}`;
const eventOf = (id) => origin.of(id).at(-1)?.event;

/// Sends it, changed in its body, without its first header, as it is, and once more.
async function lives(source, headers, body, { id, signed = true, query = "" }) {
  const [first] = Object.keys(headers);
  if (signed) {
    assert.equal(short(await post(source, headers, body.replace("{", "{ "), query)), "401 signature_mismatch");
  }
  if (first) {
    const { [first]: _, ...others } = headers;
    assert.equal(short(await post(source, others, body, query)), "401 signature_missing");
  }
  assert.equal(origin.of(id).length, 0);
  assert.equal(short(await post(source, headers, body, query)), "200 delivered");
  assert.equal(short(await post(source, headers, body, query)), "200 duplicate");
}

test("README's example is a sender in ten lines, and takes its events", async () => {
  assert.ok(example.toml.trim().split("\n").length <= 10);
  const id = unique("evt");
  const body = `{"event":{"id":"${id}","type":"result.ready","at":"2026-11-24T09:30:00+01:00"},"sample":"smp_1","value":7.10}`;
  const time = `${now()}`;
  const headers = { "x-lab-signature": hmac("sha512", LAB_KEY, `${time}.${body}`), "x-lab-time": time };
  await lives("lab", headers, body, { id });
  const event = eventOf(id);
  assert.equal(event.type, "rx.sample.result_ready");
  assert.equal(event.subject, "sample/smp_1");
  assert.equal(event.time, "2026-11-24T08:30:00Z");
  assert.deepEqual([event.rxprovider, event.rxauth, event.rxkeyid], ["configured", "signature", "first"]);
  assert.ok(origin.of(id).at(-1).body.includes(body), "digits are kept");
  const late = `${now() - 301}`;
  const stale = { "x-lab-signature": hmac("sha512", LAB_KEY, `${late}.${body}`), "x-lab-time": late };
  assert.equal(short(await post("lab", stale, body)), "401 timestamp_out_of_tolerance");
  assert.equal(short(await post("lab", { ...headers, "x-lab-time": `${now() + 1}` }, body)), "401 signature_mismatch");
});

describe("a sender of each algorithm", () => {
  test("HMAC-SHA256, by Stripe's preset", async () => {
    const id = unique("evt");
    const body = `{"id":"${id}","type":"invoice.paid","created":1795000000}`;
    const time = now();
    const headers = { "stripe-signature": `t=${time},v1=${"0".repeat(64)},v1=${hmac("sha256", SENDER_KEY, `${time}.${body}`)}` };
    await lives("stripe", headers, body, { id });
    const event = eventOf(id);
    assert.deepEqual([event.type, event.rxprovider, event.time], ["rx.invoice.paid", "stripe", "2026-11-18T11:06:40.000Z"]);
  });

  test("Standard Webhooks: the id is in a header that is signed", async () => {
    const id = unique("msg");
    const time = now();
    const body = '{"type":"contact.created"}';
    const signature = hmac("sha256", STANDARD_KEY, `${id}.${time}.${body}`, "base64");
    const headers = { "webhook-signature": `v1,${signature}`, "webhook-id": id, "webhook-timestamp": `${time}` };
    await lives("standard", headers, body, { id });
    assert.equal(eventOf(id).rxeventtype, "contact.created");
    const forged = { ...headers, "webhook-id": unique("msg") };
    assert.equal(short(await post("standard", forged, body)), "401 signature_mismatch");
  });

  test("Ed25519, by Standard Webhooks v1a", async () => {
    const id = unique("msg");
    const time = now();
    const body = '{"type":"contact.created"}';
    const signature = sign(null, Buffer.from(`${id}.${time}.${body}`), pair.privateKey).toString("base64");
    const headers = { "webhook-signature": `v1,${Buffer.alloc(32).toString("base64")} v1a,${signature}`, "webhook-id": id, "webhook-timestamp": `${time}` };
    await lives("asymmetric", headers, body, { id });
    assert.equal(eventOf(id).rxauth, "signature");
  });

  test("HMAC-SHA1; an event without an id is known by its bytes", async () => {
    const body = `{"nothing":"${unique("x")}"}`;
    const headers = { "x-sig": hmac("sha1", SENDER_KEY, body) };
    const { event_id: id, ...answer } = await post("sha1", headers, body);
    assert.equal(short(answer), "200 delivered");
    assert.match(id, /^body_[\w-]{43}$/);
    assert.equal(short(await post("sha1", headers, body)), "200 duplicate");
    assert.equal(eventOf(id).type, "rx.unknown");
    assert.equal(worker.records().at(-2).level, "info");
  });

  test("the URL as it was requested, query and all", async () => {
    const body = `{"id":"${unique("evt")}"}`;
    const signed = (query) => ({ "x-sig": hmac("sha256", SENDER_KEY, `POST ${worker.url}/hooks/url${query}${body}`, "base64") });
    assert.equal(short(await post("url", signed("?a=1&b=%20"), body, "?a=1&b=2")), "401 signature_mismatch");
    assert.equal(short(await post("url", signed("?a=1&b=%20"), body, "?a=1&b=%20")), "200 delivered");
  });

  test("a token, and Basic", async () => {
    for (const [source, header, wrong] of [
      ["token", `Bearer ${SENDER_KEY}`, `Bearer ${SENDER_KEY}x`],
      ["basic", `Basic ${Buffer.from("clinic:password-for-tests").toString("base64")}`, `Basic ${Buffer.from("clinic:password").toString("base64")}`],
    ]) {
      const id = unique("evt");
      const body = `{"id":"${id}"}`;
      assert.equal(short(await post(source, { authorization: wrong }, body)), "401 signature_mismatch");
      assert.equal(short(await post(source, { authorization: "Digest x" }, body)), "401 signature_malformed");
      await lives(source, { authorization: header }, body, { id, signed: false });
      assert.equal(eventOf(id).rxauth, "token");
    }
  });

  test("none, since that was said", async () => {
    const id = unique("evt");
    await lives("none", {}, `{"id":"${id}"}`, { id, signed: false });
    assert.deepEqual([eventOf(id).rxauth, eventOf(id).rxkeyid], ["none", "none"]);
  });
});

test("Slack's challenge is answered, and only after its signature holds", async () => {
  const body = '{"token":"t","challenge":"3eZbrw1aB1","type":"url_verification"}';
  const time = `${now()}`;
  const headers = { "x-slack-signature": `v0=${hmac("sha256", SENDER_KEY, `v0:${time}:${body}`)}`, "x-slack-request-timestamp": time };
  assert.deepEqual(await post("slack", headers, body), { status: 200, code: "challenge_answered", challenge: "3eZbrw1aB1" });
  const forged = await post("slack", headers, body.replace("3eZ", "4eZ"));
  assert.deepEqual(forged, { status: 401, code: "signature_mismatch" });
});

test("a form is authentic and no JSON: a dead letter", async () => {
  const body = "command=%2Frefill&text=";
  const time = `${now()}`;
  const headers = { "x-slack-signature": `v0=${hmac("sha256", SENDER_KEY, `v0:${time}:${body}`)}`, "x-slack-request-timestamp": time };
  const answer = await post("slack", headers, body);
  assert.deepEqual([short(answer), answer.reason], ["200 dead_lettered", "body_malformed"]);
});

test("the sender's own bytes go on with the headers that prove them, and without its API key", async () => {
  const body = `{"id":"${unique("evt")}"}`;
  const headers = { "x-signature": hmac("sha256", SENDER_KEY, body), "x-api-key": "api-key-for-tests-0123456789" };
  const wrong = { ...headers, "x-api-key": "api-key-for-tests-012345678" };
  assert.equal(short(await post("notifications", wrong, body)), "401 signature_mismatch");
  assert.equal(short(await post("notifications", headers, body)), "200 delivered");
  const delivery = origin.received.at(-1);
  assert.equal(delivery.body.toString(), body);
  assert.equal(delivery.headers["x-signature"], headers["x-signature"]);
  assert.equal(delivery.headers["x-api-key"], undefined);
});

test("no key, token or password is in the log", () => {
  const output = worker.output();
  for (const secret of [LAB_KEY, SENDER_KEY, "password-for-tests", "api-key-for-tests", "3eZbrw1aB1"]) assert.ok(!output.includes(secret), secret);
});
