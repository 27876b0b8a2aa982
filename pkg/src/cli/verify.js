// `rxgate verify`: a request that was saved, and why it isn't taken.

import { explain, source, verify } from "../node.js";
import { parseJson, readBytes, readInstant, readSecret, readSource, readText } from "./input.js";
import { Mistake, note, paint, prettyJson, print, printJson } from "./output.js";
import { apiKeyVariable, ofSender, secretVariable, senderWith, settingsOf } from "./senders.js";

export async function run(name, options) {
  const sender = senderWith(name, options);
  if (options.headers === "-" && options.body === "-") throw new Mistake("--headers and --body can't both be stdin");
  const { headers, target, method } = readHeaders(readText(options.headers, "--headers"), options.headers);
  const body = readBytes(options.body, "--body");
  const now = options.at === undefined ? Date.now() : readInstant(options.at);
  const settings = options.source === undefined ? ownSettings(sender, options, body) : ofSender(sender, readSource(options.source));
  const where = options.url ?? target;
  const path = where === undefined ? undefined : behindName(where, sender);
  if (settings.path_tokens && path === undefined) throw new Mistake("this sender's key is in the path: give it with --url, or with the request's first line in the headers file");
  const request = { method, headers, body, url: where, path, address: options.address };
  const of = source(settings);
  const result = verify(of, request, { now });
  const told = result.ok || result.authentic ? result : { ...result, ...explain(of, request, { now }) };
  if (told.ok) return taken(told, options);
  refused(told, { now, json: options.json });
  return 1;
}

function ownSettings(sender, { secretEnv = [], secretFile }, body) {
  const name = secretVariable(sender);
  const keys = [...secretEnv.map((secretEnv) => readSecret({ secretEnv })), ...(secretFile === undefined ? [] : [readSecret({ secretFile })])];
  if (keys.length === 0) keys.push(readSecret({}, name));
  const apiKeyName = apiKeyVariable(sender);
  const apiKey = apiKeyName && process.env[apiKeyName];
  const missing = [keys[0] === undefined ? name : undefined, apiKeyName !== undefined && !apiKey ? apiKeyName : undefined].filter(Boolean);
  if (missing.length > 0) throw new Mistake(`no secret to verify with: set ${missing.join(" and ")}, or name another variable with --secret-env or a file with --secret-file`);
  return settingsOf(sender, keys, { apiKey, environment: environmentOf(body) });
}

/// What the body says of itself: without settings there is nothing to compare it with.
function environmentOf(body) {
  try {
    return JSON.parse(body).environment === "production" ? "production" : "sandbox";
  } catch {
    return "sandbox";
  }
}

/// `name: value` lines behind a request or status line, as curl -i and -D write them, or JSON.
export function readHeaders(text, path) {
  const trimmed = text.trimStart();
  if (trimmed.startsWith("{") || trimmed.startsWith("[")) {
    const headers = parseJson(text, `--headers ${path}`);
    const pairs = Array.isArray(headers) ? headers : Object.entries(headers);
    if (!pairs.every((pair) => Array.isArray(pair) && pair.length === 2)) throw new Mistake(`--headers ${path}: a list in it has to be of [name, value]`);
    return { headers: pairs.flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)])) };
  }
  const blocks = trimmed.split(/\r?\n[ \t]*\r?\n/);
  // Of an answer with others before it (100 Continue, a redirect) the last counts; what stands behind it is a body.
  let place = 0;
  while (/^HTTP\//.test(blocks[place]) && /^HTTP\//.test(blocks[place + 1] ?? "")) place += 1;
  const found = { headers: [] };
  for (const [number, line] of blocks[place].split(/\r?\n/).entries()) {
    const plain = line.replace(/^[<>] /, "").trimEnd();
    if (plain === "" || (number === 0 && /^HTTP\/\S+ \d/.test(plain))) continue;
    const [, method, target] = (number === 0 && /^([A-Z]+) (\S+)(?: HTTP\/\S+)?$/.exec(plain)) || [];
    if (method) Object.assign(found, { method, target });
    else {
      const colon = plain.indexOf(":");
      if (colon < 1) throw new Mistake(`--headers ${path}: line ${number + 1} isn't "name: value"`);
      found.headers.push([plain.slice(0, colon).trim(), plain.slice(colon + 1).trim()]);
    }
  }
  return found;
}

/// Of a path, what stands behind the source's name: the token, and the webhook where the path has it.
function behindName(where, sender) {
  const pathname = URL.canParse(where) ? new URL(where).pathname : where.split("?")[0];
  const segments = pathname.split("/").filter(Boolean);
  return segments.slice(sender.events.includes(segments.at(-1)) ? -2 : -1).join("/");
}

function taken({ json, webhookId, keyId, signedAt }, options) {
  if (options.json) {
    // Put together as text: parsing the event would change its numbers.
    const told = JSON.stringify({ ok: true, webhookId, keyId, signedAt: signedAt?.toISOString() }).slice(0, -1);
    print(prettyJson(`${told},"event":${json}}`));
  } else {
    note(`${paint("green", "authentic", process.stderr)}  key ${keyId}${signedAt ? `, signed ${signedAt.toISOString()}` : ""}, ${webhookId}`);
    print(prettyJson(json));
  }
  return 0;
}

const HINTS = {
  body_changed: "hint       body_changed: the body isn't as it was sent. Save the raw bytes, before anything parses them",
  key_expired: "hint       key_expired: look at not_after of the source's keys",
  key_or_body: "hint       key_or_body: compare the secret with the sender's, and the body with what was sent",
};

function refused(told, { now, json }) {
  const { ok: _, answer: __, ...all } = told;
  const signedAt = told.skewSeconds === undefined ? undefined : new Date((Math.floor(now / 1000) - told.skewSeconds) * 1000).toISOString();
  if (json) return printJson({ ok: false, ...all, signedAt });
  print(`${paint("red", told.authentic ? "authentic, but not taken" : "refused")}  ${told.code} (${told.status})`);
  print(told.message);
  if (told.path) print(`field      ${told.path}${told.problem ? ` ${told.problem}` : ""}`);
  else if (told.problem) print(`problem    ${told.problem}`);
  if (told.skewSeconds !== undefined) {
    print(`skew       ${told.skewSeconds} s: the clock that verifies is ${told.skewSeconds > 0 ? "ahead of" : "behind"} the sender's`);
    print(`hint       signed at ${signedAt}: of a saved request give the time when it came, such as --at ${signedAt}`);
  }
  if (told.keysTried) print(`keys tried ${told.keysTried.join(", ")}`);
  else if (told.keyId) print(`key        ${told.keyId}`);
  if (HINTS[told.hint]) print(HINTS[told.hint]);
}
