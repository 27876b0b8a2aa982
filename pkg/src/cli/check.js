// `rxgate check`: what is wrong with the settings of a gateway, before it is deployed. Nothing is asked of anybody.

import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import util from "node:util";
import { TomlError, parse as parseToml } from "smol-toml";
import { checkConfig } from "../node.js";
import { parseJson, readText } from "./input.js";
import { Mistake, paint, print, printJson } from "./output.js";

/// In the order in which wrangler looks for them.
const FILES = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];
/// The core's word for a secret that it doesn't have.
const NO_SECRET = "isn't the name of a secret that there is";
const SETTING = /^(SOURCE_|DESTINATION_)|^RXGATE$/;
const DELIVERY_QUEUE = "rxgate-deliveries";
const DEAD_LETTER_QUEUE = "rxgate-dead-letters";

export async function run(file, options) {
  const path = file ?? FILES.find((name) => existsSync(name));
  if (path === undefined) throw new Mistake(`there is no ${FILES.join(", ")} here: name the file`);
  const settings = environmentOf(readConfig(path), options.env, path);
  const found = check(settings, readSecrets(path, options, settings));
  const failed = found.faults.length > 0 || (options.strict === true && found.unchecked.length + found.notes.length > 0);
  if (options.json) printJson({ ok: !failed, file: path, environment: options.env, ...found });
  else report(path, found, failed, options);
  return failed ? 1 : 0;
}

/// The faults of a parsed wrangler file; apart from them what can't be checked for want of a secret, and what is worth a look.
export function check(settings, given) {
  const { vars = {}, queues = {}, kv_namespaces: kv = [], ratelimits = [], unsafe = {}, durable_objects: objects = {} } = settings;
  const producers = queues.producers ?? [];
  const limits = [...ratelimits.map(({ name }) => name), ...(unsafe.bindings ?? []).filter(({ type }) => type === "ratelimit").map(({ name }) => name)];
  const bindings = { queues: producers.map(({ binding }) => binding), kv: kv.some(({ binding }) => binding === "KV"), rate_limit: limits.includes("FAILED_AUTHENTICATIONS") };
  // As the Worker tells them apart: what is text under a name of its own is a secret.
  const isSetting = ([name, value]) => SETTING.test(name) || (value !== null && typeof value === "object");
  const entries = Object.entries(vars);
  const secrets = { ...Object.fromEntries(entries.filter((entry) => !isSetting(entry) && typeof entry[1] === "string")), ...given };
  const chosen = Object.fromEntries(entries.filter(isSetting));
  const told = checkConfig({ vars: chosen, secrets, bindings });
  const faults = [];
  const unchecked = [];
  for (const { path, problem } of told) {
    const name = problem === NO_SECRET ? at(chosen, path) : undefined;
    // What no secret could be called is a fault in any case: perhaps the secret itself.
    if (typeof name !== "string" || !/^[A-Za-z_]\w{0,63}$/.test(name)) faults.push({ path, problem });
    // Somebody may have put the secret itself where its name belongs: only what looks like a name is repeated.
    else unchecked.push({ path, secret: /^[A-Z][A-Z0-9]*_[A-Z0-9_]*$/.test(name) ? name : undefined });
  }
  const bound = (objects.bindings ?? []).some(({ name }) => name === "ENTITIES");
  if (!bound) faults.push({ path: "ENTITIES", problem: "is missing: bind the Durable Objects under this name" });
  return { faults: [...faults, ...wrongQueues(chosen.RXGATE ?? {}, queues)], unchecked, notes: worthALook(queues) };
}

/// Our own queues: the names that the settings have, and this Worker as their consumer. The Worker itself can't see it.
function wrongQueues(gateway, { producers = [], consumers = [] }) {
  const ours = [["DELIVERIES", "delivery_queue", DELIVERY_QUEUE], ["DEAD_LETTERS", "dead_letter_queue", DEAD_LETTER_QUEUE]];
  return ours.flatMap(([binding, setting, usual]) => {
    const producer = producers.find((one) => one.binding === binding);
    if (!producer) return [];
    const faults = [];
    if (producer.queue !== (gateway[setting] ?? usual)) faults.push({ path: `RXGATE.${setting}`, problem: `isn't the name of the queue that ${binding} is bound to` });
    if (!consumers.some(({ queue }) => queue === producer.queue)) faults.push({ path: `queues.consumers`, problem: `has none for the queue of ${binding}: this Worker has to consume it` });
    return faults;
  });
}

function worthALook({ producers = [], consumers = [] }) {
  const ours = producers.filter(({ binding }) => binding === "DELIVERIES" || binding === "DEAD_LETTERS");
  return ours.flatMap(({ binding, queue }) => {
    const consumer = consumers.find((one) => one.queue === queue);
    if (!consumer) return [];
    const notes = [];
    if (consumer.max_retries !== 100) notes.push({ path: `queues.consumers (${binding})`, problem: "max_retries isn't 100: a message is given up earlier" });
    if (consumer.retry_delay === undefined) notes.push({ path: `queues.consumers (${binding})`, problem: "retry_delay is missing: a message of a crash is tried again at once, a hundred times" });
    if (binding === "DELIVERIES" && consumer.dead_letter_queue === undefined) notes.push({ path: `queues.consumers (${binding})`, problem: "dead_letter_queue is missing: what is given up is gone" });
    return notes;
  });
}

const at = (value, path) => path.replaceAll(/\[(\d+)\]/g, ".$1").split(".").reduce((inner, step) => inner?.[step], value);

/// A wrangler file, parsed.
export function readConfig(path) {
  const text = readText(path, "check");
  if (!path.endsWith(".toml")) return object(parseJson(withoutComments(text), path), path);
  try {
    return parseToml(text);
  } catch (fault) {
    if (!(fault instanceof TomlError)) throw fault;
    throw new Mistake(`${path}: isn't TOML: line ${fault.line}, column ${fault.column}: ${fault.message.split("\n")[0].replace(/^Invalid TOML document: /, "")}`);
  }
}

function object(value, path) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Mistake(`${path}: isn't an object`);
  return value;
}

/// JSON with comments and commas at the end, as JSON: what is taken out is space, so that lines stay where they are.
function withoutComments(text) {
  const blank = (token) => token.replaceAll(/[^\n]/g, " ");
  const bare = text.replaceAll(/"(?:[^"\\]|\\.)*"|\/\/[^\n]*|\/\*.*?\*\//gs, (token) => (token.startsWith('"') ? token : blank(token)));
  return bare.replaceAll(/"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])/gs, (token) => (token === "," ? " " : token));
}

/// Variables and bindings of an environment aren't inherited.
function environmentOf(settings, name, path) {
  if (name === undefined) return settings;
  const environments = settings.env ?? {};
  if (!Object.hasOwn(environments, name)) throw new Mistake(`${path}: has no environment "${name}"${Object.keys(environments).length > 0 ? `. There are: ${Object.keys(environments).join(", ")}` : ""}`);
  return environments[name];
}

/// From the file that was named; else from .dev.vars beside the settings; else from the environment, by the names that the settings have.
function readSecrets(path, { secrets, env }, settings) {
  const beside = [env === undefined ? undefined : `.dev.vars.${env}`, ".dev.vars"].filter(Boolean).map((name) => join(dirname(path), name));
  const file = secrets ?? beside.find((name) => existsSync(name));
  if (file !== undefined) return parseSecrets(readText(file, "--secrets"), file);
  const names = new Set(strings(settings.vars ?? {}));
  return Object.fromEntries(Object.entries(process.env).filter(([name, value]) => names.has(name) && value !== ""));
}

const strings = (value) => (typeof value === "string" ? [value] : value !== null && typeof value === "object" ? Object.values(value).flatMap(strings) : []);

function parseSecrets(text, file) {
  if (text.trimStart().startsWith("{")) {
    const wrong = Object.entries(object(parseJson(text, file), file)).filter(([, value]) => typeof value !== "string");
    if (wrong.length > 0) throw new Mistake(`${file}: ${wrong.map(([name]) => name).join(", ")}: a secret has to be text`);
    return JSON.parse(text);
  }
  if (!util.parseEnv) throw new Mistake(`${basename(file)}: this form needs Node.js 20.12 or later; JSON is read by any`);
  return util.parseEnv(text);
}

function report(path, { faults, unchecked, notes }, failed, { strict }) {
  const list = (title, rows) => {
    if (rows.length === 0) return;
    print(title);
    const width = Math.max(...rows.map(([first]) => first.length));
    for (const [first, second] of rows) print(`  ${first.padEnd(width)}  ${second}`.trimEnd());
  };
  list(paint("red", `${path}: ${faults.length} ${faults.length === 1 ? "fault" : "faults"}`), faults.map(({ path, problem }) => [path, problem]));
  list(paint("yellow", "not checked: these secrets aren't known here"), unchecked.map(({ path, secret }) => [secret ?? "(its name isn't shown)", path]));
  list(paint("yellow", "worth a look"), notes.map(({ path, problem }) => [path, problem]));
  if (faults.length > 0) return;
  print(failed && strict ? paint("red", `${path}: no faults, and not all is checked and in order, as --strict wants it`) : paint("green", `${path}: no faults`));
}
