// Every vector and fixture of the core through the package, in whatever runtime has it. No imports: the package's API and the files' contents come as arguments.

const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const ALGORITHMS = { rfc2202_sha1: "hmac-sha1", rfc4231_sha256: "hmac-sha256", rfc4231_sha512: "hmac-sha512", wycheproof_hmac_sha1: "hmac-sha1", wycheproof_hmac_sha256: "hmac-sha256", wycheproof_hmac_sha512: "hmac-sha512", wycheproof_ed25519: "ed25519" };
const SIGNATURE_BYTES = { "hmac-sha1": 20, "hmac-sha256": 32, "hmac-sha512": 64, ed25519: 64 };
/// The core takes no shorter key of an HMAC.
const MIN_KEY_BYTES = 16;
const FIXTURE_NOW = 1_782_397_331_000;

/// Runs all of them: { counts: { suite: cases }, failures: [text] }.
export function run(api, files) {
  const counts = {};
  const failures = [];
  const suite = (name, cases, check) => {
    counts[name] = cases.length;
    for (const one of cases) {
      let problem;
      try {
        problem = check(one);
      } catch (fault) {
        problem = `${fault}`;
      }
      if (problem) failures.push(`${name} ${one.id ?? one.name ?? one.case ?? one.preset}: ${problem}`);
    }
  };
  for (const [name, algorithm] of Object.entries(ALGORITHMS)) suite(name, files.vectors[name].cases, (one) => ofAlgorithm(api, algorithm, one));
  suite("senders", files.vectors.senders.cases, (one) => ofSender(api, one));
  suite("golden", files.golden.cases, (one) => ofSender(api, one) ?? signsTheSame(api, one));
  const { key, cases } = files.vectors.osigu_signature;
  suite("osigu_signature", cases, (one) => ofOsigu(api, key, one, files.fixtures.osigu[one.case].body));
  for (const [provider, fixtures] of Object.entries(files.fixtures)) {
    const named = Object.entries(fixtures).map(([name, files]) => ({ name, ...files }));
    suite(provider, named, (one) => ofFixture(api, provider, one));
  }
  return { counts, failures };
}

function configured(api, { scheme, preset, key, api_key }) {
  const own = scheme && { event: { id: "/id", type: "/type" } };
  const withApiKey = api_key && { scheme: { ...scheme, api_key: { secret: api_key } } };
  return api.source({ provider: "configured", preset, scheme, ...own, ...withApiKey, keys: [{ id: "first", secret: key }] });
}

function ofAlgorithm(api, algorithm, { key, message, signature, valid }) {
  const scheme = { algorithm, header: "X-Sig", encoding: "hex", key_encoding: "hex" };
  const settings = { provider: "configured", scheme, event: { id: "/id", type: "/type" }, keys: [{ id: "first", secret: key }] };
  const tooShort = algorithm !== "ed25519" && key.length / 2 < MIN_KEY_BYTES;
  let source;
  try {
    source = api.source(settings);
  } catch (fault) {
    // A weak or malformed public key makes no signature that holds.
    return fault instanceof api.ConfigurationError && (tooShort || !valid) ? undefined : `${fault}`;
  }
  if (tooShort) return "a key that is too short was taken";
  const whole = signature.length / 2 === SIGNATURE_BYTES[algorithm];
  const checked = api.authenticate(source, { headers: { "x-sig": signature }, body: unhex(message) });
  const expected = valid && whole ? "ok" : whole ? "signature_mismatch" : "signature_malformed";
  const actual = checked.ok ? "ok" : checked.code;
  // A signature of no bytes at all is no header's value.
  if (actual === expected || (signature === "" && !checked.ok)) return undefined;
  return `${actual}, not ${expected}`;
}

function ofSender(api, one) {
  const source = configured(api, one);
  const request = { url: one.url, headers: one.headers, body: one.body };
  const now = one.at * 1000;
  const checked = api.authenticate(source, request, { now });
  if (!checked.ok) return checked.code;
  if (one.strength && checked.strength !== one.strength) return `strength ${checked.strength}`;
  const bytes = new TextEncoder().encode(one.body);
  for (const body of [bytes, bytes.buffer]) if (!api.authenticate(source, { ...request, body }, { now }).ok) return "as bytes it isn't taken";
  if (checked.strength !== "signature") return undefined;
  const changed = bytes.slice();
  changed[0] ^= 1;
  const refused = api.authenticate(source, { ...request, body: changed }, { now });
  if (refused.code !== "signature_mismatch" || refused.keysTried?.join() !== "first") return `changed it is ${refused.code}`;
  if (checked.signedAt === undefined) return undefined;
  for (const skew of [-301, 301]) {
    const late = api.authenticate(source, request, { now: now + skew * 1000 });
    if (late.code !== "timestamp_out_of_tolerance" || late.skewSeconds !== skew || late.keyId !== "first" || !late.authentic) return `with a skew of ${skew} it is ${JSON.stringify(late)}`;
  }
}

/// What OpenSSL signed is what the package signs, element by element of the header.
function signsTheSame(api, one) {
  const source = configured(api, one);
  const ed25519 = /ed25519|v1a/.test(one.name);
  const key = ed25519 ? `whsk_${btoa(String.fromCharCode(...new Uint8Array(32).fill(7)))}` : undefined;
  const { headers } = api.sign(source, { body: one.body, url: one.url, id: "msg_1", now: one.at * 1000, key });
  for (const [name, value] of Object.entries(headers)) {
    const expected = one.headers[name];
    const same = expected?.toLowerCase() === value.toLowerCase() || expected?.split(" ").includes(value) || expected === `${value}=` || expected === `${value},v0=00`;
    if (!same) return `${name} is signed as ${value}`;
  }
  const sent = Object.keys(one.headers).sort().join();
  return Object.keys(headers).sort().join() === sent ? undefined : `the headers are ${Object.keys(headers)}`;
}

function ofOsigu(api, key, { t, v1 }, body) {
  const source = api.source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: key }] });
  const headers = { "x-osigu-signature": `t=${t},v1=${v1}` };
  const checked = api.authenticate(source, { headers, body }, { now: Number(t) * 1000 });
  if (!checked.ok) return checked.code;
  const signed = api.sign(source, { body, now: Number(t) * 1000 });
  return signed.headers["x-osigu-signature"] === headers["x-osigu-signature"] ? undefined : "it isn't signed the same";
}

const SOURCES = {
  osigu: { provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: "osigu-key-of-the-vectors-0001" }] },
  evitalrx: { provider: "evitalrx", accept_unsigned: true, path_tokens: [{ id: "first", secret: "evitalrx-path-token-0123456789" }] },
  "phil-callback": { provider: "phil-callback", keys: [{ id: "first", secret: "phil-key-0123456789" }] },
};

/// The canonical event is the one that is kept beside the body, to the byte, but for what only a claim can tell.
function ofFixture(api, provider, { body, event }) {
  const source = api.source(SOURCES[provider]);
  const expected = event
    .replace(/"sequence":"\d+","rxordering":"\w+"/, '"rxordering":"unknown","rxdedupe":"unknown"')
    .replace(/"data":\{"state":"\w+",/, '"data":{');
  const { rxeventtype, type } = JSON.parse(event);
  const webhook = provider === "evitalrx" && type !== "rx.unknown" ? rxeventtype : undefined;
  const { headers, path } = api.sign(source, { body, webhook, now: FIXTURE_NOW });
  const request = { headers, path, body };
  const verified = api.verify(source, request, { now: FIXTURE_NOW });
  if (!verified.ok) return `${verified.code} ${verified.path}`;
  if (verified.json !== expected) return `it is\n${verified.json}\nnot\n${expected}`;
  if (verified.event.type !== type || !verified.webhookId.startsWith("evt_")) return "event and text differ";
  const normalised = api.normalise(source, request);
  const unproved = expected.replace(/"rxauth":"\w+","rxkeyid":"\w+"/, '"rxauth":"none","rxkeyid":"none"');
  return normalised.json === unproved ? undefined : "it is normalised otherwise";
}
