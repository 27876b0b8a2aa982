import type {
  ConfiguredData,
  ConfiguredEvent,
  EventType,
  EvitalrxEvent,
  GatewayEvent,
  OsiguEvent,
  PhilEvent,
  RxEvent,
  TransferCallbackMissingEvent,
  UnknownEvent,
} from "./events.js";

export type * from "./events.js";

// ── Sources ─────────────────────────────────────────────────────────────────

/** The kinds of sender. `configured` is any sender by its settings, or by a preset. */
export type Provider = "osigu" | "evitalrx" | "phil-callback" | "configured";

/** Senders that are known by name: for `provider: "configured"`. */
export type Preset =
  | "standard-webhooks"
  | "standard-webhooks-v1a"
  | "svix"
  | "stripe"
  | "github"
  | "shopify"
  | "slack"
  | "photon"
  | "osigu-payer"
  | "osigu-prescription-notifications"
  | "osigu-dvs";

/** One key of a source. Several are a rotation: each is tried. */
export interface Key {
  /** Your name for the key: in `keyId`, and in the event as `rxkeyid`. 1 to 64 letters, digits, `-`, `_` and dots; unique in its source. */
  readonly id: string;
  /** The secret itself (in the gateway's settings this is its name). At least 16 bytes; `user:password` for HTTP Basic. `undefined` is a {@link ConfigurationError}, so a variable of the environment may stand here. */
  readonly secret: string | undefined;
  /** RFC 3339, such as `2026-12-31T00:00:00Z`: the key isn't tried after this. */
  readonly not_after?: string | undefined;
}

/** 1 to 4 keys. */
export type Keys = readonly Key[];

/** What becomes of patient data: it stays, is left out, or is replaced by a pseudonym. */
export type PhiAction = "pass" | "drop" | "pseudonym";

/** What a field tells of a patient. */
export type PhiClass = "identifier" | "contact" | "clinical" | "link" | "free_text";

/** One action for all classes, or one by class, where a class that is left out passes. */
export type Phi = PhiAction | { readonly [Class in PhiClass]?: PhiAction | undefined };

/** What every source may say. */
export interface CommonSettings {
  /** The source's name: 1 to 64 lower-case letters, digits and hyphens. It is in the event's `source` and in `webhookId`, so two sources with one id are one to your dedupe. The preset's or the provider's name if it is left out. */
  readonly id?: string | undefined;
  /** Of the gateway. Required for `osigu`, where an event of the other one is `environment_mismatch`; any other sender's is passed on as `rxenvironment`. */
  readonly environment?: "sandbox" | "production" | undefined;
  /** The largest body that is read, in bytes: 1 to 1048576. 262144 if it is left out. */
  readonly max_body_bytes?: number | undefined;
  /** The secret that makes pseudonyms: at least 32 bytes, and none of the source's keys. Required if a class is `pseudonym`. */
  readonly phi_key?: { readonly secret: string | undefined } | undefined;
}

/** What a sender whose signature covers a time may have. */
export interface TimeSettings {
  /** The clock difference that is allowed, both ways, in seconds: 1 to 86400. 300 if it is left out. */
  readonly tolerance_seconds?: number | undefined;
  /** `accept` also takes an authentic request that is older than the tolerance, up to 72 hours plus the tolerance. `refuse` if it is left out. */
  readonly stale?: "refuse" | "accept" | undefined;
}

/** What only the gateway acts on. It is taken here, so that one object may serve both; `destination` and `routes` aren't looked at. */
export interface GatewaySettings {
  readonly destination?: string | undefined;
  readonly routes?: readonly object[] | undefined;
  readonly dedupe?: "exact" | "kv" | undefined;
  readonly edge_cache?: boolean | undefined;
  readonly dedupe_window_days?: number | undefined;
  readonly retry_policy?: "documented" | "unknown" | undefined;
  readonly withhold_superseded?: boolean | undefined;
  readonly accept_loss?: boolean | undefined;
}

/** Osigu: authorizations, dispensations, prescriptions, settlements. */
export interface OsiguSettings extends CommonSettings, TimeSettings, GatewaySettings {
  readonly provider: "osigu";
  readonly environment: "sandbox" | "production";
  /** The signing secrets that Osigu mailed you, as text. */
  readonly keys: Keys;
  /** If set, an event of another account, or of none, is `provider_mismatch`. */
  readonly provider_slug?: string | undefined;
  /** Further values of `api_version` to read like `2026-01-01`. An event of any other version is `rx.unknown`. */
  readonly accept_api_versions?: readonly string[] | undefined;
}

/** eVitalRx: orders. It documents no signature: you say what its requests have to bring. At least one of `path_tokens`, `header`, `basic` and `addresses` is required, and all that are set have to hold. */
export interface EvitalrxSettings extends CommonSettings, GatewaySettings {
  readonly provider: "evitalrx";
  /** That you know that nothing is signed. */
  readonly accept_unsigned: true;
  /** The path has to begin with one of these: {@link WebhookRequest.path}. The secret is 22 or more letters, digits, `-`, `.`, `_`, `~`. */
  readonly path_tokens?: Keys | undefined;
  /** A static text in a header. */
  readonly header?: { readonly name: string; readonly prefix?: string | undefined; readonly keys: Keys } | undefined;
  /** HTTP Basic: the secrets are `user:password`. Not with `header`. */
  readonly basic?: Keys | undefined;
  /** Up to 64 addresses or ranges, IPv4 or IPv6: {@link WebhookRequest.address}. */
  readonly addresses?: readonly string[] | undefined;
  /** Where times without a zone were written: `Asia/Kolkata`, or an offset such as `+05:30`. */
  readonly zone?: string | undefined;
}

/** PHIL's callbacks: transfers. */
export interface PhilSettings extends CommonSettings, GatewaySettings {
  readonly provider: "phil-callback";
  /** The whole `Authorization` header, or what stands behind `authorization_scheme`. */
  readonly keys: Keys;
  /** Such as `Bearer`. */
  readonly authorization_scheme?: string | undefined;
  /** Of the gateway. */
  readonly expectation_keys?: Keys | undefined;
  /** Of the gateway. */
  readonly callback_hours?: number | undefined;
  /** Of the gateway. */
  readonly require_expectation?: boolean | undefined;
}

/** How a request is authenticated. */
export interface Scheme {
  /** `hmac-…`, `ed25519`: a signature. `token`: a static text in a header. `basic`: HTTP Basic. `none`: nothing, which also wants `accept_unsigned: true` beside `scheme`. */
  readonly algorithm?: "hmac-sha256" | "hmac-sha1" | "hmac-sha512" | "ed25519" | "token" | "basic" | "none" | undefined;
  /** The header of the signature or token. */
  readonly header?: string | undefined;
  /** What stands in front of each signature, such as `sha256=`, or of a token, such as `Bearer `. */
  readonly prefix?: string | undefined;
  /** The character between the elements of a list, such as `,`. */
  readonly separator?: string | undefined;
  /** `hex` if it is left out. */
  readonly encoding?: "hex" | "base64" | "base64url" | undefined;
  /** What is signed: text, and each of `{body}`, `{timestamp}`, `{id}`, `{url}`, `{method}` once at most. `{body}` if it is left out. */
  readonly signed?: string | undefined;
  /** The header of the time. */
  readonly timestamp_header?: string | undefined;
  /** Or what stands in front of the time among the elements of the signature header, such as `t=`. */
  readonly timestamp_prefix?: string | undefined;
  /** `seconds` if it is left out. */
  readonly timestamp_unit?: "seconds" | "milliseconds" | undefined;
  /** A header that has to say the same time. */
  readonly timestamp_copy_header?: string | undefined;
  /** The header of the event id. */
  readonly id_header?: string | undefined;
  /** How a key stands in its secret: `text` if it is left out, `base64` for `ed25519`. */
  readonly key_encoding?: "text" | "hex" | "base64" | "whsec" | "whpk" | undefined;
  /** A header with a static text that has to be right as well. */
  readonly api_key_header?: string | undefined;
  /** That text. */
  readonly api_key?: { readonly secret: string | undefined } | undefined;
}

/** Where an event says what: a JSON pointer into the body, such as `/data/id`, or `header:<name>` for a header that is signed. */
export interface EventSettings {
  /** The event id, on which `webhookId` rests. `body_` and the body's SHA-256 if it is left out. */
  readonly id?: string | undefined;
  /** The sender's event type. */
  readonly type?: string | undefined;
  /** Instead of `type`: the type of all events of this source. */
  readonly fixed_type?: string | undefined;
  /** When it happened: RFC 3339, or a number. */
  readonly time?: string | undefined;
  /** The unit of a number: `seconds` if it is left out. */
  readonly time_unit?: "seconds" | "milliseconds" | undefined;
  /** What it is about. */
  readonly subject?: string | undefined;
  /** Then `subject` is the id alone. */
  readonly subject_type?: string | undefined;
}

/** What a configured sender may say besides its scheme. */
export interface AnySenderSettings extends CommonSettings, TimeSettings, GatewaySettings {
  readonly provider: "configured";
  /** None with `algorithm: "none"`. For `ed25519` the sender's public keys. */
  readonly keys?: Keys | undefined;
  /** That nothing is signed: with `algorithm: "none"`. */
  readonly accept_unsigned?: boolean | undefined;
  /** Beside a preset it changes single settings. */
  readonly event?: EventSettings | undefined;
  /** The sender's types, and what they are called here. What isn't among them is `rx.unknown`. */
  readonly types?: { readonly [eventType: string]: `rx.${string}.${string}` } | undefined;
}

/** A sender that is known by name; `scheme` and `event` beside it change single settings. */
export interface PresetSettings extends AnySenderSettings {
  readonly preset: Preset;
  readonly scheme?: Scheme | undefined;
}

/** Any other sender. */
export interface SchemeSettings extends AnySenderSettings {
  readonly preset?: undefined;
  readonly scheme: Scheme & { readonly algorithm: NonNullable<Scheme["algorithm"]> };
}

/** The settings of each kind of sender. */
export interface SettingsByProvider {
  osigu: OsiguSettings;
  evitalrx: EvitalrxSettings;
  "phil-callback": PhilSettings;
  configured: PresetSettings | SchemeSettings;
}

/** The settings of a source: those of a `SOURCE_…` table of the gateway, but with each `secret` being the secret itself. Told apart by `provider`. */
export type SourceSettings = { [P in Provider]: SettingsByProvider[P] & { readonly phi?: Phi | undefined } }[Provider];

declare const kind: unique symbol;

/** A sender as you know it. {@link source} makes one; keep it for all requests of that sender. `P` is its kind, `F` its `phi`. */
export interface Source<P extends Provider = Provider, F extends Phi = Phi> {
  /** The id that you gave it, or the preset's or provider's name. */
  readonly id: string;
  /** As in the event's `rxprovider`: of a configured sender its preset's name, or `configured`. */
  readonly provider: P extends "configured" ? Preset | "configured" : P;
  /** The ids of all its keys. */
  readonly keyIds: string[];
  /** Only the compiler knows it. */
  readonly [kind]: { readonly provider: P; readonly phi: F };
}

/** Each class that isn't one, marked. */
type OnlyClasses<F> = F extends string ? F : { readonly [Class in keyof F]: Class extends PhiClass ? F[Class] : never };

/**
 * Reads the settings of a sender, once.
 *
 * @param settings - Which sender it is, its keys, what you expect of it.
 * @returns The source: the first argument of {@link verify} and the others.
 * @throws {@link ConfigurationError} that names all that is wrong.
 *
 * @example
 * ```ts
 * const osigu = source({ provider: "osigu", environment: "production", keys: [{ id: "first", secret: process.env.OSIGU_KEY }] });
 * ```
 */
export declare function source<P extends Provider, const F extends Phi = "pass">(
  settings: SettingsByProvider[P] & { readonly provider: P; readonly phi?: (F & OnlyClasses<F>) | undefined },
): Source<P, F>;

// ── Events ──────────────────────────────────────────────────────────────────

/** The data of an event from which `phi` held something back. */
export type RedactedData<D> = {
  [Field in keyof D]: Field extends "entity" ? Omit<NonNullable<D[Field]>, "id"> & { id?: string } : D[Field];
} & {
  /** That something was held back, here and in `original`. */
  redacted: true;
};

/** An event of a source whose `phi` isn't `pass`: the ids may be missing, or be pseudonyms (`psn_` and 24 characters), as any other text may. */
export type Redacted<E extends GatewayEvent> = E extends GatewayEvent
  ? Omit<E, "data" | "dataschema" | "subject"> & {
      dataschema: `${E["dataschema"]}:${"drop" | "pseudonym" | "mixed"}`;
      subject?: string;
      data: RedactedData<E["data"]>;
    }
  : never;

/** An event of a configured sender whose type isn't among the settings' `types`. */
export interface UnmappedEvent extends Omit<UnknownEvent, "data"> {
  data: ConfiguredData;
}

/** What a source of each kind gives. */
export interface EventsByProvider {
  osigu: OsiguEvent;
  evitalrx: EvitalrxEvent;
  "phil-callback": Exclude<PhilEvent, TransferCallbackMissingEvent>;
  configured: ConfiguredEvent | UnmappedEvent;
}

/** What a source gives, by its kind and its `phi`. */
export type EventOf<P extends Provider = Provider, F extends Phi = "pass"> = F extends "pass"
  ? EventsByProvider[P]
  : F extends PhiAction
    ? Redacted<EventsByProvider[P]>
    : EventsByProvider[P] | Redacted<EventsByProvider[P]>;

// ── Requests ────────────────────────────────────────────────────────────────

/** A body as it was received: bytes (a Node `Buffer` is a `Uint8Array`) or text. An object isn't one: of what was parsed, the bytes that were signed are gone. */
export type Body = string | Uint8Array | ArrayBuffer | ArrayBufferView;

/** Headers as they come: a Fetch `Headers`, Node's object, or a list of pairs. Names in any case. */
export type HeadersLike =
  | { get(name: string): string | null | undefined }
  | { readonly [name: string]: string | readonly string[] | undefined }
  | readonly (readonly [name: string, value: string])[];

/** A request, by hand. {@link fromRequest} and {@link fromNode} make one of what frameworks have. */
export interface WebhookRequest {
  readonly headers: HeadersLike;
  /** As it was received. An empty one is `""`. */
  readonly body: Body;
  /** `POST` if it is left out. Only where the signature covers it. */
  readonly method?: string | undefined;
  /** As it was requested, with its query. Only where the signature covers it. */
  readonly url?: string | undefined;
  /** What stands behind the source's name in the path, without a slash in front: eVitalRx's `<token>/order-accepted`. */
  readonly path?: string | undefined;
  /** The client's address. Only for eVitalRx with `addresses`. */
  readonly address?: string | null | undefined;
}

/** A request that was read of what a framework has. */
export interface ReadRequest<B extends Body = Uint8Array> extends WebhookRequest {
  readonly body: B;
}

/** The clock. */
export interface Clock {
  /** The time to check by: a `Date`, or milliseconds since 1970. The machine's clock if it is left out. */
  readonly now?: Date | number | undefined;
}

/** Where the source is. */
export interface Mount {
  /** The path in front of the token, such as `/hooks/portal`: what stands behind it is {@link WebhookRequest.path}. Only eVitalRx needs it. */
  readonly mount?: string | undefined;
}

/** What a Fetch `Request` doesn't say. */
export interface RequestOptions extends Mount {
  /** The client's address, for eVitalRx with `addresses`: on Cloudflare `request.headers.get("cf-connecting-ip")`, which nobody else can set there; elsewhere what your platform says. Never a header that a client may send. */
  readonly address?: string | null | undefined;
}

/** What Node's `headers` don't say. */
export interface NodeOptions extends Mount {
  /** The origin that the sender called, such as `https://hooks.clinic.example`. Only where the signature covers the URL, and there always: without it the `Host` header decides, which a stranger may choose. */
  readonly origin?: string | undefined;
  /** The client's address. The connection's if it is left out: behind a proxy that is the proxy's. */
  readonly address?: string | undefined;
}

/** What is read of a Fetch `Request`. */
export interface FetchRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  readonly bodyUsed: boolean;
  readonly body?: unknown;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** What is read of a request of Node's `http`, Express or Fastify. */
export interface NodeRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly originalUrl?: string | undefined;
  readonly headers: { readonly [name: string]: string | readonly string[] | undefined };
  /** Fastify: Node's own request. */
  readonly raw?: NodeRequest | undefined;
  readonly rawBody?: unknown;
  readonly body?: unknown;
}

/**
 * Reads a Fetch `Request`: Workers, Deno, Bun, Next.js, Hono (`c.req.raw`). Its body is read here.
 *
 * @throws TypeError if its body was read before.
 */
export declare function fromRequest(request: FetchRequest, options?: RequestOptions): Promise<ReadRequest>;

/**
 * Reads a request of Node's `http`, Express or Fastify: `rawBody`, or a `body` that is bytes or text, or else the stream.
 *
 * @throws TypeError if the body was parsed, or was read and isn't kept.
 */
export declare function fromNode(request: NodeRequest, options?: NodeOptions): Promise<ReadRequest<string | Uint8Array>>;

// ── What came of it ─────────────────────────────────────────────────────────

/** The request is the sender's, and an event. */
export interface Verified<E = GatewayEvent> {
  readonly ok: true;
  /** The canonical event. `sequence` and `data.state` aren't in it, `rxordering` and `rxdedupe` are `unknown`: a single request says nothing of others. */
  readonly event: E;
  /** The same as JSON: `data.original` has the digits and the order of fields that were sent. */
  readonly json: string;
  /** Names the event: the same however often it comes. Dedupe by it. */
  readonly webhookId: string;
  /** The key that matched; `none` where nothing is proved. */
  readonly keyId: string;
  /** When the sender says that it signed; `undefined` where it doesn't. */
  readonly signedAt: Date | undefined;
  /** The body of the answer, once the event is kept: JSON. PHIL wants one of its own. */
  readonly answer: string;
}

/** The request is the sender's. What it says isn't read. */
export interface Authenticated {
  readonly ok: true;
  /** The key that matched; `none` where nothing is proved. */
  readonly keyId: string;
  /** What was proved: that the sender signed it; that it brought a static text; nothing. */
  readonly strength: "signature" | "token" | "none";
  /** When the sender says that it signed; `undefined` where it doesn't. */
  readonly signedAt: Date | undefined;
}

/** What every refusal says. None holds a value of the request's, but for `answer`. */
export interface Refused<Code extends string, Authentic extends boolean, IsUnreadable extends boolean = false> {
  readonly ok: false;
  /** Stable. Log it. */
  readonly code: Code;
  /** The HTTP status to answer. */
  readonly status: number;
  /** The body to answer: JSON. PHIL and Slack want one of their own. */
  readonly answer: string;
  /** Whether it is the sender's all the same. */
  readonly authentic: Authentic;
  /** Whether it can't be read as an event, and won't be better when it is sent again: see {@link Unreadable}. */
  readonly unreadable: IsUnreadable;
  /** What it means, in a sentence. */
  readonly message: string;
}

/** The request is the sender's, and can't be read as an event: keep it, then answer 200 (to PHIL the `status` and `answer` of its own). Of {@link normalise} `authentic` is `false`: there nobody has checked whose it is. */
export interface Unreadable<Code extends string> extends Refused<Code, boolean, true> {
  /** The key that matched. */
  readonly keyId: string;
  /** Names the event, if its id could be read. */
  readonly webhookId?: string;
}

/** 401: the header of the signature isn't there. */
export interface SignatureMissing extends Refused<"signature_missing", false> {}

/** 401: the header of the signature isn't of its form. */
export interface SignatureMalformed extends Refused<"signature_malformed", false> {}

/** 401: no key made this signature over this body. {@link explain} may say why. */
export interface SignatureMismatch extends Refused<"signature_mismatch", false> {
  /** The ids of the keys that were tried: those that aren't past their `not_after`. */
  readonly keysTried: string[];
}

/** 401: the signature holds, and its time is too far from the clock. */
export interface TimestampOutOfTolerance extends Refused<"timestamp_out_of_tolerance", true> {
  /** The clock minus the sender's time, in seconds: above 0 the request is old, below 0 it is ahead. */
  readonly skewSeconds: number;
  /** The key that matched. */
  readonly keyId: string;
}

/** 403: the address isn't one of `addresses`. */
export interface AddressNotAllowed extends Refused<"address_not_allowed", false> {}

/** 404: the path doesn't hold one of `path_tokens`. */
export interface SourceUnknown extends Refused<"source_unknown", false> {
  readonly problem: "path_token_mismatch";
}

/** 503: every key is past its `not_after`. */
export interface SourceMisconfigured extends Refused<"source_misconfigured", false> {
  readonly problem: "keys_expired";
}

/** 413: the body is larger than `max_body_bytes`. */
export interface BodyTooLarge extends Refused<"body_too_large", false> {}

/** 503: the body broke off. Of {@link verifyRequest} and {@link verifyNode} only. */
export interface BodyIncomplete extends Refused<"body_incomplete", false> {}

/** 422 (PHIL: 400): the body isn't a JSON object within the limits. */
export interface BodyMalformed extends Unreadable<"body_malformed"> {
  readonly problem: "not_utf8" | "not_an_object" | "duplicate_key" | "too_deep";
}

/** 422 (PHIL: 400): a required field is missing, or of another type. */
export interface EventInvalid extends Unreadable<"event_invalid"> {
  /** Where in the body, such as `data.dispensation_id`, or a JSON pointer of the settings. */
  readonly path: string;
  /** What is wrong there, such as `missing`. */
  readonly problem: string;
}

/** 422: it says of itself that two different things happened. */
export interface EventContradictory extends Unreadable<"event_contradictory"> {
  /** Which fields, and their words, where those are documented: `webhook order-accepted, order_status shipped`. */
  readonly path: string;
  /** What is wrong with them. */
  readonly problem: string;
}

/** 422: it is of another environment than the source's. */
export interface EnvironmentMismatch extends Unreadable<"environment_mismatch"> {}

/** 422: it is of another account than `provider_slug`. */
export interface ProviderMismatch extends Unreadable<"provider_mismatch"> {}

/** 200: the sender asks whether this URL is yours. There is no event: answer with `status` and `answer`. */
export interface ChallengeAnswered extends Refused<"challenge_answered", true> {}

/** 503: a fault of rxgate's own. */
export interface InternalError extends Refused<"internal_error", false> {}

/** Why a request isn't taken for the sender's. */
export type AuthenticationRefusal =
  | SignatureMissing
  | SignatureMalformed
  | SignatureMismatch
  | TimestampOutOfTolerance
  | AddressNotAllowed
  | SourceUnknown
  | SourceMisconfigured
  | BodyTooLarge
  | BodyIncomplete;

/** Why there is no event, although the request is the sender's. */
export type ContentRefusal = BodyMalformed | EventInvalid | EventContradictory | EnvironmentMismatch | ProviderMismatch;

/** Why there is no event, told apart by `code`. */
export type Refusal = AuthenticationRefusal | ContentRefusal | ChallengeAnswered | InternalError;

/** The codes of {@link Refusal}. */
export type RefusalCode = Refusal["code"];

/** An event, or why there is none: look at `ok`. */
export type VerifyResult<E = GatewayEvent> = Verified<E> | Refusal;

/** Whether it is the sender's: look at `ok`. */
export type AuthenticateResult = Authenticated | AuthenticationRefusal;

/**
 * The event of a request, if the request is the sender's and an event; or why not. Nothing is remembered: dedupe by `webhookId`.
 *
 * @param from - Whose request it should be.
 * @param request - With the body as it was received.
 * @returns Never throws for what a sender may send: a refusal has the `status` and `answer` to give.
 * @throws TypeError if the body is an object, if it is missing, or if the signature covers the URL and there is none.
 *
 * @example
 * ```ts
 * const checked = verify(osigu, { headers: request.headers, body });
 * if (!checked.ok) return answer(checked.status, checked.answer);
 * if (checked.event.type === "rx.dispense.completed") await pay(checked.event.data.total);
 * ```
 */
export declare function verify<P extends Provider, F extends Phi>(from: Source<P, F>, request: WebhookRequest, options?: Clock): VerifyResult<EventOf<P, F>>;

/** {@link fromRequest}, then {@link verify}. */
export declare function verifyRequest<P extends Provider, F extends Phi>(
  from: Source<P, F>,
  request: FetchRequest,
  options?: Clock & RequestOptions,
): Promise<VerifyResult<EventOf<P, F>>>;

/** {@link fromNode}, then {@link verify}. */
export declare function verifyNode<P extends Provider, F extends Phi>(
  from: Source<P, F>,
  request: NodeRequest,
  options?: Clock & NodeOptions,
): Promise<VerifyResult<EventOf<P, F>>>;

/**
 * Whether a request is the sender's. What it says isn't read.
 *
 * @throws TypeError as {@link verify}.
 */
export declare function authenticate(from: Source, request: WebhookRequest, options?: Clock): AuthenticateResult;

/**
 * The event of a body that was authenticated elsewhere. Nothing is checked but the content: `rxauth` and `keyId` are `none`.
 *
 * @param request - The body, or a request where headers or the path tell the event.
 * @throws TypeError as {@link verify}.
 */
export declare function normalise<P extends Provider, F extends Phi>(
  from: Source<P, F>,
  request: Body | (Partial<WebhookRequest> & Pick<WebhookRequest, "body">),
  options?: Clock,
): Verified<EventOf<P, F>> | BodyTooLarge | ContentRefusal | ChallengeAnswered | InternalError;

/** Why a signature doesn't match. `body_changed`: it holds over the same JSON with other white space. `key_expired`: a key made it that is past its `not_after`. `key_or_body`: neither. */
export type Hint = "body_changed" | "key_expired" | "key_or_body";

/** A refusal, and for a signature that doesn't match what more can be told; `message` says it in words. */
export type Explanation =
  | Exclude<AuthenticationRefusal, SignatureMismatch | SourceMisconfigured>
  | ((SignatureMismatch | SourceMisconfigured) & { readonly hint: Hint });

/**
 * What more can be told of a request that is refused. It costs a few verifications: for your own tests and logs, not for every stranger's request.
 *
 * @returns `undefined` if the request is the sender's.
 * @throws TypeError as {@link verify}.
 */
export declare function explain(from: Source, request: WebhookRequest, options?: Clock): Explanation | undefined;

// ── Signing ─────────────────────────────────────────────────────────────────

/** What {@link sign} signs. */
export interface SignRequest extends Clock {
  readonly body: Body;
  /** `POST` if it is left out. */
  readonly method?: string | undefined;
  /** Required where the signature covers it. */
  readonly url?: string | undefined;
  /** The event id, where it is in a header. A random one if it is left out. */
  readonly id?: string | undefined;
  /** Another key than the source's first; of Ed25519 the private one, which a source doesn't have. */
  readonly key?: string | undefined;
  /** Of eVitalRx, which of its webhooks, such as `order-accepted`: the end of `path`. */
  readonly webhook?: string | undefined;
}

/** What a request would be sent with. */
export interface Signed {
  /** Names in lower case, and values. */
  readonly headers: { [name: string]: string };
  /** What the path ends in, behind the source's name; `undefined` if that doesn't matter. */
  readonly path: string | undefined;
}

/**
 * The headers that the sender would send with this body: for your tests.
 *
 * @throws TypeError if that can't be signed, and says why. RangeError if the body is larger than 1 MiB.
 */
export declare function sign(from: Source, request: SignRequest): Signed;

// ── The gateway ─────────────────────────────────────────────────────────────

/** One thing that is wrong with settings. */
export interface Fault {
  /** Where, such as `keys[0].secret`. Empty for the whole. */
  readonly path: string;
  /** What, such as `is missing`. Never a value. */
  readonly problem: string;
}

/** What is wrong with a source's settings. */
export declare class ConfigurationError extends Error {
  readonly name: "ConfigurationError";
  /** All of it. */
  readonly faults: Fault[];
  constructor(faults: Fault[]);
}

/** The Worker's configuration. */
export interface WorkerConfiguration {
  /** The variables, as in `wrangler.toml`'s `[vars]`: `RXGATE`, `SOURCE_…`, `DESTINATION_…`. */
  readonly vars: { readonly [name: string]: unknown };
  /** The secrets, by name. Left out, each secret that is named is a fault. */
  readonly secrets?: { readonly [name: string]: string } | undefined;
  /** What is bound besides: the names of the queues' bindings, whether there are a KV namespace and a rate limit. */
  readonly bindings?: { readonly queues?: readonly string[]; readonly kv?: boolean; readonly rate_limit?: boolean } | undefined;
}

/**
 * What is wrong with a whole configuration of the Worker, all at once.
 *
 * @returns An empty list if nothing is.
 */
export declare function checkConfig(configuration: WorkerConfiguration, options?: Clock): Fault[];

/** A sender's event type, and what it is called here. */
export interface KnownType {
  readonly provider: Exclude<Provider, "configured">;
  /** The sender's word. */
  readonly eventType: string;
  /** The canonical one. */
  readonly type: Exclude<EventType, "rx.unknown">;
}

/** The event types of each sender, and the canonical type of each. */
export declare function eventTypes(): KnownType[];

/** The presets of senders that are configured. */
export declare function presets(): Preset[];

/** The kinds of sender. */
export declare function providers(): Provider[];

/** A key of the gateway's `seal_keys`. */
export interface SealKey {
  readonly id: string;
  /** Base64 of 32 bytes. */
  readonly secret: string;
}

/** What is needed of the gateway's KV namespace. */
export interface KvLike {
  get(key: string, options: { type: "arrayBuffer" }): PromiseLike<ArrayBuffer | null | undefined>;
}

/** Why an event that travels by reference isn't there. */
export declare class ResolveError extends Error {
  readonly name: "ResolveError";
  /**
   * - `body_missing`: it isn't in KV yet. Retry the message after a minute.
   * - `body_changed`: what is in KV isn't what the message names.
   * - `seal_key_unknown`: it is sealed with a key that isn't among those given.
   * - `seal_broken`: it doesn't open with its key.
   * - `message_unreadable`: the message isn't an event, nor a reference to one.
   */
  readonly code: "body_missing" | "body_changed" | "seal_key_unknown" | "seal_broken" | "message_unreadable";
  constructor(code: ResolveError["code"], text: string);
}

/**
 * The event in a message of a queue that the gateway writes to. One that is too large for a message is fetched from KV and opened.
 *
 * Say what your queue holds, such as `resolve<OsiguEvent>(…)`, or `Redacted<OsiguEvent>` under `phi`: it isn't checked.
 * Where configured senders write to it too, it is {@link GatewayEvent}: tell those apart by `dataschema`.
 *
 * @param message - The message's body.
 * @param kv - The gateway's KV namespace.
 * @param sealKeys - The gateway's `seal_keys`.
 * @throws {@link ResolveError}.
 */
export declare function resolve<E extends GatewayEvent | Redacted<GatewayEvent> = RxEvent>(message: unknown, kv: KvLike, sealKeys?: readonly SealKey[]): Promise<E>;

/** Nothing is left to do here: the module is compiled at import. It is there so that code for `rxgate/web` runs here as well. */
export declare function init(): Promise<void>;
