// The Workers that are measured, each as `wrangler deploy` would upload it, in a workerd of its own, on the same bindings.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT, remove, settings, startWorkerd } from "../../tests/workerd/harness.mjs";
import { startPlatform } from "../../tests/workerd/platform.mjs";

export const NAMES = { rxgate: "rxgate", js: "JavaScript (Hono, zod, WebCrypto)", empty: "empty" };
const FOLDERS = { rxgate: "build/worker", js: "build/benches/worker", empty: "build/benches/empty" };
/// As in wrangler.toml.
const SHARDS = 16;

/// The files of an upload, the entry's first.
export function upload(name) {
  const folder = join(ROOT, FOLDERS[name]);
  const files = (ending) => readdirSync(folder).filter((file) => file.endsWith(ending));
  return [...files(".js"), ...files(".wasm")].map((file) => join(folder, file));
}

/// Starts one. `logs` keeps what it prints; else that goes nowhere, so that nobody has to read it. `platform` is that of others, or one is started.
export async function startContender(name, { originPort, logs = false, platform: given, inspector, ...more }) {
  // No rate limit for refusals: on Cloudflare it is a counter at hand, here it would be a call to another server. So both log all.
  const platform = given ?? (await startPlatform({ rateLimits: {} }));
  const [entry, ...imports] = upload(name);
  const vars = settings(originPort, { gateway: { shards: SHARDS }, ...more });
  const worker = await startWorkerd({ vars, bundle: "entry", entry, imports, platform, output: logs ? "kept" : "dropped", inspector });
  return {
    ...worker,
    name,
    platform,
    /// Milliseconds of CPU so far, in user and system.
    cpu: () => {
      const [utime, stime] = readFileSync(`/proc/${worker.pid}/stat`, "utf8").split(") ")[1].split(" ").slice(11, 13);
      return (Number(utime) + Number(stime)) * 10;
    },
    /// MiB in memory.
    resident: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${worker.pid}/status`, "utf8"))[1]) / 1024,
    stop: async () => {
      await worker.kill();
      if (!given) await platform.close();
      remove(worker.state);
    },
  };
}
