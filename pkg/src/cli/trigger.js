// Samples of what senders send, signed as they sign, and sent.

import { createHash, randomBytes } from "node:crypto";
import { sign, source } from "../node.js";
import { readCount, readDuration, readSecret, readSource, readUrl } from "./input.js";
import { Mistake, note, oneLine, paint, print, printJson } from "./output.js";
import { apiKeyVariable, developmentSecret, ofSender, secretVariable, senderOf, settingsOf, unknown } from "./senders.js";
import { toJson } from "./samples/values.js";

const TIMEOUT = 40_000;
/// Where a request would go that is only printed.
const NOWHERE = (sender) => `https://hooks.example/hooks/${sender.name}`;

/// An event of a sender: its body, and what goes with it. `ids` are those of its life, else new ones; `set` changes fields by their paths; undefined takes one out.
export function sample(name, event, { ids, at = Date.now(), set = {}, change, environment, slug } = {}) {
  const sender = senderOf(name);
  if (!sender.events.includes(event)) throw unknown(`event of ${sender.name}`, event, sender.events);
  const life = ids ?? sender.ids();
  const { value, id, headers = {}, webhook } = sender.sample(event, { ids: life, at, change });
  if (environment !== undefined && "environment" in value) value.environment = environment;
  if (slug !== undefined && value.provider) value.provider.provider_slug = slug;
  for (const [path, to] of Object.entries(set)) setField(value, path, to);
  return { sender: sender.name, event, ids: life, id: id ?? value.event_id, webhook, headers, body: Buffer.from(toJson(value)) };
}

function setField(value, path, to) {
  const steps = path.replaceAll(/\[(\d+)\]/g, ".$1").split(".");
  if (steps.some((step) => step === "" || step === "__proto__")) throw new Mistake(`--set: "${path}" isn't a path such as data.products[0].quantity`);
  const last = steps.pop();
  let inner = value;
  for (const step of steps) {
    inner[step] ??= {};
    inner = inner[step];
    if (typeof inner !== "object") throw new Mistake(`--set: "${path}": ${step} is neither an object nor a list`);
  }
  if (to === undefined) delete inner[last];
  else inner[last] = to;
}

/// One of each of a sender's events. What contradicts the others has a life of its own.
export function allOf(name) {
  const sender = senderOf(name);
  const ids = sender.ids();
  return sender.events.map((event) => ({ event, ids: sender.alone.includes(event) ? sender.ids() : ids }));
}

/// The events of a whole life, in order; with `seed` in another order, the same for the same seed.
export function scenario(name, life, { seed } = {}) {
  const sender = senderOf(name);
  const names = Object.keys(sender.scenarios);
  if (names.length === 0) throw new Mistake(`${sender.name} has no scenarios: it has one event, ${sender.events[0]}`);
  if (!Object.hasOwn(sender.scenarios, life)) throw unknown(`scenario of ${sender.name}`, life, names);
  const ids = sender.ids();
  const steps = sender.scenarios[life].map((step) => ({ ids, ...(typeof step === "string" ? { event: step } : step) }));
  // A second between each and the next; the last is now.
  const timed = steps.map((step, place) => ({ ...step, before: (steps.length - 1 - place) * 1000 }));
  return seed === undefined ? timed : shuffled(timed, seed);
}

/// Fisher–Yates, by numbers that are made of the seed; drawn again where it comes out as it was.
export function shuffled(list, seed) {
  for (let round = 0; ; round += 1) {
    const out = [...list];
    for (let last = out.length - 1; last > 0; last -= 1) {
      const other = createHash("sha256").update(`${seed}:${round}:${last}`).digest().readUInt32BE() % (last + 1);
      [out[last], out[other]] = [out[other], out[last]];
    }
    if (list.length < 2 || out.some((item, place) => item !== list[place])) return out;
  }
}

/// A request with a sample, signed. `from`: a source of the package; or `secret`, and `apiKey` where the sender has one. `tamper`: true, or what changes the signed body.
export function request(sample, { from, secret, apiKey, key, url, now = Date.now(), tamper } = {}) {
  const sender = senderOf(sample.sender);
  const of = from ?? source(settingsOf(sender, [{ id: "signer", secret }], { apiKey }));
  const privateKey = key ?? (sender.name === "standard-webhooks-v1a" && from === undefined ? secret : undefined);
  const to = new URL(url ?? NOWHERE(sender));
  const signed = (body, at) => sign(of, { body, url: to.href, id: sample.id, now: at, key: privateKey, webhook: sample.webhook });
  const { headers, path } = signed(sample.body, now);
  if (path !== undefined) to.pathname = `${to.pathname.replace(/\/$/, "")}/${path}`;
  const body = tamper ? (typeof tamper === "function" ? tamper : changed)(sample.body) : sample.body;
  // What isn't covered is told by signing otherwise: a sender that signs nothing sends the same.
  const differs = (other) => JSON.stringify(other.headers) !== JSON.stringify(headers);
  const covers = { body: differs(signed(Buffer.concat([sample.body, Buffer.from(" ")]), now)), time: differs(signed(sample.body, now + 60_000)) };
  return { event: sample.event, id: sample.id, method: "POST", url: to.href, headers: { "content-type": "application/json", ...sample.headers, ...headers }, body, covers };
}

/// Another digit in place of the last one: still JSON, and of the same length.
function changed(body) {
  const out = Buffer.from(body);
  const digit = (byte) => byte >= 0x30 && byte <= 0x39;
  const place = out.findLastIndex(digit);
  if (place < 0) return Buffer.concat([out, Buffer.from(" ")]);
  out[place] = 0x30 + ((out[place] - 0x30 + 5) % 10);
  return out;
}

/// Sends a request; says what was answered.
export async function send({ url, method, headers, body }, { signal = AbortSignal.timeout(TIMEOUT) } = {}) {
  const start = performance.now();
  let response;
  let text;
  try {
    response = await fetch(url, { method, headers, body, redirect: "manual", signal });
    text = await response.text();
  } catch (fault) {
    throw new Mistake(`no answer from ${new URL(url).origin}: ${why(fault)}`, 1);
  }
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {}
  // PHIL's answers have a form of their own.
  const code = answer?.code ?? answer?.metadata?.responseType;
  const reason = answer?.reason ?? answer?.error?.type;
  return { status: response.status, ok: response.ok, code, reason, retryAfter: response.headers.get("retry-after"), text, milliseconds: Math.round(performance.now() - start) };
}

const FAULTS = { ECONNREFUSED: "the connection was refused. Does it listen there?", ENOTFOUND: "there is no such host", EAI_AGAIN: "its name can't be looked up", ECONNRESET: "the connection was closed" };

function why(fault) {
  if (fault.name === "TimeoutError") return `none within ${TIMEOUT / 1000} s`;
  const { cause } = fault;
  const code = cause?.code ?? cause?.errors?.[0]?.code;
  return FAULTS[code] ?? oneLine(cause?.message || code || fault.message);
}

/// A request as curl would send it, for a shell.
export function curl({ method, url, headers, body }) {
  const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const lines = [`curl -i -X ${method} ${quote(url)}`, ...Object.entries(headers).map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`), `--data-binary ${quote(body.toString())}`];
  return lines.join(" \\\n  ");
}

/// `rxgate trigger`.
export async function run(name, event, options) {
  const sender = senderOf(name);
  const { steps, seed } = stepsOf(sender, event, options);
  const signing = signer(sender, options);
  const set = Object.fromEntries((options.set ?? []).map(readSet));
  const skew = options.skew === undefined ? 0 : readDuration(options.skew);
  const times = options.duplicate === undefined ? 1 : readCount(options.duplicate);
  const url = options.to === undefined ? undefined : readUrl(options.to, "--to").href;
  const now = Date.now();
  const requests = steps.map(({ event, ids, change, before = 0 }) => {
    const made = sample(sender.name, event, { ids, at: now - before, set, change, environment: signing.environment, slug: signing.slug });
    return request(made, { ...signing.by, url, now: now + skew, tamper: options.tamper });
  });
  warn(requests[0].covers, options);
  const head = { sender: sender.name, scenario: options.scenario, seed };
  if (url === undefined) return show(requests, { head, times, signing, json: options.json });
  return sendAll(requests, { head, times, options });
}

function stepsOf(sender, event, { all, scenario: life, shuffle }) {
  const ways = [event !== undefined, all === true, life !== undefined].filter(Boolean).length;
  const names = sender.events.join(", ");
  if (ways === 0) throw new Mistake(`which event? There ${sender.events.length === 1 ? "is" : "are"}: ${names}. Or --all, or --scenario <name>${Object.keys(sender.scenarios).length ? `: ${Object.keys(sender.scenarios).join(", ")}` : ""}`);
  if (ways > 1) throw new Mistake("an event, --all and --scenario exclude each other");
  if (shuffle !== undefined && event !== undefined) throw new Mistake("--shuffle goes with --scenario or --all");
  if (event !== undefined) return { steps: [{ event }] };
  const seed = shuffle === undefined ? undefined : shuffle === true ? randomBytes(4).toString("hex") : shuffle;
  if (life !== undefined) return { steps: scenario(sender.name, life, { seed }), seed };
  const each = allOf(sender.name);
  return { steps: seed === undefined ? each : shuffled(each, seed), seed };
}

/// `path=value`; the value is JSON if it is JSON, with its numbers as they are written, else text.
function readSet(text) {
  const [, path, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (path === undefined) throw new Mistake(`--set: "${text.slice(0, 60)}" isn't path=value`);
  try {
    JSON.parse(value);
  } catch {
    return [path, value];
  }
  return [path, JSON.parse(value.replaceAll(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (token) => (token.startsWith('"') ? token : `"«${token}»"`)))];
}

/// What signs: by a source's settings, or the sender's own with the secret that was named; where a request is only printed, a key that is made for it.
function signer(sender, options) {
  if (options.source !== undefined) {
    const settings = ofSender(sender, readSource(options.source));
    const given = options.secretEnv !== undefined || options.secretFile !== undefined ? readSecret(options).secret : undefined;
    return { by: { from: source(settings), key: given }, environment: settings.environment, slug: settings.provider_slug };
  }
  const name = secretVariable(sender);
  const apiKeyName = apiKeyVariable(sender);
  const given = readSecret(options, name)?.secret;
  const apiKey = apiKeyName === undefined ? undefined : process.env[apiKeyName] || undefined;
  const missing = [given === undefined ? name : undefined, apiKeyName !== undefined && apiKey === undefined ? apiKeyName : undefined].filter(Boolean);
  if (missing.length > 0 && options.to !== undefined) throw new Mistake(`no secret to sign with: set ${missing.join(" and ")}, or name another variable with --secret-env or a file with --secret-file`);
  const made = {};
  const secret = given ?? (made[name] = developmentSecret(sender));
  const second = apiKey ?? (apiKeyName === undefined ? undefined : (made[apiKeyName] = developmentSecret(sender)));
  return { by: { secret, apiKey: second }, made: Object.keys(made).length > 0 ? made : undefined };
}

function warn({ body, time }, { tamper, skew }) {
  if (tamper && !body) note("--tamper: this sender signs no body, so a changed byte isn't noticed");
  if (skew !== undefined && !time) note("--skew: this sender signs no time, so the request is the same");
}

function show(requests, { head, times, signing: { made }, json }) {
  const each = requests.flatMap((request) => Array(times).fill(request));
  if (json) {
    printJson({ ...head, developmentSecrets: made, requests: each.map(({ event, id, method, url, headers, body }) => ({ event, id, method, url, headers, body: body.toString() })) });
    return 0;
  }
  for (const [name, secret] of Object.entries(made ?? {})) note(`development key, made for this print and good for nothing else: ${name}=${secret}`);
  note(requests.length * times === 1 ? "not sent: there is no --to. The request:" : "not sent: there is no --to. The requests:");
  if (head.seed !== undefined) note(`seed ${head.seed}: --shuffle ${head.seed} gives this order again`);
  each.forEach((request, place) => print(`${place > 0 ? "\n" : ""}${paint("dim", `# ${request.event}`)}\n${curl(request)}`));
  return 0;
}

async function sendAll(requests, { head, times, options }) {
  const done = [];
  const width = Math.max(...requests.map(({ event }) => event.length));
  if (head.seed !== undefined && !options.json) note(`seed ${head.seed}: --shuffle ${head.seed} gives this order again`);
  for (const request of requests) {
    for (let time = 1; time <= times; time += 1) {
      const answer = await send(request);
      // As it was given: what was put behind it may be a secret.
      done.push({ event: request.event, id: request.id, url: options.to, ...answer });
      if (!options.json) print(line({ request, answer, width, time, times }));
      if (answer.code === "environment_mismatch" || answer.reason === "environment_mismatch") note("the samples are of the sandbox: for a production source --set environment=production");
    }
  }
  const bad = done.filter(({ ok }) => !ok).length;
  if (options.json) printJson({ ...head, ok: bad === 0, requests: done.map(({ ok, text, ...told }) => ({ ...told, answer: text })) });
  else if (done.length > 1) note(`${done.length - bad} of ${done.length} answered 2xx`);
  return bad === 0 ? 0 : 1;
}

function line({ request, answer: { status, ok, code, reason, text, milliseconds }, width, time, times }) {
  const told = code === undefined ? oneLine(text, 60) : oneLine(`${code}${reason ? `: ${reason}` : ""}`);
  const which = times > 1 ? `  ${time}/${times}` : "";
  return `${request.event.padEnd(width)}${which}  ${paint(ok ? "green" : "red", status)}  ${told}  ${paint("dim", `${milliseconds} ms`)}`;
}
