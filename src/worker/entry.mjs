// The Worker's entry: reads the request, performs the machine's effects, and answers. What is decided, is decided in wasm.

import { DurableObject } from "cloudflare:workers";
import module from "../../build/wasm/rxgate_bg.wasm";
import { enqueue, enqueueNotices, entityObject, environment, fromKv, intoKv, underLimit } from "./bindings.mjs";
import { Core, DO, DONE, RECEIVED } from "./core.mjs";
import { currentStore } from "./store.mjs";

const EMPTY = [];
const decoder = new TextDecoder();
const encoder = new TextEncoder();
/// Messages of a batch that are in the works at a time: the platform opens six connections for one call, and a delivery that waits for one loses its time.
const AT_A_TIME = 4;
/// The platform takes a batch's acknowledgements only when all is through that waitUntil was given: one call that hangs would hold them all.
const UNWAITED = { waitUntil() {} };
/// What fails before it can be decided about is tried again after this.
const RETRY_SECONDS = 30;
/// Bodies under way in this isolate, as far as they have arrived.
const MAX_BODIES_BYTES = 32 * 1024 * 1024;
/// A body that is announced to be no longer than this is read in one piece. Longer ones take room in memory chunk by chunk, as they arrive.
const ONE_PIECE_BYTES = 64 * 1024;
/// For receiving a body: the deadline that the machine has for all of it.
const RECEIVE_MS = 9000;
/// No request is under way for longer: the platform ends work half a minute after its sender is gone.
const MOST_MS = 60_000;
/// Kinds of fault that a log line may name.
const FAULTS = [WebAssembly.RuntimeError, RangeError, TypeError];
/// What senders' URLs are as a rule. Nothing in it could be written otherwise, so it needn't be parsed to be compared.
const PLAIN_HOOK = /^https?:\/\/[^/?#\\]+\/hooks\/([\w-]+)$/;
const HOOK = /^\/hooks\/([^/]+)(?:\/(.*))?$/;
const OPERATORS = /^\/v1\//;
const EXPECTATIONS = /^\/v1\/expectations\/(.*)$/;
/// An expectation is an id and a time.
const MAX_EXPECTATION_BYTES = 8 * 1024;

/// The platform's HMAC that answers at once, where there is one. Asked for at run time: a Worker without it runs as well.
const nodeCrypto = globalThis.process?.getBuiltinModule?.("node:crypto");

let core;
let settings;
let bodiesBytes = 0;
const rooms = new Set();

/// The instance for new requests: the last one, unless it trapped.
function currentCore(env) {
  if (core && !core.trapped) return core;
  const fresh = new Core(module, nodeCrypto);
  const seed = [...crypto.getRandomValues(new Uint8Array(32))];
  settings = fresh.configure({ ...environment(env), seed }, Date.now());
  if (settings.faults.length > 0) {
    log("error", JSON.stringify({ level: "error", code: "configuration_faulty", faults: settings.faults }));
  }
  core = fresh;
  return core;
}

export default {
  async fetch(request, env, ctx) {
    try {
      return await handle(request, env, ctx);
    } catch (fault) {
      logFault(fault, 503);
      const headers = { "content-type": "application/json", "retry-after": "5" };
      return new Response('{"code":"internal_error"}', { status: 503, headers });
    }
  },

  async queue(batch, env) {
    const waiting = [...batch.messages];
    const worker = async () => {
      for (let message = waiting.shift(); message; message = waiting.shift()) await consume(message, batch.queue, env, UNWAITED);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  },

  async scheduled(_controller, env, ctx) {
    try {
      const core = currentCore(env);
      settled(await drive(core, core.tick(Date.now()), env, ctx));
    } catch (fault) {
      logFault(fault);
    }
    try {
      const core = currentCore(env);
      if (!settings.expects) return;
      settled(await drive(core, core.watch(Date.now()), env, ctx));
    } catch (fault) {
      logFault(fault);
    }
  },
};

/// A trap, as a rule: this request or message only. Its message may hold data, so only its kind is logged.
function logFault(fault, status) {
  const kind = FAULTS.find((known) => fault instanceof known)?.name ?? "Error";
  log("error", JSON.stringify({ level: "error", code: "internal_error", status, fault: kind }));
}

/// One message: acknowledged, or to be tried again; never neither.
async function consume(message, queue, env, ctx) {
  try {
    const core = currentCore(env);
    const sentAt = message.timestamp.getTime();
    const first = core.attempt({ queue, body: bytesOf(message.body), attempts: message.attempts, sentAt }, Date.now());
    const again = settled(await drive(core, first, env, ctx));
    if (again === null) message.ack();
    else message.retry({ delaySeconds: again });
  } catch (fault) {
    logFault(fault);
    // Longer each time: what is wrong may be wrong for a night, and a hundred retries are all that there are.
    message.retry({ delaySeconds: Math.min(3600, RETRY_SECONDS * 2 ** Math.min(message.attempts, 10)) });
  }
}

/// Writes the line of what ended without an answer; says after how many seconds it comes again, or null.
function settled({ text, b: again, c: level }) {
  log(LEVELS[level], text);
  return again === 0 ? null : again - 1;
}

/// What isn't bytes isn't ours; it is kept as bytes all the same.
function bytesOf(body) {
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  if (typeof body === "string") return encoder.encode(body);
  try {
    return encoder.encode(JSON.stringify(body) ?? "");
  } catch {
    return encoder.encode(String(body));
  }
}

async function handle(request, env, ctx) {
  const receivedAt = Date.now();
  const core = currentCore(env);
  const [, plain] = PLAIN_HOOK.exec(request.url) ?? EMPTY;
  if (plain !== undefined) return handleHook(request, plain, null, core, receivedAt, env, ctx);
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/healthz" && (request.method === "GET" || request.method === "HEAD") && !request.headers.has("authorization")) return health();
  if (pathname === "/healthz" || OPERATORS.test(pathname)) {
    const authorization = request.headers.get("authorization")?.slice(0, 8192) ?? null;
    const call = { method: request.method, path: pathname.slice(0, 1024), authorization, query: [...searchParams].slice(0, 16) };
    const [, announced] = EXPECTATIONS.exec(call.path) ?? EMPTY;
    const reads = announced !== undefined && authorization !== null && request.method === "POST" && request.body && core.admitsCall(announced, authorization, Date.now());
    const work = reads ? readAndOperate(request, call, env, ctx) : drive(core, core.operate(call, Date.now()), env, ctx);
    // What was begun is ended, whether the operator waits or not.
    ctx.waitUntil(work.catch(() => {}));
    return answer(await work, { "cache-control": "no-store" });
  }
  const [, source, path = null] = HOOK.exec(pathname) ?? EMPTY;
  return handleHook(request, source, path, core, receivedAt, env, ctx);
}

async function handleHook(request, source, path, core, receivedAt, env, ctx) {
  // Every object has a `constructor`: only what was configured is a source.
  const reading = source !== undefined && Object.hasOwn(settings.sources, source) ? settings.sources[source] : undefined;
  const { headers } = request;
  const inbound = {
    method: request.method,
    source: source ?? "",
    contentType: headers.get("content-type"),
    traceparent: headers.get("traceparent"),
    url: reading?.url ? request.url : null,
    path,
    address: reading?.path ? headers.get("cf-connecting-ip") : null,
    signature: reading?.header ? headers.get(reading.header) : null,
    more: reading?.more.map((name) => headers.get(name)) ?? EMPTY,
    received: source === undefined ? RECEIVED.pathUnknown : RECEIVED.complete,
    body: EMPTY,
    receivedAt,
  };
  // What is refused whatever its body says isn't read.
  const missing = reading?.header && inbound.signature === null;
  const astray = path !== null && !reading?.path;
  if (!reading?.max_body || request.method !== "POST" || !request.body || missing || astray || (reading.path && !core.admits(inbound, Date.now()))) {
    return answer(await drive(core, core.begin(inbound, Date.now()), env, ctx));
  }
  const work = receiveAndDrive(request, reading.max_body, inbound, env, ctx);
  // The work goes on, whether the sender waits or not.
  ctx.waitUntil(work.catch(() => {}));
  return work;
}

/// A call with a body, and what became of it.
async function readAndOperate(request, call, env, ctx) {
  const watch = new Watch();
  const room = enter();
  const inbound = { received: RECEIVED.complete, body: EMPTY };
  try {
    await receive(request, MAX_EXPECTATION_BYTES, room, inbound, watch);
    const body = inbound.received === RECEIVED.complete ? await new Blob(inbound.body).text() : undefined;
    const core = currentCore(env);
    return await drive(core, core.operate({ ...call, body, received: inbound.received }, Date.now()), env, ctx, watch, room);
  } finally {
    leave(room);
  }
}

async function receiveAndDrive(request, limit, inbound, env, ctx) {
  const room = enter();
  const watch = new Watch();
  try {
    await receive(request, limit, room, inbound, watch);
    // Nothing of a refused one is kept: what it still waits for mustn't keep others out.
    if (inbound.received !== RECEIVED.complete) give(room);
    // Receiving took time: the instance may have been retired since.
    const core = currentCore(env);
    const first = core.begin(inbound, Date.now());
    inbound.body = EMPTY;
    return answer(await drive(core, first, env, ctx, watch, room));
  } finally {
    leave(room);
  }
}

/// Everything that is under way has a place, so that what the platform ended can be found.
function enter() {
  clear();
  const room = { bytes: 0, since: Date.now(), core: undefined, effect: undefined };
  rooms.add(room);
  return room;
}

/// Takes so much of the isolate's room for bodies, if there is so much left.
function take(room, bytes) {
  if (bodiesBytes + bytes > MAX_BODIES_BYTES) return false;
  bodiesBytes += bytes;
  room.bytes += bytes;
  return true;
}

/// Work that the platform ended never left. Rooms stand in the order in which they were taken.
function clear() {
  for (const room of rooms) {
    if (Date.now() - room.since < MOST_MS) return;
    room.core?.abandon(room.effect);
    leave(room);
  }
}

function leave(room) {
  if (rooms.delete(room)) give(room);
}

function give(room) {
  bodiesBytes -= room.bytes;
  room.bytes = 0;
}

/// Reads the body into `inbound`, or says there why not. What a sender announces counts for nothing but an early refusal: room is taken for what has arrived.
async function receive(request, limit, room, inbound, watch) {
  const announced = Number(request.headers.get("content-length") ?? NaN);
  if (announced > limit) {
    inbound.received = RECEIVED.tooLarge;
    return;
  }
  if (announced <= ONE_PIECE_BYTES) return receiveAtOnce(request, limit, room, inbound, watch);
  const reader = request.body.getReader();
  watch.set(RECEIVE_MS, () => {
    inbound.received = RECEIVED.incomplete;
    reader.cancel().catch(() => {});
  });
  const chunks = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (inbound.received !== RECEIVED.complete) return;
      if (done) break;
      length += value.length;
      if (length > limit) inbound.received = RECEIVED.tooLarge;
      else if (!take(room, value.length)) inbound.received = RECEIVED.overloaded;
      if (inbound.received !== RECEIVED.complete) {
        reader.cancel().catch(() => {});
        return;
      }
      chunks.push(value);
    }
    inbound.body = chunks;
  } catch {
    inbound.received = RECEIVED.incomplete;
  } finally {
    watch.rest();
  }
}

/// The platform holds it to what was announced.
function receiveAtOnce(request, limit, room, inbound, watch) {
  return new Promise((resolve) => {
    watch.set(RECEIVE_MS, () => {
      inbound.received = RECEIVED.incomplete;
      resolve();
    });
    // What comes too late finds the watch at something else.
    request.arrayBuffer().then(
      (bytes) => {
        if (inbound.received !== RECEIVED.complete) return;
        watch.rest();
        if (bytes.byteLength > limit) inbound.received = RECEIVED.tooLarge;
        else if (!take(room, bytes.byteLength)) inbound.received = RECEIVED.overloaded;
        else inbound.body = [new Uint8Array(bytes)];
        resolve();
      },
      () => {
        if (inbound.received !== RECEIVED.complete) return;
        watch.rest();
        inbound.received = RECEIVED.incomplete;
        resolve();
      },
    );
  });
}

/// How each effect is performed, by its kind: { done, and what came of it }. What isn't here is an end.
const PERFORM = { [DO.ask]: ask, [DO.deliver]: deliver, [DO.get]: get, [DO.put]: put, [DO.enqueue]: send, [DO.limit]: limit };

/// Performs one effect after the other, and answers the end.
async function drive(core, first, env, ctx, watch = new Watch(), room = enter()) {
  const call = { env, ctx, watch, name: undefined, object: undefined };
  room.core = core;
  room.effect = first;
  try {
    for (;;) {
      const { effect } = room;
      const perform = PERFORM[effect.kind];
      if (perform === undefined) return effect;
      room.effect = core.resume(effect, await perform(effect, call), Date.now());
    }
  } catch (fault) {
    core.abandon(room.effect);
    throw fault;
  } finally {
    leave(room);
  }
}

/// What is asked of an object one time after the other goes through the same stub, as long as nothing fails.
function ask({ text: name, body, a, b }, call) {
  return within(a, call, () => {
    if (call.name !== name) call.object = entityObject(call.env, name);
    call.name = name;
    return b === 0 ? call.object.serve(body) : call.object.serveAndWake(body);
  }, replied);
}

function get({ text, a }, call) {
  return within(a, call, () => fromKv(call.env, text), (value) => (value === null ? { done: DONE.absent } : replied(new Uint8Array(value))));
}

function put({ text, body, a, b }, call) {
  return within(a, call, () => intoKv(call.env, text, body, b), ok);
}

function send({ text, body, a, b, c }, call) {
  const work = () => (c === 0 ? enqueue(call.env, text, body, "bytes", b) : enqueue(call.env, text, decoder.decode(body), "text", b));
  return within(a, call, work, ok);
}

function limit({ text }, call) {
  return within(LIMIT_MS, call, () => underLimit(call.env, text), (under) => (under ? ok() : { done: DONE.limited }));
}

async function deliver({ text, body, a }, { watch }) {
  const lines = text.split("\n");
  const headers = { __proto__: null };
  // No name stands there twice.
  for (let n = 1; n < lines.length; n += 2) headers[lines[n]] = lines[n + 1];
  const abort = new AbortController();
  const { signal } = abort;
  watch.set(a, () => abort.abort());
  try {
    const response = await fetch(lines[0], { method: "POST", headers, body, redirect: "manual", signal });
    response.body?.cancel().catch(nothing);
    return { done: DONE.answered, status: response.status, text: response.headers.get("retry-after") };
  } catch {
    return { done: signal.aborted ? DONE.timedOut : DONE.failed };
  } finally {
    watch.rest();
  }
}

/// Of the numbers by which the machine says them.
const LEVELS = [undefined, "info", "warn", "error"];
const ALLOW = 4;
const JSON_HEADERS = new Headers({ "content-type": "application/json" });

function answer({ text, body, a: status, b: again, c }, more = undefined) {
  let line = text;
  let headers = JSON_HEADERS;
  if (again !== 0 || c & ALLOW || more) headers = { "content-type": "application/json", ...more };
  if (c & ALLOW) {
    const end = text.indexOf("\n");
    headers.allow = text.slice(0, end);
    line = text.slice(end + 1);
  }
  const level = LEVELS[c & 3];
  if (level !== undefined) log(level, line);
  if (again !== 0) headers["retry-after"] = String(again - 1);
  return new Response(body, { status, headers });
}

function health() {
  const body = settings.sound ? '{"status":"ok"}' : '{"status":"faulty"}';
  const headers = { "content-type": "application/json" };
  return new Response(body, { status: settings.sound ? 200 : 503, headers });
}

const log = (level, line) => console[level === "info" ? "log" : level](line);

/// A limit that doesn't say anything soon is none.
const LIMIT_MS = 250;

const ok = () => ({ done: DONE.ok });
const replied = (message) => ({ done: DONE.replied, message });
const nothing = () => {};

/// What came of `work`, or that it failed, or that it takes too long. It may still go on then, and is let.
///
/// Its functions have no names: the bundler keeps each name by a call whenever such a function is made.
function within(milliseconds, call, work, came) {
  return new Promise((resolve) => {
    // By the time that something comes too late, the watch is for something else.
    let late = false;
    let ended;
    try {
      ended = work();
    } catch {
      return resolve(failed(call));
    }
    call.watch.set(milliseconds, () => {
      late = true;
      call.name = undefined;
      call.ctx.waitUntil(ended.then(nothing, nothing));
      resolve({ done: DONE.timedOut });
    });
    ended.then(
      (value) => {
        if (late) return;
        call.watch.rest();
        try {
          resolve(came(value));
        } catch {
          resolve(failed(call));
        }
      },
      () => {
        if (!late) resolve(failed(call));
      },
    );
  });
}

/// A stub may be broken by what failed.
function failed(call) {
  call.watch.rest();
  call.name = undefined;
  return { done: DONE.failed };
}

/// The next look at what is waited for, at the latest: as soon as most of it may be late.
const LOOK_MS = 1000;

/// One timer for all that a request waits for, one thing after the other: a timer for each of them would cost more than all that wasm does for a small body. It isn't taken back: it ends with the request.
class Watch {
  #timer;
  /// When the timer looks, when what is waited for is late, and what is done then.
  #looks = Infinity;
  #due = Infinity;
  #late;

  /// Waits for something else from now on: `late` is called after so long.
  set(milliseconds, late) {
    this.#due = Date.now() + milliseconds;
    this.#late = late;
    if (this.#looks <= this.#due) return;
    clearTimeout(this.#timer);
    this.#arm();
  }

  /// What was waited for has come. The timer goes on, for what is next.
  rest() {
    this.#late = undefined;
  }

  /// An object doesn't end when its work does.
  end() {
    this.#late = undefined;
    if (this.#looks !== Infinity) clearTimeout(this.#timer);
    this.#looks = Infinity;
  }

  #arm() {
    const wait = Math.min(this.#due - Date.now(), LOOK_MS);
    this.#looks = Date.now() + wait;
    this.#timer = setTimeout(() => this.#look(), wait);
  }

  #look() {
    this.#looks = Infinity;
    const late = this.#late;
    if (late === undefined) return;
    if (Date.now() < this.#due) return this.#arm();
    this.#late = undefined;
    late();
  }
}

/// What an object says of itself. Anything else out of wasm is a trap: it left the instance half-way, whether it is a `WebAssembly.RuntimeError` or not.
const STORE_FAULT = /^store_/;

/// Between two walks.
const WALK_REST_MS = 12 * 3600 * 1000;
/// A notice that couldn't be sent is sent again after this.
const AGAIN_MS = 60 * 1000;
/// For sending a page of notices.
const SEND_MS = 30 * 1000;

/// The Durable Object: SQLite and one alarm, under the protocol in wasm.
export class EntityObject extends DurableObject {
  #store;
  #object;
  #armed = false;

  serve(message) {
    const reply = this.#call((store, object) => store.serve(object, message));
    if (!this.#armed) {
      this.#armed = true;
      this.ctx.waitUntil(this.#arm());
    }
    return reply;
  }

  /// The same for what the object is to wake up for. The row and its alarm are written in one step: nothing is waited for in between.
  async serveAndWake(message) {
    const { storage } = this.ctx;
    const alarm = await storage.getAlarm();
    const reply = this.#call((store, object) => store.serve(object, message));
    const due = this.#call((store, object) => store.due(object));
    if (due < 0) {
      this.ctx.waitUntil(this.#arm());
      return reply;
    }
    this.#armed = true;
    // Always: an alarm that ends meanwhile may have deleted the one that was read. One that comes early does no harm.
    await storage.setAlarm(Math.min(alarm ?? Infinity, Date.now() + Math.min(due, WALK_REST_MS)));
    return reply;
  }

  async alarm() {
    const { storage } = this.ctx;
    // First: should anything below fail, it is tried again all the same. What is due is in more of a hurry than the walk.
    await storage.setAlarm(Date.now() + (this.#due() >= 0 ? AGAIN_MS : 3600 * 1000));
    const sent = await this.#notify();
    const walk = () => this.#call((store, object) => store.walk(object));
    const next = walk();
    const due = this.#call((store, object) => store.due(object));
    if (next >= 0) {
      await storage.setAlarm(Date.now() + (due >= 0 ? Math.min(next, sent ? due : Math.max(due, AGAIN_MS)) : next));
      return;
    }
    await storage.deleteAlarm();
    this.#armed = false;
    // A claim may have come in the meantime, and have thought that there is an alarm.
    if (walk() >= 0) await this.#arm();
  }

  /// When the next notice is due, in milliseconds; negative: nothing is expected, or it can't be told.
  #due() {
    try {
      return this.#call((store, object) => store.due(object));
    } catch {
      return -1;
    }
  }

  /// Sends what is overdue, a page of it, and says whether all went well. What was sent is noted after: if that is lost, it is sent again, and delivered once.
  async #notify() {
    const watch = new Watch();
    try {
      const notices = this.#call((store, object) => store.overdue(object));
      const view = new DataView(notices.buffer, notices.byteOffset, notices.byteLength);
      const bodies = [];
      for (let at = 4; at < notices.length; ) {
        const end = at + 20 + view.getUint32(at + 16);
        bodies.push(notices.slice(at + 20, end));
        at = end;
      }
      // What is due though none of the page was met can't be read.
      if (bodies.length === 0 && (view.getUint32(0) > 0 || this.#due() !== 0)) return true;
      if (bodies.length === 0) throw new Error("none can be read");
      const sent = await within(SEND_MS, { ctx: this.ctx, watch }, () => enqueueNotices(this.env, bodies), ok);
      if (sent.done !== DONE.ok) throw new Error("not sent");
      this.#call((store, object) => store.notified(object, notices));
      log("info", JSON.stringify({ level: "info", code: "notices_sent", messages_sent: bodies.length }));
      return true;
    } catch {
      log("error", '{"level":"error","code":"notices_failed"}');
      return false;
    } finally {
      watch.end();
    }
  }

  async #arm() {
    const { storage } = this.ctx;
    if ((await storage.getAlarm()) === null) await storage.setAlarm(Date.now() + WALK_REST_MS);
  }

  #call(what) {
    const serving = currentStore(module);
    try {
      if (this.#store !== serving) {
        this.#object = serving.open(this.ctx, this.env);
        this.#store = serving;
      }
      return what(serving, this.#object);
    } catch (fault) {
      if (STORE_FAULT.test(fault?.message)) throw fault;
      serving.trapped = true;
      log("error", '{"level":"error","code":"store_trapped"}');
      throw new Error("store_trapped");
    }
  }
}
