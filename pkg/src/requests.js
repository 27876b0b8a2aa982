// Requests as frameworks hand them over.

import { PARSED_BODY, bytesOf, incomplete, verify } from "./api.js";
import { BODY_BYTES } from "./core.js";

/** A Fetch `Request`: Workers, Deno, Bun, Next.js, Hono (`c.req.raw`). Its body is read here. */
export async function fromRequest(request, { mount, address } = {}) {
  if (typeof request?.headers?.get !== "function" || typeof request.url !== "string") throw new TypeError("rxgate: the request isn't a Fetch Request; of Node's, Express's or Fastify's take verifyNode");
  if (request.bodyUsed) throw new TypeError("rxgate: the request's body was read before. Read it here only, or pass { method, url, headers, body } with the text that you read");
  const { method, url, headers } = request;
  return { method, url, headers, path: behind(url, mount), address, body: request.body ? await whole(request.body) : new Uint8Array(await request.arrayBuffer()) };
}

/** The event of a Fetch `Request`, or why there is none. */
export async function verifyRequest(source, request, options = {}) {
  return verified(source, fromRequest(request, options), options);
}

/** A sender that breaks off is answered as well: only a programmer's mistake throws. */
async function verified(source, reading, options) {
  let read;
  try {
    read = await reading;
  } catch (fault) {
    if (fault instanceof TypeError && fault.message.startsWith("rxgate: ")) throw fault;
    return incomplete();
  }
  return verify(source, read, options);
}

/** A request of Node's `http`, Express or Fastify: `rawBody`, or a `body` that is a Buffer or a string, or else what can still be read of it. */
export async function fromNode(request, { mount, origin, address } = {}) {
  if (request === null || typeof request !== "object" || typeof (request.raw ?? request).headers !== "object") throw new TypeError("rxgate: the request isn't one of Node's, Express's or Fastify's; of a Fetch Request take verifyRequest");
  const raw = request.raw ?? request;
  const { method, headers } = raw;
  const target = raw.originalUrl ?? request.originalUrl ?? raw.url;
  const secure = raw.socket?.encrypted === true;
  const url = `${origin ?? `${secure ? "https" : "http"}://${headers.host ?? "localhost"}`}${target}`;
  return { method, url, headers, path: behind(`http://localhost${target}`, mount), address: address ?? raw.socket?.remoteAddress, body: await bodyOf(request, raw) };
}

/** The event of a Node request, or why there is none. */
export async function verifyNode(source, request, options = {}) {
  return verified(source, fromNode(request, options), options);
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

/** What stands behind the mount in a URL's path. */
function behind(url, mount) {
  // A stranger may have written it.
  if (mount === undefined || !URL.canParse(url)) return undefined;
  const { pathname } = new URL(url);
  const front = mount.endsWith("/") ? mount : `${mount}/`;
  return pathname.startsWith(front) ? pathname.slice(front.length) : undefined;
}
