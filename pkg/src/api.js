// What the package offers, whatever runtime brings the module.

import { BODY_BYTES, Core } from "./core.js";
import { MESSAGES } from "./messages.js";

/** Of an object that was parsed, the bytes that were signed are gone. */
export const PARSED_BODY =
  "rxgate: the body is an object, so something parsed it before. A signature covers the bytes as they were sent, and JSON.stringify doesn't bring them back: spaces, key order and escapes differ. " +
  'Pass the raw body: express.raw({ type: "*/*" }) on this route before express.json(), in Fastify a scope with removeAllContentTypeParsers() and one that keeps the Buffer, await request.text() in Next.js, Hono and Workers.';

let module;
let hostCrypto;
let core;
let generation = 0;

/** Brings the module, and the host's node:crypto where it has that. Each runtime's entry calls it. */
export function provide(wasm, crypto) {
  module ??= wasm;
  hostCrypto ??= crypto;
}

function current() {
  if (core && !core.trapped) return core;
  if (!module) throw new Error('rxgate: not initialised. Call "await init()" once before anything else, or import "rxgate" instead of "rxgate/web"');
  core = new Core(module, hostCrypto);
  generation += 1;
  return core;
}

/** What is wrong with settings; `faults` has all of it. */
export class ConfigurationError extends Error {
  constructor(faults) {
    super(`rxgate: the source's settings are faulty: ${faults.map(({ path, problem }) => `${path} ${problem}`.trim()).join("; ")}`);
    this.name = "ConfigurationError";
    this.faults = faults;
  }
}

/** Why an event that travels by reference isn't there. `code`: body_missing (try again after a minute), body_changed, seal_key_unknown, seal_broken, message_unreadable. */
export class ResolveError extends Error {
  constructor(code, text) {
    super(`rxgate: ${text}`);
    this.name = "ResolveError";
    this.code = code;
  }
}

const registry = globalThis.FinalizationRegistry && new FinalizationRegistry(({ handle, of }) => of === generation && core?.close(handle));

/** A sender as you know it: its kind, its keys, what you expect of it. */
class Source {
  #prepared;
  #opened;
  #generation = 0;

  constructor(settings) {
    this.#prepared = prepare(settings);
    this.open();
  }

  get id() {
    return this.#opened.id;
  }

  get provider() {
    return this.#opened.provider;
  }

  /** Its handle and what is to be read of its requests. Opened anew if the instance had to be replaced. */
  open() {
    const instance = current();
    if (this.#generation === generation) return this.#opened;
    const { ok, head } = instance.json("open", this.#prepared);
    const opened = JSON.parse(head);
    if (!ok) throw new ConfigurationError(opened.faults);
    this.#opened = opened;
    this.#generation = generation;
    registry?.register(this, { handle: opened.handle, of: generation });
    return opened;
  }

  /** The ids of the keys that are tried then. */
  keysAt(at) {
    const { keys, header, basic, path_tokens: tokens } = this.#prepared.table;
    const named = [keys, header?.keys, basic, tokens].flatMap((list) => (Array.isArray(list) ? list : []));
    return named.filter(({ not_after: end }) => end === undefined || at <= Date.parse(end)).map(({ id }) => id);
  }
}

/** The secrets are taken out of the settings, and named there by their paths, as the Worker's settings name theirs. */
function prepare(settings) {
  if (settings === null || typeof settings !== "object" || Array.isArray(settings)) throw new TypeError("rxgate: source() takes an object of settings");
  const { id, destination: _destination, routes: _routes, ...table } = settings;
  const secrets = {};
  const taken = (value, path) => {
    if (Array.isArray(value)) return value.map((item, place) => taken(item, `${path}[${place}]`));
    if (value === null || typeof value !== "object") return value;
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
    return Object.fromEntries(
      entries.map(([name, inner]) => {
        const at = path === "" ? name : `${path}.${name}`;
        if (name !== "secret" || typeof inner !== "string") return [name, taken(inner, at)];
        secrets[at] = inner;
        return [name, at];
      }),
    );
  };
  const named = id ?? settings.preset ?? settings.provider ?? "source";
  return { id: String(named), table: { ...taken(table, ""), destination: "package" }, secrets };
}

/** Reads the settings of a sender. Throws a {@link ConfigurationError} that names all that is wrong. */
export function source(settings) {
  return new Source(settings);
}

function read(headers, name) {
  if (!headers) return undefined;
  if (typeof headers.get === "function") return headers.get(name) ?? undefined;
  if (Array.isArray(headers)) return joined(headers.filter(([key]) => String(key).toLowerCase() === name).map(([, value]) => value));
  if (Object.hasOwn(headers, name)) return joined(headers[name]);
  const key = Object.keys(headers).find((key) => key.toLowerCase() === name);
  return key === undefined ? undefined : joined(headers[key]);
}

function joined(value) {
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.join(", ");
  return value === undefined || value === null ? undefined : String(value);
}

/** A body as bytes or text. Anything else is a programmer's mistake. */
export function bytesOf(body) {
  if (typeof body === "string") return body;
  if (body instanceof Uint8Array) return body;
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  if (body === undefined || body === null) throw new TypeError("rxgate: the body is missing: pass it as it was received, a Uint8Array, an ArrayBuffer or a string; an empty one as \"\"");
  if (typeof body === "object") throw new TypeError(PARSED_BODY);
  throw new TypeError(`rxgate: the body is a ${typeof body}: pass a Uint8Array, an ArrayBuffer or a string`);
}

function textOrNothing(name, value) {
  if (value !== undefined && value !== null && typeof value !== "string") throw new TypeError(`rxgate: the request's ${name} isn't a string`);
}

function check(name, from, request, now) {
  if (!(from instanceof Source)) throw new TypeError("rxgate: the first argument isn't a source: make one with source({ provider, keys, … })");
  if (request === null || typeof request !== "object") throw new TypeError("rxgate: the second argument isn't a request: { headers, body }");
  const body = bytesOf(request.body);
  const { headers, method = "POST", url, path, address } = request;
  textOrNothing("method", method);
  textOrNothing("url", url);
  textOrNothing("path", path);
  textOrNothing("address", address);
  const reads = from.open();
  const get = (header) => read(headers, header);
  const traceparent = get("traceparent");
  const lines = [
    // A well-formed one is as long as that.
    traceparent?.length > 64 ? undefined : traceparent,
    method,
    reads.url ? url : undefined,
    reads.path ? path?.replace(/^\//, "") : undefined,
    reads.path ? address : undefined,
    reads.header ? get(reads.header) : undefined,
    ...reads.more.map(get),
  ];
  if (reads.url && url === undefined) throw new TypeError("rxgate: the request has no url, and this sender's signature covers it");
  const at = milliseconds(now);
  // Only now: what was called above may have had the instance replaced.
  const { handle } = from.open();
  const said = current().check(name, handle, lines, body, at);
  return said.ok || name === "explain" ? { said } : { refused: refusal(from, JSON.parse(said.head), at) };
}

/** The caller's clock, or this one. */
function milliseconds(now) {
  const at = now === undefined ? Date.now() : Number(now instanceof Date ? now.getTime() : now);
  if (typeof now === "string" || !Number.isFinite(at)) throw new TypeError("rxgate: now isn't a Date, nor milliseconds since 1970");
  return at;
}

/** The sender's, and no event: to be kept before it is acknowledged, since it may not come again. */
const UNREADABLE = new Set(["body_malformed", "event_invalid", "event_contradictory", "environment_mismatch", "provider_mismatch"]);

function refusal(from, told, at) {
  const refused = { ok: false, ...told, unreadable: UNREADABLE.has(told.code), message: MESSAGES[told.code] ?? told.code };
  refused.answer ??= JSON.stringify({ code: told.code });
  if (told.code === "signature_mismatch") refused.keysTried = from.keysAt(at);
  return refused;
}

/** The body broke off: nothing of it counts. */
export const incomplete = () => ({ ok: false, code: "body_incomplete", status: 503, authentic: false, unreadable: false, message: MESSAGES.body_incomplete, answer: '{"code":"body_incomplete"}' });

/** What came of a request that is the sender's. */
class Accepted {
  // What was verified, whatever becomes of `json`.
  #text;
  #event;
  ok = true;

  constructor(text, head) {
    const [webhookId, keyId, signedAt, answer] = head.split("\n");
    this.#text = text;
    Object.defineProperty(this, "event", Accepted.#EVENT);
    this.json = text;
    this.webhookId = webhookId;
    this.keyId = keyId;
    this.signedAt = signedAt === "" ? undefined : new Date(Number(signedAt));
    this.answer = answer === "" ? '{"code":"received"}' : answer;
  }

  // One for all results, and each result's own: a getter that is made for each costs more than the rest of it.
  static #EVENT = {
    enumerable: true,
    configurable: true,
    // Made of its text when it is first asked for: who hands the text on doesn't pay for it.
    get() {
      // What only inherits from a result has no text.
      if (!(#text in this)) return JSON.parse(this.json);
      return (this.#event ??= JSON.parse(this.#text));
    },
  };
}

function event({ said, refused }) {
  return refused ?? new Accepted(said.body, said.head);
}

/** The event of a request, if the request is the sender's and an event; or why not. */
export function verify(from, request, { now } = {}) {
  return event(check("verify", from, request, now));
}

/** Whether a request is the sender's; what it says isn't read. */
export function authenticate(from, request, { now } = {}) {
  const { said, refused } = check("authenticate", from, request, now);
  if (refused) return refused;
  const [keyId, strength, signedAt] = said.head.split("\n");
  return { ok: true, keyId, strength, signedAt: signedAt === "" ? undefined : new Date(Number(signedAt)) };
}

/** The event of a body that was authenticated elsewhere. Nothing is checked but the content; `rxauth` is `none`. */
export function normalise(from, request, { now } = {}) {
  if (request !== null && typeof request === "object" && !("body" in request) && !(request instanceof ArrayBuffer) && !ArrayBuffer.isView(request)) throw new TypeError(PARSED_BODY);
  const whole = typeof request === "string" || request instanceof ArrayBuffer || ArrayBuffer.isView(request) ? { body: request } : request;
  const read = event(check("normalise", from, whole, now));
  // Nobody has checked whose it is.
  return read.ok ? read : { ...read, authentic: false };
}

const HINTS = {
  body_changed: "The signature holds over the same JSON with other white space: something parsed the body and wrote it again, or trimmed it. Verify the bytes as they were received.",
  key_expired: "The signature was made by a key that is past its not_after.",
};

/** What more can be told of a request that is refused: costs a few verifications, so it isn't done for strangers' requests. */
export function explain(from, request, { now } = {}) {
  const { refused } = check("authenticate", from, request, now);
  if (!refused) return undefined;
  if (refused.code !== "signature_mismatch" && refused.code !== "source_misconfigured") return { ...refused };
  const { said } = check("explain", from, request, now);
  const hint = said.head === "" ? "key_or_body" : said.head;
  return { ...refused, hint, message: HINTS[hint] ?? (isStringified(request.body) ? STRINGIFIED : UNKNOWN) };
}

const UNKNOWN = "No key of the source made this signature over this body: the key is another one, or the body was changed.";
const STRINGIFIED = `${UNKNOWN} It reads exactly as JSON.stringify writes it: if something parsed it on its way, that changed it (375.00 becomes 375).`;

/** Whether a body may be what came out of JSON.parse and JSON.stringify. */
function isStringified(body) {
  try {
    const bytes = bytesOf(body);
    const text = typeof bytes === "string" ? bytes : new TextDecoder().decode(bytes);
    return JSON.stringify(JSON.parse(text)) === text;
  } catch {
    return false;
  }
}

/** The headers that the sender would send with this body, and what its path would end in. By the source's first key; `key` is another, or the private one of Ed25519. */
export function sign(from, { body, method = "POST", url, id, now, key, webhook } = {}) {
  if (!(from instanceof Source)) throw new TypeError("rxgate: the first argument isn't a source: make one with source({ provider, keys, … })");
  const bytes = bytesOf(body);
  if ((typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes).length >= BODY_BYTES) throw new RangeError("rxgate: the body is larger than 1 MiB");
  if (key !== undefined && (typeof key !== "string" || key === "" || key.length > 4096 || /[\r\n]/.test(key))) throw new TypeError("rxgate: key: isn't a text of one line");
  const lines = [method, url, id ?? `msg_${globalThis.crypto.randomUUID().replaceAll("-", "")}`, key, webhook];
  const { ok, head } = current().check("sign", from.open().handle, lines, bytes, milliseconds(now));
  const told = JSON.parse(head);
  if (!ok) throw new TypeError(`rxgate: ${told.problem}`);
  return { headers: Object.fromEntries(told.headers), path: told.path ?? undefined };
}

/** What is wrong with a whole configuration of the Worker, all at once; nothing: an empty list. */
export function checkConfig({ vars, secrets = {}, bindings = {} } = {}, { now } = {}) {
  if (vars === null || typeof vars !== "object") throw new TypeError("rxgate: checkConfig() takes { vars, secrets, bindings }: vars are the tables of wrangler.toml's [vars]");
  const { queues = [], kv = false, rate_limit = false } = bindings;
  const { head } = current().json("check_config", { vars, secrets, bindings: { queues, kv, rate_limit } }, milliseconds(now));
  return JSON.parse(head).faults;
}

let lists;
const listed = () => (lists ??= JSON.parse(current().ask("lists").head));

/** The event types of each sender, and the canonical type of each. */
export const eventTypes = () => listed().types;
/** The presets of senders that are configured. */
export const presets = () => listed().presets;
/** The kinds of sender. */
export const providers = () => listed().providers;

/** The event in a message of a queue that the gateway writes to. One that is too large for a message is fetched from KV and opened. */
export async function resolve(message, kv, sealKeys = []) {
  let value;
  try {
    value = typeof message === "string" ? JSON.parse(message) : message;
  } catch {
    throw new ResolveError("message_unreadable", "the message isn't JSON");
  }
  if (value === null || typeof value !== "object") throw new ResolveError("message_unreadable", "the message isn't an event, nor a reference to one");
  if (typeof value.specversion === "string" && value.rxgate === undefined) return value;
  if (value.rxgate !== "reference") throw new ResolveError("message_unreadable", "the message isn't an event, nor a reference to one");
  const stored = await kv.get(value.key, { type: "arrayBuffer" });
  if (stored === null || stored === undefined) throw new ResolveError("body_missing", "the event isn't in KV yet: try again after a minute");
  const frame = new Uint8Array(stored);
  const digest = new Uint8Array(await globalThis.crypto.subtle.digest("SHA-256", frame));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (value.hash !== `sha256:${hex}`) throw new ResolveError("body_changed", "what is in KV isn't what the message names");
  return JSON.parse(new TextDecoder().decode(await opened(frame, sealKeys)));
}

/** version 1 ‖ length of the key's id ‖ its id ‖ nonce of 12 bytes ‖ ciphertext and tag of AES-256-GCM; what stands before the nonce is covered by the tag. */
async function opened(frame, sealKeys) {
  if (frame[0] !== 1) throw new ResolveError("message_unreadable", "the event is sealed by a version that this one doesn't read");
  const headLength = 2 + frame[1];
  const head = frame.subarray(0, headLength);
  const id = new TextDecoder().decode(head.subarray(2));
  const named = sealKeys.find((key) => key.id === id);
  if (!named) throw new ResolveError("seal_key_unknown", `the event is sealed with the key ${JSON.stringify(id)}, which isn't among those given`);
  const { subtle } = globalThis.crypto;
  let key;
  try {
    const bytes = Uint8Array.from(atob(named.secret), (char) => char.charCodeAt(0));
    if (bytes.length !== 32) throw new RangeError();
    key = await subtle.importKey("raw", bytes, "AES-GCM", false, ["decrypt"]);
  } catch {
    throw new ResolveError("seal_key_unknown", `the key ${JSON.stringify(id)} isn't base64 of 32 bytes`);
  }
  const additionalData = new Uint8Array([...new TextEncoder().encode("rxgate event"), 0, ...head]);
  try {
    return await subtle.decrypt({ name: "AES-GCM", iv: frame.subarray(headLength, headLength + 12), additionalData }, key, frame.subarray(headLength + 12));
  } catch {
    throw new ResolveError("seal_broken", "the event doesn't open with its key");
  }
}
