// Compiled, never run: all of the API as its types have it, and what mustn't compile. Each @ts-expect-error fails if there is no error.

import {
  ConfigurationError,
  ResolveError,
  authenticate,
  checkConfig,
  eventTypes,
  explain,
  fromNode,
  fromRequest,
  init,
  normalise,
  presets,
  providers,
  resolve,
  sign,
  source,
  verify,
  verifyNode,
  verifyRequest,
} from "rxgate";
import type {
  AuthenticateResult,
  ConfiguredEvent,
  DispenseCompletedEvent,
  EventOf,
  EventType,
  EvitalrxEvent,
  Explanation,
  Fault,
  FetchRequest,
  GatewayEvent,
  NodeRequest,
  OsiguEvent,
  PhilEvent,
  Phi,
  Preset,
  Provider,
  Redacted,
  Refusal,
  RefusalCode,
  RxEvent,
  Signed,
  Source,
  SourceSettings,
  UnmappedEvent,
  VerifyResult,
  WebhookRequest,
} from "rxgate";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** That two types are one: `same<A, B>(true)` doesn't compile otherwise. */
declare function same<A, B>(are: Same<A, B>): void;
declare function never(nothing: never): never;

const keys = [{ id: "first", secret: "0123456789abcdef" }];
declare const environment: { [name: string]: string | undefined };

// ── Settings ────────────────────────────────────────────────────────────────

const osigu = source({
  id: "osigu-production",
  provider: "osigu",
  environment: "production",
  keys: [{ id: "first", secret: environment.OSIGU_KEY, not_after: "2027-01-01T00:00:00Z" }],
  tolerance_seconds: 300,
  stale: "accept",
  provider_slug: "clinic",
  accept_api_versions: ["2026-06-01"],
  max_body_bytes: 65536,
});
same<typeof osigu, Source<"osigu", "pass">>(true);
const evitalrx = source({ provider: "evitalrx", accept_unsigned: true, path_tokens: keys, header: { name: "x-token", keys }, addresses: ["203.0.113.0/24"], zone: "+05:30" });
const phil = source({ provider: "phil-callback", keys, authorization_scheme: "Bearer" });
const stripe = source({ provider: "configured", preset: "stripe", keys, types: { "charge.succeeded": "rx.charge.succeeded" } });
const lab = source({
  provider: "configured",
  keys,
  scheme: { algorithm: "hmac-sha512", header: "X-Lab-Signature", signed: "{timestamp}.{body}", timestamp_header: "X-Lab-Time" },
  event: { id: "/event/id", type: "/event/type", time: "/event/at", subject: "/sample", subject_type: "sample" },
  types: { "result.ready": "rx.sample.result_ready" },
});
const dropped = source({ provider: "osigu", environment: "sandbox", keys, phi: "drop" });
const mixed = source({ provider: "osigu", environment: "sandbox", keys, phi: { contact: "drop", identifier: "pseudonym" }, phi_key: { secret: "…" } });
// A table of the gateway's serves as it is.
source({ provider: "osigu", environment: "sandbox", keys, destination: "clinic", routes: [{ types: ["rx.dispense.*"], destination: "claims" }], dedupe: "kv", retry_policy: "documented" });
// What is only known to be some settings.
declare const settings: SourceSettings;
const some: Source<Provider, Phi> = source(settings);
if (settings.provider === "osigu") same<typeof settings.environment, "sandbox" | "production">(true);

// @ts-expect-error: misspelt
source({ provider: "osigu", environment: "sandbox", keys, tolerance_second: 300 });
// @ts-expect-error: misspelt, deeper
source({ provider: "configured", keys, scheme: { algorithm: "hmac-sha256", haeder: "x-signature" } });
// @ts-expect-error: misspelt, in a key
source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: "0123456789abcdef", notAfter: "2027-01-01T00:00:00Z" }] });
// @ts-expect-error: misspelt, a class of patient data
source({ provider: "osigu", environment: "sandbox", keys, phi: { contact: "drop", identifer: "drop" } });
// @ts-expect-error: no such action
source({ provider: "osigu", environment: "sandbox", keys, phi: "hide" });
// @ts-expect-error: no such sender
source({ provider: "osigo", environment: "sandbox", keys });
// @ts-expect-error: Osigu's environment is required
source({ provider: "osigu", keys });
// @ts-expect-error: one key isn't a list
source({ provider: "osigu", environment: "sandbox", keys: keys[0] });
// @ts-expect-error: another sender's setting
source({ provider: "osigu", environment: "sandbox", keys, path_tokens: keys });
// @ts-expect-error: nothing says how it signs
source({ provider: "configured", keys });
// @ts-expect-error: no such preset
source({ provider: "configured", preset: "strips", keys });
// @ts-expect-error: not of the form of a canonical type
source({ provider: "configured", preset: "stripe", keys, types: { "charge.succeeded": "charge.succeeded" } });
// @ts-expect-error: eVitalRx signs nothing, and that has to be said
source({ provider: "evitalrx", path_tokens: keys });
// @ts-expect-error: eVitalRx's requests have no time
source({ provider: "evitalrx", accept_unsigned: true, path_tokens: keys, stale: "accept" });

// ── Requests ────────────────────────────────────────────────────────────────

declare const bytes: Uint8Array;
const request: WebhookRequest = { headers: { "X-Osigu-Signature": "t=1,v1=00", "set-cookie": ["a", "b"], absent: undefined }, body: bytes };
verify(osigu, { headers: new Map([["x-osigu-signature", "t=1,v1=00"]]), body: bytes.buffer as ArrayBuffer });
verify(osigu, { headers: [["x-osigu-signature", "t=1,v1=00"]], body: new DataView(new ArrayBuffer(1)), method: "POST", url: "https://a.example/", path: "a", address: "::1" });
verify(osigu, { headers: {}, body: "" }, { now: new Date() });
verify(osigu, { headers: {}, body: "" }, { now: 1_750_000_000_000 });
// @ts-expect-error: a parsed body
verify(osigu, { headers: {}, body: { event_id: "evt_1" } });
// @ts-expect-error: no body
verify(osigu, { headers: {} });
// @ts-expect-error: no headers
verify(osigu, { body: "" });
// @ts-expect-error: settings aren't a source
verify({ provider: "osigu", environment: "sandbox", keys }, request);
// @ts-expect-error: not a clock
verify(osigu, request, { now: "2026-01-01" });

declare const fetched: FetchRequest;
declare const incoming: NodeRequest;
export async function requests(): Promise<void> {
  await init();
  same<Awaited<ReturnType<typeof fromRequest>>["body"], Uint8Array>(true);
  verify(evitalrx, await fromRequest(fetched, { mount: "/hooks/portal" }));
  verify(osigu, await fromNode(incoming, { mount: "/hooks", origin: "https://hooks.clinic.example", address: "203.0.113.7" }));
  same<Awaited<ReturnType<typeof verifyRequest<"osigu", "pass">>>, VerifyResult<OsiguEvent>>(true);
  const checked = await verifyRequest(phil, fetched, { now: 0 });
  const again = await verifyNode(phil, incoming, { origin: "https://hooks.clinic.example" });
  if (checked.ok && again.ok) same<typeof checked.event, typeof again.event>(true);
}

// ── Events ──────────────────────────────────────────────────────────────────

const checked = verify(osigu, request);
// @ts-expect-error: whether there is one isn't known yet
checked.event;
// @ts-expect-error: nor whether it was refused
checked.code;

if (checked.ok) {
  same<typeof checked.event, OsiguEvent>(true);
  const [json, id, key, at, answer]: [string, string, string, Date | undefined, string] = [checked.json, checked.webhookId, checked.keyId, checked.signedAt, checked.answer];
  void [json, id, key, at, answer];
  // @ts-expect-error: there is no code where there is an event
  checked.code;
  dispensed(checked.event);
}

function dispensed(event: OsiguEvent): string | undefined {
  if (event.type === "rx.dispense.completed") {
    same<typeof event, DispenseCompletedEvent>(true);
    same<typeof event.data.entity.type, "dispense">(true);
    same<typeof event.subject, `dispense/${string}`>(true);
    // @ts-expect-error: what the sender sent is anything
    event.data.original.event_id.length;
    // @ts-expect-error: amounts are text
    event.data.total?.amount?.toFixed();
    // @ts-expect-error: may be missing
    event.data.patient.id;
    return event.data.total?.amount;
  }
  // @ts-expect-error: no event has such a type
  if (event.type === "rx.dispense.complete") return undefined;
  // @ts-expect-error: eVitalRx's, not Osigu's
  if (event.type === "rx.order.shipped") return undefined;
  return undefined;
}

/** Every event of eVitalRx's has to be thought of: one that is new makes this not compile. */
export function order(event: EvitalrxEvent): string {
  switch (event.type) {
    case "rx.order.digitized":
    case "rx.order.assigned":
    case "rx.order.accepted":
    case "rx.order.reassigned":
    case "rx.order.split":
      return event.data.entity.id;
    case "rx.order.shipped":
    case "rx.order.picked_up":
    case "rx.order.delivered":
      return event.subject;
    case "rx.order.rejected":
    case "rx.order.digitization_rejected":
      return event.data.reason?.text ?? "";
    case "rx.unknown":
      return event.rxeventtype;
    default:
      return never(event);
  }
}

export function transfer(event: PhilEvent): string {
  switch (event.type) {
    case "rx.transfer.received":
    case "rx.transfer.confirmed":
    case "rx.transfer.failed":
      return event.data.entity.id;
    case "rx.unknown":
      return event.rxeventtype;
    // @ts-expect-error: no event has such a type
    case "rx.transfer.lost":
      return "";
    default:
      // @ts-expect-error: rx.transfer.callback_missing is left
      return never(event);
  }
}

const ofPhil = verify(phil, request);
// @ts-expect-error: the gateway's own notice is no request of PHIL's
if (ofPhil.ok && ofPhil.event.type === "rx.transfer.callback_missing") void 0;

for (const result of [verify(stripe, request), verify(lab, request)]) {
  if (!result.ok) continue;
  same<typeof result.event, ConfiguredEvent | UnmappedEvent>(true);
  if (result.event.type === "rx.unknown") same<typeof result.event, UnmappedEvent>(true);
  else same<typeof result.event, ConfiguredEvent>(true);
  if (result.event.type === "rx.charge.succeeded") void result.event.data.entity?.id;
}

const withheld = verify(dropped, request);
if (withheld.ok) {
  same<typeof withheld.event, Redacted<OsiguEvent>>(true);
  if (withheld.event.type === "rx.dispense.completed") {
    same<typeof withheld.event.data.redacted, true>(true);
    same<typeof withheld.event.data.entity.id, string | undefined>(true);
    same<typeof withheld.event.data.entity.type, "dispense">(true);
    // @ts-expect-error: dropped, perhaps
    withheld.event.subject.length;
  }
}
const partly = verify(mixed, request);
if (partly.ok && partly.event.type === "rx.settlement.paid") {
  if ("redacted" in partly.event.data) same<typeof partly.event.data.redacted, true>(true);
}
same<EventOf<"osigu">, OsiguEvent>(true);
same<EventType, RxEvent["type"]>(true);
const anyone = verify(some, request);
if (anyone.ok) void (anyone.event.type satisfies `rx.${string}`);

// ── Refusals ────────────────────────────────────────────────────────────────

/** Every code has to be thought of. */
export function refused(refusal: Refusal): unknown {
  const [status, answer, message]: [number, string, string] = [refusal.status, refusal.answer, refusal.message];
  void [status, answer, message];
  // @ts-expect-error: only one of them has it
  refusal.skewSeconds;
  switch (refusal.code) {
    case "signature_mismatch":
      same<typeof refusal.authentic, false>(true);
      return refusal.keysTried satisfies string[];
    case "timestamp_out_of_tolerance":
      same<typeof refusal.authentic, true>(true);
      return [refusal.skewSeconds satisfies number, refusal.keyId satisfies string];
    case "event_invalid":
    case "event_contradictory":
      return [refusal.path satisfies string, refusal.problem satisfies string, refusal.keyId satisfies string, refusal.webhookId satisfies string | undefined];
    case "body_malformed":
      return refusal.problem satisfies "not_utf8" | "not_an_object" | "duplicate_key" | "too_deep";
    case "environment_mismatch":
    case "provider_mismatch":
      return refusal.webhookId;
    case "source_unknown":
      return refusal.problem satisfies "path_token_mismatch";
    case "source_misconfigured":
      return refusal.problem satisfies "keys_expired";
    case "challenge_answered":
      return refusal.answer;
    case "signature_missing":
    case "signature_malformed":
    case "address_not_allowed":
    case "body_too_large":
    case "body_incomplete":
    case "internal_error":
      return undefined;
    default:
      return never(refusal);
  }
}
// @ts-expect-error: no such code
const misspelt: RefusalCode = "signature_mismatched";
void misspelt;

const known: AuthenticateResult = authenticate(osigu, request, { now: 0 });
if (known.ok) known.strength satisfies "signature" | "token" | "none";
// @ts-expect-error: the body isn't read, so it can't be wrong
else if (known.code === "event_invalid") void 0;

const why: Explanation | undefined = explain(osigu, request);
if (why?.code === "signature_mismatch") why.hint satisfies "body_changed" | "key_expired" | "key_or_body";
// @ts-expect-error: nothing more can be told of it
if (why?.code === "signature_missing") why.hint;

const plain = normalise(osigu, "{}");
if (plain.ok) same<typeof plain.event, OsiguEvent>(true);
normalise(osigu, bytes, { now: 0 });
normalise(evitalrx, { body: "{}", path: "order-accepted" });
// @ts-expect-error: a parsed body
normalise(osigu, { event_id: "evt_1" });
// @ts-expect-error: no signature is looked at
if (!plain.ok && plain.code === "signature_mismatch") void 0;

// ── The rest ────────────────────────────────────────────────────────────────

const signed: Signed = sign(osigu, { body: "{}", method: "POST", url: "https://a.example/", id: "msg_1", now: new Date(), key: "0123456789abcdef", webhook: "order-accepted" });
verify(osigu, { headers: signed.headers, body: "{}", path: signed.path });
// @ts-expect-error: nothing to sign
sign(osigu, {});

const faults: Fault[] = checkConfig({ vars: { SOURCE_A: { provider: "osigu" } }, secrets: { A: "b" }, bindings: { queues: ["DELIVERIES"], kv: true, rate_limit: false } }, { now: 0 });
for (const { path, problem } of faults) void [path, problem];
// @ts-expect-error: no variables
checkConfig({});

for (const { provider, eventType, type } of eventTypes()) void [provider satisfies Provider, eventType, type satisfies EventType];
presets() satisfies Preset[];
providers() satisfies Provider[];
void [osigu.id satisfies string, osigu.provider satisfies "osigu", stripe.provider satisfies Preset | "configured", osigu.keyIds satisfies string[]];
// @ts-expect-error: made by source() alone
const made: Source = { id: "a", provider: "osigu", keyIds: [] };
void made;

export function failed(error: unknown): string | Fault[] {
  if (error instanceof ConfigurationError) return error.faults;
  if (error instanceof ResolveError) {
    switch (error.code) {
      case "body_missing":
        return "retry";
      case "body_changed":
      case "seal_key_unknown":
      case "seal_broken":
      case "message_unreadable":
        return error.message;
      default:
        return never(error.code);
    }
  }
  return "";
}

declare const kv: {
  get(key: string, type: "text"): Promise<string | null>;
  get(key: string, options: { type: "arrayBuffer"; cacheTtl?: number }): Promise<ArrayBuffer | null>;
};
export async function consumed(message: unknown): Promise<void> {
  const event = await resolve(message, kv, [{ id: "seal", secret: "…" }]);
  same<typeof event, RxEvent>(true);
  const redacted = await resolve<Redacted<OsiguEvent>>(message, kv);
  same<typeof redacted.data.redacted, true>(true);
  const all = await resolve<GatewayEvent>(message, kv);
  // The type alone doesn't do where settings name types as well.
  if (all.dataschema === "urn:rxgate:schema:rx.dispense.completed:1") same<typeof all, DispenseCompletedEvent>(true);
  // @ts-expect-error: not an event
  await resolve<{ any: "thing" }>(message, kv);
  // @ts-expect-error: not KV
  await resolve(message, {});
}
