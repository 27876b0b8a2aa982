// What the queues' broker takes for the consumer: it hands each batch to the test's process, and acks and retries as that says.

import { Buffer } from "node:buffer";

const packed = (body) => {
  if (typeof body === "string") return { type: "text", text: body };
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return { type: "bytes", base64: Buffer.from(body).toString("base64") };
  return { type: "json", json: body };
};

export default {
  async queue(batch, env) {
    const messages = batch.messages.map(({ id, timestamp, attempts, body }) => ({ id, timestamp: timestamp.getTime(), attempts, body: packed(body) }));
    const answer = await env.TEST.fetch("http://test/", { method: "POST", body: JSON.stringify({ queue: batch.queue, messages }) });
    // Thrown, it fails the whole batch.
    if (!answer.ok) throw new Error(`the batch wasn't taken: ${answer.status}`);
    const retries = new Map((await answer.json()).retries.map(({ id, delaySeconds }) => [id, delaySeconds]));
    for (const message of batch.messages) {
      if (!retries.has(message.id)) message.ack();
      else message.retry(retries.get(message.id) === undefined ? undefined : { delaySeconds: retries.get(message.id) });
    }
  },
};
