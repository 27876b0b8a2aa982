// Beside the gateway, in its process: calls the handlers that no request from outside reaches.

import { Buffer } from "node:buffer";

const unpacked = ({ type, text, base64, json }) => {
  if (type === "text") return text;
  if (type === "json") return json;
  // A copy: Buffer's memory is a part of something larger.
  return new Uint8Array(Buffer.from(base64, "base64")).buffer;
};

export default {
  async fetch(request, env) {
    const order = await request.json();
    if (order.cron !== undefined) return Response.json(await env.GATEWAY.scheduled({ cron: order.cron, scheduledTime: new Date(order.at) }));
    const messages = order.messages.map(({ id, timestamp, attempts, body }) => ({ id, timestamp: new Date(timestamp), attempts, body: unpacked(body) }));
    const { outcome, ackAll, retryBatch, explicitAcks, retryMessages } = await env.GATEWAY.queue(order.queue, messages);
    return Response.json({ outcome, ackAll, retryBatch, explicitAcks, retryMessages });
  },
};
