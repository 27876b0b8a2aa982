// What the tool reads: files, secrets, times.

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { Mistake } from "./output.js";

const REASONS = { ENOENT: "there is no such file", EACCES: "it may not be read", EISDIR: "it is a folder" };

/// A file's bytes; `-` is stdin.
export function readBytes(path, what) {
  try {
    return readFileSync(path === "-" ? 0 : path);
  } catch (fault) {
    throw new Mistake(`${what}: ${path === "-" ? "stdin" : path} can't be read: ${REASONS[fault.code] ?? fault.code ?? fault.message}`);
  }
}

export const readText = (path, what) => readBytes(path, what).toString("utf8");

export function parseJson(text, what) {
  try {
    return JSON.parse(text);
  } catch (fault) {
    // Only where: the message would quote what stands there, and that may be a secret.
    const [, place] = /at (position \d+|line \d+ column \d+)/.exec(fault.message) ?? [];
    throw new Mistake(`${what}: isn't JSON${place ? `: look at ${place}` : ""}`);
  }
}

/// A secret from a variable or a file, with an id that may be shown: never from the command line, which others see.
export function readSecret({ secretEnv, secretFile }, fallback) {
  if (secretFile !== undefined) {
    const secret = readText(secretFile, "--secret-file").replace(/\r?\n$/, "");
    if (secret === "") throw new Mistake(`--secret-file: ${secretFile} is empty`);
    return { id: keyId(basename(secretFile)), secret };
  }
  if (secretEnv !== undefined) return { id: keyId(secretEnv), secret: fromEnvironment(secretEnv, "--secret-env") };
  return process.env[fallback] ? { id: keyId(fallback), secret: process.env[fallback] } : undefined;
}

const keyId = (name) => name.replaceAll(/[^\w.-]/g, "_").slice(0, 64);

export function fromEnvironment(name, option) {
  // Somebody may have put the secret itself where its name belongs: so the text isn't repeated.
  if (!/^[A-Za-z_]\w*$/.test(name)) throw new Mistake(`${option} takes the name of a variable, never the secret itself`);
  const value = process.env[name];
  if (!value) throw new Mistake(`${option}: the variable ${/^[A-Z][A-Z0-9]*_[A-Z0-9_]*$/.test(name) ? name : "of that name"} isn't set`);
  return value;
}

/// A source's settings as JSON. A `secret` that looks like a variable's name, as in wrangler.toml, is read from that variable.
export function readSource(path) {
  const settings = parseJson(readText(path, "--source"), `--source ${path}`);
  if (settings === null || typeof settings !== "object" || Array.isArray(settings)) throw new Mistake(`--source ${path}: isn't an object of settings`);
  return named(settings, "");
}

function named(value, at) {
  if (Array.isArray(value)) return value.map((item, place) => named(item, `${at}[${place}]`));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => {
      const path = at === "" ? name : `${at}.${name}`;
      if (name !== "secret" || typeof inner !== "string" || !/^[A-Z][A-Z0-9_]*$/.test(inner)) return [name, named(inner, path)];
      const secret = process.env[inner];
      if (!secret && inner.includes("_")) throw new Mistake(`--source: ${path}: the variable ${inner} isn't set`);
      return [name, secret || inner];
    }),
  );
}

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3600_000 };

/// `400s`, `-400s`, `5m`: milliseconds.
export function readDuration(text) {
  const [, number, unit = "s"] = /^([+-]?\d+)(ms|s|m|h)?$/.exec(text) ?? [];
  if (number === undefined) throw new Mistake(`"${oneWord(text)}" isn't a span of time: write 400s, -400s, 5m or 2h`);
  return Number(number) * UNITS[unit];
}

/// RFC 3339: milliseconds.
export function readInstant(text) {
  const at = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw new Mistake(`"${oneWord(text)}" isn't an instant: write 2026-06-25T14:22:11Z`);
  return at;
}

export function readCount(text, least = 1, most = 1000) {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(count >= least && count <= most)) throw new Mistake(`"${oneWord(text)}" isn't a whole number from ${least} to ${most}`);
  return count;
}

export function readUrl(text, option) {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:") throw new Mistake(`${option}: "${oneWord(text)}" isn't a URL of http or https`);
  // What stands there isn't repeated.
  if (url.username !== "" || url.password !== "") throw new Mistake(`${option}: a URL with a user name or a password isn't taken`);
  return url;
}

const oneWord = (text) => text.slice(0, 60);
