// The Worker, standing still where the variable STALL says, for somebody to kill it there: "delivery" has a claim and no delivery yet, "commit" has a delivery and no commit yet.

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

export default {
  fetch(request, env, ctx) {
    stall = env.STALL;
    const getByName = (name) => {
      const object = env.ENTITIES.getByName(name);
      return { serve: (message) => (stall === "commit" && message[1] === COMMIT ? forever() : object.serve(message)) };
    };
    return production.fetch(request, { ...env, ENTITIES: { getByName } }, ctx);
  },
};
