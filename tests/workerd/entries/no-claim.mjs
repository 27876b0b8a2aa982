// The Worker with the claim taken out: no two calls meet in the same object, so every claim is granted. What the tests of dedupe count has to fail here.

import production from "../../../src/worker/entry.mjs";

export { EntityObject } from "../../../src/worker/entry.mjs";

const scattered = (name) => (name.startsWith("entity-") ? `${name}-${crypto.randomUUID()}` : name);

/// A class of its own, as the binding is: a plain object would be a variable.
class Scattered {
  #objects;

  constructor(objects) {
    this.#objects = objects;
  }

  getByName(name) {
    return this.#objects.getByName(scattered(name));
  }
}

const without = (env) => ({ ...env, ENTITIES: new Scattered(env.ENTITIES) });

export default {
  fetch: (request, env, ctx) => production.fetch(request, without(env), ctx),
  queue: (batch, env, ctx) => production.queue(batch, without(env), ctx),
  scheduled: production.scheduled,
};
