// An origin for rxgate: verifies, dedupes, applies the `sequence` rule, keeps the state of each entity. Plain node:http and one package.
//
//   npm install standardwebhooks
//   RXGATE_SIGNING_KEYS=whsec_... PORT=8788 node receiver.mjs
//
// It listens on this machine only, without TLS: put it behind what ends TLS for you.

import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import { Webhook } from "standardwebhooks";

/// rxgate takes bodies of up to 1 MiB; the canonical event holds that body and what was read from it.
const MAX_BODY_BYTES = 4 * 1024 * 1024;
const PATH = "/rxgate";

/// Starts the receiver. `secrets`: the signing keys of the destination, one, or two during a rotation. `onEvent` is told how each event ended.
export async function startReceiver({ port = 0, secrets, store = memoryStore(), onEvent = () => {} }) {
  if (!secrets?.length) throw new Error("secrets: at least one whsec_ key is needed: without one nothing can be verified");
  const keys = secrets.map((secret) => new Webhook(secret));
  const server = createServer((request, response) => {
    receive(request, keys, store).then(
      ({ status, outcome, event }) => {
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify({ outcome }));
        // Never the event itself: it holds patient data.
        onEvent({ status, outcome, type: event?.type, webhookId: request.headers["webhook-id"] });
      },
      // Not stored: not acknowledged. rxgate releases the event, and the sender sends it again.
      () => response.writeHead(500).end(),
    );
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return {
    port: server.address().port,
    url: `http://127.0.0.1:${server.address().port}${PATH}`,
    store,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

async function receive(request, keys, store) {
  if (request.url !== PATH) return { status: 404, outcome: "path_unknown" };
  if (request.method !== "POST") return { status: 405, outcome: "method_not_allowed" };
  const body = await read(request);
  if (body === undefined) return { status: 413, outcome: "body_too_large" };
  // The bytes as they came: parsing and writing them again would change them.
  if (!keys.some((key) => verifies(key, body, request.headers))) return { status: 401, outcome: "signature_mismatch" };
  const event = JSON.parse(body);
  const outcome = await store.save(request.headers["webhook-id"], event);
  // Only now: what is answered 2xx is never sent again.
  return { status: 200, outcome, event };
}

function verifies(key, body, headers) {
  try {
    key.verify(body, headers, { jsonParse: false });
    return true;
  } catch {
    return false;
  }
}

async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    // Read to its end all the same, so that the answer can be read.
    if (length <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  return length <= MAX_BODY_BYTES ? Buffer.concat(chunks) : undefined;
}

/// What the event does to its entity. An event older than what was applied is kept, and changes nothing; so is one that rxgate says is superseded.
///
/// `data.state` is the entity's state after all that rxgate has taken so far: an `approved` that comes after a `voided` says `voided`. So the state is what
/// to apply, and not the type.
export function apply(entity, event) {
  // A source that KV alone dedupes gives no `sequence`: then when the sender emitted it has to do.
  const sequence = event.sequence ?? event.rxemittedat ?? "";
  if (event.rxordering === "superseded" || (entity && sequence <= entity.sequence)) return undefined;
  return { sequence, state: event.data.state ?? entity?.state, type: event.type };
}

// ┌─────────────────────────────────────────────────────────────────────────────────────────────┐
// │ PUT YOUR DATABASE HERE. This store forgets all when the process ends.                         │
// │                                                                                               │
// │ `save` has to be one transaction, committed before it returns:                                │
// │                                                                                               │
// │   INSERT INTO events (webhook_id, body) VALUES ($1, $2) ON CONFLICT (webhook_id) DO NOTHING;  │
// │     -- no row inserted: "duplicate", and nothing more is done                                 │
// │   INSERT INTO entities (source, subject, sequence, state, type) VALUES ($3, $4, $5, $6, $7)   │
// │     ON CONFLICT (source, subject) DO UPDATE                                                   │
// │     SET sequence = excluded.sequence, state = coalesce(excluded.state, entities.state),       │
// │         type = excluded.type                                                                  │
// │     WHERE entities.sequence < excluded.sequence;                                              │
// │     -- no row changed: "superseded"                                                           │
// │                                                                                               │
// │ Keep `webhook_id` for as long as you keep the events. `sequence` has 16 digits: compare it as │
// │ text, or as a 64-bit integer.                                                                 │
// └─────────────────────────────────────────────────────────────────────────────────────────────┘
export function memoryStore() {
  const events = new Map();
  const entities = new Map();
  return {
    /// Answers `applied`, `superseded` (stored; a later event of the entity was applied before), `stored` (it is about no entity) or `duplicate`.
    async save(webhookId, event) {
      if (events.has(webhookId)) return "duplicate";
      events.set(webhookId, event);
      if (event.subject === undefined) return "stored";
      // An entity belongs to its source: two sources may name two things alike.
      const name = `${event.source} ${event.subject}`;
      const applied = apply(entities.get(name), event);
      if (applied === undefined) return "superseded";
      entities.set(name, applied);
      return "applied";
    },
    entity: (source, subject) => entities.get(`${source} ${subject}`),
    event: (webhookId) => events.get(webhookId),
    count: () => events.size,
  };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const secrets = (process.env.RXGATE_SIGNING_KEYS ?? "").split(/[\s,]+/).filter(Boolean);
  const port = Number(process.env.PORT ?? 8788);
  const onEvent = ({ status, outcome, type, webhookId }) => console.log(status, outcome, type ?? "-", webhookId ?? "-");
  try {
    const receiver = await startReceiver({ port, secrets, onEvent });
    console.log(`receiving at ${receiver.url}`);
  } catch (fault) {
    console.error(secrets.length ? fault.message : "RXGATE_SIGNING_KEYS: set it to the destination's whsec_ key, or to two, separated by a comma");
    process.exit(1);
  }
}
