// Osigu's webhooks in Next.js: app/hooks/osigu/route.ts.
//
//   npm install rxgate

import { fromRequest, source, verify } from "rxgate";
import type { RefusalCode } from "rxgate";

const osigu = source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: process.env.OSIGU_KEY }] });

// Put your database here: a table whose key is the webhookId, and INSERT … ON CONFLICT DO NOTHING. And one for what can't be read.
const events = new Map<string, string>();
const unreadable = new Set<{ code: RefusalCode; body: Uint8Array }>();

const answer = (status: number, body: string) => new Response(body, { status, headers: { "content-type": "application/json" } });

export async function POST(incoming: Request): Promise<Response> {
  // The body is read here: no request.json() before.
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
}
