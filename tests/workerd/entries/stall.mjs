// The Worker, standing still where the variable STALL says, for somebody to kill it there: "delivery" has a claim and no delivery yet, "commit" has a delivery and no commit yet,
// "message" is the same of a message, while requests go through; "enqueued" is a request whose message is sent and which has no commit yet, while messages go through.

import production from "../../../src/worker/entry.mjs";

export { EntityObject } from "../../../src/worker/entry.mjs";

/// The second byte of a message; a commit is short enough to be text.
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
  #commits;

  constructor(objects, commits) {
    this.#objects = objects;
    this.#commits = commits;
  }

  getByName(name) {
    const object = this.#objects.getByName(name);
    return { serve: (message) => (this.#commits && message.charCodeAt?.(1) === COMMIT ? forever() : object.serve(message)) };
  }
}

/// Where STALL is one of `where`, commits stand still.
const stalling = (env, where) => ({ ...env, ENTITIES: new Stalling(env.ENTITIES, where.includes(env.STALL)) });

export default {
  fetch(request, env, ctx) {
    stall = env.STALL;
    return production.fetch(request, stalling(env, ["commit", "enqueued"]), ctx);
  },
  queue(batch, env, ctx) {
    stall = env.STALL;
    return production.queue(batch, stalling(env, ["commit", "message"]), ctx);
  },
  scheduled: production.scheduled,
};
