// The real Worker in real workerd, with Durable Objects on disk, against a real HTTP origin. No mock stands in for any of them.
//
// `bundle: "production"` is what `wrangler deploy` would upload, byte for byte. `bundle: "test-hooks"` is the same source with the test build of the wasm.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { randomBytes } from "node:crypto";

export const ROOT = join(import.meta.dirname, "../..");
const WORKERD = join(ROOT, "node_modules/workerd/bin/workerd");

export const KEY = "osigu-key-for-tests-0123456789abcdef";
export const NEXT_KEY = "osigu-next-key-for-tests-0123456789";
export const SIGNING_KEY = `whsec_${Buffer.from("rxgate-signing-key-for-tests-001").toString("base64")}`;
export const NEXT_SIGNING_KEY = `whsec_${Buffer.from("rxgate-signing-key-for-tests-002").toString("base64")}`;
export const SEAL_KEY = Buffer.from("rxgate-seal-key-for-the-tests-01").toString("base64");
export const ADMIN_KEY = "rxgate-operator-key-for-the-tests-0123456789";
export const SECRETS = { OSIGU_KEY: KEY, OSIGU_NEXT_KEY: NEXT_KEY, SIGNING_KEY, NEXT_SIGNING_KEY, SEAL_KEY, ADMIN_KEY };

/// A configuration with one source, `osigu`, and one destination, `local`, at `originPort`. Each argument adds to it or replaces.
export function settings(originPort, { gateway = {}, source = {}, destination = {}, more = {} } = {}) {
  return {
    RXGATE: { shards: 4, development: true, seal_keys: [{ id: "first", secret: "SEAL_KEY" }], operator_keys: [{ id: "first", secret: "ADMIN_KEY" }], ...gateway },
    SOURCE_OSIGU: { provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: "OSIGU_KEY" }], destination: "local", ...source },
    DESTINATION_LOCAL: { url: `http://127.0.0.1:${originPort}/rxgate`, keys: [{ id: "first", secret: "SIGNING_KEY" }], ...destination },
    ...more,
  };
}

export const temporary = () => mkdtempSync(join(tmpdir(), "rxgate-"));

/// Starts workerd. `state` is the folder of the Durable Objects' storage: give the same one to open it again. `otherVars` starts a second Worker with those variables on the same
/// objects, as for a while during every deploy; it is at `otherHook`. `platform`, of `startPlatform`, gives it KV, queues and rate limits: the same one after a kill has all that was in
/// them; without one all Workers of a test file share one. `bundle: "entry"` is the entry's file, and those that it `imports`. `output: "dropped"` is for a bench: nobody reads what is printed. `inspector`: a port for a debugger.
export async function startWorkerd({
  vars,
  otherVars = undefined,
  secrets = SECRETS,
  bundle = "production",
  entry = undefined,
  imports = [],
  state = temporary(),
  platform = bundle === "entry" ? undefined : "shared",
  output: printed = "kept",
  inspector = undefined,
}) {
  if (platform === "shared") platform = await sharedPlatform();
  const port = await freePort();
  const otherPort = otherVars && (await freePort());
  const doorPort = platform && (await freePort());
  const folder = temporary();
  const config = join(folder, "config.capnp");
  mkdirSync(state, { recursive: true });
  writeFileSync(config, capnp({ vars, otherVars, secrets, modules: modules(bundle, entry, imports), folder, state, port, otherPort, platform, doorPort }));
  const child = spawn(WORKERD, ["serve", "--experimental", ...(inspector ? [`--inspector-addr=127.0.0.1:${inspector}`] : []), config], { stdio: printed === "kept" ? ["ignore", "pipe", "pipe"] : "ignore" });
  let output = "";
  child.stdout?.on("data", (chunk) => (output += chunk));
  child.stderr?.on("data", (chunk) => (output += chunk));
  // It doesn't outlive a test or a bench that broke off.
  const end = () => child.kill("SIGKILL");
  process.once("exit", end);
  child.once("exit", () => process.off("exit", end));
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const url = `http://127.0.0.1:${port}`;
  const worker = {
    url,
    hook: `${url}/hooks/osigu`,
    otherHook: otherVars && `http://127.0.0.1:${otherPort}/hooks/osigu`,
    port,
    state,
    pid: child.pid,
    /// All that workerd printed: stdout and stderr.
    output: () => output,
    /// The log records so far.
    records: () => output.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line)] : [])),
    kill: async (signal = "SIGKILL") => {
      child.kill(signal);
      await exited;
      platform?.detach(doorPort);
      remove(folder);
    },
    ...(platform && {
      /// Hands messages, [{ body, id, attempts, timestamp }], to the `queue` handler: { outcome, acks: [id], retries: [{ id, delaySeconds }] }.
      queue: (name, messages) => platform.callQueue(doorPort, name, messages),
      /// Runs the `scheduled` handler: { outcome }.
      cron: (what) => platform.callCron(doorPort, what),
    }),
  };
  for (let tries = 0; tries < 200; tries += 1) {
    if (child.exitCode !== null) throw new Error(`workerd ended:\n${output}`);
    try {
      await (await fetch(`${url}/healthz`)).text();
      platform?.attach(doorPort);
      return worker;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  await worker.kill();
  throw new Error(`the Worker didn't answer:\n${output}`);
}

let shared;

/// One platform for all Workers of a test file that ask for none. It ends with the file's process.
async function sharedPlatform() {
  // Its process ends with this one: it sees to that itself.
  shared ??= import("./platform.mjs").then(({ startPlatform }) => startPlatform({ rateLimits: { FAILED_AUTHENTICATIONS: { limit: 10_000, period: 60 } } }));
  return shared;
}

/// The modules of a bundle: name in workerd and file.
function modules(bundle, entry, imports) {
  if (bundle === "entry") return [entry, ...imports].map((file) => [relative(ROOT, file), file]);
  if (bundle === "production") {
    const folder = join(ROOT, "build/worker");
    const names = readdirSync(folder).filter((name) => name.endsWith(".wasm"));
    return [["entry.js", join(folder, "entry.js")], ...names.map((name) => [name, join(folder, name)])];
  }
  const wasm = join(ROOT, "build/wasm-test-hooks");
  const files = readdirSync(wasm, { recursive: true }).filter((name) => /\.(js|wasm)$/.test(name));
  const sources = ["entry", "core", "store", "bindings"].map((name) => `src/worker/${name}.mjs`);
  return [
    ...(entry ? [[relative(ROOT, entry), entry]] : []),
    ...[...sources, "pkg/src/imports.js"].map((name) => [name, join(ROOT, name)]),
    ...files.map((name) => [`build/wasm/${name}`, join(wasm, name)]),
  ];
}

function capnp({ vars, otherVars, secrets, modules, folder, state, port, otherPort, platform, doorPort }) {
  const text = (value) => JSON.stringify(value);
  const kind = (name) => (name.endsWith(".wasm") ? "wasm" : "esModule");
  const bound = platform?.capnp(folder);
  // Embedded files are found from the configuration's own folder.
  const code = `
  compatibilityDate = "2026-10-01",
  modules = [
${modules.map(([name, file]) => `    (name = ${text(name)}, ${kind(name)} = embed ${text(relative(folder, file))}),`).join("\n")}
  ],
  globalOutbound = "internet",`;
  const bindings = (vars) => `
${Object.entries(vars).map(([name, value]) => `    (name = ${text(name)}, json = ${text(JSON.stringify(value))}),`).join("\n")}
${Object.entries(secrets).map(([name, value]) => `    (name = ${text(name)}, text = ${text(value)}),`).join("\n")}
${bound ? `    ${bound.bindings}` : ""}`;
  const other = `
const other :Workerd.Worker = (${code}
  bindings = [
    (name = "ENTITIES", durableObjectNamespace = (className = "EntityObject", serviceName = "main")),${otherVars ? bindings(otherVars) : ""}
  ],
);`;
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
${otherVars ? `    (name = "other", worker = .other),` : ""}
    (name = "internet", network = (allow = ["public", "private"])),
    (name = "state", disk = (path = ${text(state)}, writable = true)),
${bound ? `    ${bound.services}` : ""}
  ],
  sockets = [
    (name = "http", address = "127.0.0.1:${port}", http = (), service = "main"),
${otherVars ? `    (name = "other", address = "127.0.0.1:${otherPort}", http = (), service = "other"),` : ""}
${bound ? `    (name = "door", address = "127.0.0.1:${doorPort}", http = (), service = "door"),` : ""}
  ],
${bound ? `  extensions = [${bound.extensions}],` : ""}
);
const worker :Workerd.Worker = (${code}
  bindings = [
    (name = "ENTITIES", durableObjectNamespace = "EntityObject"),${bindings(vars)}
  ],
  durableObjectNamespaces = [(className = "EntityObject", uniqueKey = "rxgate-tests", enableSql = true)],
  durableObjectStorage = (localDisk = "state"),
);
${otherVars ? other : ""}
`;
}

/// A port that nobody has, nor gets before it is used: below those that the system gives out (to whoever asks for any), and never the same twice.
export async function freePort() {
  for (;;) {
    const port = nextPort;
    nextPort = nextPort < 31_999 ? nextPort + 1 : 20_000;
    const server = createServer();
    const taken = await new Promise((resolve) => server.once("error", () => resolve(true)).listen(port, "127.0.0.1", () => resolve(false)));
    if (taken) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

let nextPort = 20_000 + ((process.pid * 37) % 12_000);

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/// Waits until `holds()` is true, or resolves to it.
export async function until(holds, { within = 20_000, what = "it" } = {}) {
  const end = Date.now() + within;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`${what} didn't come about within ${within} ms`);
    await sleep(20);
  }
}

export const unique = (prefix) => `${prefix}_${randomBytes(8).toString("hex")}`;
export const readText = (path) => readFileSync(path, "utf8");
export const remove = (path) => rmSync(path, { recursive: true, force: true });
