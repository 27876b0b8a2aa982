// The installed package in a Worker: bundled by wrangler as for a deploy, run by workerd.

import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT, allHeld, given, project, run, start } from "./pack.mjs";

const WORKER = `
import * as rx from "rxgate";
import { check } from "./check.mjs";
const source = rx.source({ provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: "made-before-any-request-0123456789" }] });
export default {
  async fetch(request) {
    await rx.init();
    return Response.json({ ...(await check(rx, await request.json())), first: source.id, agent: navigator.userAgent });
  },
};
`;

const CONFIG = `
name = "scratch"
main = "worker.mjs"
compatibility_date = "2026-10-01"
`;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const capnp = (port, modules) => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  compatibilityDate = "2026-10-01",
  modules = [
${modules.map((name) => `    (name = ${JSON.stringify(name)}, ${name.endsWith(".wasm") ? "wasm" : "esModule"} = embed ${JSON.stringify(name)}),`).join("\n")}
  ],
);
`;

test("a Worker imports the package", async (context) => {
  const folder = await project({ files: { "worker.mjs": WORKER, "wrangler.toml": CONFIG } });
  const quiet = { CI: "1", WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false" };
  await run(process.execPath, [join(ROOT, "node_modules/wrangler/bin/wrangler.js"), "deploy", "--dry-run", "--outdir", "out"], { cwd: folder, env: quiet });

  const out = join(folder, "out");
  const names = readdirSync(out).filter((name) => /\.(js|wasm)$/.test(name));
  const wasm = names.filter((name) => name.endsWith(".wasm"));
  assert.equal(wasm.length, 1, `one wasm module, by the package's condition for workerd: ${names.join()}`);
  const port = await freePort();
  writeFileSync(join(out, "config.capnp"), capnp(port, ["worker.js", ...wasm]));
  const workerd = start(join(ROOT, "node_modules/workerd/bin/workerd"), ["serve", join(out, "config.capnp")]);
  context.after(workerd.stop);

  let answer;
  for (let tries = 0; answer === undefined; tries += 1) {
    try {
      answer = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: JSON.stringify(given()) });
    } catch (fault) {
      if (tries === 200) throw new Error(`workerd didn't answer: ${fault}\n${workerd.output()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const text = await answer.text();
  assert.equal(answer.status, 200, `${text}\n${workerd.output()}`);
  const { first, agent, ...result } = JSON.parse(text);
  assert.equal(agent, "Cloudflare-Workers");
  assert.equal(first, "osigu", "a source can be made where the module is evaluated");
  allHeld(result);
});
