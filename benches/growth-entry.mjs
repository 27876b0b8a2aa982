// The Worker as it is deployed, and a door to its objects for benches/growth.mjs: `/fill` puts rows into one at once, `/claim` makes one claim of an event of its own, as the machine would ask for it.

import production, { EntityObject as Production } from "../build/worker/entry.js";

/// Where a claim has its entity and its event, 16 bytes each: see `entity/wire.rs`.
const CLAIM = 2;
const ENTITY = 2;
const EVENT = 18;
/// The last byte of an entity's key: of what was put there at once, and of what was claimed through the door.
const FILLED = 0;
const CLAIMED = 1;

export default {
  ...production,

  async fetch(request, env, ctx) {
    const [, what, object, count] = new URL(request.url).pathname.split("/");
    if (what !== "claim" && what !== "door") return production.fetch(request, env, ctx);
    const stub = env.ENTITIES.getByName(object);
    if (what === "door") return Response.json(await stub.door(count));
    await request.arrayBuffer();
    const claim = new Uint8Array(template);
    crypto.getRandomValues(claim.subarray(ENTITY, EVENT + 16));
    claim[ENTITY + 15] = CLAIMED;
    await stub.serve(String.fromCharCode(...claim));
    return new Response("");
  },
};

/// A claim as the machine made it, of the same isolate.
let template;

export class EntityObject extends Production {
  serve(message) {
    if (template === undefined && message.charCodeAt?.(1) === CLAIM) template = Uint8Array.from(message, (byte) => byte.charCodeAt(0));
    return super.serve(message);
  }

  /// "claimed": rows by claims through the door, "forget": takes them away, a number: fills with so many rows.
  door(what) {
    const { sql } = this.ctx.storage;
    const rows = (where) => sql.exec(`SELECT COUNT(*) AS rows FROM rows ${where}`).one();
    const through = `WHERE substr(entity, 16, 1) = x'0${CLAIMED}'`;
    if (what === "claimed") return rows(through);
    if (what === "forget") {
      sql.exec(`DELETE FROM rows ${through}`);
      return rows("");
    }
    // The first row, which a real event left, over and over, each time as another entity.
    sql.exec(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
       INSERT INTO rows (entity, page, expires, packed) SELECT randomblob(15) || x'0${FILLED}', 0, expires, packed FROM n, (SELECT expires, packed FROM rows LIMIT 1)`,
      Number(what),
    );
    return rows("");
  }
}
