// Osigu's samples, which are the command-line tool's, and its signature made by Node's crypto: independent of the core that checks it.

import { createHmac } from "node:crypto";

export { DATA, EVENT_TYPES, event, eventId } from "../../pkg/src/cli/samples/osigu.js";
export { toJson } from "../../pkg/src/cli/samples/values.js";

export const seconds = () => Math.floor(Date.now() / 1000);

/// One `v1`.
export const sign = (key, body, t = seconds()) => createHmac("sha256", key).update(`${t}.`).update(body).digest("hex");

/// The header, signed with each of `keys`.
export function signatureHeader(keys, body, t = seconds()) {
  return [`t=${t}`, ...[keys].flat().map((key) => `v1=${sign(key, body, t)}`)].join(",");
}

/// Sends a body as Osigu does.
export async function send(url, body, { key, t, header, headers = {}, signal } = {}) {
  const signature = header === undefined ? signatureHeader(key, body, t) : header;
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...(signature === null ? {} : { "x-osigu-signature": signature }), ...headers },
    body,
    redirect: "manual",
    signal,
  });
  const text = await response.text();
  let answer = {};
  try {
    answer = JSON.parse(text);
  } catch {}
  return { status: response.status, code: answer.code, reason: answer.reason, eventId: answer.event_id, retryAfter: response.headers.get("retry-after"), text };
}
