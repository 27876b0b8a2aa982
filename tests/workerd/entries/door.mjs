// The Worker with a door to its objects: `/door/{object}/{what}` fills one at once, walks it, counts its rows and letters, moves the clock of what is expected, runs any SQL; `/door/names` tells which objects were asked for.

import production, { EntityObject as Production } from "../../../src/worker/entry.mjs";
import { currentStore } from "../../../src/worker/store.mjs";
import module from "../../../build/wasm/rxgate_bg.wasm";

const names = new Set();

/// With an object's name noted whenever it is asked for.
function listed(env) {
  return {
    ...env,
    ENTITIES: new (class {
      getByName(name) {
        names.add(name);
        return env.ENTITIES.getByName(name);
      }
    })(),
  };
}

export default {
  queue: (batch, env, ctx) => production.queue(batch, listed(env), ctx),
  scheduled: (controller, env, ctx) => production.scheduled(controller, listed(env), ctx),

  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    const [, door, object, what] = pathname.split("/");
    if (door !== "door") return production.fetch(request, listed(env), ctx);
    if (object === "names") return Response.json([...names].sort());
    return Response.json(await env.ENTITIES.getByName(object).door(what, Object.fromEntries(searchParams)));
  },
};

export class EntityObject extends Production {
  #store;
  #object;
  #cursors = [];

  async door(what, { from, to, expires_in_ms, statement }) {
    const { storage } = this.ctx;
    switch (what) {
      case "fill":
        this.#open((store, object) => store.fill(object, Number(from), Number(to), Number(expires_in_ms)));
        this.#cursors = [];
        return {};
      case "multiply":
        // The first row over and over, each time as another entity: many times faster than one claim and one commit for each.
        storage.sql.exec(
          `WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
           INSERT INTO rows (entity, page, expires, packed) SELECT randomblob(16), 0, expires, packed FROM n, (SELECT expires, packed FROM rows LIMIT 1)`,
          Number(from),
          Number(to),
        );
        return {};
      case "count":
        return storage.sql.exec("SELECT COUNT(*) AS rows, COALESCE(SUM(expires > ?), 0) AS live FROM rows", Date.now()).one();
      case "letters":
        return storage.sql.exec("SELECT COUNT(*) AS rows, COALESCE(SUM(sealed IS NULL), 0) AS tombstones FROM letters").one();
      case "expire":
        // As if so much time had passed for the letters.
        storage.sql.exec("UPDATE letters SET expires = expires - ?", Number(expires_in_ms));
        return {};
      case "sweep": {
        const next = this.#open((store, object) => {
          this.#cursors = [];
          return store.sweep(object);
        });
        const written = (start) => {
          const cursors = this.#cursors.filter(({ statement }) => statement.trim().startsWith(start));
          return cursors.reduce((sum, { cursor }) => sum + cursor.rowsWritten, 0);
        };
        const read = this.#cursors.reduce((sum, { cursor }) => sum + cursor.rowsRead, 0);
        return { next, read, deletes: written("DELETE"), notes: written("INSERT") };
      }
      case "expect":
        // The first expectation over and over, each time of another entity.
        storage.sql.exec(
          `WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
           INSERT INTO expected SELECT randomblob(16), 0, at + i, due, kept, notice FROM n, (SELECT * FROM expected LIMIT 1)`,
          Number(from),
          Number(to),
        );
        return {};
      case "expected":
        return storage.sql.exec("SELECT COUNT(*) AS rows, COALESCE(SUM(standing = 0), 0) AS pending, COALESCE(SUM(standing = 2), 0) AS notified FROM expected").one();
      case "due":
        // As if so much time had passed for what is expected.
        storage.sql.exec("UPDATE expected SET at = at - ?", Number(expires_in_ms));
        return {};
      case "sql":
        return storage.sql.exec(statement).toArray();
      case "sleep":
        // As if the alarm had been lost.
        await storage.deleteAlarm();
        return {};
      case "wake":
        await storage.setAlarm(Date.now());
        return {};
      case "alarm":
        return { at: await storage.getAlarm() };
      default:
        throw new Error("no such door");
    }
  }

  /// The object once more in wasm, on SQL whose cursors are kept, so that they can be asked what they cost.
  #open(what) {
    if (this.#store === undefined) {
      const { sql } = this.ctx.storage;
      const counted = {
        exec: (statement, ...bindings) => {
          const cursor = sql.exec(statement, ...bindings);
          this.#cursors.push({ statement, cursor });
          return cursor;
        },
      };
      this.#store = currentStore(module);
      this.#object = this.#store.open({ storage: { sql: counted } }, this.env);
    }
    return what(this.#store, this.#object);
  }
}
