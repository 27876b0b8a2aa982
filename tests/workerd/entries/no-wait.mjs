// The Worker without its waitUntil: its work ends with its sender's connection. What the tests of senders that hang up count has to fail here.

import production from "../../../src/worker/entry.mjs";

export { EntityObject } from "../../../src/worker/entry.mjs";

export default {
  ...production,
  fetch: (request, env) => production.fetch(request, env, { waitUntil() {} }),
};
