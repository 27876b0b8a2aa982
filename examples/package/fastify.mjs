// Osigu's webhooks in Fastify.
//
//   npm install fastify rxgate
//   OSIGU_KEY=… PORT=3000 node fastify.mjs

import Fastify from "fastify";
import { source, verifyNode } from "rxgate";

const osigu = source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: process.env.OSIGU_KEY }] });

// Put your database here: a table whose key is the webhookId, and INSERT … ON CONFLICT DO NOTHING. And one for what can't be read.
const events = new Map();
const unreadable = new Set();

const app = Fastify({ bodyLimit: 1024 * 1024 });

// A scope of its own: outside of it Fastify parses JSON as ever.
app.register(async (hooks) => {
  // The bytes as they were sent, since the signature covers them.
  hooks.removeAllContentTypeParsers();
  hooks.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));

  hooks.post("/hooks/osigu", async (request, reply) => {
    const checked = await verifyNode(osigu, request);
    reply.type("application/json");
    if (!checked.ok) {
      // Osigu's, and no event: it won't be one when it is sent again. It is acknowledged once it is kept.
      const kept = checked.unreadable && unreadable.add({ code: checked.code, body: request.body });
      return reply.code(kept ? 200 : checked.status).send(checked.answer);
    }
    // The same event may come several times.
    if (!events.has(checked.webhookId)) {
      events.set(checked.webhookId, checked.json);
      console.log(`new: ${checked.event.type}`);
    }
    // Only now: what was answered 2xx is never sent again.
    return reply.send(checked.answer);
  });
});

await app.listen({ port: Number(process.env.PORT ?? 3000) });
