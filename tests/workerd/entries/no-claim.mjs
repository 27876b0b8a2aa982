// The Worker with the claim taken out: no two calls meet in the same object, so every claim is granted. What the tests of dedupe count has to fail here.

import production from "../../../src/worker/entry.mjs";

export { EntityObject } from "../../../src/worker/entry.mjs";

export default {
  fetch(request, env, ctx) {
    const scattered = (name) => (name.startsWith("entity-") ? `${name}-${crypto.randomUUID()}` : name);
    const ENTITIES = { getByName: (name) => env.ENTITIES.getByName(scattered(name)) };
    return production.fetch(request, { ...env, ENTITIES }, ctx);
  },
};
