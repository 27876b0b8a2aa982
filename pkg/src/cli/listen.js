// An origin for trying out: it verifies what the gateway delivers, and says what came. It stores nothing.

import { createServer } from "node:http";
import { authenticate, source } from "../node.js";
import { readCount, readSecret } from "./input.js";
import { Mistake, note, oneLine, paint, print } from "./output.js";

/// An event with its original may be larger than the 1 MiB that a sender's body is.
const MAX_BODY_BYTES = 4 * 1024 * 1024;
/// So many ids are remembered to tell what came before.
const MAX_SEEN = 10_000;
export const SIGNING_KEY = "RXGATE_SIGNING_KEY";

/// Listens on this machine. `keys`: { id, secret } of the destination, one, or two during a rotation; without them nothing is verified. `onRequest` is told of each request.
/// `respond` answers in place of the usual answer.
export async function startListener({ port = 0, keys = [], status = 200, onRequest = () => {}, respond = answer } = {}) {
  const by = keys.length > 0 ? source({ id: "gateway", provider: "configured", preset: "standard-webhooks", keys, max_body_bytes: 1024 * 1024 }) : undefined;
  const seen = new Set();
  const server = createServer((request, response) => {
    read(request).then(
      (body) => {
        const entry = entryOf(request, body, by, seen);
        entry.status = entry.refused ? entry.refused.status : status;
        onRequest(entry);
        respond(entry, request, response);
      },
      () => response.destroy(),
    );
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return {
    port: server.address().port,
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

function answer({ status, refused }, _, response) {
  // What is answered and isn't 2xx comes again: a signature that doesn't hold isn't the gateway's.
  response.writeHead(status, { "content-type": "application/json" }).end(status === 204 ? undefined : JSON.stringify({ code: refused ? refused.code : "received" }));
}

async function read(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  return size > MAX_BODY_BYTES ? undefined : Buffer.concat(chunks);
}

/// What came: `verified` is undefined where there is no key. `event` is what the body says, verified or not.
function entryOf({ method, url, headers }, body, by, seen) {
  const entry = { at: Date.now(), method, url, headers, body, webhookId: headers["webhook-id"], verified: undefined, duplicate: false };
  if (body === undefined) return { ...entry, verified: by && false, refused: { code: "body_too_large", status: 413 } };
  try {
    entry.event = JSON.parse(body);
  } catch {}
  if (by) {
    const result = authenticate(by, { method, headers, body });
    entry.verified = result.ok;
    if (!result.ok) return { ...entry, refused: result };
    entry.keyId = result.keyId;
  }
  if (entry.webhookId === undefined) return entry;
  entry.duplicate = seen.has(entry.webhookId);
  seen.add(entry.webhookId);
  if (seen.size > MAX_SEEN) seen.delete(seen.values().next().value);
  return entry;
}

/// What may be said of a request: nothing of a patient, and nothing of a sender that isn't verified but its code.
export function told({ at, method, url, webhookId, verified, refused, status, keyId, duplicate, event }) {
  const head = { at: new Date(at).toISOString(), method, path: url.split("?")[0], status, verified: verified ?? null };
  if (refused) return { ...head, code: refused.code, ...(refused.skewSeconds === undefined ? {} : { skewSeconds: refused.skewSeconds }) };
  // A body in the sender's own form, as format = "original" delivers it, is none of ours to quote.
  const canonical = event?.specversion !== undefined;
  const { type, sequence, rxordering, data } = canonical ? event : {};
  return { ...head, webhookId, keyId, type: text(type), state: text(data?.state), ordering: text(rxordering), sequence: text(sequence), duplicate };
}

const text = (value) => (typeof value === "string" ? value : undefined);

/// `rxgate listen`.
export async function run(options) {
  const port = readCount(options.port, 0, 65_535);
  const status = readCount(options.status, 200, 599);
  const keys = readKeys(options);
  const show = options.json ? printLine : printLines;
  const listener = await startListener({ port, keys, status, onRequest: (entry) => show(entry, options) }).catch((fault) => {
    if (fault.code === "EADDRINUSE") throw new Mistake(`port ${port} is taken: choose another with --port`, 1);
    if (fault.code === "EACCES") throw new Mistake(`port ${port} may not be listened on: choose another with --port`, 1);
    throw fault;
  });
  note(`listening on ${listener.url}; Ctrl-C ends it`);
  note(keys.length > 0 ? `verifies with ${keys.map(({ id }) => id).join(", ")}; what doesn't hold is answered 401` : `NOT verifying: there is no key. Set ${SIGNING_KEY}, or name another variable with --secret-env or a file with --secret-file`);
  await new Promise((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
  });
  await listener.close();
  return 0;
}

function readKeys({ secretEnv = [], secretFile }) {
  const keys = [...secretEnv.map((secretEnv) => readSecret({ secretEnv })), ...(secretFile === undefined ? [] : [readSecret({ secretFile })])];
  const usual = keys.length === 0 ? readSecret({}, SIGNING_KEY) : undefined;
  return usual ? [usual] : keys;
}

/// A line of JSON for a request.
export function printLine(entry, { showData } = {}) {
  const line = JSON.stringify(told(entry));
  if (!showData || entry.event === undefined) return print(line);
  // The bytes as they came: parsing them would change numbers.
  print(`${line.slice(0, -1)},"event":${String(entry.body).replaceAll(/[\r\n]/g, " ")}}`);
}

/// A line for people; with `showData` the body behind it.
export function printLines(entry, { showData } = {}) {
  const { at, method, path, status, verified, code, skewSeconds, webhookId, type, state, ordering, sequence, duplicate } = told(entry);
  const end = paint(status < 300 ? "green" : "red", status);
  const clock = paint("dim", at.slice(11, 23));
  if (code) print(`${clock}  ${end}  ${method} ${oneLine(path)}  ${paint("red", code)}${skewSeconds === undefined ? "" : ` (${skewSeconds} s)`}`);
  else {
    const words = [type ?? "no canonical event", state && `state ${state}`, ordering, sequence && `sequence ${sequence}`, duplicate && "came before", verified === null && paint("yellow", "not verified")].filter(Boolean);
    print(`${clock}  ${end}  ${words.map((word) => (word === type ? paint("bold", oneLine(type)) : oneWord(word))).join("  ")}  ${paint("dim", oneLine(webhookId ?? "without webhook-id"))}`);
  }
  if (showData && entry.body !== undefined) print(String(entry.body));
}

/// A word of the body stays in its line; our own colours stay in it.
const oneWord = (word) => (word.includes("\x1b[") ? word : oneLine(String(word)));
