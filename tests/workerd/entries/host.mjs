// The Worker on a host whose HMAC is "there", "absent" or "failing", as the variable HOST says. `/made`: how often it was asked for one.

import { env } from "cloudflare:workers";

const { createHmac, createSecretKey } = process.getBuiltinModule("node:crypto");
let made = 0;
const asked = (algorithm, key) => {
  if (env.HOST === "failing") {
    made += 1;
    throw new Error("no HMAC");
  }
  const hmac = createHmac(algorithm, key);
  // Counted when it is made: what fails halfway is none.
  return {
    update: (part) => hmac.update(part),
    digest: (encoding) => {
      const digest = hmac.digest(encoding);
      made += Number(digest.length === 32);
      return digest;
    },
  };
};
Object.defineProperty(process, "getBuiltinModule", { value: env.HOST === "absent" ? undefined : () => ({ createHmac: asked, createSecretKey }) });

// After the patch, so not a static import.
const production = await import("../../../src/worker/entry.mjs");

export const { EntityObject } = production;

export default {
  ...production.default,
  fetch: (request, env, ctx) => (new URL(request.url).pathname === "/made" ? Response.json(made) : production.default.fetch(request, env, ctx)),
};
