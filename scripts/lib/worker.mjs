// The real Worker under `wrangler dev`: workerd, with local Durable Objects.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../..");

/// The secrets of wrangler.dev.toml, made on first use. They are good for nothing but this machine.
export function devSecrets() {
  const path = join(ROOT, ".dev.vars");
  const key = () => randomBytes(24).toString("hex");
  const fresh = {
    OSIGU_SANDBOX_KEY: key(),
    OSIGU_SANDBOX_KEY_NEXT: key(),
    OSIGU_PRODUCTION_KEY: key(),
    PORTAL_TOKEN: key(),
    PHIL_KEY: key(),
    EXPECTATION_KEY: key(),
    LAB_KEY: key(),
    LOCAL_SIGNING_KEY: `whsec_${randomBytes(24).toString("base64")}`,
    SEAL_KEY: randomBytes(32).toString("base64"),
    ADMIN_KEY: key(),
  };
  const lines = existsSync(path) ? readFileSync(path, "utf8").matchAll(/^(\w+)="(.*)"$/gm) : [];
  const secrets = { ...fresh, ...Object.fromEntries([...lines].map(([, name, value]) => [name, value])) };
  writeFileSync(path, Object.entries(secrets).map(([name, value]) => `${name}="${value}"\n`).join(""), { mode: 0o600 });
  return secrets;
}

/// Starts the Worker and waits until it answers.
export async function startWorker({ args = [], port, log = () => {} }) {
  mkdirSync(join(ROOT, ".rxgate"), { recursive: true });
  const wrangler = join(ROOT, "node_modules/wrangler/bin/wrangler.js");
  const inspector = ["--inspector-port", "0"];
  const child = spawn(process.execPath, [wrangler, "dev", "--local", "--port", String(port), ...inspector, ...args], {
    cwd: ROOT,
    env: { ...process.env, CI: "1", WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  const keep = (chunk) => {
    output += chunk;
    log(String(chunk));
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  const url = `http://127.0.0.1:${port}`;
  const worker = { url, output: () => output, stop: () => stop(child) };
  for (let tries = 0; tries < 600; tries += 1) {
    if (child.exitCode !== null) throw new Error(`wrangler dev ended:\n${output}`);
    try {
      await (await fetch(`${url}/healthz`)).text();
      return worker;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  await worker.stop();
  throw new Error(`the Worker didn't answer within a minute:\n${output}`);
}

async function stop(child) {
  if (child.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  try {
    process.kill(-child.pid, "SIGTERM");
    setTimeout(() => {
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {}
    }, 3000).unref();
  } catch {}
  await ended;
}
