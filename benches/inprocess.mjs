// One event in one process: rxgate's package beside what a JavaScript developer would use. All contenders of a row take turns in one run; the figures are medians of the turns, and
// ratios are of turns that followed each other. `scripts/bench inprocess`

import { execFileSync, spawn } from "node:child_process";
import { createHmac, timingSafeEqual } from "node:crypto";
import { createInterface } from "node:readline";
import { verify as octokit } from "@octokit/webhooks-methods";
import { Webhook as Standard } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as Svix } from "svix";
import { z } from "zod";
import { dispensation } from "./lib/events.mjs";
import { median, sorted, table } from "./lib/figures.mjs";

// What crosses into wasm is counted in another process: nothing stands in the way of what is timed. The counting has to be there before the package.
const counting = process.argv[2] === "crossings" ? await import("./lib/crossings.mjs") : undefined;
const { authenticate, normalise, sign, source, verify } = await import("../pkg/src/node.js");

const ROUNDS = Number(process.env.ROUNDS ?? 15);
const TURN_MS = Number(process.env.TURN_MS ?? 40);
const SIZES = (process.env.SIZES ?? "400,2048,32768,262144").split(",").map(Number);
const ONLY = process.env.ONLY ?? "";
const WHSEC = `whsec_${Buffer.from("standard-webhooks-key-for-benches").toString("base64")}`;
const TEXT_KEY = "sender-key-for-the-benches-0123456789";
const stripe = new Stripe("sk_test_none");

const TABLE = { provider: "osigu", environment: "sandbox" };
const OSIGU = source({ ...TABLE, keys: [{ id: "k", secret: TEXT_KEY }] });
const STANDARD = source({ provider: "configured", preset: "standard-webhooks", keys: [{ id: "k", secret: WHSEC }] });
const STRIPE = source({ provider: "configured", preset: "stripe", keys: [{ id: "k", secret: TEXT_KEY }] });
const GITHUB = source({ provider: "configured", preset: "github", keys: [{ id: "k", secret: TEXT_KEY }] });

/// By hand, as well as it is usually done: the header taken apart, one HMAC, compared in constant time, the tolerance.
function byHand(key, header, text) {
  const parts = Object.fromEntries(header.split(",").map((part) => part.split("=")));
  if (Math.abs(Date.now() / 1000 - Number(parts.t)) > 300) throw new Error("stale");
  const expected = createHmac("sha256", key).update(`${parts.t}.`).update(text).digest();
  const given = Buffer.from(parts.v1, "hex");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw new Error("forged");
}

const webKey = await crypto.subtle.importKey("raw", new TextEncoder().encode(TEXT_KEY), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
async function byWebCrypto(header, text) {
  const parts = Object.fromEntries(header.split(",").map((part) => part.split("=")));
  if (Math.abs(Date.now() / 1000 - Number(parts.t)) > 300) throw new Error("stale");
  const data = new TextEncoder().encode(`${parts.t}.${text}`);
  if (!(await crypto.subtle.verify("HMAC", webKey, Buffer.from(parts.v1, "hex"), data))) throw new Error("forged");
}

const Product = z.object({ product_code: z.string().optional(), quantity: z.union([z.number(), z.string()]).optional(), unit_price: z.number().optional(), posology: z.string().optional() });
const Dispensation = z.object({
  event_id: z.string().min(1).max(256),
  event_type: z.literal("dispensing.completed"),
  created_at: z.iso.datetime({ offset: true }),
  api_version: z.string(),
  environment: z.enum(["sandbox", "production"]),
  data: z.object({
    dispensation_id: z.string().min(1),
    code: z.string().optional(),
    code_type: z.string().optional(),
    beneficiary_id: z.string().optional(),
    products: z.array(Product).optional(),
    currency: z.string().optional(),
    total_amount: z.number().optional(),
  }),
  provider: z.object({ provider_slug: z.string() }),
});

/// The canonical event of a dispensation, by hand: what rxgate makes, but amounts lose their digits.
function normalised(text) {
  const original = JSON.parse(text);
  const { event_id, created_at, environment, api_version, data, provider } = Dispensation.parse(original);
  return {
    specversion: "1.0", id: event_id, source: "/sources/osigu", type: "rx.dispense.completed", subject: `dispense/${data.dispensation_id}`, time: new Date(created_at).toISOString(),
    rxenvironment: environment, rxapiversion: api_version,
    data: {
      entity: { type: "dispense", id: data.dispensation_id, code: data.code, code_type: data.code_type },
      patient: { id: data.beneficiary_id },
      account: { slug: provider.provider_slug },
      items: data.products?.map(({ product_code, quantity, unit_price, posology }) => ({ code: product_code, quantity: String(quantity), unit_price: String(unit_price), directions: posology })),
      total: { amount: String(data.total_amount), currency: data.currency },
      original,
    },
  };
}

/// The core without wasm, in a process of its own that waits between its turns.
function startNative() {
  const child = spawn(new URL("../target/release/examples/native", import.meta.url).pathname, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  child.stdin.write(`key ${TEXT_KEY}\nsource ${JSON.stringify({ ...TABLE, destination: "package", keys: [{ id: "k", secret: "keys[0].secret" }] })}\n`);
  return {
    give: (signature, body) => child.stdin.write(`signature ${signature}\nbody ${body}\n`),
    /// Nanoseconds a call.
    turn: async (what) => {
      child.stdin.write(`turn ${what} ${TURN_MS}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error("the native core ended");
      return Number(value);
    },
    stop: () => child.stdin.end(),
  };
}

const check = (result) => {
  if (!result.ok) throw new Error(result.code);
};

/// The rows: what is measured, against whom, and how a call is made. The first contender is rxgate's.
function rows(text, native) {
  const headers = (from, more) => sign(from, { body: text, ...more }).headers;
  const bytes = Buffer.from(text);
  const osigu = headers(OSIGU);
  const header = osigu["x-osigu-signature"];
  const standard = headers(STANDARD, { id: "msg_1" });
  const svix = { "svix-id": "msg_1", "svix-timestamp": standard["webhook-timestamp"], "svix-signature": standard["webhook-signature"] };
  const stripeHeader = headers(STRIPE)["stripe-signature"];
  const github = headers(GITHUB)["x-hub-signature-256"];
  native?.give(header, text);
  const [theirs, svixs] = [new Standard(WHSEC), new Svix(WHSEC)];
  return {
    "verify, t and v1": {
      rxgate: () => check(authenticate(OSIGU, { headers: osigu, body: bytes })),
      "rxgate, text": () => check(authenticate(OSIGU, { headers: osigu, body: text })),
      "the core, native": { turn: () => native.turn("authenticate") },
      "createHmac by hand": () => byHand(TEXT_KEY, header, bytes),
      WebCrypto: () => byWebCrypto(header, text),
    },
    "verify, Standard Webhooks": {
      rxgate: () => check(authenticate(STANDARD, { headers: standard, body: text })),
      standardwebhooks: () => theirs.verify(text, standard),
      svix: () => svixs.verify(text, svix),
    },
    "verify, Stripe": {
      rxgate: () => check(authenticate(STRIPE, { headers: { "stripe-signature": stripeHeader }, body: text })),
      stripe: () => stripe.webhooks.constructEvent(text, stripeHeader, TEXT_KEY),
    },
    "verify, GitHub": {
      rxgate: () => check(authenticate(GITHUB, { headers: { "x-hub-signature-256": github }, body: text })),
      "@octokit/webhooks-methods": async () => {
        if (!(await octokit(TEXT_KEY, text, github))) throw new Error("forged");
      },
    },
    "verify, parse, validate, normalise": {
      rxgate: () => check(verify(OSIGU, { headers: osigu, body: bytes })),
      "createHmac + zod": () => {
        byHand(TEXT_KEY, header, bytes);
        return JSON.stringify(normalised(bytes.toString()));
      },
      "WebCrypto + zod": async () => {
        await byWebCrypto(header, text);
        return JSON.stringify(normalised(text));
      },
      "rxgate, normalise alone": () => check(normalise(OSIGU, bytes)),
      "the core, native": { turn: () => native.turn("verify") },
      "the core, native, normalise alone": { turn: () => native.turn("normalise") },
    },
  };
}

/// Nanoseconds a call, over a turn.
async function turn(call) {
  if (call.turn) return call.turn();
  const isAsync = call() instanceof Promise;
  let calls = 0;
  const began = performance.now();
  do {
    for (let n = 0; n < 8; n += 1) {
      const made = call();
      if (isAsync) await made;
    }
    calls += 8;
  } while (performance.now() - began < TURN_MS);
  return ((performance.now() - began) * 1e6) / calls;
}

const micro = (nanoseconds) => (nanoseconds / 1000).toFixed(nanoseconds < 100_000 ? 1 : 0);

if (counting) {
  const crossings = [];
  for (const size of SIZES) {
    const text = dispensation(size);
    for (const [what, contenders] of Object.entries(rows(text))) {
      for (const [name, call] of Object.entries(contenders)) {
        if (!name.startsWith("rxgate")) continue;
        const { calls, called, into, out } = counting.counted(call);
        crossings.push([what, `${text.length} B`, name, calls, called, into, out]);
      }
    }
  }
  console.log("\nOf one call: how often it crosses into wasm and out of it, and the bytes that JavaScript copies each way\n");
  console.log(table(["what", "body", "call", "calls into wasm", "calls out of it", "bytes in", "bytes out"], crossings));
  process.exit();
}

const native = startNative();
const times = [];
for (const size of SIZES) {
  const text = dispensation(size);
  for (const [what, contenders] of Object.entries(rows(text, native))) {
    if (!what.includes(ONLY)) continue;
    const names = Object.keys(contenders);
    const turns = Object.fromEntries(names.map((name) => [name, []]));
    for (const name of names) await turn(contenders[name]);
    for (let round = 0; round < ROUNDS; round += 1) for (const name of names) turns[name].push(await turn(contenders[name]));
    for (const name of names) {
      const ratios = turns[name].map((time, round) => time / turns.rxgate[round]);
      const range = name === "rxgate" ? "1" : `${median(ratios).toFixed(2)} (${sorted(ratios)[0].toFixed(2)}–${sorted(ratios).at(-1).toFixed(2)})`;
      times.push([what, `${text.length} B`, name, micro(median(turns[name])), range]);
    }
  }
}
native.stop();

console.log(`node ${process.version}, ${ROUNDS} rounds of ${TURN_MS} ms a contender; µs a call (median), and how many times as long as rxgate (median, lowest and highest of the rounds)\n`);
console.log(table(["what", "body", "contender", "µs", "× rxgate"], times));
console.log(execFileSync(process.execPath, [import.meta.filename, "crossings"], { encoding: "utf8" }));
