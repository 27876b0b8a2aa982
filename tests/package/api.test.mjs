// The package's API in Node: what it takes, what it answers, and what it says to a programmer who is mistaken.

import assert from "node:assert/strict";
import { createCipheriv, createHash, createHmac, createSecretKey, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Webhook } from "standardwebhooks";
import * as osigu from "../../scripts/lib/osigu.mjs";
import * as phil from "../../scripts/lib/phil.mjs";
import { ConfigurationError, ResolveError, authenticate, checkConfig, eventTypes, explain, fromNode, fromRequest, init, normalise, presets, providers, resolve, sign, source, verify, verifyNode, verifyRequest } from "../../pkg/src/node.js";
import { SECRETS, settings } from "../workerd/harness.mjs";

const KEY = "osigu-key-for-the-package-0001";
const NOW = Date.parse("2026-06-25T14:22:11Z");
const OSIGU = { provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: KEY }] };
const sandbox = source(OSIGU);
const body = String(osigu.event("authorization.created").body);

/// A request that is the sender's.
const signed = (from = sandbox, text = body, more = {}) => ({ headers: sign(from, { body: text, now: NOW, ...more }).headers, body: text });
const at = { now: NOW };

test("a request of the sender's is an event, the same from any form of body and headers", () => {
  const request = signed();
  const bytes = new TextEncoder().encode(body);
  const padded = new Uint8Array([0, ...bytes, 0]);
  const bodies = [body, bytes, bytes.buffer, Buffer.from(body), padded.subarray(1, -1), new DataView(bytes.buffer)];
  const value = request.headers["x-osigu-signature"];
  const headers = [request.headers, new Headers(request.headers), { "X-Osigu-Signature": value }, { "x-osigu-signature": [value] }, [["X-OSIGU-SIGNATURE", value]], new Map([["x-osigu-signature", value]])];
  const answers = [...bodies.map((body) => ({ ...request, body })), ...headers.map((headers) => ({ ...request, headers }))].map((request) => verify(sandbox, request, at));
  for (const answer of answers) {
    assert.equal(answer.ok, true, answer.code);
    assert.deepEqual(answer, answers[0]);
  }
  const [{ event, json, webhookId, keyId, signedAt }] = answers;
  assert.deepEqual(JSON.parse(json), event);
  assert.deepEqual([event.type, event.rxauth, keyId, signedAt.getTime()], ["rx.authorization.approved", "signature", "first", NOW]);
  assert.match(webhookId, /^evt_[\w-]{43}$/);
  const changed = verify(sandbox, request, at);
  changed.json = '{"id":"another"}';
  assert.deepEqual(changed.event, event, "what was verified, whatever becomes of its text");
  assert.equal(changed.event, changed.event);
  const copies = [{ ...answers[0] }, structuredClone(answers[0]), JSON.parse(JSON.stringify(answers[0])), Object.create(answers[0]), new Proxy(answers[0], {})];
  for (const copy of copies) assert.deepEqual(copy.event, event);
  assert.equal(verify(sandbox, signed(), { now: new Date(NOW) }).webhookId, webhookId);
});

test("a refusal says why, with its facts", () => {
  const request = signed();
  const refused = (change, options = at) => verify(sandbox, { ...request, ...change }, options);
  const { code, status, authentic, keysTried, message, answer } = refused({ body: `${body} ` });
  assert.deepEqual({ code, status, authentic, keysTried, answer }, { code: "signature_mismatch", status: 401, authentic: false, keysTried: ["first"], answer: '{"code":"signature_mismatch"}' });
  assert.match(message, /No key/);
  assert.equal(refused({ headers: {} }).code, "signature_missing");
  assert.equal(refused({ headers: { "x-osigu-signature": "soon" } }).code, "signature_malformed");
  const late = refused({}, { now: NOW + 400_000 });
  assert.deepEqual([late.code, late.skewSeconds, late.keyId, late.authentic], ["timestamp_out_of_tolerance", 400, "first", true]);
  assert.equal(refused({ body: new Uint8Array(2 * 1024 * 1024) }).code, "body_too_large");
  assert.equal(refused({ body: "é".repeat(600_000) }).code, "body_too_large");
  const other = signed(sandbox, '{"event_id":"evt_1"}');
  const invalid = verify(sandbox, other, at);
  assert.deepEqual([invalid.code, invalid.authentic, invalid.status, invalid.path !== undefined, invalid.problem], ["event_invalid", true, 422, true, "missing"]);
  assert.equal(verify(sandbox, signed(sandbox, "no JSON"), at).code, "body_malformed");
  assert.deepEqual([invalid.unreadable, late.unreadable, refused({ headers: {} }).unreadable], [true, false, false]);
  const old = { id: "old", secret: "old-key-0123456789abcdef", not_after: "2026-06-01T00:00:00Z" };
  assert.deepEqual(verify(source({ ...OSIGU, keys: [...OSIGU.keys, old] }), { ...request, body: `${body} ` }, at).keysTried, ["first"]);
  const production = source({ ...OSIGU, environment: "production" });
  assert.equal(verify(production, signed(production), at).code, "environment_mismatch");
});

test("what more can be told of a signature that doesn't match is told when it is asked for", () => {
  const value = JSON.parse(body);
  const compact = JSON.stringify(value);
  const pretty = JSON.stringify(value, null, 2);
  const python = compact.replaceAll(/("(?:[^"\\]|\\.)*")|([,:])/g, (all, text, mark) => text ?? `${mark} `);
  const written = [
    [pretty, compact],
    [compact, pretty],
    [python, compact],
    [`${compact}\n`, compact],
    [compact, `${compact}\n`],
    [pretty, pretty.replaceAll("\n", "\r\n")],
  ];
  for (const [sent, received] of written) {
    const request = { ...signed(sandbox, sent), body: received };
    const told = explain(sandbox, request, at);
    assert.deepEqual([told.code, told.hint], ["signature_mismatch", "body_changed"], JSON.stringify([sent, received]));
    assert.match(told.message, /white space/);
  }
  assert.equal(explain(sandbox, { ...signed(), body: compact.replace("sandbox", "sandboy") }, at).hint, "key_or_body");
  const other = source({ ...OSIGU, keys: [{ id: "other", secret: "another-key-0123456789" }] });
  assert.equal(explain(other, signed(), at).hint, "key_or_body");
  const old = { ...OSIGU.keys[0], not_after: "2026-06-01T00:00:00Z" };
  const rotated = source({ ...OSIGU, keys: [{ id: "new", secret: "another-key-0123456789" }, old] });
  assert.deepEqual([verify(rotated, signed(), at).code, explain(rotated, signed(), at).hint], ["signature_mismatch", "key_expired"]);
  const expired = source({ ...OSIGU, keys: [old] });
  assert.deepEqual([verify(expired, signed(), at).code, explain(expired, signed(), at).hint], ["source_misconfigured", "key_expired"]);
  // Digits that were lost can't be brought back; that it was written anew can be seen.
  const digits = body.replace('"event_id"', '"amount": 375.00, "event_id"');
  const lost = explain(sandbox, { ...signed(sandbox, digits), body: JSON.stringify(JSON.parse(digits)) }, at);
  assert.deepEqual([lost.hint, /JSON\.stringify/.test(lost.message)], ["key_or_body", true]);
  assert.doesNotMatch(explain(sandbox, { ...signed(), body: `${digits} ` }, at).message, /stringify/);
  assert.equal(explain(sandbox, signed(), at), undefined);
  assert.equal(explain(sandbox, signed(), { now: NOW + 400_000 }).code, "timestamp_out_of_tolerance");
});

test("a programmer's mistakes throw, and say what to do", () => {
  const request = signed();
  assert.throws(() => verify(sandbox, { ...request, body: JSON.parse(body) }, at), { name: "TypeError", message: /something parsed it before.*express\.raw/ });
  assert.throws(() => verify(sandbox, { headers: {} }, at), { name: "TypeError", message: /the body is missing/ });
  assert.throws(() => verify(sandbox, { ...request, body: 5 }, at), { name: "TypeError", message: /the body is a number/ });
  assert.throws(() => verify(OSIGU, request, at), { name: "TypeError", message: /isn't a source/ });
  for (const now of ["2026-06-25", new Date("soon"), NaN]) assert.throws(() => verify(sandbox, request, { now }), { name: "TypeError", message: /now isn't/ });
  assert.throws(() => verify(sandbox, undefined, at), { name: "TypeError", message: /isn't a request/ });
  const byUrl = source({ provider: "configured", scheme: { algorithm: "hmac-sha256", header: "x-sig", signed: "{url}{body}" }, event: { id: "/id", type: "/type" }, keys: OSIGU.keys });
  assert.throws(() => verify(byUrl, { headers: {}, body }, at), { name: "TypeError", message: /no url/ });
  assert.throws(() => sign(byUrl, { body }), { name: "TypeError", message: /url: is missing/ });
  const faulty = (settings) => {
    try {
      source(settings);
    } catch (fault) {
      assert.ok(fault instanceof ConfigurationError, String(fault));
      return fault.faults.map(({ path, problem }) => `${path} ${problem}`);
    }
    return [];
  };
  const [misspelt, ...others] = faulty({ provider: "osigu", keys: [{ id: "first", secret: "short" }], tolerence: 5 });
  assert.match(misspelt, /^tolerence is no setting: there are provider, environment, keys, tolerance_seconds/);
  assert.deepEqual(others, [
    "environment is missing",
    "keys[0].secret the secret keys[0].secret has 5 bytes: at least 16 are needed",
  ]);
  assert.deepEqual(faulty({ provider: "nobody" }).length > 0, true);
  assert.deepEqual(faulty({}).some((text) => text.startsWith("provider")), true);
  assert.throws(() => source("osigu"), { name: "TypeError" });
  // No secret stands in what is thrown.
  const secret = "very-secret-key-0123456789";
  const [text] = faulty({ provider: "configured", preset: "standard-webhooks", keys: [{ id: "first", secret }] });
  assert.ok(text && !text.includes(secret), text);
});

test("normalise reads what was authenticated elsewhere", () => {
  for (const form of [body, new TextEncoder().encode(body), { body }]) {
    const { ok, event } = normalise(sandbox, form);
    assert.deepEqual([ok, event.type, event.rxauth, event.rxkeyid], [true, "rx.authorization.approved", "none", "none"]);
  }
  const refused = normalise(sandbox, "{");
  assert.deepEqual([refused.code, refused.authentic, refused.unreadable], ["body_malformed", false, true]);
});

test("authenticate doesn't read what the body says", () => {
  const { ok, keyId, strength } = authenticate(sandbox, signed(sandbox, "no JSON"), at);
  assert.deepEqual([ok, keyId, strength], [true, "first", "signature"]);
});

test("patient data is held back by class, as the gateway does it", () => {
  const body = String(osigu.event("authorization.created").body);
  const beneficiary = JSON.parse(body).data.beneficiary_id;
  const phi = source({ ...OSIGU, phi: { identifier: "pseudonym" }, phi_key: { secret: "pseudonym-key-0123456789-0123456789" } });
  const { json, event } = verify(phi, signed(phi, body), at);
  assert.ok(!json.includes(beneficiary));
  assert.equal(event.data.redacted, true);
});

test("PHIL is answered in its own form", () => {
  const callback = phil.event("CONFIRMED");
  const from = source({ provider: "phil-callback", keys: [{ id: "first", secret: "phil-key-0123456789" }] });
  const taken = verify(from, signed(from, callback.body), at);
  const { requestID, metadata } = JSON.parse(taken.answer);
  assert.deepEqual([requestID, metadata.responseType], [callback.requestID ?? JSON.parse(callback.body).requestID, "RX_CALLBACK_SUCCESS"]);
  const bad = verify(from, signed(from, '{"metadata":{}}'), at);
  assert.deepEqual([bad.code, bad.status, JSON.parse(bad.answer).error.type], ["event_invalid", 400, "MISSING_INFO"]);
  const stranger = verify(from, { headers: { authorization: "no" }, body: callback.body }, at);
  for (const much of [new Uint8Array(3 * 1024 * 1024), "é".repeat(1024 * 1024), "a".repeat(1024 * 1024 + 1), `${"a".repeat(1024 * 1024 - 1)}é`]) {
    const large = verify(from, { headers: { authorization: "phil-key-0123456789" }, body: much }, at);
    assert.deepEqual([large.code, large.status, JSON.parse(large.answer).error.type], ["body_too_large", 413, "OTHER"]);
  }
  assert.deepEqual([stranger.status, JSON.parse(stranger.answer).error.type, JSON.parse(stranger.answer).requestID], [401, "OTHER", ""]);
});

test("Slack's question is answered only if it is Slack's", () => {
  const slack = source({ provider: "configured", preset: "slack", keys: [{ id: "first", secret: "slack-key-0123456789" }] });
  const question = JSON.stringify({ type: "url_verification", challenge: "c-1", token: "t" });
  const asked = verify(slack, signed(slack, question), at);
  assert.deepEqual([asked.code, asked.status, JSON.parse(asked.answer).challenge], ["challenge_answered", 200, "c-1"]);
  assert.equal(verify(slack, { ...signed(slack, question), body: question.replace("c-1", "c-2") }, at).code, "signature_mismatch");
});

test("what is signed by Standard Webhooks holds for its own library, and the other way round", () => {
  const secret = `whsec_${randomBytes(32).toString("base64")}`;
  const from = source({ provider: "configured", preset: "standard-webhooks", keys: [{ id: "first", secret }] });
  const text = JSON.stringify({ type: "order.shipped", timestamp: "2026-06-25T14:22:11Z", data: {} });
  const { headers } = sign(from, { body: text, id: "msg_1" });
  assert.deepEqual(new Webhook(secret).verify(text, headers), JSON.parse(text));
  const date = new Date();
  const theirs = { "webhook-id": "msg_2", "webhook-timestamp": String(Math.floor(date / 1000)), "webhook-signature": new Webhook(secret).sign("msg_2", date, text) };
  const { ok, event, code } = verify(from, { headers: theirs, body: text });
  assert.deepEqual([ok, event?.id, code], [true, "msg_2", undefined]);
  assert.throws(() => sign(from, { body: text, id: "a.b" }), /id: isn't/);
});

test("each preset's sample, signed by the package, is taken by it", () => {
  assert.equal(presets().length, 11);
  for (const preset of presets()) {
    const ed25519 = preset.endsWith("v1a");
    const secret = preset.startsWith("s") && /webhooks|svix/.test(preset) ? (ed25519 ? "whpk_6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=" : "whsec_c3RhbmRhcmQtd2ViaG9va3Mta2V5LTAwMDE=") : "sender-key-0123456789abcdef";
    const scheme = preset === "osigu-prescription-notifications" ? { api_key: { secret: "api-key-0123456789" } } : undefined;
    const from = source({ provider: "configured", preset, scheme, keys: [{ id: "first", secret }] });
    const key = ed25519 ? `whsk_${Buffer.alloc(32, 7).toString("base64")}` : undefined;
    const request = signed(from, '{"id":"evt_1"}', { key });
    assert.equal(authenticate(from, request, at).ok, true, preset);
    assert.equal(authenticate(from, { ...request, body: '{"id":"evt_2"}' }, at).code, "signature_mismatch", preset);
    if (ed25519) assert.throws(() => sign(from, { body }), /the private one/);
  }
});

test("lists", () => {
  assert.deepEqual(providers(), ["osigu", "evitalrx", "phil-callback", "configured"]);
  const of = (provider) => eventTypes().filter((type) => type.provider === provider).length;
  assert.deepEqual([of("osigu"), of("evitalrx"), of("phil-callback")], [13, 10, 4]);
});

test("a whole configuration is checked, all faults at once", () => {
  const vars = settings(80);
  const bindings = { queues: ["DEAD_LETTERS", "DELIVERIES"], kv: true };
  assert.deepEqual(checkConfig({ vars, secrets: SECRETS, bindings }), []);
  vars.SOURCE_OSIGU.environment = "staging";
  vars.DESTINATION_LOCAL.url = "nowhere";
  const faults = checkConfig({ vars, secrets: SECRETS, bindings: { kv: true } });
  const paths = faults.map(({ path }) => path);
  for (const path of ["SOURCE_OSIGU.environment", "DESTINATION_LOCAL.url", "DEAD_LETTERS"]) assert.ok(paths.includes(path), paths.join());
});

// ── events by reference ──

const SEAL = { id: "seal-1", secret: randomBytes(32).toString("base64") };

/// As the gateway seals an event (README, "What a queue gets").
function sealed(event, { id, secret } = SEAL) {
  const head = Buffer.concat([Buffer.from([1, id.length]), Buffer.from(id)]);
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", Buffer.from(secret, "base64"), nonce);
  cipher.setAAD(Buffer.concat([Buffer.from("rxgate event\0"), head]));
  return Buffer.concat([head, nonce, cipher.update(event), cipher.final(), cipher.getAuthTag()]);
}

test("an event in a message is itself, and one by reference is fetched, compared and opened", async () => {
  const event = { specversion: "1.0", type: "rx.order.shipped" };
  assert.deepEqual(await resolve(JSON.stringify(event), undefined), event);
  const frame = sealed(JSON.stringify(event));
  const kept = new Map([["body/1", new Uint8Array(frame).buffer]]);
  const asked = [];
  const kv = { get: async (key, options) => (asked.push([key, options]), kept.get(key) ?? null) };
  const reference = { rxgate: "reference", namespace: "KV", key: "body/1", hash: `sha256:${createHash("sha256").update(frame).digest("hex")}`, webhook_id: "evt_1" };
  assert.deepEqual(await resolve(reference, kv, [SEAL]), event);
  assert.deepEqual(asked, [["body/1", { type: "arrayBuffer" }]]);
  const fails = (message, keys = [SEAL]) => resolve(message, kv, keys).then(() => "resolved", (fault) => (assert.ok(fault instanceof ResolveError, String(fault)), fault.code));
  assert.equal(await fails({ ...reference, key: "body/2" }), "body_missing");
  assert.equal(await fails({ ...reference, hash: "sha256:00" }), "body_changed");
  assert.equal(await fails(reference, []), "seal_key_unknown");
  for (const secret of ["no base64!", undefined, randomBytes(16).toString("base64")]) assert.equal(await fails(reference, [{ ...SEAL, secret }]), "seal_key_unknown");
  assert.equal(await fails(reference, [{ ...SEAL, secret: randomBytes(32).toString("base64") }]), "seal_broken");
  assert.equal(await fails("no JSON"), "message_unreadable");
  for (const message of ["5", "{}", "[]", { rxgate: "other" }]) assert.equal(await fails(message), "message_unreadable");
});

// ── requests ──

test("a Fetch request is read once, and a mount tells the path behind it", async () => {
  const request = () => new Request("https://clinic.example/hooks/osigu", { method: "POST", headers: signed().headers, body });
  assert.equal((await verifyRequest(sandbox, request(), at)).ok, true);
  const used = request();
  await used.text();
  await assert.rejects(verifyRequest(sandbox, used, at), { name: "TypeError", message: /read before/ });
  const evitalrx = source({ provider: "evitalrx", accept_unsigned: true, path_tokens: [{ id: "first", secret: "evitalrx-path-token-0123456789" }] });
  const order = readFileSync(join(import.meta.dirname, "../fixtures/evitalrx/order-assigned/body.json"));
  const { path } = sign(evitalrx, { body: order, webhook: "order-assigned" });
  assert.equal(path, "evitalrx-path-token-0123456789/order-assigned");
  const sent = (path) => verifyRequest(evitalrx, new Request(`https://clinic.example/hooks/evitalrx/${path}`, { method: "POST", body: order }), { mount: "/hooks/evitalrx" });
  const { ok, event } = await sent(path);
  assert.deepEqual([ok, event.type, event.rxauth], [true, "rx.order.assigned", "token"]);
  const refused = await sent("wrong/order-assigned");
  assert.deepEqual([refused.code, refused.status, refused.problem], ["source_unknown", 404, "path_token_mismatch"]);
  assert.equal((await sent(path.replace("order-assigned", "order-shipped"))).code, "event_contradictory");
  assert.equal((await fromRequest(request(), { mount: "/other" })).path, undefined);
});

test("a Node request brings its raw body, or what is left to read", async () => {
  const { headers } = signed();
  const base = { method: "POST", url: "/hooks/osigu", headers: { host: "clinic.example", ...headers }, socket: { remoteAddress: "203.0.113.7" } };
  const streams = { async *[Symbol.asyncIterator]() { yield Buffer.from(body.slice(0, 10)); yield Buffer.from(body.slice(10)); } };
  for (const request of [{ ...base, body: Buffer.from(body) }, { ...base, body }, { ...base, rawBody: Buffer.from(body), body: {} }, { ...base, ...streams }, { raw: base, body: Buffer.from(body) }]) {
    assert.equal((await verifyNode(sandbox, request, at)).ok, true);
  }
  await assert.rejects(verifyNode(sandbox, { ...base, body: JSON.parse(body) }, at), { name: "TypeError", message: /express\.raw/ });
  await assert.rejects(verifyNode(sandbox, { ...base, readableEnded: true }, at), { name: "TypeError", message: /read before/ });
  let read = 0;
  const endless = { async *[Symbol.asyncIterator]() { for (;;) yield Buffer.alloc((read += 1) && 64 * 1024); } };
  assert.deepEqual([(await verifyNode(sandbox, { ...base, ...endless }, at)).code, read], ["body_too_large", 17]);
  const { url, address } = await fromNode({ ...base, body: "" });
  assert.deepEqual([url, address], ["http://clinic.example/hooks/osigu", "203.0.113.7"]);
  assert.equal((await fromNode({ ...base, body: "" }, { origin: "https://clinic.example" })).url, "https://clinic.example/hooks/osigu");
});

// ── what strangers try ──

const ORDER = readFileSync(join(import.meta.dirname, "../fixtures/evitalrx/order-assigned/body.json"));
const TOKEN = "evitalrx-path-token-0123456789";

test("an address counts only if whoever calls says it is one", async () => {
  const from = source({ provider: "evitalrx", accept_unsigned: true, addresses: ["203.0.113.7"] });
  const headers = { "cf-connecting-ip": "203.0.113.7", "x-forwarded-for": "203.0.113.7", forwarded: "for=203.0.113.7" };
  const sent = () => new Request("https://clinic.example/hooks/portal/order-assigned", { method: "POST", headers, body: ORDER });
  const mount = "/hooks/portal";
  assert.equal((await verifyRequest(from, sent(), { mount })).code, "address_not_allowed");
  const { ok, event } = await verifyRequest(from, sent(), { mount, address: "203.0.113.7" });
  assert.deepEqual([ok, event.rxauth], [true, "none"]);
  // An address proves nothing.
  const bad = verify(from, { headers, path: "order-assigned", address: "203.0.113.7", body: "[" });
  assert.deepEqual([bad.code, bad.authentic, bad.unreadable], ["body_malformed", false, true]);
});

test("nothing but strings gets into a request's lines, and nothing is cut unnoticed", () => {
  const from = source({ provider: "evitalrx", accept_unsigned: true, addresses: ["203.0.113.7"] });
  const asked = (more) => verify(from, { headers: {}, body: ORDER, ...more });
  for (const more of [{ path: ["order-assigned\n203.0.113.7"] }, { address: ["203.0.113.7"] }, { method: 5 }, { url: new URL("https://a/") }]) assert.throws(() => asked(more), { name: "TypeError", message: /isn't a string/ });
  const tricky = { get: (name) => (name === "traceparent" ? ["x\nPOST\n\0\np\n203.0.113.7"] : null) };
  assert.equal(asked({ headers: tricky, path: "p", address: "198.51.100.1" }).code, "address_not_allowed");
  const wide = "€".repeat(8192);
  for (let n = 20_000; n < 27_000; n += 1000) assert.equal(asked({ method: wide, path: wide.slice(0, n / 3), address: `203.0.113.7${" ".repeat(8000)}7` }).ok, false);
  assert.equal(asked({ method: wide, path: wide, address: "203.0.113.7" + "é".repeat(8000) }).ok, false);
});

test("a wrong token is told nothing else, and a slash in front of a path does no harm", () => {
  const from = source({ provider: "evitalrx", accept_unsigned: true, path_tokens: [{ id: "first", secret: TOKEN }], addresses: ["203.0.113.7"] });
  const asked = (path, address, body = ORDER) => verify(from, { headers: {}, path, address, body }).code ?? "ok";
  const large = new Uint8Array(600_000);
  assert.deepEqual([asked("wrong/x", "203.0.113.8", large), asked(TOKEN, "203.0.113.8", large), asked(TOKEN, "203.0.113.7", large)], ["source_unknown", "address_not_allowed", "body_too_large"]);
  assert.equal(asked(`/${TOKEN}/order-assigned`, "203.0.113.7"), "ok");
});

test("explaining a hostile body costs no more than its length", () => {
  const before = process.memoryUsage().rss;
  for (const text of ["[".repeat(200_000), '{"a":'.repeat(40_000), "[1,".repeat(60_000)]) assert.equal(explain(sandbox, { ...signed(), body: text }, at).hint, "key_or_body");
  assert.ok(process.memoryUsage().rss - before < 200e6, "it takes memory");
});

test("a stranger's Host, or a body that breaks off, is answered", async () => {
  const base = (host) => ({ method: "POST", url: `/hooks/portal/${TOKEN}/order-assigned`, headers: { host }, socket: {}, body: ORDER });
  const from = source({ provider: "evitalrx", accept_unsigned: true, path_tokens: [{ id: "first", secret: TOKEN }] });
  for (const host of ["[", "a b", "a:99999", "a%00", "", undefined]) assert.equal((await verifyNode(from, base(host), { mount: "/hooks/portal" })).ok, true, String(host));
  assert.equal((await verifyNode(from, { ...base("a"), url: "http://[/x" }, { mount: "/hooks/portal" })).code, "source_unknown");
  const broken = { method: "POST", url: "/", headers: {}, async *[Symbol.asyncIterator]() { yield Buffer.from("{"); throw Object.assign(new Error("aborted"), { code: "ECONNRESET" }); } };
  const { code, status, authentic } = await verifyNode(sandbox, broken, at);
  assert.deepEqual([code, status, authentic], ["body_incomplete", 503, false]);
  const stream = new ReadableStream({ pull: (controller) => controller.error(new Error("reset")) });
  const request = new Request("https://clinic.example/", { method: "POST", body: stream, duplex: "half" });
  assert.equal((await verifyRequest(sandbox, request, at)).code, "body_incomplete");
  // What has no stream is read all the same.
  const { headers } = signed();
  const bare = { method: "POST", url: "https://clinic.example/", headers: new Headers(headers), bodyUsed: false, arrayBuffer: async () => new TextEncoder().encode(body).buffer };
  assert.equal((await verifyRequest(sandbox, bare, at)).ok, true);
});

test("wrong arguments are said to be", async () => {
  for (const wrong of [{}, undefined, { headers: {} }]) await assert.rejects(verifyRequest(sandbox, wrong), { name: "TypeError", message: /isn't a Fetch Request/ });
  for (const wrong of [undefined, "x", {}]) await assert.rejects(verifyNode(sandbox, wrong), { name: "TypeError", message: /isn't one of Node's/ });
  for (const wrong of [undefined, {}]) assert.throws(() => checkConfig(wrong), { name: "TypeError", message: /takes \{ vars/ });
  assert.throws(() => normalise(sandbox, JSON.parse(body)), { name: "TypeError", message: /something parsed it before/ });
  for (const key of ["", "a\nb", "a".repeat(5000), 5]) assert.throws(() => sign(sandbox, { body, key }), { name: "TypeError", message: /one line/ });
});

// ── the host's HMAC ──

test("long bodies are hashed by the host, and short ones here: the same answers on either side, and without a host", async () => {
  const wasm = new WebAssembly.Module(readFileSync(join(import.meta.dirname, "../../pkg/wasm/rxgate.wasm")));
  const [hosted, alone] = [await import("../../pkg/src/api.js?hosted"), await import("../../pkg/src/api.js?alone")];
  const calls = [];
  hosted.provide(wasm, {
    createSecretKey,
    createHmac: (algorithm, key) => {
      const hmac = createHmac(algorithm, key);
      const update = (part) => hmac.update(part);
      const digest = (encoding) => {
        const made = hmac.digest(encoding);
        // A text of bytes, or it isn't taken.
        if (made.length === 32) calls.push(key.export().toString());
        return made;
      };
      return { update, digest };
    },
  });
  alone.provide(wasm);
  const keys = [{ id: "old", secret: "old-key-0123456789abcdef" }, { id: "first", secret: KEY }];
  const standardKey = Buffer.from("standard-webhooks-key-0001");
  const lengths = [0, 1, 63, 64, 65, 640, 1000, 1006, 1007, 1008, 1012, 1013, 1014, 1024, 1025, 2048, 100_000];
  for (const length of lengths) {
    const bytes = randomBytes(length);
    const t = String(NOW / 1000);
    const v1 = createHmac("sha256", KEY).update(`${t}.`).update(bytes).digest("hex");
    const standard = createHmac("sha256", standardKey).update(`msg_1.${t}.`).update(bytes).digest("base64");
    const changed = Buffer.concat([bytes.subarray(1), Buffer.from([7])]);
    for (const api of [hosted, alone]) {
      const from = api.source({ ...OSIGU, keys });
      const webhooks = api.source({ provider: "configured", preset: "standard-webhooks", keys: [{ id: "first", secret: `whsec_${standardKey.toString("base64")}` }] });
      const before = calls.length;
      const answer = (from, headers, body) => api.authenticate(from, { headers, body }, at);
      const taken = answer(from, { "x-osigu-signature": `t=${t},v1=${v1}` }, bytes);
      assert.deepEqual([taken.ok, taken.keyId], [true, "first"], String(length));
      assert.equal(answer(from, { "x-osigu-signature": `t=${t},v1=${v1}` }, changed).code, "signature_mismatch");
      const headers = { "webhook-id": "msg_1", "webhook-timestamp": t, "webhook-signature": `v1,${standard}` };
      assert.equal(answer(webhooks, headers, bytes).ok, true, String(length));
      assert.equal(answer(webhooks, headers, changed).code, "signature_mismatch");
      // Two keys are tried for the first, two for the second, one each for the others.
      const expected = api === alone || length <= 1000 ? 0 : length >= 1024 ? 6 : undefined;
      if (expected !== undefined) assert.equal(calls.length - before, expected, String(length));
    }
  }
  assert.deepEqual(new Set(calls), new Set(["old-key-0123456789abcdef", KEY, standardKey.toString()]));
});

// ── starting ──

test("without a bundler init has to be called, once, and takes bytes, a module or a response", async () => {
  const wasm = readFileSync(join(import.meta.dirname, "../../pkg/wasm/rxgate.wasm"));
  await init();
  const fresh = (name) => import(`../../pkg/src/web.js?${name}`);
  const web = await fresh("a");
  // Its API is shared with the one above, which was provided for.
  for (const from of [wasm, new Uint8Array(wasm).buffer, new WebAssembly.Module(wasm), new Response(wasm, { headers: { "content-type": "text/plain" } })]) await web.init(from);
  await assert.rejects(web.init(new Response("", { status: 404 })), /can't be fetched: 404/);
  assert.equal(web.verify(web.source(OSIGU), signed(), at).ok, true);
});

test("sources that nobody holds any more are let go, and those that are go on", async () => {
  const kept = source(OSIGU);
  for (let n = 0; n < 2000; n += 1) source({ ...OSIGU, id: `s-${n}` });
  assert.equal(verify(kept, signed(kept), at).ok, true);
});
