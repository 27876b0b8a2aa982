// A small Worker that does with its bindings what a test asks for: it is there to test the harness, not the gateway.

import { DurableObject } from "cloudflare:workers";

export class EntityObject extends DurableObject {}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export default {
  async fetch(request, env) {
    const [, what, name, key] = new URL(request.url).pathname.split("/");
    try {
      switch (what) {
        case "kv":
          if (request.method === "GET") return Response.json({ value: await env.KV.get(name), whole: await env.KV.getWithMetadata(name) });
          if (request.method === "DELETE") await env.KV.delete(name);
          else await env.KV.put(name, await request.arrayBuffer(), { expirationTtl: 3600, metadata: { a: 1 } });
          return Response.json({});
        case "text":
          await env[name].send(await request.text(), { contentType: "text", delaySeconds: Number(key ?? 0) });
          return Response.json({});
        case "bytes":
          await env[name].send(new Uint8Array(await request.arrayBuffer()), { contentType: "bytes" });
          return Response.json({});
        case "batch":
          await env[name].sendBatch((await request.json()).map((body) => ({ body, contentType: "text" })));
          return Response.json({});
        case "limit":
          return Response.json(await env.FAILED_AUTHENTICATIONS.limit({ key: name }));
        default:
          return new Response("ok");
      }
    } catch (error) {
      return Response.json({ error: error.message }, { status: 500 });
    }
  },

  /// A text tells what to do with it. What was seen is told with the log.
  async queue(batch, env) {
    for (const message of batch.messages) {
      const { id, attempts, timestamp } = message;
      const bytes = message.body instanceof ArrayBuffer;
      const body = bytes ? [...new Uint8Array(message.body)].join() : message.body;
      console.log(JSON.stringify({ queue: batch.queue, id, attempts, timestamp: timestamp.getTime(), age: Date.now() - timestamp.getTime(), bytes, body }));
      const [order, value] = body.split(" ");
      if (order === "retry" && attempts <= Number(value)) message.retry({ delaySeconds: 3600 });
      else if (order === "fail") message.retry();
      else if (order === "slow") await sleep(Number(value));
      else if (order === "soon" && attempts === 1) message.retry({ delaySeconds: 1 });
      if (order === "ack") message.ack();
    }
    if (batch.messages.some(({ body, attempts }) => body === "throw" && attempts === 1)) throw new Error("as ordered");
  },

  async scheduled(controller, env) {
    await env.KV.put("cron", `${controller.cron} ${controller.scheduledTime}`);
  },
};
