// The Worker, standing still where the variable STALL says, for somebody to kill it there: "delivery" has a claim and no delivery yet, "commit" has a delivery and no commit yet,
// "message" is the same of a message, while requests go through.

import production from "../../../src/worker/entry.mjs";

export { EntityObject } from "../../../src/worker/entry.mjs";

const COMMIT = 3;
const forever = () => {
  console.log('{"code":"stalled"}');
  return new Promise(() => {});
};
const send = globalThis.fetch;
let stall;
globalThis.fetch = (...request) => (stall === "delivery" ? forever() : send(...request));

/// A class of its own, as the binding is: a plain object would be a variable.
class Stalling {
  #objects;

  constructor(objects) {
    this.#objects = objects;
  }

  getByName(name) {
    const object = this.#objects.getByName(name);
    return { serve: (message) => (stall === "commit" && message[1] === COMMIT ? forever() : object.serve(message)) };
  }
}

const stalling = (env) => ({ ...env, ENTITIES: new Stalling(env.ENTITIES) });

export default {
  fetch(request, env, ctx) {
    stall = env.STALL;
    return production.fetch(request, stalling(env), ctx);
  },
  queue(batch, env, ctx) {
    stall = env.STALL === "message" ? "commit" : env.STALL;
    return production.queue(batch, stalling(env), ctx);
  },
  scheduled: production.scheduled,
};
