// What a team would write without rxgate: the same whole job for Osigu's dispensations, with Hono, zod and WebCrypto, on the same bindings and the same variables. Written as well as we
// can: keys are imported once, the body is read once, the sender's bytes go into the event as they are, a claim and a commit are one call each.
//
// Where a team would do less than rxgate, less is done here, to its advantage: ids stand in clear (rxgate hashes them), amounts go through JavaScript's numbers (rxgate keeps their digits),
// dead letters lie in KV as they are (rxgate seals them), and there are no phi, no routes, no shards that change.

import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { entityOf, eventOf, kindOf, read } from "./event.mjs";

export { EntityObject } from "./entity.mjs";

const MAX_BODY_BYTES = 1024 * 1024;
const TOLERANCE_SECONDS = 300;
const MAX_HEADER_CHARS = 4096;
const MAX_SIGNATURES = 8;
const LEASE_MS = 15_000;
const WINDOW_MS = 7 * 24 * 3600 * 1000;
const DELIVERY_MS = 6500;
const PERMANENT = new Set([400, 410, 413, 415, 422]);
const DEAD_LETTER_SECONDS = 30 * 24 * 3600;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/// The settings and the imported keys: once for an isolate.
let ready;

async function prepare(env) {
  const hmac = (bytes, use) => crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, [use]);
  const source = env.SOURCE_OSIGU;
  const destination = env.DESTINATION_LOCAL;
  const keys = await Promise.all(source.keys.map(async ({ id, secret }) => ({ id, key: await hmac(encoder.encode(env[secret]), "verify") })));
  const signing = await hmac(Uint8Array.fromBase64(env[destination.keys[0].secret].slice("whsec_".length)), "sign");
  return { environment: source.environment, keys, url: destination.url, signing, shards: env.RXGATE.shards };
}

function failed(error) {
  ready = undefined;
  throw error;
}

const app = new Hono();

app.get("/healthz", (c) => c.json({ status: "ok" }));

app.post(
  "/hooks/osigu",
  bodyLimit({ maxSize: MAX_BODY_BYTES, onError: (c) => ended(c, Date.now(), "warn", 413, { code: "body_too_large" }) }),
  (c) => {
    const work = handle(c);
    // The work goes on, whether the sender waits or not.
    c.executionCtx.waitUntil(work.catch(() => {}));
    return work;
  },
);

app.notFound((c) => c.json({ code: "path_unknown" }, 404));

app.onError((_, c) => c.json({ code: "internal_error" }, 503, { "retry-after": "5" }));

async function handle(c) {
  const receivedAt = Date.now();
  const { env } = c;
  const settings = await (ready ??= prepare(env).catch(failed));
  const header = c.req.header("x-osigu-signature");
  if (header === undefined) return ended(c, receivedAt, "warn", 401, { code: "signature_missing" });
  const bytes = new Uint8Array(await c.req.arrayBuffer());
  const facts = { source: "osigu", body_bytes: bytes.length };
  const [refusal, keyId] = await authenticate(settings.keys, header, bytes);
  if (refusal) return ended(c, receivedAt, "warn", 401, { code: refusal, ...facts });
  facts.key_id = keyId;

  let text;
  let osigu;
  try {
    text = decoder.decode(bytes);
    osigu = read(text);
  } catch {
    return deadLetter(c, receivedAt, bytes, "event_invalid", facts);
  }
  if (osigu.environment !== settings.environment) return deadLetter(c, receivedAt, bytes, "environment_mismatch", facts);
  const kind = kindOf(osigu);
  const entity = entityOf(osigu);
  const id = osigu.event_id;
  Object.assign(facts, { event_type: osigu.event_type, type: kind.type, webhook_id: id, entity });

  const object = env.ENTITIES.getByName(`claims-${shardOf(entity, settings.shards)}`);
  let claim;
  try {
    const { rank, state } = kind;
    claim = await object.claim({ entity, event: id, rank, state, lease: LEASE_MS, window: WINDOW_MS });
  } catch {
    return ended(c, receivedAt, "error", 503, { code: "store_unavailable", ...facts }, 5);
  }
  if (claim.duplicate) return ended(c, receivedAt, "info", 200, { code: "duplicate", ...facts }, undefined, id);
  if (claim.inFlight) return ended(c, receivedAt, "info", 503, { code: "in_flight", ...facts }, Math.max(1, Math.ceil(claim.inFlight / 1000)), id);
  facts.sequence = claim.sequence;
  facts.ordering = claim.ordering;

  const event = eventOf(osigu, kind, text, { keyId, ...claim });
  const status = await deliver(settings, id, event);
  facts.origin_status = status;
  let code = "delivered";
  try {
    if (PERMANENT.has(status)) {
      code = "dead_lettered";
      await env.DEAD_LETTERS.send({ id, code: "delivery_rejected", at: receivedAt, body: text });
    } else if (!(status >= 200 && status < 300)) {
      code = "queued";
      await env.DELIVERIES.send({ id, event }, { delaySeconds: status === undefined ? 15 : 5 });
    }
  } catch {
    await object.release({ entity, event: id, fence: claim.sequence }).catch(() => {});
    return ended(c, receivedAt, "error", status === undefined ? 504 : 502, { code: status === undefined ? "delivery_timed_out" : "delivery_failed", ...facts }, undefined, id);
  }
  // What is delivered is answered so, whatever becomes of the commit: it is tried twice.
  const commit = () => object.commit({ entity, event: id, fence: claim.sequence, window: WINDOW_MS });
  await commit().catch(commit).catch(() => (facts.commit = "commit_failed"));
  return ended(c, receivedAt, "info", 200, { code, ...facts }, undefined, id);
}

/// `t=<unix seconds>,v1=<hex HMAC-SHA256 of t.body>[,v1=…]`: why it isn't the sender's, and by which key it is.
async function authenticate(keys, header, bytes) {
  if (header.length > MAX_HEADER_CHARS) return ["signature_malformed"];
  let t;
  const signatures = [];
  for (const part of header.split(",")) {
    const at = part.indexOf("=");
    const value = part.slice(at + 1);
    if (at === 1 && part[0] === "t") t = value;
    else if (part.startsWith("v1=")) signatures.push(value);
  }
  if (t === undefined || !/^\d{1,11}$/.test(t) || signatures.length === 0 || signatures.length > MAX_SIGNATURES) return ["signature_malformed"];
  const signed = new Uint8Array(t.length + 1 + bytes.length);
  encoder.encodeInto(`${t}.`, signed);
  signed.set(bytes, t.length + 1);
  for (const { id, key } of keys) {
    for (const hex of signatures) {
      if (!/^[0-9a-f]{64}$/i.test(hex)) return ["signature_malformed"];
      if (!(await crypto.subtle.verify("HMAC", key, Uint8Array.fromHex(hex), signed))) continue;
      const fresh = Math.abs(Math.floor(Date.now() / 1000) - Number(t)) <= TOLERANCE_SECONDS;
      return fresh ? [undefined, id] : ["timestamp_out_of_tolerance"];
    }
  }
  return ["signature_mismatch"];
}

/// FNV-1a: where all events of an entity meet.
function shardOf(entity, shards) {
  let hash = 0x811c9dc5;
  for (let n = 0; n < entity.length; n += 1) hash = Math.imul(hash ^ entity.charCodeAt(n), 0x01000193);
  return (hash >>> 0) % shards;
}

/// One attempt, signed as Standard Webhooks has it: the origin's status; 0 for a connection that failed, nothing if it didn't answer in time.
async function deliver({ url, signing }, id, event) {
  const timestamp = Math.floor(Date.now() / 1000);
  const mac = await crypto.subtle.sign("HMAC", signing, encoder.encode(`${id}.${timestamp}.${event}`));
  const headers = {
    "content-type": "application/cloudevents+json",
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": `v1,${new Uint8Array(mac).toBase64()}`,
  };
  const signal = AbortSignal.timeout(DELIVERY_MS);
  try {
    const response = await fetch(url, { method: "POST", headers, body: event, redirect: "manual", signal });
    response.body?.cancel().catch(() => {});
    return response.status;
  } catch {
    return signal.aborted ? undefined : 0;
  }
}

async function deadLetter(c, receivedAt, bytes, reason, facts) {
  try {
    await c.env.DEAD_LETTERS.send({ id: crypto.randomUUID(), code: reason, at: receivedAt, body: bytes });
  } catch {
    return ended(c, receivedAt, "error", 503, { code: "dead_letter_failed", ...facts }, 5);
  }
  return ended(c, receivedAt, "warn", 200, { code: "dead_lettered", reason, ...facts });
}

/// The answer, and one line of log.
function ended(c, receivedAt, level, status, record, retryAfter, eventId) {
  console[level === "info" ? "log" : level](JSON.stringify({ level, status, duration_ms: Date.now() - receivedAt, ...record }));
  const headers = retryAfter === undefined ? undefined : { "retry-after": String(retryAfter) };
  return c.json({ code: record.code, event_id: eventId }, status, headers);
}

async function consume(message, queue, env) {
  const settings = await (ready ??= prepare(env).catch(failed));
  if (queue === "rxgate-dead-letters") {
    const { id, body, ...metadata } = message.body;
    await env.KV.put(`dead-letter:${id}`, body, { metadata, expirationTtl: DEAD_LETTER_SECONDS });
    return message.ack();
  }
  const { id, event } = message.body;
  const status = await deliver(settings, id, event);
  if (PERMANENT.has(status)) await env.DEAD_LETTERS.send({ id, code: "delivery_rejected", at: Date.now(), body: event });
  else if (!(status >= 200 && status < 300)) return message.retry({ delaySeconds: Math.min(3600, 5 * 2 ** Math.min(message.attempts, 10)) });
  message.ack();
}

export default {
  fetch: app.fetch,

  async queue(batch, env) {
    await Promise.all(batch.messages.map((message) => consume(message, batch.queue, env).catch(() => message.retry({ delaySeconds: 60 }))));
  },
};
