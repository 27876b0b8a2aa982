// Requests as frameworks hand them over.

import { PARSED_BODY, bytesOf, verify } from "./api.js";
import { BODY_BYTES } from "./core.js";

/** A Fetch `Request`: Workers, Deno, Bun, Next.js, Hono (`c.req.raw`). Its body is read here. */
export async function fromRequest(request, { mount } = {}) {
  if (request.bodyUsed) throw new TypeError("rxgate: the request's body was read before. Read it here only, or pass { method, url, headers, body } with the text that you read");
  const { method, url, headers } = request;
  const { pathname } = new URL(url);
  return { method, url, headers, path: behind(pathname, mount), address: headers.get("cf-connecting-ip") ?? undefined, body: await whole(request.body ?? []) };
}

/** The event of a Fetch `Request`, or why there is none. */
export async function verifyRequest(source, request, options = {}) {
  return verify(source, await fromRequest(request, options), options);
}

/** A request of Node's `http`, Express or Fastify: `rawBody`, or a `body` that is a Buffer or a string, or else what can still be read of it. */
export async function fromNode(request, { mount, origin, address } = {}) {
  const raw = request.raw ?? request;
  const { method, headers } = raw;
  const target = raw.originalUrl ?? request.originalUrl ?? raw.url;
  const secure = raw.socket?.encrypted === true;
  const url = `${origin ?? `${secure ? "https" : "http"}://${headers.host ?? "localhost"}`}${target}`;
  const { pathname } = new URL(url);
  return { method, url, headers, path: behind(pathname, mount), address: address ?? raw.socket?.remoteAddress, body: await bodyOf(request, raw) };
}

/** The event of a Node request, or why there is none. */
export async function verifyNode(source, request, options = {}) {
  return verify(source, await fromNode(request, options), options);
}

async function bodyOf(request, raw) {
  const given = request.rawBody ?? request.body;
  if (given !== undefined && given !== null) {
    // What express.raw() leaves where nothing was sent, or what it wasn't told to take.
    if (typeof given === "object" && !ArrayBuffer.isView(given) && !(given instanceof ArrayBuffer)) {
      if (Object.keys(given).length > 0 || raw.readableEnded !== false) throw new TypeError(PARSED_BODY);
    } else return bytesOf(given);
  }
  if (raw.readableEnded) throw new TypeError("rxgate: the request's body was read before, and isn't in rawBody or body");
  return whole(raw);
}

/** What a stream brings; of one that is longer than any source takes, as much as shows that. */
async function whole(stream) {
  const chunks = [];
  let length = 0;
  // One that is left early stays open: the sender has to be answered.
  const iterable = typeof stream.iterator === "function" ? stream.iterator({ destroyOnReturn: false }) : stream;
  for await (const chunk of iterable) {
    const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
    chunks.push(bytes);
    length += bytes.length;
    if (length >= BODY_BYTES) break;
  }
  const all = new Uint8Array(length);
  chunks.reduce((at, chunk) => (all.set(chunk, at), at + chunk.length), 0);
  return all;
}

/** What stands behind the mount in a path. */
function behind(pathname, mount) {
  if (mount === undefined) return undefined;
  const front = mount.endsWith("/") ? mount : `${mount}/`;
  return pathname.startsWith(front) ? pathname.slice(front.length) : undefined;
}
