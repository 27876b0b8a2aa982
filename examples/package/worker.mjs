// Osigu's webhooks in a Cloudflare Worker of your own, kept in D1.
//
//   npm install rxgate
//   npx wrangler secret put OSIGU_KEY
//   npx wrangler d1 execute events --remote --command "CREATE TABLE events (webhook_id TEXT PRIMARY KEY, event TEXT NOT NULL); CREATE TABLE unreadable (code TEXT NOT NULL, body BLOB NOT NULL)"

import { fromRequest, source, verify } from "rxgate";

/** @typedef {{ prepare(sql: string): { bind(...values: unknown[]): { run(): Promise<{ meta: { changes: number } }> } } }} Database */

/** @type {import("rxgate").Source<"osigu", "pass"> | undefined} */
let osigu;

const answer = (/** @type {number} */ status, /** @type {string} */ body) => new Response(body, { status, headers: { "content-type": "application/json" } });

export default {
  async fetch(/** @type {Request} */ incoming, /** @type {{ OSIGU_KEY: string, DB: Database }} */ env) {
    const { pathname } = new URL(incoming.url);
    if (pathname !== "/hooks/osigu" || incoming.method !== "POST") return answer(404, '{"code":"path_unknown"}');
    // Once for each instance.
    osigu ??= source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: env.OSIGU_KEY }] });
    const request = await fromRequest(incoming);
    const checked = verify(osigu, request);
    if (!checked.ok) {
      if (!checked.unreadable) return answer(checked.status, checked.answer);
      // Osigu's, and no event: it won't be one when it is sent again. It is acknowledged once it is kept.
      await env.DB.prepare("INSERT INTO unreadable (code, body) VALUES (?, ?)").bind(checked.code, request.body).run();
      return answer(200, checked.answer);
    }
    // The same event may come several times. Another database goes here.
    const insert = env.DB.prepare("INSERT INTO events (webhook_id, event) VALUES (?, ?) ON CONFLICT DO NOTHING");
    const { meta } = await insert.bind(checked.webhookId, checked.json).run();
    if (meta.changes === 1) console.log(`new: ${checked.event.type}`);
    // Only now: what was answered 2xx is never sent again.
    return answer(200, checked.answer);
  },
};
