// Osigu's webhooks in Express.
//
//   npm install express rxgate
//   OSIGU_KEY=… PORT=3000 node express.mjs

import express from "express";
import { source, verifyNode } from "rxgate";

const osigu = source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: process.env.OSIGU_KEY }] });

// Put your database here: a table whose key is the webhookId, and INSERT … ON CONFLICT DO NOTHING. And one for what can't be read.
const events = new Map();
const unreadable = new Set();

const app = express();

// The bytes as they were sent, since the signature covers them: no express.json() in front of this route.
app.post("/hooks/osigu", express.raw({ type: "*/*", limit: "1mb" }), async (request, response) => {
  const checked = await verifyNode(osigu, request);
  response.type("application/json");
  if (!checked.ok) {
    // Osigu's, and no event: it won't be one when it is sent again. It is acknowledged once it is kept.
    const kept = checked.unreadable && unreadable.add({ code: checked.code, body: request.body });
    response.status(kept ? 200 : checked.status).send(checked.answer);
    return;
  }
  // The same event may come several times.
  if (!events.has(checked.webhookId)) {
    events.set(checked.webhookId, checked.json);
    console.log(`new: ${checked.event.type}`);
  }
  // Only now: what was answered 2xx is never sent again.
  response.send(checked.answer);
});

// For all other routes.
app.use(express.json());

app.listen(Number(process.env.PORT ?? 3000));
