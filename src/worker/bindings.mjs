// The only file that knows what is in `env`.

const SETTING = /^(SOURCE_|DESTINATION_)|^RXGATE$/;
/// A structured variable, as against a binding: one under another name is a misspelt setting, and said to be.
const isStructured = (value) => Array.isArray(value) || Object.getPrototypeOf(Object(value)) === Object.prototype;
/// The platform's classes have no names that could be asked for: a binding is known by what it can do.
const isQueue = (value) => typeof value?.send === "function" && typeof value.sendBatch === "function";
const isKv = (value) => typeof value?.getWithMetadata === "function" && typeof value.put === "function";

/// The variables that are the configuration, the secrets that it names, and what else is bound.
export function environment(env) {
  const vars = {};
  const secrets = {};
  const bindings = { queues: [], kv: isKv(env.KV), rate_limit: typeof env.FAILED_AUTHENTICATIONS?.limit === "function" };
  for (const [name, value] of Object.entries(env)) {
    if (isQueue(value)) bindings.queues.push(name);
    else if (name === "FAILED_AUTHENTICATIONS") continue;
    else if (SETTING.test(name) || isStructured(value)) vars[name] = value;
    else if (typeof value === "string") secrets[name] = value;
  }
  return { vars, secrets, bindings };
}

/// The object of that name.
export const entityObject = (env, name) => env.ENTITIES.getByName(name);
/// What is in KV under that key, or null.
export const fromKv = (env, key) => env.KV.get(key, { type: "arrayBuffer", cacheTtl: 60 });
/// Puts something into KV for so many seconds.
export const intoKv = (env, key, value, seconds) => env.KV.put(key, value, { expirationTtl: seconds });
/// Sends a message to the queue that is bound under that name.
export const enqueue = (env, queue, body, contentType, delaySeconds) => env[queue].send(body, { contentType, delaySeconds });
/// Sends messages of bytes to our own queue, all of them or none.
export const enqueueNotices = (env, bodies) => env.DELIVERIES.sendBatch(bodies.map((body) => ({ body, contentType: "bytes" })));
/// Whether one more is under the limit.
export const underLimit = async (env, key) => (await env.FAILED_AUTHENTICATIONS.limit({ key })).success;
