// Osigu's webhooks in Hono.
//
//   npm install hono rxgate
//
// What is exported is served by Bun as it stands, by Node with @hono/node-server. On Workers the key is in c.env: see worker.mjs.

import { Hono } from "hono";
import { fromRequest, source, verify } from "rxgate";

const osigu = source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: process.env.OSIGU_KEY }] });

// Put your database here: a table whose key is the webhookId, and INSERT … ON CONFLICT DO NOTHING. And one for what can't be read.
const events = new Map();
const unreadable = new Set();

const answer = (/** @type {number} */ status, /** @type {string} */ body) => new Response(body, { status, headers: { "content-type": "application/json" } });

const app = new Hono();

app.post("/hooks/osigu", async (c) => {
  // The body is read here: no c.req.json() before.
  const request = await fromRequest(c.req.raw);
  const checked = verify(osigu, request);
  if (!checked.ok) {
    // Osigu's, and no event: it won't be one when it is sent again. It is acknowledged once it is kept.
    const kept = checked.unreadable && unreadable.add({ code: checked.code, body: request.body });
    return answer(kept ? 200 : checked.status, checked.answer);
  }
  // The same event may come several times.
  if (!events.has(checked.webhookId)) {
    events.set(checked.webhookId, checked.json);
    console.log(`new: ${checked.event.type}`);
  }
  // Only now: what was answered 2xx is never sent again.
  return answer(200, checked.answer);
});

export default app;
