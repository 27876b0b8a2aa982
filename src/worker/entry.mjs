// The Worker's entry: reads the request, performs the machine's effects, and answers. What is decided, is decided in wasm.

import { DurableObject } from "cloudflare:workers";
import module from "../../build/wasm/rxgate_bg.wasm";
import * as glue from "../../build/wasm/rxgate.js";
import { entityObject, environment } from "./bindings.mjs";
import { Core, DONE, RECEIVED } from "./core.mjs";

const EMPTY = [];
const decoder = new TextDecoder();
/// Bodies under way in this isolate, as far as they have arrived.
const MAX_BODIES_BYTES = 32 * 1024 * 1024;
/// For receiving a body: the deadline that the machine has for all of it.
const RECEIVE_MS = 9000;
/// No request is under way for longer: the platform ends work half a minute after its sender is gone.
const MOST_MS = 60_000;
/// Kinds of fault that a log line may name.
const FAULTS = [WebAssembly.RuntimeError, RangeError, TypeError];
const HOOK = /^\/hooks\/([^/]+)$/;

let core;
let settings;
let bodiesBytes = 0;
const rooms = new Set();

/// The instance for new requests: the last one, unless it trapped.
function currentCore(env) {
  if (core && !core.trapped) return core;
  const fresh = new Core(module);
  settings = fresh.configure(environment(env), Date.now());
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
      // A trap: this request only. Its message may hold data, so only its kind is logged.
      const kind = FAULTS.find((known) => fault instanceof known)?.name ?? "Error";
      log("error", `{"level":"error","code":"internal_error","status":503,"fault":"${kind}"}`);
      const headers = { "content-type": "application/json", "retry-after": "5" };
      return new Response('{"code":"internal_error"}', { status: 503, headers });
    }
  },
};

async function handle(request, env, ctx) {
  const receivedAt = Date.now();
  const core = currentCore(env);
  const { pathname } = new URL(request.url);
  if (pathname === "/healthz" && (request.method === "GET" || request.method === "HEAD")) return health();
  const source = HOOK.exec(pathname)?.[1];
  const reading = source === undefined ? undefined : settings.sources[source];
  const { headers } = request;
  const inbound = {
    method: request.method,
    source: source ?? "",
    contentType: headers.get("content-type"),
    traceparent: headers.get("traceparent"),
    signature: reading?.header ? headers.get(reading.header) : null,
    received: source === undefined ? RECEIVED.pathUnknown : RECEIVED.complete,
    body: EMPTY,
    receivedAt,
  };
  // What is refused whatever its body says isn't read.
  if (!reading?.max_body || request.method !== "POST" || !request.body || inbound.signature === null) {
    return drive(core, core.begin(inbound, Date.now()), env, ctx);
  }
  const work = receiveAndDrive(request, reading.max_body, inbound, env, ctx);
  // The work goes on, whether the sender waits or not.
  ctx.waitUntil(work.catch(() => {}));
  return work;
}

async function receiveAndDrive(request, limit, inbound, env, ctx) {
  const room = { bytes: 0, since: inbound.receivedAt, forget: () => {} };
  clear();
  rooms.add(room);
  try {
    await receive(request, limit, room, inbound);
    // Receiving took time: the instance may have been retired since.
    const core = currentCore(env);
    const first = core.begin(inbound, Date.now());
    inbound.body = EMPTY;
    room.forget = () => core.abandon(first);
    return await drive(core, first, env, ctx);
  } finally {
    leave(room);
  }
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
    room.forget();
    leave(room);
  }
}

function leave(room) {
  if (rooms.delete(room)) bodiesBytes -= room.bytes;
}

/// Reads the body into `inbound`, or says there why not. What a sender announces counts for nothing but an early refusal: room is taken for what has arrived.
async function receive(request, limit, room, inbound) {
  if (Number(request.headers.get("content-length")) > limit) {
    inbound.received = RECEIVED.tooLarge;
    return;
  }
  const reader = request.body.getReader();
  const timer = setTimeout(() => {
    inbound.received = RECEIVED.incomplete;
    reader.cancel().catch(() => {});
  }, RECEIVE_MS);
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
    clearTimeout(timer);
  }
}

/// Performs one effect after the other, until there is an answer.
async function drive(core, first, env, ctx) {
  let effect = first;
  try {
    for (;;) {
      switch (effect.head.do) {
        case "ask":
          effect = await ask(core, effect, env, ctx);
          break;
        case "deliver":
          effect = await deliver(core, effect);
          break;
        default:
          return answer(effect);
      }
    }
  } catch (fault) {
    core.abandon(effect);
    throw fault;
  }
}

async function ask(core, effect, env, ctx) {
  const { object, timeout } = effect.head;
  let done = DONE.failed;
  let bytes;
  try {
    const reply = entityObject(env, object).serve(effect.body);
    ctx.waitUntil(reply.then(() => {}, () => {}));
    bytes = await within(timeout, reply);
    done = DONE.replied;
  } catch (fault) {
    if (fault === TIMED_OUT) done = DONE.timedOut;
  }
  return core.resume(effect, done, Date.now(), { bytes });
}

async function deliver(core, effect) {
  const { url, headers, timeout } = effect.head;
  const signal = AbortSignal.timeout(timeout);
  let done = DONE.failed;
  let status;
  let text;
  try {
    const response = await fetch(url, { method: "POST", headers, body: effect.body, redirect: "manual", signal });
    done = DONE.answered;
    status = response.status;
    text = response.headers.get("retry-after");
    response.body?.cancel().catch(() => {});
  } catch {
    if (signal.aborted) done = DONE.timedOut;
  }
  return core.resume(effect, done, Date.now(), { status, text });
}

function answer({ head, body }) {
  log(head.level, decoder.decode(body.subarray(head.answer_bytes)));
  const headers = { "content-type": "application/json" };
  if (head.retry_after !== null) headers["retry-after"] = String(head.retry_after);
  if (head.status === 405) headers.allow = "POST";
  return new Response(body.subarray(0, head.answer_bytes), { status: head.status, headers });
}

function health() {
  const body = settings.sound ? '{"status":"ok"}' : '{"status":"faulty"}';
  const headers = { "content-type": "application/json" };
  return new Response(body, { status: settings.sound ? 200 : 503, headers });
}

const log = (level, line) => console[level === "info" ? "log" : level](line);

const TIMED_OUT = new Error("timed out");

/// `promise`, unless it takes longer.
function within(milliseconds, promise) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(TIMED_OUT), milliseconds);
    const settle = (by) => (value) => {
      clearTimeout(timer);
      by(value);
    };
    promise.then(settle(resolve), settle(reject));
  });
}

/// The objects of an isolate share one wasm instance, apart from the machine's. After a trap it is made anew, and each object takes itself from the new one.
let generation = 0;

/// What an object says of itself. Anything else out of wasm is a trap: it left the instance half-way, whether it is a `WebAssembly.RuntimeError` or not.
const STORE_FAULT = /^store_/;

/// The Durable Object: SQLite and one alarm, under the protocol in wasm.
export class EntityObject extends DurableObject {
  #inner;
  #generation = 0;
  #armed = false;

  serve(message) {
    const reply = this.#call((inner) => inner.serve(message));
    if (!this.#armed) {
      this.#armed = true;
      this.ctx.waitUntil(this.#arm());
    }
    return reply;
  }

  async alarm() {
    // First: should the walk fail, it is tried again all the same.
    await this.ctx.storage.setAlarm(Date.now() + 3600 * 1000);
    const sweep = () => this.#call((inner) => inner.sweep());
    const next = sweep();
    if (next >= 0) {
      await this.ctx.storage.setAlarm(Date.now() + next);
      return;
    }
    await this.ctx.storage.deleteAlarm();
    this.#armed = false;
    // A claim may have come in the meantime, and have thought that there is an alarm.
    if (sweep() >= 0) await this.#arm();
  }

  async #arm() {
    const { storage } = this.ctx;
    if ((await storage.getAlarm()) === null) await storage.setAlarm(Date.now() + 12 * 3600 * 1000);
  }

  #call(what) {
    if (generation === 0) {
      glue.initSync({ module });
      generation = 1;
    }
    const instance = generation;
    try {
      if (this.#generation !== instance) {
        this.#inner = new glue.EntityObject(this.ctx, this.env);
        this.#inner.open();
        this.#generation = instance;
      }
      return what(this.#inner);
    } catch (fault) {
      if (STORE_FAULT.test(fault?.message)) throw fault;
      if (generation === instance) {
        glue.__wbg_reset_state();
        generation += 1;
      }
      log("error", '{"level":"error","code":"store_trapped"}');
      throw new Error("store_trapped");
    }
  }
}
