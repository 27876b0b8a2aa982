// The package's types: they are what the schemas say, they fit what runs, and a reader's compiler takes them, under each way of resolving modules.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import typescript from "typescript";
import { MESSAGES } from "../../pkg/src/messages.js";
import * as rxgate from "../../pkg/src/node.js";
import { ROOT, examples, workshop } from "./workshop.mjs";

const TYPES = join(ROOT, "pkg/types");
const TSC = join(ROOT, "node_modules/typescript/bin/tsc");
const USAGE = join(ROOT, "tests/package/usage.ts");
// What Deno declares, as far as the example uses it.
const DENO = "declare const Deno: { env: { get(name: string): string | undefined }; serve(options: { port: number }, handler: (request: Request) => Promise<Response>): unknown };\n";
const RESOLUTIONS = {
  nodenext: { module: "nodenext", moduleResolution: "nodenext" },
  node16: { module: "node16", moduleResolution: "node16" },
  bundler: { module: "esnext", moduleResolution: "bundler" },
};

const run = (...words) => spawnSync(process.execPath, words, { cwd: ROOT, encoding: "utf8" });

/// What tsc says of the files of a folder: nothing, if all is well.
function compiled(folder, files, options) {
  const compilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: "es2022",
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noPropertyAccessFromIndexSignature: false,
    allowJs: true,
    checkJs: true,
    types: ["node"],
    ...options,
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  return run(TSC, "--project", folder).stdout;
}

test("what is committed is what would be generated", () => {
  const { status, stderr } = run("scripts/types.mjs", "--check");
  assert.equal(stderr, "");
  assert.equal(status, 0);
});

for (const [name, resolution] of Object.entries(RESOLUTIONS)) {
  test(`the whole API and every example compile, and what mustn't doesn't: ${name}`, (context) => {
    const folder = workshop(context, [...examples(), USAGE]);
    writeFileSync(join(folder, "deno.d.ts"), DENO);
    const files = readdirSync(folder).filter((file) => /\.(mjs|ts)$/.test(file));
    assert.equal(files.length, 9);
    assert.equal(compiled(folder, files, resolution), "");
  });
}

test("nothing is asked of a compiler that knows neither a browser nor Node", (context) => {
  const folder = workshop(context, [USAGE]);
  // Here the package's declarations are checked as well.
  const bare = { ...RESOLUTIONS.nodenext, lib: ["es2022"], types: [], skipLibCheck: false };
  assert.equal(compiled(folder, ["usage.ts"], bare), "");
});

test("Fetch's, Node's, Express' and Fastify's own requests are taken", (context) => {
  const folder = workshop(context);
  writeFileSync(
    join(folder, "requests.ts"),
    `import type { IncomingMessage } from "node:http";
import type { Request as ExpressRequest } from "express";
import type { FastifyRequest } from "fastify";
import type { Context } from "hono";
import { source, verify, verifyNode, verifyRequest } from "rxgate";
import * as web from "rxgate/web";
declare const [fetched, incoming, express, fastify, c]: [Request, IncomingMessage, ExpressRequest, FastifyRequest, Context];
const from = source({ provider: "osigu", environment: "sandbox", keys: [] });
verify(from, { headers: fetched.headers, body: Buffer.from("") });
verify(from, { headers: incoming.headers, body: "" });
export const all = [verifyRequest(from, fetched), verifyRequest(from, c.req.raw), verifyNode(from, incoming), verifyNode(from, express), verifyNode(from, fastify)];
// @ts-expect-error: a Fetch request isn't Node's
verifyNode(from, fetched);
// @ts-expect-error: nor the other way round
verifyRequest(from, incoming);
export const inits = [web.init(), web.init("/rxgate.wasm"), web.init(new URL("https://a.example/")), web.init(new Uint8Array()), web.init(new Response()), web.init(new WebAssembly.Module(new Uint8Array()))];
// @ts-expect-error: no place that a module could be at
web.init(7);
web.verify(web.source({ provider: "osigu", environment: "sandbox", keys: [] }), { headers: {}, body: "" });
`,
  );
  for (const resolution of Object.values(RESOLUTIONS)) assert.equal(compiled(folder, ["requests.ts"], { ...resolution, lib: ["es2022", "dom"] }), "");
});

test("CommonJS has the same types", (context) => {
  const folder = workshop(context);
  writeFileSync(
    join(folder, "required.cts"),
    `import rxgate = require("rxgate");
import type { OsiguEvent } from "rxgate";
const from = rxgate.source({ provider: "osigu", environment: "sandbox", keys: [] });
const checked = rxgate.verify(from, { headers: {}, body: "" });
if (checked.ok) checked.event satisfies OsiguEvent;
// @ts-expect-error: whether there is one isn't known yet
checked.event;
`,
  );
  for (const name of ["nodenext", "node16"]) assert.equal(compiled(folder, ["required.cts"], RESOLUTIONS[name]), "");
});

const FIXTURES = join(ROOT, "tests/fixtures");
const SECRET = "a-secret-of-thirty-two-bytes-000";
const keys = [{ id: "first", secret: SECRET }];
const SETTINGS = {
  osigu: { provider: "osigu", environment: "sandbox", keys },
  evitalrx: { provider: "evitalrx", accept_unsigned: true, path_tokens: keys },
  "phil-callback": { provider: "phil-callback", keys },
};
const NAMES = { osigu: "OsiguEvent", evitalrx: "EvitalrxEvent", "phil-callback": "PhilEvent" };

/// The requests among the fixtures, and what is expected of each: [{ provider, body, path, expected }].
function fixtures() {
  return Object.keys(SETTINGS).flatMap((provider) => {
    const folders = readdirSync(join(FIXTURES, provider)).filter((name) => existsSync(join(FIXTURES, provider, name, "event.json")));
    assert.ok(folders.length >= 5, provider);
    return folders.map((name) => {
      const read = (file) => readFileSync(join(FIXTURES, provider, name, file), "utf8");
      const expected = read("event.json");
      const { type, rxeventtype } = JSON.parse(expected);
      return { provider, body: read("body.json"), path: type === "rx.unknown" ? SECRET : `${SECRET}/${rxeventtype}`, expected };
    });
  });
}

/// A line for the compiler: a value that stands there word by word, and has no field that its type doesn't know.
const satisfied = (lines) => lines.map(([json, type]) => `void (${json} satisfies ${type});`).join("\n");

function fits(context, lines) {
  const folder = workshop(context);
  const imports = "ConfiguredEvent, EvitalrxEvent, Explanation, OsiguEvent, PhilEvent, Redacted, Refusal, RxEvent, UnmappedEvent";
  writeFileSync(join(folder, "seen.ts"), `import type { ${imports} } from "rxgate";\n${satisfied(lines)}\n`);
  assert.equal(compiled(folder, ["seen.ts"], { ...RESOLUTIONS.nodenext, types: [] }), "");
}

test("every event of the fixtures is of its sender's type, as the gateway has it and as the package does, whatever phi is", (context) => {
  const lines = [];
  const seen = new Set();
  for (const { provider, body, path, expected } of fixtures()) {
    const name = NAMES[provider];
    lines.push([expected, name], [expected, "RxEvent"]);
    const given = (phi) => {
      const checked = rxgate.normalise(rxgate.source({ ...SETTINGS[provider], ...phi }), { body, path });
      assert.equal(checked.ok, true, JSON.stringify(checked));
      return checked;
    };
    lines.push([given({}).json, name]);
    seen.add(given({}).event.type);
    const phi_key = { secret: "another-secret-of-thirty-two-bytes" };
    for (const phi of [{ phi: "drop" }, { phi: "pseudonym", phi_key }, { phi: { contact: "drop", identifier: "pseudonym" }, phi_key }]) lines.push([given(phi).json, `Redacted<${name}>`]);
  }
  fits(context, lines);
  const rest = rxgate.eventTypes().filter(({ type }) => !seen.has(type));
  assert.deepEqual(
    rest.map(({ type }) => type),
    ["rx.transfer.callback_missing"],
  );
});

test("every event of a sender that is configured is a ConfiguredEvent, or unknown", (context) => {
  const lines = [];
  const stripe = { provider: "configured", preset: "stripe", keys, event: { subject: "/object" }, types: { "charge.succeeded": "rx.charge.succeeded" } };
  for (const phi of [{}, { phi: "drop" }]) {
    const wrap = (name) => (phi.phi ? `Redacted<${name}>` : name);
    const given = (type) => rxgate.normalise(rxgate.source({ ...stripe, ...phi }), JSON.stringify({ id: "evt_1", type, created: 1, object: "charge/ch_1" })).json;
    assert.match(given("charge.succeeded"), /"type":"rx.charge.succeeded"/);
    lines.push([given("charge.succeeded"), wrap("ConfiguredEvent")], [given("charge.failed"), wrap("UnmappedEvent")]);
  }
  fits(context, lines);
});

test("every refusal is one by its type, with all of its facts and no other", async (context) => {
  const now = 1_795_000_000_000;
  const osigu = rxgate.source({ ...SETTINGS.osigu, provider_slug: "another" });
  const expired = rxgate.source({ ...SETTINGS.osigu, keys: [{ ...keys[0], not_after: "2020-01-01T00:00:00Z" }] });
  const closed = rxgate.source({ ...SETTINGS.evitalrx, addresses: ["203.0.113.7"] });
  const orders = rxgate.source(SETTINGS.evitalrx);
  const slack = rxgate.source({ provider: "configured", preset: "slack", keys });
  const body = readFileSync(join(FIXTURES, "osigu/dispensing_completed/body.json"), "utf8");
  const order = JSON.parse(readFileSync(join(FIXTURES, "evitalrx/order-accepted/body.json"), "utf8"));
  const without = (changes) => JSON.stringify({ ...JSON.parse(body), ...changes });
  const signed = (from, text, at = now) => ({ ...rxgate.sign(from, { body: text, now: at }), body: text });
  const verified = (from, request) => rxgate.verify(from, { headers: {}, body, ...request }, { now });
  const production = rxgate.source({ ...SETTINGS.osigu, environment: "production" });
  const refusals = [
    verified(osigu, {}),
    verified(osigu, { headers: { "x-osigu-signature": "?" } }),
    verified(osigu, { ...signed(osigu, body), body: without({ data: {} }) }),
    verified(osigu, signed(osigu, body, now - 400_000)),
    verified(closed, { path: SECRET, address: "203.0.113.8" }),
    verified(orders, { path: "another" }),
    verified(expired, signed(osigu, body)),
    verified(osigu, { body: "x".repeat(300_000) }),
    verified(osigu, { body: "x".repeat(2_000_000) }),
    ...["[]", '{"a":1,"a":2}', `${'{"a":'.repeat(200)}1${"}".repeat(200)}`].map((text) => verified(osigu, signed(osigu, text))),
    verified(osigu, signed(osigu, new Uint8Array([123, 255, 125]))),
    verified(osigu, signed(osigu, without({ event_id: undefined }))),
    verified(osigu, signed(osigu, without({ data: {} }))),
    verified(production, signed(production, body)),
    verified(osigu, signed(osigu, body)),
    verified(slack, signed(slack, '{"type":"url_verification","challenge":"abc"}')),
    verified(orders, { path: `${SECRET}/order-accepted`, body: JSON.stringify({ ...order, transaction_nature: "", order_status: "shipped" }) }),
    rxgate.normalise(osigu, "[]"),
    await rxgate.verifyNode(osigu, { method: "POST", url: "/", headers: {}, async *[Symbol.asyncIterator]() { throw Object.assign(new Error("aborted"), { code: "ECONNRESET" }); } }),
    rxgate.verify(rxgate.source(SETTINGS["phil-callback"]), { headers: { authorization: SECRET }, body: "{}" }),
  ];
  assert.deepEqual(
    refusals.filter(({ ok }) => ok),
    [],
  );
  const seen = new Set(refusals.map(({ code }) => code));
  assert.deepEqual(
    Object.keys(MESSAGES).filter((code) => !seen.has(code)),
    ["internal_error"],
  );
  const explained = [
    rxgate.explain(osigu, { headers: {}, body }, { now }),
    rxgate.explain(osigu, { ...signed(osigu, body), body: "{}" }, { now }),
    rxgate.explain(osigu, { ...signed(osigu, '{\n  "a": 1\n}'), body: '{"a":1}' }, { now }),
    rxgate.explain(expired, { ...signed(osigu, body), body }, { now }),
  ];
  assert.deepEqual(
    explained.map(({ hint }) => hint),
    [undefined, "key_or_body", "body_changed", "key_expired"],
  );
  fits(context, [...refusals.map((refusal) => [JSON.stringify(refusal), "Refusal"]), ...explained.map((explanation) => [JSON.stringify(explanation), "Explanation"])]);
});

/// The program of the package's declarations, and what `index.d.ts` exports.
function exported() {
  const file = join(TYPES, "index.d.ts");
  const program = typescript.createProgram([file], { module: typescript.ModuleKind.NodeNext, moduleResolution: typescript.ModuleResolutionKind.NodeNext, strict: true });
  const checker = program.getTypeChecker();
  const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)));
  const typeOf = (name) => checker.getDeclaredTypeOfSymbol(symbols.find((symbol) => symbol.name === name));
  const literals = (name) => {
    const type = typeOf(name);
    return (type.isUnion() ? type.types : [type]).map(({ value }) => value).sort();
  };
  return { checker, symbols, literals };
}

test("the types know each code, event type, preset and kind of sender that there is, and no other", () => {
  const { literals } = exported();
  assert.deepEqual(literals("RefusalCode"), Object.keys(MESSAGES).sort());
  const types = rxgate.eventTypes().map(({ type }) => type);
  assert.ok(types.includes("rx.transfer.callback_missing"));
  assert.deepEqual(literals("EventType"), [...new Set([...types, "rx.unknown"])].sort());
  assert.deepEqual(literals("Preset"), rxgate.presets().sort());
  assert.deepEqual(literals("Provider"), rxgate.providers().sort());
});

test("the types declare what the package exports, and nothing besides", () => {
  const { symbols, checker } = exported();
  const isValue = (symbol) => ((symbol.flags & typescript.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol).flags & typescript.SymbolFlags.Value) !== 0;
  assert.deepEqual(
    symbols
      .filter(isValue)
      .map(({ name }) => name)
      .sort(),
    Object.keys(rxgate).sort(),
  );
});

test("everything that is exported says what it is", () => {
  const { symbols, checker } = exported();
  const silent = symbols.filter((symbol) => (symbol.flags & typescript.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol).getDocumentationComment(checker).length === 0);
  assert.deepEqual(
    silent.map(({ name }) => name),
    [],
  );
});

test("nowhere in the types stands any", () => {
  const found = [];
  for (const name of readdirSync(TYPES)) {
    const file = typescript.createSourceFile(name, readFileSync(join(TYPES, name), "utf8"), typescript.ScriptTarget.Latest, true);
    const visit = (node) => {
      if (node.kind === typescript.SyntaxKind.AnyKeyword) found.push(`${name}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1}`);
      typescript.forEachChild(node, visit);
    };
    visit(file);
  }
  assert.deepEqual(found, []);
  assert.deepEqual(readdirSync(TYPES).sort(), ["events.d.cts", "events.d.ts", "index.d.cts", "index.d.ts", "web.d.ts"]);
});
