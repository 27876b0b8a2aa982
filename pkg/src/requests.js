// Requests as frameworks hand them over.

import { PARSED_BODY, bytesOf, verify } from "./api.js";

/** A Fetch `Request`: Workers, Deno, Bun, Next.js, Hono (`c.req.raw`). Its body is read here. */
export async function fromRequest(request, { mount } = {}) {
  if (request.bodyUsed) throw new TypeError("rxgate: the request's body was read before. Read it here only, or pass { method, url, headers, body } with the text that you read");
  const { method, url, headers } = request;
  const { pathname } = new URL(url);
  return { method, url, headers, path: behind(pathname, mount), address: headers.get("cf-connecting-ip") ?? undefined, body: new Uint8Array(await request.arrayBuffer()) };
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
  const url = `${origin ?? `${secure ? "https" : "http"}://${headers.host}`}${target}`;
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
  const chunks = [];
  for await (const chunk of raw) chunks.push(typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk);
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  chunks.reduce((at, chunk) => (whole.set(chunk, at), at + chunk.length), 0);
  return whole;
}

/** What stands behind the mount in a path. */
function behind(pathname, mount) {
  if (mount === undefined) return undefined;
  const front = mount.endsWith("/") ? mount : `${mount}/`;
  return pathname.startsWith(front) ? pathname.slice(front.length) : undefined;
}
