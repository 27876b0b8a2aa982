// One event in one process: rxgate's package beside what a JavaScript developer would use. All contenders of a row take turns in one run; the figures are medians of the turns, and
// ratios are of turns that followed each other. `scripts/bench inprocess`

import { createHmac, timingSafeEqual } from "node:crypto";
import { verify as octokit } from "@octokit/webhooks-methods";
import { Webhook as Standard } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as Svix } from "svix";
import { z } from "zod";
import { authenticate, normalise, sign, source, verify } from "../pkg/src/node.js";

const ROUNDS = Number(process.env.ROUNDS ?? 15);
const TURN_MS = Number(process.env.TURN_MS ?? 40);
const SIZES = (process.env.SIZES ?? "400,2048,32768,262144").split(",").map(Number);
const ONLY = process.env.ONLY ?? "";
const WHSEC = `whsec_${Buffer.from("standard-webhooks-key-for-benches").toString("base64")}`;
const TEXT_KEY = "sender-key-for-the-benches-0123456789";
const stripe = new Stripe("sk_test_none");

/// A dispensation of so many bytes: products are added until it is as long as that, and a comment fills the rest.
function body(size) {
  const product = (n) => ({ product_code: `MED-${String(n).padStart(6, "0")}`, quantity: 30, unit_price: 12.5, posology: "1 tablet each 8 hours" });
  const event = {
    event_id: "evt_01HXEVENT00000001",
    event_type: "dispensing.completed",
    created_at: "2026-06-25T14:22:11.789Z",
    api_version: "2026-01-01",
    environment: "sandbox",
    data: { dispensation_id: "dsp_01HXDN", code: "AUTH-1", code_type: "AUTHORIZATION", beneficiary_id: "bnf_1", products: [], currency: "USD", total_amount: 375.5 },
    provider: { provider_slug: "clinic-a" },
  };
  const length = () => JSON.stringify(event).length;
  for (let n = 0; length() + JSON.stringify(product(n)).length + 1 <= size; n += 1) event.data.products.push(product(n));
  const missing = size - length() - '"note":"",'.length;
  if (missing > 0) event.data.note = "x".repeat(missing);
  return JSON.stringify(event);
}

const OSIGU = source({ provider: "osigu", environment: "sandbox", keys: [{ id: "k", secret: TEXT_KEY }] });
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

const check = (result) => {
  if (!result.ok) throw new Error(result.code);
};

/// The rows: what is measured, against whom, and how a call is made. The first contender is rxgate's.
function rows(text) {
  const headers = (from, more) => sign(from, { body: text, ...more }).headers;
  const bytes = Buffer.from(text);
  const osigu = headers(OSIGU);
  const header = osigu["x-osigu-signature"];
  const standard = headers(STANDARD, { id: "msg_1" });
  const svix = { "svix-id": "msg_1", "svix-timestamp": standard["webhook-timestamp"], "svix-signature": standard["webhook-signature"] };
  const stripeHeader = headers(STRIPE)["stripe-signature"];
  const github = headers(GITHUB)["x-hub-signature-256"];
  const [theirs, svixs] = [new Standard(WHSEC), new Svix(WHSEC)];
  return {
    "verify, t and v1": {
      rxgate: () => check(authenticate(OSIGU, { headers: osigu, body: bytes })),
      "rxgate, text": () => check(authenticate(OSIGU, { headers: osigu, body: text })),
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
    },
  };
}

/// Nanoseconds a call, over a turn.
async function turn(call) {
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

const sorted = (list) => list.toSorted((a, b) => a - b);
const median = (list) => sorted(list)[Math.floor(list.length / 2)];
const micro = (nanoseconds) => (nanoseconds / 1000).toFixed(nanoseconds < 100_000 ? 1 : 0);

console.log(`node ${process.version}, ${ROUNDS} rounds of ${TURN_MS} ms a contender; µs a call (median), and how many times as long as rxgate (median, lowest and highest of the rounds)\n`);
console.log("| what | body | contender | µs | × rxgate |");
console.log("|---|---|---|---|---|");
for (const size of SIZES) {
  const text = body(size);
  for (const [what, contenders] of Object.entries(rows(text))) {
    if (!what.includes(ONLY)) continue;
    const names = Object.keys(contenders);
    const times = Object.fromEntries(names.map((name) => [name, []]));
    for (const name of names) await turn(contenders[name]);
    for (let round = 0; round < ROUNDS; round += 1) for (const name of names) times[name].push(await turn(contenders[name]));
    for (const name of names) {
      const ratios = times[name].map((time, round) => time / times.rxgate[round]);
      const range = name === "rxgate" ? "1" : `${median(ratios).toFixed(2)} (${sorted(ratios)[0].toFixed(2)}–${sorted(ratios).at(-1).toFixed(2)})`;
      console.log(`| ${what} | ${text.length} B | ${name} | ${micro(median(times[name]))} | ${range} |`);
    }
  }
}
