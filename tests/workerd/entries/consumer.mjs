// The example consumer, with the SQLite of a Durable Object for its database.

import { DurableObject } from "cloudflare:workers";
import consumer from "../../../examples/consumer/consumer.mjs";

export class EntityObject extends DurableObject {
  run(statement, values) {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS events (source TEXT, id TEXT, sequence TEXT, type TEXT, body TEXT, PRIMARY KEY (source, id))");
    return sql.exec(statement, ...values).toArray();
  }
}

const database = (env) => env.ENTITIES.getByName("database");

export default {
  queue: (batch, env) => {
    const prepare = (statement) => ({ bind: (...values) => ({ run: () => database(env).run(statement, values) }) });
    return consumer.queue(batch, { ...env, DB: { prepare } });
  },
  fetch: async (_request, env) => Response.json(await database(env).run("SELECT * FROM events", [])),
};
