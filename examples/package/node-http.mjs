// Osigu's webhooks with Node alone.
//
//   npm install rxgate
//   OSIGU_KEY=… PORT=3000 node node-http.mjs

import { createServer } from "node:http";
import { fromNode, source, verify } from "rxgate";

const osigu = source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: process.env.OSIGU_KEY }] });

// Put your database here: a table whose key is the webhookId, and INSERT … ON CONFLICT DO NOTHING. And one for what can't be read.
const events = new Map();
const unreadable = new Set();

const server = createServer(async (incoming, response) => {
  const answer = (/** @type {number} */ status, /** @type {string} */ body) => response.writeHead(status, { "content-type": "application/json" }).end(body);
  try {
    if (incoming.url !== "/hooks/osigu" || incoming.method !== "POST") return answer(404, '{"code":"path_unknown"}');
    const request = await fromNode(incoming);
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
  } catch (error) {
    // Not kept: not acknowledged. Osigu sends it again.
    console.error(error);
    return answer(500, '{"code":"internal_error"}');
  }
});

server.listen(Number(process.env.PORT ?? 3000));
