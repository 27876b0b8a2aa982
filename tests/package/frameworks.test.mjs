// The examples of the package, each in its real framework: what a signed, a tampered, a resent, an unreadable and a parsed body come to.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import typescript from "typescript";
import { PARSED_BODY } from "../../pkg/src/api.js";
import { ROOT, examples, workshop } from "./workshop.mjs";

const KEY = "a-signing-secret-of-the-sandbox";
const PATH = "/hooks/osigu";
const BODY = readFileSync(join(ROOT, "tests/fixtures/osigu/dispensing_completed/body.json"), "utf8");
const STARTS_WITHIN_MS = 20_000;

/// The header, by Node's crypto: independent of the core that checks it.
function signed(body, at = Math.floor(Date.now() / 1000)) {
  const tag = createHmac("sha256", KEY).update(`${at}.`).update(body).digest("hex");
  return { "content-type": "application/json", "x-osigu-signature": `t=${at},v1=${tag}` };
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/// Starts an example as its reader does, and waits until it answers: { post, log }.
async function started(context, folder, name) {
  const port = await freePort();
  const env = { ...process.env, NODE_ENV: "", OSIGU_KEY: KEY, PORT: String(port) };
  delete env.NODE_TEST_CONTEXT;
  const child = spawn(process.execPath, [name], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  context.after(() => child.kill());
  const output = { text: "" };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (chunk) => (output.text += chunk));
  // Fastify and others may listen on one family only.
  const url = `http://localhost:${port}${PATH}`;
  const post = async (body, headers) => {
    const response = await fetch(url, { method: "POST", body, headers });
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() };
  };
  const until = Date.now() + STARTS_WITHIN_MS;
  for (;;) {
    assert.equal(child.exitCode, null, `${name} ended: ${output.text}`);
    try {
      await fetch(url);
      break;
    } catch {
      assert.ok(Date.now() < until, `${name} doesn't answer: ${output.text}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  return { post, log: () => output.text };
}

/// A handler of Fetch's, called as a framework calls it: { post, log }.
function called(context, handle) {
  const lines = [];
  context.mock.method(console, "log", (line) => lines.push(line));
  const post = async (body, headers) => {
    const response = await handle(new Request(`https://hooks.clinic.example${PATH}`, { method: "POST", body, headers }));
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() };
  };
  return { post, log: () => lines.join("\n") };
}

/// Another process' output may come after its answer.
async function eventually(check) {
  const until = Date.now() + 5_000;
  while (!check() && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
}

/// What every example has to do.
async function holds({ post, log }) {
  const news = () => log().match(/^new: .*$/gm) ?? [];
  const told = async (expected) => {
    await eventually(() => news().length >= expected.length);
    assert.deepEqual(news(), expected, log());
  };
  const received = { status: 200, text: '{"code":"received"}' };
  const exactly = async (body, headers, expected) => {
    const { type, ...answer } = await post(body, headers);
    assert.deepEqual(answer, expected);
    assert.match(type, /^application\/json/);
  };

  await exactly(BODY.replace("375.00", "975.00"), signed(BODY), { status: 401, text: '{"code":"signature_mismatch"}' });
  await exactly(BODY, { "content-type": "application/json" }, { status: 401, text: '{"code":"signature_missing"}' });
  await exactly(BODY, signed(BODY, Math.floor(Date.now() / 1000) - 400), { status: 401, text: '{"code":"timestamp_out_of_tolerance"}' });
  await told([]);

  await exactly(BODY, signed(BODY), received);
  await told(["new: rx.dispense.completed"]);
  // Signed anew, as a sender's retry is.
  await exactly(BODY, signed(BODY, Math.floor(Date.now() / 1000) - 5), received);
  await told(["new: rx.dispense.completed"]);
  const another = BODY.replace(JSON.parse(BODY).event_id, "evt_another");
  await exactly(another, signed(another), received);
  await told(["new: rx.dispense.completed", "new: rx.dispense.completed"]);

  // Osigu's, and no event: kept, so 200.
  await exactly("[]", signed("[]"), { status: 200, text: '{"code":"body_malformed"}' });
  const incomplete = JSON.stringify({ ...JSON.parse(BODY), data: {} });
  await exactly(incomplete, signed(incomplete), { status: 200, text: '{"code":"event_invalid"}' });
  // Text in other alphabets: the bytes that were signed, not those of another encoding.
  const foreign = BODY.replace(JSON.parse(BODY).event_id, "evt_Ñandú–日本");
  await exactly(foreign, signed(foreign), received);
  await told(Array(3).fill("new: rx.dispense.completed"));
  const large = `{"pad":"${"x".repeat(300_000)}"}`;
  await exactly(large, signed(large), { status: 413, text: '{"code":"body_too_large"}' });
}

/// Changes an example by its own words, which have to be there.
function changed(folder, name, ...changes) {
  let text = readFileSync(join(folder, name), "utf8");
  for (const [from, to] of changes) {
    assert.ok(text.includes(from), `${name} has no ${from}`);
    text = text.replace(from, to);
  }
  writeFileSync(join(folder, `changed-${name}`), text);
  return `changed-${name}`;
}

/// JavaScript of an example in TypeScript.
async function compiled(folder, name) {
  const source = readFileSync(join(folder, name), "utf8");
  const options = { module: typescript.ModuleKind.ESNext, target: typescript.ScriptTarget.ES2022 };
  const { outputText } = typescript.transpileModule(source, { compilerOptions: options });
  const to = join(folder, name.replace(".ts", ".mjs"));
  writeFileSync(to, outputText);
  return import(pathToFileURL(to));
}

for (const name of ["express.mjs", "fastify.mjs", "node-http.mjs"]) {
  test(`${name} takes each event once, and refuses what isn't Osigu's`, async (context) => {
    await holds(await started(context, workshop(context, examples()), name));
  });
}

test("express.json() in front of the route is told of in so many words, and the event isn't acknowledged", async (context) => {
  const folder = workshop(context, examples());
  const name = changed(folder, "express.mjs", ["const app = express();", "const app = express();\napp.use(express.json());"]);
  const { post, log } = await started(context, folder, name);
  const { status } = await post(BODY, signed(BODY));
  assert.equal(status, 500);
  const sentence = `TypeError: ${PARSED_BODY}`;
  await eventually(() => log().includes(sentence));
  assert.ok(log().includes(sentence), log());
});

test("a Fastify that parses the body is told of it in so many words, and the event isn't acknowledged", async (context) => {
  const folder = workshop(context, examples());
  const parser = 'hooks.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));';
  const name = changed(folder, "fastify.mjs", ["hooks.removeAllContentTypeParsers();", ""], [parser, ""]);
  const { post } = await started(context, folder, name);
  const { status, text } = await post(BODY, signed(BODY));
  assert.equal(status, 500);
  assert.equal(JSON.parse(text).message, PARSED_BODY);
});

test("fastify.mjs leaves other routes their parser", async (context) => {
  const folder = workshop(context, examples());
  const name = changed(folder, "fastify.mjs", ["await app.listen", 'app.post("/other", async (request) => ({ seen: request.body.seen }));\n\nawait app.listen'], ['"/hooks/osigu"', '"/elsewhere"'], ['"/other"', '"/hooks/osigu"']);
  const { post } = await started(context, folder, name);
  const { text } = await post('{"seen":7}', { "content-type": "application/json" });
  assert.equal(text, '{"seen":7}');
});

test("hono.mjs takes each event once, and refuses what isn't Osigu's", async (context) => {
  context.after(() => delete process.env.OSIGU_KEY);
  process.env.OSIGU_KEY = KEY;
  const folder = workshop(context, examples());
  const { default: app } = await import(pathToFileURL(join(folder, "hono.mjs")));
  await holds(called(context, (request) => app.fetch(request)));
});

test("next-route.ts takes each event once, and refuses what isn't Osigu's", async (context) => {
  context.after(() => delete process.env.OSIGU_KEY);
  process.env.OSIGU_KEY = KEY;
  const { POST } = await compiled(workshop(context, examples()), "next-route.ts");
  await holds(called(context, POST));
});

test("deno.ts takes each event once, and refuses what isn't Osigu's", async (context) => {
  let handler;
  context.after(() => delete globalThis.Deno);
  globalThis.Deno = { env: { get: (name) => ({ OSIGU_KEY: KEY })[name] }, serve: (_options, given) => (handler = given) };
  await compiled(workshop(context, examples()), "deno.ts");
  await holds(called(context, handler));
});

/// D1 as far as the example calls it, on SQLite.
function database() {
  const sqlite = new DatabaseSync(":memory:");
  const prepare = (sql) => ({ bind: (...values) => ({ run: async () => ({ meta: { changes: Number(sqlite.prepare(sql).run(...values).changes) } }) }) });
  return { sqlite, prepare };
}

test("worker.mjs takes each event once, keeps what it takes, and refuses what isn't Osigu's", async (context) => {
  const folder = workshop(context, examples());
  const text = readFileSync(join(folder, "worker.mjs"), "utf8");
  const { default: worker } = await import(pathToFileURL(join(folder, "worker.mjs")));
  const DB = database();
  DB.sqlite.exec(/--command "([^"]+)"/.exec(text)[1]);
  await holds(called(context, (request) => worker.fetch(request, { OSIGU_KEY: KEY, DB })));
  const events = DB.sqlite.prepare("SELECT event FROM events").all();
  assert.deepEqual(
    events.map(({ event }) => JSON.parse(event).type),
    ["rx.dispense.completed", "rx.dispense.completed", "rx.dispense.completed"],
  );
  const unreadable = DB.sqlite.prepare("SELECT code, body FROM unreadable").all();
  assert.deepEqual(
    unreadable.map(({ code }) => code),
    ["body_malformed", "event_invalid"],
  );
  assert.equal(new TextDecoder().decode(unreadable[0].body), "[]");
});
