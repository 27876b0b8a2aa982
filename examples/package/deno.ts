// Osigu's webhooks in Deno.
//
//   deno add npm:rxgate
//   OSIGU_KEY=… deno run --allow-env=OSIGU_KEY --allow-net --allow-read deno.ts

import { fromRequest, source, verify } from "rxgate";
import type { RefusalCode } from "rxgate";

const osigu = source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: Deno.env.get("OSIGU_KEY") }] });

// Put your database here: a table whose key is the webhookId, and INSERT … ON CONFLICT DO NOTHING. And one for what can't be read.
const events = new Map<string, string>();
const unreadable = new Set<{ code: RefusalCode; body: Uint8Array }>();

const answer = (status: number, body: string) => new Response(body, { status, headers: { "content-type": "application/json" } });

Deno.serve({ port: 3000 }, async (incoming) => {
  const { pathname } = new URL(incoming.url);
  if (pathname !== "/hooks/osigu" || incoming.method !== "POST") return answer(404, '{"code":"path_unknown"}');
  const request = await fromRequest(incoming);
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
