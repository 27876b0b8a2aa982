// The installed package in a browser: bundled by Vite and by esbuild, and without a bundler. The pages are served under a policy that forbids eval but for wasm.
//
// RXGATE_NO_BROWSER=1 leaves these tests out.

import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { allHeld, given, project, run, start, temporary, versions } from "./pack.mjs";

const VITE = `vite@${versions.VITE_VERSION}`;
const skip = process.env.RXGATE_NO_BROWSER === "1" && "RXGATE_NO_BROWSER is set";

function chromium() {
  const places = [process.env.CHROMIUM, ...["chromium", "chromium-browser", "google-chrome", "chrome"].flatMap((name) => process.env.PATH.split(":").map((folder) => join(folder, name)))];
  const found = places.find((place) => place && existsSync(place));
  assert.ok(found, "no Chromium was found: install it (Debian: apt-get install chromium), or name it in CHROMIUM, or leave these tests out with RXGATE_NO_BROWSER=1");
  return found;
}

// Of a wasm file, servers often don't know the type. The package doesn't ask for it.
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript" };
const POLICY = "default-src 'none'; script-src 'self' 'nonce-page' 'wasm-unsafe-eval'; connect-src 'self'";

/// Answers what a page asks for besides its files, and promises what the page reports: { held, failed, agent }.
function desk() {
  let report;
  const reported = new Promise((resolve) => (report = resolve));
  const answers = async (request, response) => {
    if (request.url === "/given") return response.end(JSON.stringify(given())) && true;
    if (request.url !== "/report") return false;
    let text = "";
    for await (const chunk of request) text += chunk;
    response.end();
    report(JSON.parse(text));
    return true;
  };
  return { reported, answers };
}

/// Serves a folder, opens its page, and waits for what the page reports, with the files that it fetched.
async function page(context, folder, { policy = POLICY } = {}) {
  const fetched = [];
  const { reported, answers } = desk();
  const server = createServer(async (request, response) => {
    if (await answers(request, response)) return;
    const { pathname } = new URL(request.url, "http://localhost");
    const file = join(folder, pathname === "/" ? "index.html" : pathname);
    if (!existsSync(file)) return response.writeHead(404).end();
    fetched.push(pathname);
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "content-security-policy": policy }).end(readFileSync(file));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close().closeAllConnections());
  return { ...(await open(context, `http://127.0.0.1:${server.address().port}/`, reported)), fetched };
}

async function open(context, url, reported, { within = 45_000 } = {}) {
  const profile = temporary();
  const flags = ["headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"];
  // HOME: what it keeps besides the profile goes there too.
  const browser = start(chromium(), [...flags.map((flag) => `--${flag}`), "--enable-logging=stderr", `--user-data-dir=${profile}`, url], { env: { HOME: profile } });
  context.after(browser.stop);
  const late = new Promise((resolve) => setTimeout(resolve, within, "late").unref());
  const told = await Promise.race([reported, late, browser.exited.then(() => "ended")]);
  const said = () => browser.output().split("\n").filter((line) => !/dbus|vaapi|sandbox/i.test(line)).join("\n");
  if (typeof told === "string") throw new Error(`the page reported nothing (${told}):\n${said()}`);
  await browser.stop();
  assert.match(told.agent, /Chrome\//);
  return told;
}

// Sends the check's result to the server, or what went wrong before it.
const REPORTING = `
async function report(load) {
  let result;
  try {
    const { check } = await import("./check.mjs");
    result = await check(await load(), await (await fetch("/given")).json());
  } catch (fault) {
    result = { held: [], failed: [String(fault?.stack ?? fault)] };
  }
  await fetch("/report", { method: "POST", body: JSON.stringify({ ...result, agent: navigator.userAgent }) });
}
`;

// Names, not the namespace: a bundler that takes the package's files to be without side effects would drop the module.
const MAIN = `
import { ConfigurationError, resolve, sign, source, verify, verifyRequest } from "rxgate";
import { report } from "./report.mjs";
await report(() => ({ ConfigurationError, resolve, sign, source, verify, verifyRequest }));
`;
// What fails before the check is reported as well.
const HEAD = `<!doctype html><title>rxgate</title>
<script nonce="page">
addEventListener("error", ({ message }) => fetch("/report", { method: "POST", body: JSON.stringify({ held: [], failed: [message], agent: navigator.userAgent }) }));
</script>
`;
const INDEX = `${HEAD}<script type="module" src="./main.mjs"></script>\n`;
const REPORT = `${REPORTING}export { report };\n`;

const wasm = (fetched) => fetched.filter((path) => path.endsWith(".wasm")).length;

test("Vite builds a page with the package, by its defaults", { skip }, async (context) => {
  const folder = await project({ files: { "index.html": INDEX, "main.mjs": MAIN, "report.mjs": REPORT }, more: [VITE] });
  await run("npx", ["--no-install", "vite", "build"], { cwd: folder });
  const { held, failed, fetched } = await page(context, join(folder, "dist"));
  allHeld({ held, failed });
  assert.equal(wasm(fetched), 1, fetched.join());
});

test("Vite serves a page with the package while it is developed", { skip }, async (context) => {
  const folder = await project({ files: { "index.html": INDEX, "main.mjs": MAIN, "report.mjs": REPORT }, more: [VITE] });
  const { createServer } = await import(pathToFileURL(join(folder, "node_modules/vite/dist/node/index.js")));
  const { reported, answers } = desk();
  const door = { name: "desk", configureServer: ({ middlewares }) => void middlewares.use(async (request, response, next) => (await answers(request, response)) || next()) };
  const server = await createServer({ root: folder, configFile: false, logLevel: "silent", server: { host: "127.0.0.1", port: 0 }, plugins: [door] });
  context.after(() => server.close());
  await server.listen();
  const { held, failed } = await open(context, server.resolvedUrls.local[0], reported);
  allHeld({ held, failed });
});

test("a page without a bundler imports rxgate/web", { skip }, async (context) => {
  const files = {
    "index.html": `${HEAD}<script type="importmap" nonce="page">{ "imports": { "rxgate/web": "./node_modules/rxgate/src/web.js" } }</script>
<script type="module" nonce="page">
import * as rx from "rxgate/web";
import { report } from "./report.mjs";
await report(async () => {
  await rx.init();
  return rx;
});
</script>
`,
    "report.mjs": REPORT,
  };
  const { held, failed, fetched } = await page(context, await project({ files }));
  allHeld({ held, failed });
  assert.equal(wasm(fetched), 1, fetched.join());
});

test("a page whose policy forbids wasm is told so", { skip }, async (context) => {
  const main = `import { report } from "./report.mjs"; await report(() => import("./node_modules/rxgate/src/bundler.js"));\n`;
  const { held, failed } = await page(context, await project({ files: { "index.html": INDEX, "main.mjs": main, "report.mjs": REPORT } }), { policy: "script-src 'self'" });
  assert.deepEqual(held, []);
  assert.match(failed[0], /CompileError.*Content Security policy/i);
});

const WITH_BYTES = `
import * as rx from "rxgate/web";
import bytes from "rxgate/rxgate.wasm";
import { report } from "./report.mjs";
report(async () => {
  await rx.init(bytes);
  return rx;
});
`;

for (const [format, type] of [["esm", "module"], ["iife", "text/javascript"]]) {
  test(`esbuild bundles rxgate/web with its bytes into one file: ${format}`, { skip }, async (context) => {
    const folder = await project({ files: { "main.mjs": WITH_BYTES, "report.mjs": REPORT, "dist/index.html": `${HEAD}<script type="${type}" src="./main.js"></script>\n` } });
    const { warnings } = await build({ absWorkingDir: folder, entryPoints: ["main.mjs"], bundle: true, format, platform: "browser", loader: { ".wasm": "binary" }, outdir: "dist", logLevel: "silent" });
    assert.deepEqual(warnings, []);
    const { held, failed, fetched } = await page(context, join(folder, "dist"));
    allHeld({ held, failed });
    assert.equal(wasm(fetched), 0, fetched.join());
  });
}

test("esbuild bundles rxgate/web with the wasm as a file beside it", { skip }, async (context) => {
  const main = WITH_BYTES.replace("import bytes", "import path").replace("rx.init(bytes)", "rx.init(new URL(path, import.meta.url))");
  const folder = await project({ files: { "main.mjs": main, "report.mjs": REPORT, "dist/index.html": `${HEAD}<script type="module" src="./main.js"></script>\n` } });
  await build({ absWorkingDir: folder, entryPoints: ["main.mjs"], bundle: true, format: "esm", platform: "browser", loader: { ".wasm": "file" }, outdir: "dist", logLevel: "silent" });
  const { held, failed, fetched } = await page(context, join(folder, "dist"));
  allHeld({ held, failed });
  assert.equal(wasm(fetched), 1, fetched.join());
});

// esbuild leaves `new URL("…", import.meta.url)` as it is: the wasm is looked for where the bundle is served.
test("esbuild's bundle of rxgate itself finds the wasm only where it is put by hand", { skip }, async (context) => {
  const main = `import { report } from "./report.mjs"; report(() => import("rxgate"));\n`;
  const folder = await project({ files: { "main.mjs": main, "report.mjs": REPORT, "dist/index.html": `${HEAD}<script type="module" src="./main.js"></script>\n` } });
  await build({ absWorkingDir: folder, entryPoints: ["main.mjs"], bundle: true, format: "esm", platform: "browser", outdir: "dist", logLevel: "silent" });
  const without = await page(context, join(folder, "dist"));
  assert.deepEqual(without.held, []);
  assert.match(without.failed[0], /^Error: rxgate: the wasm module can't be fetched: 404/);

  mkdirSync(join(folder, "dist/wasm"));
  copyFileSync(join(folder, "node_modules/rxgate/wasm/rxgate.wasm"), join(folder, "dist/wasm/rxgate.wasm"));
  const { held, failed } = await page(context, join(folder, "dist"));
  allHeld({ held, failed });
});
