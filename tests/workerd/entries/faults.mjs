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
    return production.fetch(request, listed(env), ctx);
  },
  queue: (batch, env, ctx) => production.queue(batch, listed(env), ctx),
  scheduled: (controller, env, ctx) => production.scheduled(controller, listed(env), ctx),
};

const listed = (env) => ({ ...env, ENTITIES: new Listed(env.ENTITIES) });

/// A class of its own, as the binding is: a plain object would be a variable.
class Listed {
  #objects;

  constructor(objects) {
    this.#objects = objects;
  }

  getByName(name) {
    names.add(name);
    return this.#objects.getByName(name);
  }
}

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
