// Node, CommonJS: the module is read and compiled at require.

const crypto = require("node:crypto");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { provide, ...exported } = require("../dist/exports.cjs");

provide(new WebAssembly.Module(readFileSync(join(__dirname, "../wasm/rxgate.wasm"))), crypto);

/** Nothing is left to do here. */
module.exports = { ...exported, init: async () => {} };
