// KV, queues and rate limits for the Worker under test, in a workerd of their own: they are there before the gateway starts and after it is killed.
//
// What keeps and delivers is miniflare's, unchanged. Between it and the gateway stands a small proxy in the test's process: it counts, keeps what passes, and makes the faults that a
// test orders. The Worker knows of none of this.
//
//   gateway (workerd) ── KV, send, limit ──▶ proxy (here) ──▶ platform (workerd)
//   gateway's door    ◀── batches of queues ── proxy (here) ◀── adapter in the platform

import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { join, relative } from "node:path";
import { ROOT, remove, sleep, temporary } from "./harness.mjs";

const WORKERD = join(ROOT, "node_modules/workerd/bin/workerd");
const MINIFLARE = join(ROOT, "node_modules/miniflare/dist/src/workers");
const OWN = join(import.meta.dirname, "platform");
const BINDING = "rxgate-test-binding";

/// The queues as they are in production; `consumer: "test"` is one that a customer would consume.
const QUEUES = {
  "rxgate-deliveries": { binding: "DELIVERIES", deadLetterQueue: "rxgate-dead-letters" },
  "rxgate-dead-letters": { binding: "DEAD_LETTERS" },
  "clinic-events": { binding: "EVENTS", consumer: "test" },
};
const CONSUMER = { consumer: "gateway", maxBatchSize: 10, maxBatchTimeout: 0, maxRetries: 100, retryDelay: 0, deadLetterQueue: undefined };

const text = (value) => JSON.stringify(value);

/// Starts the platform. `queues` adds to or replaces what a queue has: { binding, consumer: "gateway" | "test", maxBatchSize, maxBatchTimeout, maxRetries, retryDelay, deadLetterQueue }.
/// `rateLimits` are bindings with { limit, period }. A batch waits up to `waitForGateway` ms while no gateway is there, then it counts as failed.
export async function startPlatform({
  queues: more = {},
  kv = "KV",
  rateLimits = { FAILED_AUTHENTICATIONS: { limit: 10, period: 60 } },
  waitForGateway = 15_000,
} = {}) {
  const names = new Set([...Object.keys(QUEUES), ...Object.keys(more)]);
  const queues = Object.fromEntries([...names].map((name) => [name, { ...CONSUMER, ...QUEUES[name], ...more[name] }]));
  const faults = startFaults();
  const tally = startTally(Object.keys(queues));
  const state = temporary();
  const kvFolder = join(state, "kv");
  const limitsFolder = join(state, "ratelimit");
  for (const folder of [kvFolder, limitsFolder]) mkdirSync(folder);

  const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("error", () => {});
    request.on("end", async () => {
      try {
        const answer = await take(request, Buffer.concat(chunks));
        if (response.destroyed) return;
        response.writeHead(answer.status, answer.reason, answer.headers);
        response.end(answer.body);
      } catch {
        // Cut off, as by a network: a hung request that was let go, or a platform that is being closed.
        request.socket.destroy();
      }
    });
  });
  // An idle connection is never closed from here: the other side could just be using it again.
  Object.assign(server, { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 });
  await new Promise((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const { port } = server.address();

  const config = join(state, "config.capnp");
  writeFileSync(config, platformCapnp({ queues, state, kvFolder, limitsFolder, port }));
  const { child, sockets, output } = await serve(config, ["kv", "queues", "ratelimit", "control"]);

  const closed = new AbortController();
  const control = async (queue, name, args = []) => {
    const answer = await ask(sockets.control, { method: "POST", path: "/", body: Buffer.from(JSON.stringify({ queue, name, args })) });
    if (answer.status !== 200) throw new Error(`the queue's clock didn't take ${name}: ${answer.status} ${answer.body}`);
  };
  const clocks = Object.fromEntries(Object.keys(queues).map((name) => [name, startClock((op, args) => control(name, op, args))]));
  await Promise.all(Object.values(clocks).map((clock) => clock.start()));

  let doorPort;
  const waiting = new Set();
  const sent = Object.fromEntries(Object.keys(queues).map((name) => [name, []]));
  const consumed = Object.fromEntries(Object.keys(queues).map((name) => [name, []]));
  const retries = [];
  /// The queue by whose clock a message has its timestamp: it keeps it when it moves to the dead-letter queue.
  const stampedBy = new Map();

  function take(request, body) {
    const [kind, name] = (request.headers[BINDING] ?? "").split("/");
    if (kind === "kv") return takeKv(request, body, name);
    if (kind === "queue") return takeSend(request, body, name);
    if (kind === "ratelimit") return takeLimit(request, body, name);
    if (kind === "batch") return takeBatch(JSON.parse(body));
    return { status: 404, headers: {}, body: "" };
  }

  const pass = (to, namespace, { method, url, headers }, body) => {
    const kept = Object.entries(headers).filter(([name]) => !["host", "connection", "transfer-encoding", "content-length", BINDING].includes(name));
    return ask(sockets[to], { method, path: url, headers: { ...Object.fromEntries(kept), "MF-Namespace": namespace }, body });
  };

  async function takeKv(request, body, namespace) {
    const { pathname } = new URL(request.url, "http://kv");
    const bulk = request.method === "POST" && pathname === "/bulk/get";
    const what = bulk ? "get" : pathname === "/" ? "list" : { GET: "get", PUT: "put", DELETE: "delete" }[request.method];
    const key = bulk || what === "list" ? undefined : decodeURIComponent(pathname.slice(1));
    const keys = bulk ? JSON.parse(body).keys : key === undefined ? [] : [key];
    tally.kv[{ get: "reads", put: "writes", delete: "deletes", list: "lists" }[what]] += bulk ? keys.length : 1;
    const current = () => pass("kv", namespace, { method: "GET", url: `${pathname}?urlencoded=true`, headers: {} });
    return faults.through(`kv.${what}`, keys, async () => {
      if (what === "put" || what === "delete") await faults.remember(key, current);
      const stale = what === "get" && !bulk && faults.remembered(key);
      return stale || pass("kv", namespace, request, body);
    });
  }

  async function takeSend(request, body, queue) {
    const messages = sendOf(request, body);
    if (messages) {
      const counts = tally.queues[queue];
      counts.sends += messages.length;
      counts.sentBytes += messages.reduce((sum, message) => sum + message.body.length, 0);
      sent[queue].push(...messages);
    }
    return faults.through("queue.send", [queue], async () => {
      if (messages) await clocks[queue].tick();
      const answer = await pass("queues", queue, request, body);
      for (const { delaySeconds } of messages ?? []) schedule(queue, delaySeconds ?? 0);
      return answer;
    });
  }

  async function takeLimit(request, body, name) {
    tally.limits += 1;
    return faults.through("ratelimit", [name], () => pass("ratelimit", name, request, body));
  }

  /// A message that becomes due after a delay is pushed on by the clock, as is a batch that waits to be filled.
  function schedule(queue, delaySeconds) {
    const { maxBatchTimeout } = queues[queue];
    clocks[queue].schedule(delaySeconds * 1000);
    if (maxBatchTimeout > 0) clocks[queue].schedule((delaySeconds + maxBatchTimeout) * 1000);
  }

  async function takeBatch({ queue, messages }) {
    const counts = tally.queues[queue];
    counts.batches += 1;
    for (const message of messages) {
      if (!stampedBy.has(message.id)) stampedBy.set(message.id, queue);
      // The Worker's own clock isn't moved, so a message looks as old as it is by the queue's.
      message.timestamp -= clocks[stampedBy.get(message.id)].skew();
    }
    let failed = [];
    try {
      const answer = await faults.through("queue.deliver", [queue], () => consume(queue, messages), {
        failed: undefined,
        twice: async () => (await consume(queue, messages), consume(queue, messages)),
        at_once: async () => (await Promise.all([consume(queue, messages), consume(queue, messages)]))[0],
      });
      failed = answer === undefined ? messages.map(({ id }) => ({ id })) : verdict(messages, answer).retries;
    } catch {
      failed = messages.map(({ id }) => ({ id }));
    }
    counts.acks += messages.length - failed.length;
    // The delay counts from now: the queue's clock has stood since it was last moved.
    await clocks[queue].tick();
    const attempts = new Map(messages.map(({ id, attempts }) => [id, attempts]));
    for (const { id, delaySeconds } of failed) {
      const last = attempts.get(id) > queues[queue].maxRetries;
      counts[last ? "deadLettered" : "retries"] += 1;
      retries.push({ queue, messageId: id, attempts: attempts.get(id), delaySeconds, last });
      if (!last) schedule(queue, delaySeconds ?? queues[queue].retryDelay);
    }
    if (queues[queue].maxBatchTimeout > 0) schedule(queue, 0);
    return { status: 200, headers: {}, body: JSON.stringify({ retries: failed }) };
  }

  async function consume(queue, messages) {
    tally.queues[queue].deliveries += messages.length;
    if (queues[queue].consumer === "test") {
      consumed[queue].push(...messages.map(({ body, ...rest }) => ({ ...rest, body: bodyOf(body) })));
      return { outcome: "ok", ackAll: true };
    }
    const body = Buffer.from(JSON.stringify({ queue, messages }));
    const end = Date.now() + waitForGateway;
    // Bounded by `waitForGateway`.
    for (;;) {
      if (doorPort === undefined) {
        if (!(await attached(end - Date.now()))) return undefined;
      }
      try {
        const answer = await ask(doorPort, { method: "POST", path: "/", body });
        return answer.status === 200 ? JSON.parse(answer.body) : undefined;
      } catch (error) {
        // Refused: it is down, and nothing was delivered. Anything else broke off in the middle.
        if (error.code !== "ECONNREFUSED" || Date.now() > end || closed.signal.aborted) return undefined;
        await sleep(20);
      }
    }
  }

  /// Resolves to whether a gateway is there within that time.
  function attached(within) {
    if (within <= 0 || closed.signal.aborted) return false;
    return new Promise((resolve) => {
      const done = (is) => {
        clearTimeout(timer);
        waiting.delete(done);
        resolve(is);
      };
      const timer = setTimeout(done, within, false);
      waiting.add(done);
    });
  }

  const kvAsk = (method, key, query = "", body = undefined, headers = {}) =>
    pass("kv", kv, { method, url: `/${encodeURIComponent(key)}?urlencoded=true${query}`, headers }, body);

  const backlog = async (queue) => {
    const answer = await pass("queues", queue, { method: "GET", url: "/metrics", headers: {} });
    return JSON.parse(answer.body).backlogCount;
  };

  return {
    port,
    pid: child.pid,
    /// The names of the bindings that the Worker gets.
    bindings: [kv, ...Object.values(queues).flatMap(({ binding }) => binding ?? []), ...Object.keys(rateLimits)],
    /// The parts of the gateway's configuration that bind it to this platform: { services, bindings, extensions }.
    capnp: (folder) => gatewayCapnp({ kv, queues, rateLimits, port, folder }),
    /// The gateway is at this door from now on.
    attach: (at) => {
      doorPort = at;
      for (const done of [...waiting]) done(true);
    },
    /// It is no longer there; one that has come since stays.
    detach: (at) => {
      if (doorPort === at) doorPort = undefined;
    },
    callQueue,
    callCron,
    /// Orders a fault: { on, how, key, queue, times }. Without `times` it stays until `clearFaults()`, or until the returned `clear()`. `hits` of what is returned counts its uses.
    fault: faults.order,
    clearFaults: faults.clear,
    /// Operations so far: { kv: { reads, writes, deletes, lists }, limits, queues: { name: { sends, sentBytes, batches, deliveries, acks, retries, deadLettered } } }.
    counts: () => structuredClone({ kv: tally.kv, limits: tally.limits, queues: tally.queues }),
    resetCounts: tally.reset,
    /// What a test has consumed of a queue that isn't the gateway's: [{ id, body, attempts, timestamp }].
    consumed: (queue) => [...consumed[queue]],
    /// Each failed delivery of a message with the delay that was asked for: [{ queue, messageId, attempts, delaySeconds, last }]. `last` ones went to the dead-letter queue or were dropped.
    retries: () => [...retries],
    /// All that was sent, faults included, by queue: { name: [{ body, contentType, delaySeconds, at }] }.
    messages: () => Object.fromEntries(Object.entries(sent).map(([name, list]) => [name, [...list]])),
    /// The files in which KV keeps what it has.
    files: () =>
      readdirSync(kvFolder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name)),
    /// KV for the test itself: past the faults, and not counted.
    kv: {
      get: async (key) => {
        const { status, body } = await kvAsk("GET", key);
        return status === 200 ? body : null;
      },
      put: async (key, value, { expirationTtl, metadata } = {}) => {
        const headers = metadata === undefined ? {} : { "CF-KV-Metadata": JSON.stringify(metadata) };
        const answer = await kvAsk("PUT", key, expirationTtl === undefined ? "" : `&expiration_ttl=${expirationTtl}`, Buffer.from(value), headers);
        if (answer.status !== 200) throw new Error(`KV took no ${key}: ${answer.body}`);
      },
      delete: async (key) => void (await kvAsk("DELETE", key)),
      /// [{ name, expiration, metadata }], a thousand at most.
      list: async (prefix = "") => {
        const answer = await pass("kv", kv, { method: "GET", url: `/?prefix=${encodeURIComponent(prefix)}`, headers: {} });
        return JSON.parse(answer.body).keys;
      },
    },
    /// Moves a queue's clock on: what has become due is delivered at once.
    advance: async (queue, milliseconds) => clocks[queue].advance(milliseconds),
    /// Messages of a queue that are due and not yet handed on.
    backlog,
    /// Waits until all that is due is delivered and answered. What has a delay left doesn't count.
    idle: async ({ within = 10_000 } = {}) => {
      const end = Date.now() + within;
      for (;;) {
        const before = JSON.stringify(tally.queues);
        let left = 0;
        for (const queue of Object.keys(queues)) {
          const late = Symbol();
          const timer = new AbortController();
          const out = new Promise((resolve) => {
            const timeout = setTimeout(resolve, Math.max(0, end - Date.now()), late);
            timer.signal.addEventListener("abort", () => clearTimeout(timeout));
          });
          const waited = control(queue, "waitForFakeTasks");
          waited.catch(() => {});
          const first = await Promise.race([waited, out]);
          timer.abort();
          if (first === late) throw new Error(`${queue} still delivers after ${within} ms`);
          left += await backlog(queue);
        }
        if (left === 0 && before === JSON.stringify(tally.queues)) return;
        if (Date.now() > end) throw new Error(`the queues are still busy after ${within} ms: ${left} messages are due`);
        await sleep(5);
      }
    },
    output,
    close: async () => {
      closed.abort();
      for (const clock of Object.values(clocks)) clock.stop();
      for (const done of [...waiting]) done(false);
      faults.clear();
      const exited = child.exitCode === null && child.signalCode === null && new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await exited;
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      remove(state);
    },
  };
}

/// Faults that a test orders. `on`: "kv.get", "kv.put", "kv.delete", "kv.list", "queue.send", "queue.deliver", "ratelimit", or "kv" for all of KV. `how`:
///   "fail"          500, and nothing is done
///   "fail_after"    done, then 500; of a delivery: the Worker has run, its acks are lost
///   "rate_limited"  429, and nothing is done
///   "hang"          no answer, and nothing is done; "hang_after": done, no answer. Both end when the faults are cleared: the connection breaks
///   { delay }       done after so many ms
///   { stale }       of "kv.get": for so many ms a get answers what was there before the first put or delete of that time; `times` doesn't count
///   "limited"       of "ratelimit": the limit is reached
///   "twice"         of "queue.deliver": the same batch again as soon as the first is through; the second's acks count. "at_once": both together; the first's acks count
function startFaults() {
  let orders = [];
  const hung = new Set();
  const matches = (filter, subject) => {
    if (filter === undefined) return true;
    if (filter instanceof RegExp) return filter.test(subject);
    return typeof filter === "function" ? filter(subject) : filter === subject;
  };
  const concerns = (order, kind, subjects) => {
    if (order.on !== kind && !kind.startsWith(`${order.on}.`)) return false;
    const filter = order.key ?? order.queue;
    return filter === undefined || subjects.some((subject) => matches(filter, subject));
  };
  const hang = () => new Promise((_, reject) => hung.add(reject));
  const refusal = (status, reason) => ({ status, reason, headers: {}, body: reason });

  async function through(kind, subjects, act, { failed = refusal(500, "Internal Server Error"), ...special } = {}) {
    const delivery = kind === "queue.deliver";
    const order = orders.find((order) => order.how.stale === undefined && order.left > 0 && concerns(order, kind, subjects));
    if (!order) return act();
    order.left -= 1;
    order.hits += 1;
    const { how } = order;
    if (how.delay !== undefined) {
      await sleep(how.delay);
      return act();
    }
    if (special[how]) return special[how]();
    switch (how) {
      case "fail":
        return delivery ? undefined : failed;
      case "fail_after":
        await act();
        return delivery ? undefined : failed;
      case "rate_limited":
        return delivery ? undefined : refusal(429, "Too Many Requests");
      case "hang":
        return hang();
      case "hang_after":
        await act();
        return hang();
      case "limited":
        return { status: 200, headers: {}, body: JSON.stringify({ success: false }) };
    }
  }

  const KINDS = ["kv", "kv.get", "kv.put", "kv.delete", "kv.list", "queue.send", "queue.deliver", "ratelimit"];
  const HOW = ["fail", "fail_after", "rate_limited", "hang", "hang_after", "limited", "twice", "at_once"];
  const ONLY = { limited: "ratelimit", twice: "queue.deliver", at_once: "queue.deliver" };
  const live = (key) => orders.filter((order) => order.until > Date.now() && concerns(order, "kv.get", [key]));

  return {
    through,
    order: ({ on, how, key = undefined, queue = undefined, times = Infinity }) => {
      // A misspelt fault would be none, and the test would pass for nothing.
      const known = typeof how === "object" ? Object.keys(how).length === 1 && (how.delay ?? how.stale) >= 0 : HOW.includes(how);
      if (!KINDS.includes(on) || !known || (ONLY[how] ?? on) !== on || (how.stale !== undefined && on !== "kv.get")) {
        throw new Error(`no such fault: ${on} ${JSON.stringify(how)}`);
      }
      const order = { on, how, key, queue, left: times, hits: 0 };
      if (how.stale !== undefined) Object.assign(order, { until: Date.now() + how.stale, before: new Map() });
      orders.push(order);
      return {
        get hits() {
          return order.hits;
        },
        clear: () => (orders = orders.filter((other) => other !== order)),
      };
    },
    clear: () => {
      orders = [];
      for (const reject of hung) reject(new Error("let go"));
      hung.clear();
    },
    /// Keeps what is there before it changes, for as long as gets are to be stale.
    remember: async (key, current) => {
      for (const order of live(key)) {
        if (!order.before.has(key)) order.before.set(key, current());
        await order.before.get(key);
      }
    },
    remembered: (key) => {
      const order = live(key).find((order) => order.before.has(key));
      if (order) order.hits += 1;
      return order?.before.get(key);
    },
  };
}

function startTally(queues) {
  const tally = {
    reset: () => {
      tally.kv = { reads: 0, writes: 0, deletes: 0, lists: 0 };
      tally.limits = 0;
      const none = () => ({ sends: 0, sentBytes: 0, batches: 0, deliveries: 0, acks: 0, retries: 0, deadLettered: 0 });
      // The entries stay the same objects: a delivery under way may hold one.
      tally.queues = Object.fromEntries(queues.map((name) => [name, Object.assign(tally.queues?.[name] ?? {}, none())]));
    },
  };
  tally.reset();
  return tally;
}

/// A queue's clock: the real one, and ahead of it by what the test has moved it. The queue's own timers are stopped and follow this one, whenever something is sent, answered or due.
function startClock(order) {
  let skew = 0;
  let at = Date.now();
  let dues = [];
  let timer;
  let stopped = false;
  let chain = Promise.resolve();
  const now = () => Date.now() + skew;
  const tick = () => {
    const next = chain.then(async () => {
      const target = now();
      if (stopped || target <= at) return;
      await order("advanceFakeTime", [target - at]);
      at = target;
      dues = dues.filter((due) => due > at);
      plan();
    });
    chain = next.catch(() => {});
    return next;
  };
  const plan = () => {
    clearTimeout(timer);
    if (stopped || dues.length === 0) return;
    // One more millisecond, for a timer may be early.
    const wait = Math.max(0, Math.min(...dues) - now()) + 1;
    timer = setTimeout(() => tick().catch(() => {}), Math.min(wait, 2 ** 31 - 1));
  };
  return {
    start: () => order("enableFakeTimers", [at]),
    tick,
    skew: () => skew,
    schedule: (milliseconds) => {
      if (milliseconds <= 0) return;
      dues.push(now() + milliseconds);
      plan();
    },
    advance: (milliseconds) => {
      skew += milliseconds;
      return tick();
    },
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

/// The messages of one send, or undefined if it isn't one.
function sendOf({ method, url, headers }, body) {
  if (method !== "POST") return undefined;
  const { pathname } = new URL(url, "http://queue");
  const delay = headers["x-msg-delay-secs"] === undefined ? undefined : Number(headers["x-msg-delay-secs"]);
  const at = Date.now();
  if (pathname === "/message") return [{ body, contentType: headers["x-msg-fmt"] ?? "v8", delaySeconds: delay, at }];
  if (pathname !== "/batch") return undefined;
  return JSON.parse(body).messages.map(({ body, contentType = "v8", delaySecs }) => ({
    body: Buffer.from(body, "base64"),
    contentType,
    delaySeconds: delaySecs ?? delay,
    at,
  }));
}

const bodyOf = ({ type, text, base64, json }) => (type === "text" ? text : type === "bytes" ? Buffer.from(base64, "base64") : json);
const packed = (body) => {
  if (typeof body === "string") return { type: "text", text: body };
  return body instanceof Uint8Array ? { type: "bytes", base64: Buffer.from(body).toString("base64") } : { type: "json", json: body };
};

/// What a consumer's answer means for each message, as Cloudflare has it: an explicit ack holds though the handler failed later. (miniflare's broker alone would retry such a message.)
function verdict(messages, { outcome, ackAll = false, retryBatch = { retry: false }, explicitAcks = [], retryMessages = [] }) {
  const delays = new Map(retryMessages.map(({ msgId, delaySeconds }) => [msgId, delaySeconds ?? undefined]));
  const all = retryBatch.retry || (outcome !== "ok" && !ackAll);
  const acks = [];
  const retries = [];
  for (const { id } of messages) {
    if (explicitAcks.includes(id) || !(delays.has(id) || all)) acks.push(id);
    else retries.push({ id, delaySeconds: delays.get(id) ?? retryBatch.delaySeconds ?? undefined });
  }
  return { acks, retries };
}

/// Calls the gateway's `queue` handler through its door: { outcome, acks, retries: [{ id, delaySeconds }] }.
async function callQueue(doorPort, queue, messages) {
  const given = messages.map(({ id, timestamp = Date.now(), attempts = 1, body }, place) => ({
    id: id ?? `message-${place + 1}`,
    timestamp: Number(timestamp),
    attempts,
    body: packed(body),
  }));
  const answer = await ask(doorPort, { method: "POST", path: "/", body: Buffer.from(JSON.stringify({ queue, messages: given })) });
  if (answer.status !== 200) throw new Error(`the door answered ${answer.status}: ${answer.body}`);
  const result = JSON.parse(answer.body);
  return { outcome: result.outcome, ...verdict(given, result) };
}

/// Calls the gateway's `scheduled` handler through its door: { outcome }.
async function callCron(doorPort, { cron = "* * * * *", at = Date.now() } = {}) {
  const answer = await ask(doorPort, { method: "POST", path: "/", body: Buffer.from(JSON.stringify({ cron, at: Number(at) })) });
  if (answer.status !== 200) throw new Error(`the door answered ${answer.status}: ${answer.body}`);
  return { outcome: JSON.parse(answer.body).outcome };
}

/// One request to a port of this machine, on a connection of its own: a kept one may be closed by the other side just when it is used.
function ask(port, { method, path, headers = {}, body = Buffer.alloc(0) }) {
  return new Promise((resolve, reject) => {
    const length = method === "GET" ? {} : { "content-length": body.length };
    const request = httpRequest({ host: "127.0.0.1", port, method, path, headers: { ...headers, ...length }, agent: false }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const kept = Object.entries(response.headers).filter(([name]) => !["connection", "transfer-encoding", "content-length", "keep-alive"].includes(name));
        resolve({ status: response.statusCode, reason: response.statusMessage, headers: Object.fromEntries(kept), body: Buffer.concat(chunks) });
      });
    });
    request.on("error", reject);
    request.end(method === "GET" ? undefined : body);
  });
}

/// Starts workerd and waits until it listens on each of those sockets; it chooses the ports itself, and tells them.
async function serve(config, names) {
  const child = spawn(WORKERD, ["serve", "--experimental", "--control-fd=3", config], { stdio: ["ignore", "pipe", "pipe", "pipe"] });
  // It doesn't outlive a test that ended without closing it.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  child.once("exit", () => process.off("exit", kill));
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  const sockets = {};
  let told = "";
  await new Promise((resolve, reject) => {
    const failed = (why) => {
      clearTimeout(timer);
      kill();
      reject(new Error(`the platform ${why}:\n${output}`));
    };
    const timer = setTimeout(failed, 20_000, "didn't start within 20 s");
    child.once("exit", () => failed("ended"));
    child.stdio[3].on("data", (chunk) => {
      told += chunk;
      const lines = told.split("\n");
      told = lines.pop();
      for (const line of lines) {
        const { event, socket, port } = JSON.parse(line);
        if (event === "listen") sockets[socket] = port;
      }
      if (!names.every((name) => sockets[name])) return;
      clearTimeout(timer);
      child.removeAllListeners("exit");
      child.once("exit", () => process.off("exit", kill));
      resolve();
    });
  });
  return { child, sockets, output: () => output };
}

/// The platform's configuration: services, flags and names as miniflare has them in `plugins/{kv,queues,ratelimit}`.
function platformCapnp({ queues, state, kvFolder, limitsFolder, port }) {
  const embed = (file) => `embed ${text(relative(state, file))}`;
  const simulator = (file) => embed(join(MINIFLARE, file));
  const entry = (className, serviceName) => `(
    compatibilityDate = "2023-07-24",
    modules = [(name = "object-entry.worker.js", esModule = ${simulator("shared/object-entry.worker.js")})],
    bindings = [(name = "MINIFLARE_OBJECT", durableObjectNamespace = (className = ${text(className)}, serviceName = ${text(serviceName)}))],
  )`;
  const consumers = Object.fromEntries(
    Object.entries(queues).map(([name, { maxBatchSize, maxBatchTimeout, maxRetries, retryDelay, deadLetterQueue }]) => [
      name,
      { workerName: "adapter", maxBatchSize, maxBatchTimeout, maxRetries, retryDelay, deadLetterQueue: deadLetterQueue ?? undefined },
    ]),
  );
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "kv", worker = ${entry("KVNamespaceObject", "kv:object")}),
    (name = "kv:storage", disk = (path = ${text(kvFolder)}, writable = true)),
    (name = "kv:object", worker = (
      compatibilityDate = "2023-07-24",
      compatibilityFlags = ["nodejs_compat", "experimental"],
      modules = [(name = "namespace.worker.js", esModule = ${simulator("kv/namespace.worker.js")})],
      durableObjectNamespaces = [(className = "KVNamespaceObject", uniqueKey = "miniflare-KVNamespaceObject")],
      durableObjectStorage = (localDisk = "kv:storage"),
      bindings = [(name = "MINIFLARE_BLOBS", service = "kv:storage")],
    )),
    (name = "queues", worker = ${entry("QueueBrokerObject", "queues:object")}),
    (name = "queues:object", worker = (
      compatibilityDate = "2023-07-24",
      compatibilityFlags = ["nodejs_compat", "experimental", "service_binding_extra_handlers"],
      modules = [(name = "broker.worker.js", esModule = ${simulator("queues/broker.worker.js")})],
      durableObjectNamespaces = [(className = "QueueBrokerObject", uniqueKey = "miniflare-QueueBrokerObject", preventEviction = true)],
      durableObjectStorage = (inMemory = void),
      bindings = [
        (name = "MINIFLARE_ENABLE_CONTROL_ENDPOINTS", json = "true"),
        (name = "MINIFLARE_OBJECT", durableObjectNamespace = "QueueBrokerObject"),
        (name = "MINIFLARE_QUEUE_CONSUMERS", json = ${text(JSON.stringify(consumers))}),
        (name = "MINIFLARE_WORKER_adapter", service = "adapter"),
      ],
    )),
    (name = "ratelimit", worker = ${entry("RateLimiterObject", "ratelimit:object")}),
    (name = "ratelimit:storage", disk = (path = ${text(limitsFolder)}, writable = true)),
    (name = "ratelimit:object", worker = (
      compatibilityDate = "2023-07-24",
      compatibilityFlags = ["nodejs_compat", "experimental"],
      modules = [(name = "ratelimit-object.worker.js", esModule = ${simulator("ratelimit/ratelimit-object.worker.js")})],
      durableObjectNamespaces = [(className = "RateLimiterObject", uniqueKey = "miniflare-RateLimiterObject", enableSql = true)],
      durableObjectStorage = (localDisk = "ratelimit:storage"),
    )),
    (name = "adapter", worker = (
      compatibilityDate = "2026-10-01",
      modules = [(name = "adapter.mjs", esModule = ${embed(join(OWN, "adapter.mjs"))})],
      bindings = [(name = "TEST", service = "test")],
    )),
    (name = "control", worker = (
      compatibilityDate = "2026-10-01",
      modules = [(name = "control.mjs", esModule = ${embed(join(OWN, "control.mjs"))})],
      bindings = [(name = "BROKER", durableObjectNamespace = (className = "QueueBrokerObject", serviceName = "queues:object"))],
    )),
    (name = "test", external = (address = "127.0.0.1:${port}", http = (injectRequestHeaders = [(name = ${text(BINDING)}, value = "batch")]))),
    (name = "internet", network = (allow = [])),
  ],
  sockets = [
${["kv", "queues", "ratelimit", "control"].map((name) => `    (name = ${text(name)}, address = "127.0.0.1:0", http = (), service = ${text(name)}),`).join("\n")}
  ],
  extensions = [(modules = [
    (name = "miniflare:shared", esModule = ${simulator("shared/index.worker.js")}),
    (name = "miniflare:zod", esModule = ${simulator("shared/zod.worker.js")}),
  ])],
);
`;
}

/// The gateway's part: a service for each binding, told apart by a header that workerd itself puts on.
function gatewayCapnp({ kv, queues, rateLimits, port, folder }) {
  const simulator = (file) => `embed ${text(relative(folder, join(MINIFLARE, file)))}`;
  const services = [];
  const service = (id) => {
    services.push(`(name = ${text(id)}, external = (address = "127.0.0.1:${port}", http = (injectRequestHeaders = [(name = ${text(BINDING)}, value = ${text(id)})]))),`);
    return text(id);
  };
  const bindings = [`(name = ${text(kv)}, kvNamespace = ${service(`kv/${kv}`)}),`];
  for (const [name, { binding }] of Object.entries(queues)) {
    if (binding) bindings.push(`(name = ${text(binding)}, queue = ${service(`queue/${name}`)}),`);
  }
  for (const [name, { limit, period }] of Object.entries(rateLimits)) {
    const inner = `(name = "fetcher", service = ${service(`ratelimit/${name}`)}), (name = "limit", json = "${limit}"), (name = "period", json = "${period}")`;
    bindings.push(`(name = ${text(name)}, wrapped = (moduleName = "cloudflare-internal:ratelimit:module", innerBindings = [${inner}])),`);
  }
  services.push(`(name = "door", worker = (
      compatibilityDate = "2026-10-01",
      compatibilityFlags = ["service_binding_extra_handlers"],
      modules = [(name = "door.mjs", esModule = embed ${text(relative(folder, join(OWN, "door.mjs")))})],
      bindings = [(name = "GATEWAY", service = "main")],
    )),`);
  const extension = `(modules = [(name = "cloudflare-internal:ratelimit:module", esModule = ${simulator("ratelimit/ratelimit.worker.js")}, internal = true)])`;
  return { services: services.join("\n    "), bindings: bindings.join("\n    "), extensions: extension };
}
