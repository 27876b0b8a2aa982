// The Worker with faults to order. `/faults/next?object={way}`: how the next call of any object fails. `/faults/names`: which objects were asked for.

import production, { EntityObject as Production } from "../../../src/worker/entry.mjs";

const encoder = new TextEncoder();
const names = new Set();
/// Of the next call of any object of this isolate.
let next;

export default {
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/faults/names") return Response.json([...names]);
    if (pathname === "/faults/next") {
      next = searchParams.get("object");
      return new Response();
    }
    const getByName = (name) => {
      names.add(name);
      return env.ENTITIES.getByName(name);
    };
    return production.fetch(request, { ...env, ENTITIES: { getByName } }, ctx);
  },
};

export class EntityObject extends Production {
  serve(message) {
    const way = next;
    next = undefined;
    switch (way) {
      case undefined:
        return super.serve(message);
      case "sql":
        // A table that isn't there: what is wrong comes from SQLite itself.
        this.ctx.storage.sql.exec("ALTER TABLE rows RENAME TO hidden");
        try {
          return super.serve(message);
        } finally {
          this.ctx.storage.sql.exec("ALTER TABLE hidden RENAME TO rows");
        }
      case "hang":
        return new Promise(() => {});
      default:
        // A way of src/worker/hooks.rs.
        return super.serve(encoder.encode(`rxgate-test-hooks:${way}`));
    }
  }
}
