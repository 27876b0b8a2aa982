// Patient data, ids and secrets go through every outcome, each marked. Then the marks are looked for in all that the Worker wrote: what workerd printed, the answers, the names of the
// objects, the files of the store. The origin did get them, and the same search finds them there.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { ROOT, freePort, readText, remove, startWorkerd, temporary, until } from "./harness.mjs";

const MIB = 1024 * 1024;

/// In every name, id, text, key and header value of this test.
const MARK = `Kn${randomBytes(8).toString("hex")}`;
/// In the sender's event ids: an answer may carry it once the request is authentic, and nothing else may.
const ID_MARK = `Wx${randomBytes(8).toString("hex")}`;
/// A trace id has no room for letters.
const TRACE = randomBytes(16).toString("hex");

const KEY = `osigu-key-${MARK}`;
const SECRETS = {
  OSIGU_KEY: KEY,
  SIGNING_KEY: `whsec_${Buffer.from(`signing-key-${MARK}`).toString("base64")}`,
  ORIGIN_TOKEN: `Bearer ${MARK}`,
  SHORT_KEY: MARK.slice(0, 12),
};

let origin;
let vars;
const state = temporary();
const running = [];
/// What was answered, by code.
const answers = [];
/// Signatures: whoever has one may resend the request within the tolerance.
const signatures = [];

before(async () => {
  origin = await startOrigin();
  const at = (port) => `http://127.0.0.1:${port}/rxgate?token=${MARK}`;
  const keys = [{ id: "first", secret: "OSIGU_KEY" }];
  const source = { provider: "osigu", environment: "sandbox", provider_slug: "clinic-example", max_body_bytes: MIB, keys, destination: "local" };
  const destination = { url: at(origin.port), keys: [{ id: "first", secret: "SIGNING_KEY" }], headers: { authorization: "ORIGIN_TOKEN" } };
  vars = {
    RXGATE: { shards: 4, development: true },
    SOURCE_OSIGU: source,
    SOURCE_ORIGINAL: { ...source, destination: "original" },
    SOURCE_DEAD: { ...source, destination: "dead" },
    SOURCE_SHORT: { ...source, keys: [{ id: "first", secret: "SHORT_KEY" }] },
    SOURCE_EXPIRED: { ...source, keys: [{ ...keys[0], not_after: "2020-01-01T00:00:00Z" }] },
    // The secret itself, pasted where its name belongs; a URL with a password; a value where there is a choice.
    SOURCE_PASTED: { ...source, keys: [{ id: "first", secret: KEY }], destination: "pasted", environment: MARK },
    DESTINATION_LOCAL: destination,
    DESTINATION_ORIGINAL: { ...destination, format: "original" },
    DESTINATION_DEAD: { ...destination, url: at(await freePort()) },
    DESTINATION_PASTED: { ...destination, url: `https://user:${MARK}@origin.example/` },
  };
});

after(async () => {
  for (const worker of running) await worker.kill();
  await origin?.close();
  remove(state);
});

async function start(options = {}) {
  const worker = await startWorkerd({ vars, secrets: SECRETS, state, ...options });
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

/// The records of requests: not what is said of the configuration or of an object's trap.
const ofRequests = (worker) => worker.records().filter(({ code }) => !["configuration_faulty", "store_trapped"].includes(code));

/// One request after the other, so that each has its record; or several, whose records have the codes `all`.
function scene(worker) {
  let seen = 0;
  return async function ends(code, sending, all = [code]) {
    const answer = await sending;
    assert.equal(JSON.parse(answer.text).code, code, worker.output());
    answers.push({ code, ...answer });
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
const CODES = [...readText(join(ROOT, "src/outcome.rs")).matchAll(/=> spec\(\d+, "(\w+)"/g)].map(([, code]) => code);
const SEVERAL = { configuration_faulty: ["level", "code", "faults"], store_trapped: ["level", "code"], internal_error: ["level", "code", "status", "fault"] };

test("every outcome comes about, each with one record in the log", async () => {
  const worker = await start();
  const ends = scene(worker);
  const original = event();

  for (const type of osigu.EVENT_TYPES) await ends("delivered", send(worker, event(type).body));
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
  await ends("signature_malformed", send(worker, event().body, { header: `t=${MARK},v1=${MARK}` }));
  await ends("signature_malformed", send(worker, event().body, { header: MARK.repeat(500) }));
  await ends("signature_mismatch", send(worker, event().body, { key: `${KEY}x` }));
  await ends("timestamp_out_of_tolerance", send(worker, event().body, { t: osigu.seconds() - 301 }));

  const malformed = [`{"name":"${MARK}`, MARK, `"${MARK}"`, `{"${MARK}":1,"${MARK}":2}`, `{"a":${'{"a":'.repeat(40)}"${MARK}"${"}".repeat(40)}}`];
  for (const body of malformed) await ends("body_malformed", send(worker, Buffer.from(body)));
  await ends("body_malformed", send(worker, Buffer.concat([Buffer.from(`{"name":"${MARK}`), Buffer.from([0xff, 0x22, 0x7d])])));

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
  for (const broken of invalid) await ends("event_invalid", send(worker, event("dispensing.completed", broken).body));
  for (const environment of ["production", MARK]) await ends("environment_mismatch", send(worker, event("dispensing.completed", { envelope: { environment } }).body));
  for (const provider of [{ provider_slug: MARK }, MARK, undefined]) await ends("provider_mismatch", send(worker, event("dispensing.completed", { envelope: { provider } }).body));

  const echo = { headers: { "retry-after": MARK, "x-echo": MARK, location: `http://127.0.0.1/${MARK}` }, body: `{"name":"${MARK}"}` };
  origin.rule({ status: 422, ...echo });
  await ends("delivery_rejected", send(worker, event().body));
  for (const rule of [{ status: 500 }, { status: 302 }, { status: 429 }, { reset: true }]) {
    origin.rule({ ...echo, ...rule });
    await ends("delivery_failed", send(worker, event().body));
  }
  await ends("delivery_failed", send(worker, event().body, { source: "dead" }));
  origin.rule({ hang: true });
  await ends("delivery_timed_out", send(worker, event().body));
  for (const source of ["short", "expired", "pasted"]) await ends("source_misconfigured", send(worker, event().body, { source }));

  const { answer, codes } = await overload(worker);
  await ends("overloaded", answer, codes);
  await worker.kill();

  vars.RXGATE.shards = 8;
  const resharded = await start();
  await scene(resharded)("shards_changed", send(resharded, event().body));
  await resharded.kill();
  vars.RXGATE.shards = 4;
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
  assert.equal(worker.records().filter(({ code }) => code === "store_trapped").length, 4);
  names = await (await fetch(`${worker.url}/faults/names`)).json();
  await worker.kill();
});

test("no outcome was left out", () => {
  assert.equal(CODES.length, 25);
  assert.deepEqual([...new Set(answers.map(({ code }) => code))].sort(), [...CODES].sort());
});

test("the origin received what the marks stand for, and the search finds them there", () => {
  assert.ok(origin.received.length > 30);
  for (const { body, headers } of origin.received) {
    assert.ok(finds(body, MARK));
    assert.ok(finds(body, ID_MARK));
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
    for (const line of worker.output().split("\n")) assert.deepEqual(anyMark(line), [], line);
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
  const authentic = "delivered duplicate in_flight event_invalid environment_mismatch provider_mismatch delivery_rejected delivery_failed delivery_timed_out store_unavailable shards_changed";
  const headers = ["content-type", "content-length", "retry-after", "allow", "connection", "keep-alive", "date", "transfer-encoding"];
  let withId = 0;
  for (const answer of answers) {
    const { code, event_id: id, ...more } = JSON.parse(answer.text);
    assert.deepEqual(more, {});
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
});

test("the names of the objects are a version, numbers, and nothing else", () => {
  assert.ok(names.includes("layout-v1"));
  for (const name of names) assert.match(name, /^(layout-v1|entity-v\d+-\d+-4-[0-3])$/);
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
    const hashes = ["osigu", "original"].map((source) => createHash("sha256").update(`${source}\0${id}`).digest().subarray(0, 16));
    assert.ok(stored.some(({ bytes }) => hashes.some((hash) => bytes.includes(hash))), id);
  }
});
