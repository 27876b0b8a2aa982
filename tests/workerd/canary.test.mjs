// Patient data, ids and secrets go through every outcome, each marked. Then the marks are looked for in all that the Worker wrote: what workerd printed, the answers, the names of the
// objects, the files of the store and of KV, the messages of the queues. The origin and a customer's queue did get them, and so does an operator who reads a letter: the same search finds
// them there.

import assert from "node:assert/strict";
import { createHash, createHmac, randomBytes } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as evitalrx from "../../scripts/lib/evitalrx.mjs";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import * as phil from "../../scripts/lib/phil.mjs";
import { ROOT, freePort, readText, remove, startWorkerd, temporary, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const OURS = "rxgate-deliveries";
const LETTERS = "rxgate-dead-letters";
const THEIRS = "clinic-events";

const MIB = 1024 * 1024;

/// In every name, id, text, key and header value of this test.
const MARK = `Kn${randomBytes(8).toString("hex")}`;
/// In the sender's event ids: an answer may carry it once the request is authentic, and nothing else may.
const ID_MARK = `Wx${randomBytes(8).toString("hex")}`;
/// In what somebody else puts into our queues: it is kept as it came, so the store's files have it.
const FOREIGN_MARK = `Fo${randomBytes(8).toString("hex")}`;
/// What a sender wants to hear.
const CHALLENGE = "3eZbrw1aB1";
/// A trace id has no room for letters.
const TRACE = randomBytes(16).toString("hex");

const KEY = `osigu-key-${MARK}`;
const SECRETS = {
  OSIGU_KEY: KEY,
  SIGNING_KEY: `whsec_${Buffer.from(`signing-key-${MARK}`).toString("base64")}`,
  ORIGIN_TOKEN: `Bearer ${MARK}`,
  SHORT_KEY: MARK.slice(0, 12),
  // 32 bytes, as a key for AES-256 has to have.
  SEAL_KEY: Buffer.from(`seal-key-${MARK}`.padEnd(32, "0")).toString("base64"),
  ADMIN_KEY: `operator-key-of-32-bytes-${MARK}`,
  PATH_TOKEN: `path-token-${MARK}`,
  EXPECTATION_KEY: `expectation-key-of-32-bytes-${MARK}`,
};

let origin;
/// Where alerts go.
let alerts;
let platform;
let vars;
const state = temporary();
const running = [];
/// What was answered to senders, by code.
const answers = [];
/// What was answered to senders that sign nothing.
const unsignedAnswers = [];
/// What was answered to operators: { method, path, code, text }.
const operatorAnswers = [];
/// What was answered to those who wait for callbacks.
const expectationAnswers = [];
/// Signatures: whoever has one may resend the request within the tolerance.
const signatures = [];

before(async () => {
  origin = await startOrigin();
  alerts = await startOrigin();
  platform = await startPlatform({ rateLimits: { FAILED_AUTHENTICATIONS: { limit: 10_000, period: 60 } } });
  const at = (port) => `http://127.0.0.1:${port}/rxgate?token=${MARK}`;
  const keys = [{ id: "first", secret: "OSIGU_KEY" }];
  const source = { provider: "osigu", environment: "sandbox", provider_slug: "clinic-example", max_body_bytes: MIB, keys, destination: "local" };
  const destination = { url: at(origin.port), keys: [{ id: "first", secret: "SIGNING_KEY" }], headers: { authorization: "ORIGIN_TOKEN" } };
  const direct = { on_origin_failure: "sender_retries" };
  vars = {
    RXGATE: {
      shards: 4,
      development: true,
      seal_keys: [{ id: "first", secret: "SEAL_KEY" }],
      operator_keys: [{ id: "first", secret: "ADMIN_KEY" }],
      alert: { url: at(alerts.port), keys: [{ id: "first", secret: "SIGNING_KEY" }] },
    },
    SOURCE_OSIGU: source,
    SOURCE_ORIGINAL: { ...source, destination: "original" },
    SOURCE_DEAD: { ...source, destination: "dead" },
    SOURCE_QUEUED: { ...source, destination: "queued" },
    SOURCE_EVENTS: { ...source, destination: "events" },
    SOURCE_KV: { ...source, dedupe: "kv", destination: "events" },
    SOURCE_EDGE: { ...source, edge_cache: true },
    SOURCE_SLACK: { provider: "configured", preset: "slack", keys, destination: "local" },
    SOURCE_PORTAL: { provider: "evitalrx", accept_unsigned: true, path_tokens: [{ id: "first", secret: "PATH_TOKEN" }], accept_loss: true, destination: "local" },
    SOURCE_OFFICE: { provider: "evitalrx", accept_unsigned: true, addresses: ["203.0.113.0/24"], accept_loss: true, destination: "local" },
    SOURCE_PHIL: { provider: "phil-callback", keys, accept_loss: true, destination: "local" },
    SOURCE_EXPECTED: { provider: "phil-callback", keys, expectation_keys: [{ id: "first", secret: "EXPECTATION_KEY" }], require_expectation: true, accept_loss: true, destination: "local" },
    SOURCE_SHORT: { ...source, keys: [{ id: "first", secret: "SHORT_KEY" }] },
    SOURCE_EXPIRED: { ...source, keys: [{ ...keys[0], not_after: "2020-01-01T00:00:00Z" }] },
    // The secret itself, pasted where its name belongs; a URL with a password; a value where there is a choice.
    SOURCE_PASTED: { ...source, keys: [{ id: "first", secret: KEY }], destination: "pasted", environment: MARK },
    DESTINATION_LOCAL: { ...destination, ...direct },
    DESTINATION_ORIGINAL: { ...destination, ...direct, format: "original" },
    DESTINATION_DEAD: { ...destination, ...direct, url: at(await freePort()) },
    // What it doesn't take goes into our queue.
    DESTINATION_QUEUED: destination,
    DESTINATION_EVENTS: { queue: "EVENTS" },
    DESTINATION_PASTED: { ...destination, url: `https://user:${MARK}@origin.example/` },
  };
});

after(async () => {
  for (const worker of running) await worker.kill();
  await platform?.close();
  await alerts?.close();
  await origin?.close();
  remove(state);
});

async function start(options = {}) {
  const worker = await startWorkerd({ vars, secrets: SECRETS, state, platform, ...options });
  running.push(worker);
  return worker;
}

/// The strings of a sample, each with the mark; and what no document mentions.
function marked(value) {
  if (typeof value === "string") return value.startsWith("«") ? value : `${value} ${MARK}`;
  if (Array.isArray(value)) return value.map(marked);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([name, inner]) => [name, marked(inner)]);
  return { ...Object.fromEntries(entries), [`note_${MARK}`]: `Ana López ${MARK} <ana.${MARK}@example.com>` };
}

function event(type = "dispensing.completed", { data = {}, envelope = {} } = {}) {
  const id = `evt_${ID_MARK}_${randomBytes(6).toString("hex")}`;
  const unknown = { [`extra_${MARK}`]: MARK };
  return osigu.event(type, { data: { ...marked(osigu.DATA[type] ?? osigu.DATA["dispensing.completed"]), ...data }, envelope: { event_id: id, ...unknown, ...envelope } });
}

const traceparents = [`00-${TRACE}-00f067aa0ba902b7-01`, `Ana Lopez ${MARK}`];
let sent = 0;

/// The headers that carry marks besides the signature; half of the requests have a well-formed traceparent.
const carried = () => ({
  "content-type": `application/json; note=${MARK}`,
  "user-agent": `Osigu ${MARK}`,
  traceparent: traceparents[sent++ % 2],
  cookie: `session=${MARK}`,
  authorization: `Bearer ${MARK}`,
  "x-forwarded-for": MARK,
});

/// Sends, over a path with a query string that carries the mark.
function send(worker, body, { source = "osigu", path = `/hooks/${source}`, method = "POST", key = KEY, t, header, headers = {}, pieces = undefined } = {}) {
  const signature = header === undefined ? osigu.signatureHeader(key, body, t) : header;
  if (signature) signatures.push(...(signature.match(/[0-9a-f]{64}/g) ?? []));
  const all = { ...carried(), ...(signature === null ? {} : { "x-osigu-signature": signature }), ...headers };
  return new Promise((resolve, reject) => {
    const asked = request(`${worker.url}${path}?patient=${MARK}`, { method, headers: all, agent: false }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() }));
    });
    asked.once("error", reject);
    for (const piece of pieces ?? []) asked.write(piece);
    if (pieces === undefined) asked.end(body);
  });
}

/// A sender asks who is there. It is told its own word, and nothing else of what it sent.
function challenge(worker) {
  const body = JSON.stringify({ token: MARK, challenge: CHALLENGE, type: "url_verification" });
  const time = String(Math.floor(Date.now() / 1000));
  const signature = createHmac("sha256", KEY).update(`v0:${time}:${body}`).digest("hex");
  signatures.push(signature);
  return send(worker, body, { source: "slack", header: null, headers: { "x-slack-signature": `v0=${signature}`, "x-slack-request-timestamp": time } });
}

/// An order, told by its token in the path; the token is a mark too.
function order(worker, { id = MARK, source = "portal", path = `/hooks/${source}/${SECRETS.PATH_TOKEN}/order-accepted`, data = {} } = {}) {
  const { body } = evitalrx.event("order-accepted", { data: { id, patient_name: MARK, mobile: MARK, [`note_${MARK}`]: MARK, ...data } });
  return send(worker, body, { path, header: null });
}

/// A callback, with its key in `authorization`.
async function callback(worker, authorization, { source = "phil", requestID = phil.requestId() } = {}) {
  const { prescription } = phil;
  const patient = { ...prescription.patient, name: { firstName: MARK, lastName: MARK } };
  const { body } = phil.event("CONFIRMED", { data: { requestID, prescription: { ...prescription, patient, sig: MARK } } });
  const answer = await send(worker, body, { source, header: null, headers: { authorization } });
  // PHIL's own form has no code: the record has it.
  const code = { 200: "delivered", 400: "dead_lettered", 401: "signature_mismatch" }[answer.status];
  return { ...answer, text: JSON.stringify({ code, text: answer.text }) };
}

/// A call of whoever waits for callbacks. The id that it asks for is a mark, as long as it isn't answered with it.
async function expects(worker, method, { query = "", authorization = `Bearer ${SECRETS.EXPECTATION_KEY}`, body = undefined } = {}) {
  const headers = { ...carried(), authorization };
  const response = await fetch(`${worker.url}/v1/expectations/expected${query}`, { method, headers, body: body && JSON.stringify(body) });
  return { method, status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
}

/// A call of an operator, with marks in every part that isn't the key.
async function operate(worker, method, path, { authorization = `Bearer ${SECRETS.ADMIN_KEY}`, query = "" } = {}) {
  const headers = { ...carried(), ...(authorization === null ? {} : { authorization }) };
  if (authorization === null) delete headers.authorization;
  const response = await fetch(`${worker.url}${path}${query}`, { method, headers });
  return { method, path, status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
}

/// A request for which there is no room, since 32 others hold it. Answers its answer, and the codes of all requests in the order of their records.
async function overload(worker) {
  const sockets = Array.from({ length: 32 }, () => connect(worker.port, "127.0.0.1"));
  const closed = sockets.map((socket) => new Promise((resolve) => socket.once("close", resolve)));
  const most = Buffer.from(MARK.repeat(MIB / MARK.length)).subarray(0, MIB - 1024);
  for (const socket of sockets) {
    socket.on("error", () => {}).resume();
    socket.write(opening(MIB));
    socket.write(most);
  }
  const body = most.subarray(0, 64 * 1024);
  const codes = [];
  let answer;
  // Until all of them have arrived there still is room.
  do {
    answer = await send(worker, body, { header: `t=${MARK}` });
    codes.push(JSON.parse(answer.text).code);
  } while (codes.at(-1) === "signature_malformed" && codes.length < 500);
  for (const socket of sockets) socket.destroy();
  await Promise.all(closed);
  return { answer, codes: [...codes, ...sockets.map(() => "body_incomplete")] };
}

/// The head of a request over a bare connection.
const opening = (length) =>
  `POST /hooks/osigu?patient=${MARK} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-osigu-signature: t=${MARK}\r\ncontent-length: ${length}\r\n\r\n`;

/// An answer from a bare connection.
function parsed(bytes) {
  const [head, text] = String(bytes).split("\r\n\r\n");
  const [, ...lines] = head.split("\r\n");
  return { headers: Object.fromEntries(lines.map((line) => [line.split(":")[0].toLowerCase(), line])), text };
}

/// The records of requests: not what is said of the configuration, of an object's trap, or of messages.
const ofRequests = (worker) => worker.records().filter(({ status }) => status !== undefined);
/// The records of messages and of the cron.
const ofOthers = (worker, code) => worker.records().filter((record) => record.status === undefined && record.code === code);

/// One request after the other, so that each has its record; or several, whose records have the codes `all`.
function scene(worker) {
  let seen = 0;
  return async function ends(code, sending, all = [code], into = answers) {
    const answer = await sending;
    assert.equal(JSON.parse(answer.text).code, code, worker.output());
    into.push({ code, ...answer });
    await until(() => ofRequests(worker).length >= seen + all.length, { what: `the record of ${code}` });
    assert.deepEqual(ofRequests(worker).slice(seen).map((record) => record.code), all);
    seen += all.length;
  };
}

/// The mark as it may stand somewhere: as it is, in base64 at each of its three places, in hex, in UTF-16.
function forms(mark) {
  const base64 = [0, 1, 2].flatMap((skip) => {
    const text = Buffer.concat([Buffer.alloc(skip), Buffer.from(mark)]).toString("base64").replaceAll("=", "");
    // The first and the last character hold bits of what stands around.
    const inner = text.slice(skip === 0 ? 0 : skip + 1, -1);
    return [inner, inner.replaceAll("+", "-").replaceAll("/", "_")];
  });
  const texts = [mark, mark.toLowerCase(), mark.toUpperCase(), ...base64, Buffer.from(mark).toString("hex")];
  return [...texts.map((text) => Buffer.from(text)), Buffer.from(mark, "utf16le")];
}

function finds(haystack, mark) {
  const bytes = Buffer.from(haystack);
  return forms(mark).some((form) => bytes.includes(form));
}

const anyMark = (haystack) => [MARK, ID_MARK, TRACE, ...signatures].filter((mark) => finds(haystack, mark));

const files = (folder) => readdirSync(folder, { recursive: true }).map((name) => join(folder, name)).filter((path) => statSync(path).isFile());

/// The fields that a record may have: those of the type.
const FIELDS = [...readText(join(ROOT, "src/record.rs")).matchAll(/^ {4}pub (?:r#)?(\w+):/gm)].map(([, name]) => name);
const OUTCOMES = [...readText(join(ROOT, "src/outcome.rs")).matchAll(/=> spec\((\d+),\s*"(\w+)"/g)].map(([, status, code]) => ({ code, answered: status !== "0" }));
const ENDINGS = [...readText(join(ROOT, "src/operator.rs")).matchAll(/=> \(\d+, "(\w+)",/g)].map(([, code]) => code);
const REASONS = [...readText(join(ROOT, "src/parcel.rs")).matchAll(/Self::\w+ => "(\w+)",/g)].map(([, code]) => code);
const SEVERAL = { configuration_faulty: ["level", "code", "faults"], store_trapped: ["level", "code"], internal_error: ["level", "code", "status", "fault"] };

test("every outcome comes about, each with one record in the log", async () => {
  const worker = await start();
  const ends = scene(worker);
  const original = event();

  for (const type of osigu.EVENT_TYPES) await ends("delivered", send(worker, event(type).body));
  await ends("withheld", send(worker, event("authorization.created").body));
  await ends("delivered", send(worker, original.body, { source: "original" }));
  await ends("delivered", send(worker, event(`Dispensing.${MARK}`).body));
  await ends("delivered", send(worker, event("dispensing.completed", { envelope: { api_version: MARK } }).body));
  // Known fields of other types than documented, all of which are noted.
  await ends("delivered", send(worker, event("prescription.issued", { data: { patient: MARK, doctor: [MARK], medications: { [MARK]: 1 }, issued_at: MARK } }).body));
  await ends("duplicate", send(worker, original.body, { source: "original" }));

  const slow = event();
  origin.rule({ delay: 500 });
  const underWay = send(worker, slow.body);
  await until(() => origin.of(slow.id).length === 1, { what: "the delivery" });
  await ends("in_flight", send(worker, slow.body));
  await ends("delivered", underWay);

  await ends("path_unknown", send(worker, event().body, { path: `/${MARK}` }));
  await ends("path_unknown", send(worker, event().body, { path: `/hooks/osigu/${MARK}` }));
  await ends("source_unknown", send(worker, event().body, { source: MARK }));
  await ends("method_not_allowed", send(worker, event().body, { method: "PUT" }));
  await ends("content_type_unsupported", send(worker, event().body, { headers: { "content-type": `text/plain; name=${MARK}` } }));
  const large = Buffer.from(`{"name":"${MARK.repeat(70_000)}"}`);
  // Not all of it: the Worker doesn't wait for it, and who goes on sending may miss the answer.
  await ends("body_too_large", send(worker, large, { headers: { "content-length": large.length }, pieces: [large.subarray(0, 100)] }));
  await ends("body_too_large", send(worker, large, { headers: { "transfer-encoding": "chunked" }, pieces: [large.subarray(0, MIB + 1)] }));

  const cut = connect({ port: worker.port, host: "127.0.0.1", allowHalfOpen: true });
  const answered = new Promise((resolve) => cut.once("data", resolve));
  cut.on("end", () => cut.destroy());
  cut.end(`${opening(9999)}{"name":"${MARK}`);
  await ends("body_incomplete", answered.then(parsed));

  await ends("signature_missing", send(worker, event().body, { header: null }));
  await ends("challenge_answered", challenge(worker));
  const unsigned = (code, sending) => ends(code, sending, [code], unsignedAnswers);
  await unsigned("delivered", order(worker));
  await unsigned("duplicate", order(worker));
  await unsigned("dead_lettered", order(worker, { id: `x${MARK}`, data: { transaction_nature: "reject", order_status: "rejected" } }));
  await unsigned("source_unknown", order(worker, { path: `/hooks/portal/${MARK}-path-token` }));
  await unsigned("address_not_allowed", order(worker, { source: "office", path: "/hooks/office" }));
  await unsigned("delivered", callback(worker, KEY));
  await unsigned("signature_mismatch", callback(worker, `${KEY}x`));
  await ends("signature_malformed", send(worker, event().body, { header: `t=${MARK},v1=${MARK}` }));
  await ends("signature_malformed", send(worker, event().body, { header: MARK.repeat(500) }));
  await ends("signature_mismatch", send(worker, event().body, { key: `${KEY}x` }));
  await ends("timestamp_out_of_tolerance", send(worker, event().body, { t: osigu.seconds() - 301 }));

  const malformed = [`{"name":"${MARK}`, MARK, `"${MARK}"`, `{"${MARK}":1,"${MARK}":2}`, `{"a":${'{"a":'.repeat(40)}"${MARK}"${"}".repeat(40)}}`];
  for (const body of malformed) await ends("dead_lettered", send(worker, Buffer.from(body)));
  await ends("dead_lettered", send(worker, Buffer.concat([Buffer.from(`{"name":"${MARK}`), Buffer.from([0xff, 0x22, 0x7d])])));

  const invalid = [
    { envelope: { event_id: undefined } },
    { envelope: { event_id: { [MARK]: MARK } } },
    { envelope: { event_id: "" } },
    { envelope: { event_type: [MARK] } },
    { envelope: { created_at: `2026-06-25 ${MARK}` } },
    { envelope: { environment: 7 } },
    { envelope: { data: MARK } },
    { data: { dispensation_id: undefined } },
    { data: { dispensation_id: { [MARK]: MARK } } },
  ];
  for (const broken of invalid) await ends("dead_lettered", send(worker, event("dispensing.completed", broken).body));
  for (const environment of ["production", MARK]) await ends("dead_lettered", send(worker, event("dispensing.completed", { envelope: { environment } }).body));
  for (const provider of [{ provider_slug: MARK }, MARK, undefined]) await ends("dead_lettered", send(worker, event("dispensing.completed", { envelope: { provider } }).body));

  const echo = { headers: { "retry-after": MARK, "x-echo": MARK, location: `http://127.0.0.1/${MARK}` }, body: `{"name":"${MARK}"}` };
  origin.rule({ status: 422, ...echo });
  await ends("dead_lettered", send(worker, event().body));
  for (const rule of [{ status: 500 }, { status: 302 }, { status: 429 }, { reset: true }]) {
    origin.rule({ ...echo, ...rule });
    await ends("delivery_failed", send(worker, event().body));
  }
  await ends("delivery_failed", send(worker, event().body, { source: "dead" }));
  origin.rule({ hang: true });
  await ends("delivery_timed_out", send(worker, event().body));
  for (const source of ["short", "expired", "pasted"]) await ends("source_misconfigured", send(worker, event().body, { source }));

  platform.fault({ on: "queue.send", queue: THEIRS, how: "fail", times: 1 });
  await ends("enqueue_failed", send(worker, event().body, { source: "events" }));
  platform.fault({ on: "queue.send", queue: LETTERS, how: "fail", times: 1 });
  await ends("dead_letter_failed", send(worker, Buffer.from(MARK.repeat(7))));

  const { answer, codes } = await overload(worker);
  await ends("overloaded", answer, codes);
  await platform.idle();
  await worker.kill();

  vars.RXGATE.shards = 8;
  const resharded = await start();
  await scene(resharded)("shards_changed", send(resharded, event().body));
  await resharded.kill();
  vars.RXGATE.shards = 4;
});

/// Messages that somebody else puts into our queue: they go on to the dead letters as they are.
const FOREIGN = [FOREIGN_MARK, `{"${FOREIGN_MARK}":1}`, `\x01${FOREIGN_MARK}`, `\x02${FOREIGN_MARK}`].map((text) => Buffer.from(text));

/// An event that is too large for a message.
const large = () => event("prescription.issued", { data: { posology: `${MARK} `.repeat(300_000 / MARK.length) } });

test("what goes by queues, KV and the dead letters comes about, and all that an operator can ask for", async () => {
  const worker = await start();
  const ends = scene(worker);
  const asks = (code, ...call) => ends(code, operate(worker, ...call), [code], operatorAnswers);
  const PATH = "/v1/dead-letters";

  // A customer's queue; KV that remembers, and KV that is a short cut.
  for (const type of osigu.EVENT_TYPES) await ends("enqueued", send(worker, event(type).body, { source: "events" }));
  await ends("enqueued", send(worker, large().body, { source: "events" }));
  const seen = event();
  for (const code of ["enqueued", "duplicate"]) await ends(code, send(worker, seen.body, { source: "kv" }));
  platform.fault({ on: "kv", how: "fail" });
  await ends("enqueued", send(worker, event().body, { source: "kv" }));
  platform.clearFaults();
  const known = event();
  for (const code of ["delivered", "duplicate", "duplicate"]) await ends(code, send(worker, known.body, { source: "edge" }));

  // Callbacks that are waited for: nobody expects one; one is told of as missing; one comes while its notice is on its way.
  const waits = (code, ...call) => ends(code, expects(worker, ...call), [code], expectationAnswers);
  const [unexpected, missing, met] = ["unexpected", "missing", "met"].map((word) => `${word}-${MARK}`);
  await ends("dead_lettered", callback(worker, KEY, { source: "expected", requestID: unexpected }), ["dead_lettered"], unsignedAnswers);
  const held = platform.fault({ on: "queue.deliver", queue: OURS, how: "hang" });
  const almost = new Date(Date.now() - 4 * 3600_000 + 1000).toISOString();
  for (const requestID of [missing, met]) await waits("expectation_registered", "POST", { body: { requestID, requested_at: almost } });
  await until(() => ofOthers(worker, "notices_sent").reduce((sum, record) => sum + record.messages_sent, 0) === 2, { what: "the notices" });
  await ends("delivered", callback(worker, KEY, { source: "expected", requestID: met }), ["delivered"], unsignedAnswers);
  await until(() => held.hits > 0, { what: "the held batch" });
  platform.clearFaults();
  await platform.advance(OURS, 60_000);
  await platform.idle();
  for (const code of ["callback_met", "delivered"]) await until(() => ofOthers(worker, code).length > 0, { what: code });
  await waits("expectation_read", "GET", { query: `?requestID=${missing}` });
  const inTime = `in-time-${MARK}`;
  await waits("expectation_registered", "POST", { body: { requestID: inTime } });
  await ends("delivered", callback(worker, KEY, { source: "expected", requestID: inTime }), ["delivered"], unsignedAnswers);
  await waits("expectation_met", "POST", { body: { requestID: inTime } });
  await waits("expectation_deleted", "DELETE", { query: `?requestID=${missing}` });
  await waits("expectation_unknown", "DELETE", { query: `?requestID=${missing}` });
  for (const body of [{ [MARK]: 1 }, { requestID: { [MARK]: MARK } }, { requestID: MARK, requested_at: MARK }]) await waits("parameter_invalid", "POST", { body });
  await waits("parameter_invalid", "GET", { query: `?${MARK}=${MARK}` });
  await waits("unauthorized", "GET", { authorization: `Bearer ${MARK}` });
  await waits("method_not_allowed", "PUT", { body: { requestID: MARK } });

  // Our own queue: small and large, tried again, delivered, refused for good.
  const [small, big, refused, bigRefused] = [event(), large(), event(), large()];
  const some = [small, big, refused, bigRefused];
  for (const { id } of some) origin.rule({ status: 503, when: (entry) => entry.event?.id === id });
  for (const { body } of some) await ends("enqueued", send(worker, body, { source: "queued" }));
  for (const { id } of [small, big]) origin.rule({ status: 500, when: (entry) => entry.event?.id === id });
  for (const { id } of [refused, bigRefused]) origin.rule({ status: 422, headers: { "x-echo": MARK }, body: MARK, when: (entry) => entry.event?.id === id });
  const absent = platform.fault({ on: "kv.get", key: /^body\//, how: "fail", times: 1 });
  await platform.advance(OURS, 5000);
  await platform.idle();
  assert.equal(absent.hits, 1);
  await platform.advance(OURS, 3600_000);
  await platform.idle();
  for (const { id } of [small, big]) await until(() => origin.of(id).length >= 3, { what: "the delivery" });
  await platform.advance(OURS, 3600_000);
  await platform.idle();

  // Messages that aren't ours.
  for (const body of [FOREIGN_MARK, { [FOREIGN_MARK]: 1 }, ...FOREIGN.slice(2)]) {
    for (const attempts of [1, 96]) await worker.queue(OURS, [{ body, attempts }]);
    await worker.queue(MARK, [{ body }]);
    // What can't be opened is kept when its attempts are used up: its key may come back until then.
    for (const attempts of [1, 96]) await worker.queue(LETTERS, [{ body, attempts }]);
  }
  await platform.advance(LETTERS, 60_000);
  await platform.idle();
  for (const code of ["body_missing", "message_unreadable", "queue_unknown", "dead_letter_kept", "delivery_failed", "delivered", "dead_lettered"]) {
    await until(() => ofOthers(worker, code).length > 0, { what: code });
  }
  await worker.cron();
  await until(() => ofOthers(worker, "dead_letters").length > 0, { what: "the cron's line" });

  // An operator.
  await asks("dead_letters_listed", "GET", PATH, { query: "?limit=100" });
  const { dead_letters } = JSON.parse(operatorAnswers.at(-1).text);
  assert.deepEqual([...new Set(dead_letters.map(({ reason }) => reason))].sort(), REASONS.filter((reason) => reason !== "attempts_used_up").sort());
  for (const { id } of dead_letters) await asks("dead_letter_read", "GET", `${PATH}/${id}`);
  const of = (wanted, readable = true) => dead_letters.findLast(({ reason }) => reason === wanted && readable).id;
  await asks("dead_letters_listed", "GET", PATH, { query: `?source=${MARK}&code=${MARK}` });
  for (const query of [`?limit=${MARK}`, `?${MARK}=1`, `?since=${MARK}`, `?cursor=${MARK}`, `?waiting=${MARK}`, `?code=${MARK}&code=${MARK}`]) await asks("parameter_invalid", "GET", PATH, { query });
  await asks("path_unknown", "GET", `/v1/${MARK}`);
  await asks("dead_letter_unknown", "GET", `${PATH}/dl_${MARK}`);
  await asks("method_not_allowed", "PUT", PATH);
  for (const authorization of [null, `Bearer ${MARK}`, `Basic ${MARK}`]) await asks("operator_unauthorized", "GET", PATH, { authorization });
  await asks("health_read", "GET", "/healthz");
  await asks("dead_letter_redelivered", "POST", `${PATH}/${of("delivery_rejected")}/redeliver`);
  await asks("dead_letters_redelivered", "POST", `${PATH}/redeliver`);
  await asks("dead_letter_unreadable", "POST", `${PATH}/${of("message_unreadable")}/redeliver`);
  platform.fault({ on: "queue.send", queue: OURS, how: "fail", times: 1 });
  await asks("redelivery_failed", "POST", `${PATH}/${of("event_invalid")}/redeliver`);
  await asks("dead_letter_deleted", "DELETE", `${PATH}/${of("event_invalid")}`);
  await platform.idle();
  await platform.advance(OURS, 3600_000);
  await platform.idle();
  await worker.kill();

  // The object doesn't answer.
  const failing = await start({ bundle: "test-hooks", entry: join(import.meta.dirname, "entries/failing.mjs") });
  await (await fetch(`${failing.url}/faults/next?object=${encodeURIComponent("letters before 9")}`)).text();
  await scene(failing)("store_unavailable", operate(failing, "GET", PATH), ["store_unavailable"], operatorAnswers);
  await failing.kill();
});

let names;

test("traps and failing objects come about, each with one record in the log", async () => {
  const worker = await start({ bundle: "test-hooks", entry: join(import.meta.dirname, "entries/faults.mjs") });
  const ends = scene(worker);
  await ends("delivered", send(worker, event().body));
  for (const way of ["unreachable", "stack", "calls", `panic ${MARK}`]) {
    await ends("internal_error", send(worker, event().body, { headers: { traceparent: `rxgate-test-hooks:${way}` } }));
    await ends("delivered", send(worker, event().body));
    await (await fetch(`${worker.url}/faults/next?object=${encodeURIComponent(way)}`)).text();
    await ends("store_unavailable", send(worker, event().body));
    await ends("delivered", send(worker, event().body));
  }
  await (await fetch(`${worker.url}/faults/next?object=sql`)).text();
  await ends("store_unavailable", send(worker, event().body));
  await (await fetch(`${worker.url}/faults/next?object=hang`)).text();
  await ends("store_unavailable", send(worker, event().body));
  await ends("dead_lettered", send(worker, Buffer.from(MARK.repeat(9))));
  await until(() => ofOthers(worker, "dead_letter_kept").length > 0, { what: "the letter" });
  assert.equal(worker.records().filter(({ code }) => code === "store_trapped").length, 4);
  await platform.idle();
  names = await (await fetch(`${worker.url}/faults/names`)).json();
  await worker.kill();
});

test("no outcome was left out", () => {
  const codes = (answered) => OUTCOMES.filter((outcome) => outcome.answered === answered).map(({ code }) => code);
  assert.deepEqual([codes(true).length, codes(false).length, ENDINGS.length, REASONS.length], [27, 5, 14, 10]);
  assert.deepEqual([...new Set([...answers, ...unsignedAnswers].map(({ code }) => code))].sort(), codes(true).sort());
  for (const code of codes(false)) assert.ok(running.some((worker) => ofOthers(worker, code).length > 0), code);
  assert.deepEqual([...new Set(operatorAnswers.map(({ code }) => code))].sort(), ENDINGS.toSorted());
});

test("the origin received what the marks stand for, and the search finds them there", () => {
  assert.ok(origin.received.length > 30);
  for (const { body, headers, event } of origin.received) {
    assert.ok(finds(body, MARK));
    // The ids of the others' events are made here.
    assert.ok(finds(body, ID_MARK) || event.rxauth === "token");
    assert.equal(headers.authorization, `Bearer ${MARK}`);
  }
  assert.ok(origin.received.some(({ body }) => finds(body, TRACE)));
  assert.ok(origin.received.some(({ headers }) => signatures.some((mark) => finds(JSON.stringify(headers), mark))), "format = original passes the sender's signature on");
  // In the other forms, and at every place.
  for (const around of ["", "a", "ab", "abc"]) {
    const text = `${around}${MARK}${around}`;
    for (const encoding of ["utf8", "base64", "base64url", "hex", "utf16le"]) {
      const encoded = encoding.startsWith("utf") ? Buffer.from(text, encoding) : Buffer.from(text).toString(encoding);
      assert.ok(finds(encoded, MARK), `${around} ${encoding}`);
    }
  }
});

test("nothing that workerd printed carries a mark", () => {
  for (const worker of running) {
    assert.ok(worker.records().length > 0);
    for (const line of worker.output().split("\n")) {
      assert.deepEqual(anyMark(line), [], line);
      assert.ok(!finds(line, FOREIGN_MARK), line);
    }
  }
});

test("all that workerd printed is records, made of the allowed fields only", () => {
  const used = new Set();
  for (const worker of running) {
    for (const line of worker.output().split("\n").filter(Boolean)) {
      assert.ok(line.startsWith("{"), line);
      const record = JSON.parse(line);
      const allowed = SEVERAL[record.code] ?? FIELDS;
      for (const name of Object.keys(record)) {
        used.add(name);
        assert.ok(allowed.includes(name), `${name} in ${line}`);
      }
      for (const name of ["level", "code"]) assert.ok(record[name], line);
    }
  }
  // The list is real: most of its fields did occur.
  assert.ok(FIELDS.length > 20);
  assert.ok([...used].length > 20, [...used].join());
});

test("README lists the fields of a record", () => {
  const section = readText(join(ROOT, "README.md")).split(/^## The log$/m)[1].split(/^## /m)[0];
  const listed = [...section.matchAll(/^\| (`[^|]+) \|/gm)].flatMap(([, cell]) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name));
  assert.deepEqual(listed.sort(), [...FIELDS].sort());
});

test("answers carry the code, and the event id once the request is authentic; nothing else", () => {
  const authentic = "delivered enqueued dead_lettered withheld duplicate in_flight delivery_failed delivery_timed_out enqueue_failed dead_letter_failed store_unavailable shards_changed";
  const headers = ["content-type", "content-length", "retry-after", "allow", "connection", "keep-alive", "date", "transfer-encoding"];
  let withId = 0;
  for (const answer of answers) {
    const { code, event_id: id, reason, challenge, ...more } = JSON.parse(answer.text);
    assert.deepEqual(more, {});
    assert.equal(challenge, code === "challenge_answered" ? CHALLENGE : undefined);
    if (code.startsWith("dead_letter") || code === "withheld") assert.ok(REASONS.includes(reason), reason);
    else assert.equal(reason, undefined);
    if (id !== undefined) {
      withId += 1;
      assert.ok(authentic.split(" ").includes(code), `${code} with an event id`);
      assert.match(id, new RegExp(`^evt_${ID_MARK}_[0-9a-f]{12}$`));
    }
    const rest = `${JSON.stringify(answer.headers)} ${answer.text.replace(String(id), "")}`;
    assert.deepEqual(anyMark(rest), [], rest);
    for (const name of Object.keys(answer.headers)) assert.ok(headers.includes(name), name);
  }
  assert.ok(withId > 30);
  // PHIL's form repeats the request's id, and nothing else.
  const repeated = /\\"requestID\\":\\"[^"]*\\"/;
  assert.ok(unsignedAnswers.some(({ text }) => finds(text.match(repeated)?.[0] ?? "", MARK)));
  for (const { headers, text } of unsignedAnswers) assert.deepEqual(anyMark(`${JSON.stringify(headers)} ${text.replace(repeated, "")}`), [], text);
});

test("the names of the objects are a version, numbers, and nothing else", () => {
  assert.ok(names.includes("layout-v1"));
  assert.ok(names.includes("dead-letters-v1"));
  for (const name of names) assert.match(name, /^(layout-v1|dead-letters-v1|entity-v\d+-\d+-4-[0-3])$/);
});

test("the store's files carry no mark, only the events' hashes", () => {
  const stored = files(state).map((path) => ({ path, bytes: readFileSync(path) }));
  for (const { path, bytes } of stored) {
    assert.deepEqual(anyMark(path), []);
    assert.deepEqual(anyMark(bytes), [], path);
  }
  // They were read at the right place: each delivered event's hash is in them.
  const ids = answers.filter(({ code }) => code === "delivered").map(({ text }) => JSON.parse(text).event_id);
  assert.ok(ids.length > 20);
  for (const id of ids) {
    const hashes = ["osigu", "original", "edge"].map((source) => createHash("sha256").update(`${source}\0${id}`).digest().subarray(0, 16));
    assert.ok(stored.some(({ bytes }) => hashes.some((hash) => bytes.includes(hash))), id);
  }
});

test("our own queues carry no mark, whole or by reference; a customer's queue does, in plaintext, but for what is too large for it", () => {
  const messages = platform.messages();
  for (const queue of [OURS, LETTERS]) {
    // What a test put there itself aside.
    assert.ok(messages[queue].length > 8);
    for (const { body } of messages[queue]) {
      if (queue === LETTERS && FOREIGN.some((foreign) => body.equals(foreign))) continue;
      assert.deepEqual(anyMark(body), [], queue);
    }
  }
  const [whole, references] = [messages[THEIRS].filter(({ body }) => body.length > 1000), messages[THEIRS].filter(({ body }) => body.length < 1000)];
  assert.ok(whole.length > 10);
  for (const { body } of whole) assert.ok(finds(body, MARK) && finds(body, ID_MARK));
  assert.equal(references.length, 1);
  assert.equal(JSON.parse(references[0].body).rxgate, "reference");
  assert.deepEqual(anyMark(references[0].body), []);
});

test("KV's files carry no mark, neither names nor bytes, though large events and their letters are in them", async () => {
  const read = () => platform.files().map((path) => ({ path, bytes: readFileSync(path) }));
  const stored = read();
  assert.ok(stored.filter(({ bytes }) => bytes.length > 300_000).length >= 3, "the large ones are there");
  for (const { path, bytes } of stored) {
    assert.deepEqual(anyMark(path), []);
    assert.deepEqual(anyMark(bytes), [], path);
  }
  const keys = (await platform.kv.list()).map(({ name }) => name);
  for (const prefix of ["body/", "seen/", "dup/"]) assert.ok(keys.some((key) => key.startsWith(prefix)), prefix);
  for (const key of keys) assert.match(key, /^(body|dup)\/[0-9a-f]{64}$|^(seen|done)\/[0-9a-f]{32}$/);
  // The search would find them there.
  await platform.kv.put("control", `patient ${MARK}`);
  assert.ok(read().some(({ bytes }) => finds(bytes, MARK)));
  await platform.kv.delete("control");
});

test("an operator sees what a sender sent when he reads a letter, and nowhere else", () => {
  let read = 0;
  for (const { code, method, path, text, headers } of operatorAnswers) {
    assert.deepEqual(anyMark(JSON.stringify(headers)), []);
    if (code !== "dead_letter_read") {
      assert.deepEqual(anyMark(text), [], `${method} ${path}: ${text}`);
      assert.ok(!finds(text, FOREIGN_MARK), text);
      continue;
    }
    const { body, body_base64, ...rest } = JSON.parse(text);
    if (rest.readable) assert.ok(finds(body ?? Buffer.from(body_base64, "base64"), MARK));
    assert.deepEqual(anyMark(JSON.stringify(rest)), [], "metadata beside it");
    read += 1;
  }
  assert.ok(read > 20);
});

test("who waits for a callback is answered with nothing that came from anybody", () => {
  assert.ok(expectationAnswers.length > 10);
  for (const { text, headers } of expectationAnswers) assert.deepEqual(anyMark(`${JSON.stringify(headers)} ${text}`), [], text);
});

test("an alert carries numbers only", () => {
  assert.ok(alerts.received.length > 0);
  for (const { body, event } of alerts.received) {
    assert.deepEqual(anyMark(body), []);
    assert.deepEqual(Object.keys(event).sort(), ["code", "dead_letters", "oldest_age_seconds", "waiting"]);
  }
});
