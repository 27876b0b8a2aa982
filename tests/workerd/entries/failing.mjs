// The Worker with objects that fail when a request asks for it: `x-fault: <call> <how> <times>`. `before`: nothing was done; `after`: it was done, and the answer is
// lost; `hang`: no answer comes.

import production from "../../../src/worker/entry.mjs";

export { EntityObject } from "../../../src/worker/entry.mjs";

const CALLS = { layout: 1, claim: 2, commit: 3, release: 4 };

export default {
  fetch(request, env, ctx) {
    const [call, how, times] = (request.headers.get("x-fault") ?? "").split(" ");
    let left = Number(times);
    const getByName = (name) => {
      const object = env.ENTITIES.getByName(name);
      const serve = async (message) => {
        if (message[1] !== CALLS[call] || left === 0) return object.serve(message);
        left -= 1;
        if (how === "hang") return new Promise(() => {});
        if (how === "after") await object.serve(message);
        throw new Error("the object failed");
      };
      return { serve };
    };
    return production.fetch(request, { ...env, ENTITIES: { getByName } }, ctx);
  },
};
