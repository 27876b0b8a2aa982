// The package's types: they are what the schemas say, they fit what runs, and a reader's compiler takes them, under each way of resolving modules.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
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
