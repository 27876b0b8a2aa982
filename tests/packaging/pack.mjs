// The npm package as users get it: packed, installed into a project of its own, and run there.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { Webhook } from "standardwebhooks";
import { ALL } from "./check.mjs";

export const ROOT = join(import.meta.dirname, "../..");
export const PACKAGE = join(ROOT, "pkg");

/// Versions that scripts/versions has for the shell.
export const versions = Object.fromEntries([...readFileSync(join(ROOT, "scripts/versions"), "utf8").matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name, value]) => [name, value]));

const started = new Set();
const folders = new Set();
process.on("exit", () => {
  for (const child of started) child.kill("SIGKILL");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export function temporary() {
  const folder = mkdtempSync(join(tmpdir(), "rxgate-packaging-"));
  folders.add(folder);
  return folder;
}

/// Runs a program to its end; answers what it printed. What fails says all that it printed.
export async function run(command, args, { cwd, env = {}, timeout = 120_000 } = {}) {
  try {
    const { stdout } = await promisify(execFile)(command, args, { cwd, env: { ...process.env, ...env }, timeout, maxBuffer: 64 * 1024 * 1024 });
    return stdout;
  } catch (fault) {
    throw new Error(`${[command, ...args].join(" ")} ended with ${fault.code ?? fault.signal}:\n${fault.stdout ?? ""}\n${fault.stderr ?? fault.message}`);
  }
}

/// Starts a program that serves. It ends with this process, or by `stop()`.
export function start(command, args, { cwd, env = {} } = {}) {
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  started.add(child);
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  const exited = new Promise((resolve) => child.once("exit", resolve).once("error", (fault) => resolve((output += fault.message))));
  exited.then(() => started.delete(child));
  return {
    exited,
    output: () => output,
    stop: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

let packed;

/// Packs pkg/ once for a test file: { file, bytes, names }.
export function pack() {
  packed ??= (async () => {
    for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) copyFileSync(join(ROOT, name), join(PACKAGE, name));
    const folder = temporary();
    const [{ filename, size, files }] = JSON.parse(await run("npm", ["pack", "--json", "--pack-destination", folder], { cwd: PACKAGE }));
    return { file: join(folder, filename), bytes: size, names: files.map(({ path }) => path).sort() };
  })();
  return packed;
}

/// A project with the package installed, and `more` packages of the registry. `files`: name and text.
export async function project({ files = {}, more = [], type = "module" } = {}) {
  const { file } = await pack();
  const folder = temporary();
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "scratch", private: true, type }));
  await run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", file, ...more], { cwd: folder });
  copyFileSync(join(import.meta.dirname, "check.mjs"), join(folder, "check.mjs"));
  for (const [name, text] of Object.entries({ "given.json": JSON.stringify(given()), ...files })) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

const STANDARD_KEY = `whsec_${Buffer.from("rxgate-signing-key-for-tests-001").toString("base64")}`;
const OSIGU_KEY = "osigu-key-for-tests-0123456789abcdef";

/// An Osigu request, signed now or some seconds ago, by Node's HMAC.
export function osiguRequest(body, seconds) {
  const signature = createHmac("sha256", OSIGU_KEY).update(`${seconds}.${body}`).digest("hex");
  return { method: "POST", headers: { "Content-Type": "application/json", "X-Osigu-Signature": `t=${seconds},v1=${signature}` }, body };
}

export const OSIGU_SOURCE = { provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: OSIGU_KEY }] };

/// What `check` is given: requests signed now by Node and by the Standard Webhooks library.
export function given() {
  const seconds = Math.floor(Date.now() / 1000);
  const body = readFileSync(join(ROOT, "tests/fixtures/osigu/authorization_created/body.json"), "utf8");
  // Long enough for the host's HMAC, where there is one.
  const long = body.replace(/\}\s*$/, `,"note":"${"ö".repeat(2000)}"}`);
  const id = "msg_packaging_1";
  const order = JSON.stringify({ type: "order.shipped", timestamp: "2026-06-25T14:22:11Z", data: { order: "ord_1", price: "12.50" } });
  return {
    osigu: { seconds, source: OSIGU_SOURCE, signed: osiguRequest(body, seconds), old: osiguRequest(body, seconds - 400), long: osiguRequest(long, seconds) },
    standard: {
      source: { provider: "configured", preset: "standard-webhooks", environment: "production", keys: [{ id: "only", secret: STANDARD_KEY }] },
      signed: {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "webhook-id": id,
          "webhook-timestamp": String(seconds),
          "webhook-signature": new Webhook(STANDARD_KEY).sign(id, new Date(seconds * 1000), order),
        },
        body: order,
      },
    },
  };
}

/// All of the check held, and nothing was left out.
export function allHeld({ held, failed }) {
  assert.deepEqual(failed, []);
  assert.deepEqual(held, ALL);
}

/// A program that scripts/test-packaging installs under .tools.
export function tool(path) {
  const file = join(ROOT, ".tools", path);
  assert.ok(existsSync(file), `.tools/${path} is missing: run scripts/test-packaging, which installs what these tests need`);
  return file;
}
