// The Worker on a host whose HMAC is "there", "absent" or "failing", as the variable HOST says. `/made`: how often it was asked for one.

import { env } from "cloudflare:workers";

const { createHmac, createSecretKey } = process.getBuiltinModule("node:crypto");
let made = 0;
const asked = (algorithm, key) => {
  made += 1;
  if (env.HOST === "failing") throw new Error("no HMAC");
  return createHmac(algorithm, key);
};
Object.defineProperty(process, "getBuiltinModule", { value: env.HOST === "absent" ? undefined : () => ({ createHmac: asked, createSecretKey }) });

// After the patch, so not a static import.
const production = await import("../../../src/worker/entry.mjs");

export const { EntityObject } = production;

export default {
  ...production.default,
  fetch: (request, env, ctx) => (new URL(request.url).pathname === "/made" ? Response.json(made) : production.default.fetch(request, env, ctx)),
};
