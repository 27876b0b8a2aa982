// A Worker that consumes a queue into which rxgate puts its events (`DESTINATION_X = { queue = "…" }`): reads them, fetches and opens the large ones, keeps each once.
//
// Its own wrangler.toml needs:
//
//   [[queues.consumers]]      queue = "clinic-events", max_retries = 100, and a dead_letter_queue
//   [[kv_namespaces]]         binding = "KV", the namespace of rxgate
//   [[d1_databases]]          binding = "DB", with CREATE TABLE events (source TEXT, id TEXT, sequence TEXT, type TEXT, body TEXT, PRIMARY KEY (source, id))
//   [vars]                    SEAL_KEYS = [{ id = "first", secret = "SEAL_KEY" }], as RXGATE.seal_keys, and the secrets that it names

export default {
  async queue(batch, env) {
    for (const message of batch.messages) {
      try {
        const text = await textOf(message.body, env);
        await save(JSON.parse(text), text, env);
        // Only now: what is acknowledged doesn't come again.
        message.ack();
      } catch {
        // A large event may be missing for a minute: KV remembers for so long that it had nothing. Never log the event: it holds patient data.
        message.retry({ delaySeconds: 60 });
      }
    }
  },
};

// PUT YOUR DATABASE HERE. A queue may bring a message twice, and rxgate may send an event twice: `source` and `id` together name it, and the second time nothing happens.
async function save(event, text, env) {
  const insert = env.DB.prepare("INSERT INTO events (source, id, sequence, type, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
  // There is no sequence where rxgate couldn't tell the order: `rxdedupe` is then `unknown`.
  await insert.bind(event.source, event.id, event.sequence ?? null, event.type, text).run();
}

/// The event as rxgate wrote it. What is too large for a message is in KV, sealed, and the message says where.
export async function textOf(message, env) {
  const value = JSON.parse(message);
  if (value.rxgate !== "reference") return message;
  const frame = await env.KV.get(value.key, { type: "arrayBuffer" });
  if (frame === null) throw new Error("the event isn't there yet");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", frame));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (value.hash !== `sha256:${hex}`) throw new Error("what is there is something else");
  return new TextDecoder().decode(await open(new Uint8Array(frame), env));
}

const encoder = new TextEncoder();

/// Opens a frame: version 1 ‖ length of the key's id ‖ its id ‖ nonce of 12 bytes ‖ ciphertext and tag of AES-256-GCM. What stands before the nonce is covered by the tag.
async function open(frame, env) {
  if (frame[0] !== 1) throw new Error("a version that this doesn't read");
  const headLength = 2 + frame[1];
  const head = frame.subarray(0, headLength);
  const id = new TextDecoder().decode(head.subarray(2));
  const named = env.SEAL_KEYS.find((key) => key.id === id);
  if (!named) throw new Error("sealed with a key that isn't in SEAL_KEYS");
  const bytes = Uint8Array.from(atob(env[named.secret]), (char) => char.charCodeAt(0));
  const key = await crypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["decrypt"]);
  const additionalData = new Uint8Array([...encoder.encode("rxgate event"), 0, ...head]);
  const iv = frame.subarray(headLength, headLength + 12);
  return crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, key, frame.subarray(headLength + 12));
}
