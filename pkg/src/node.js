// Node, ESM: the module is read and compiled at import.

import crypto from "node:crypto";
import { readFileSync } from "node:fs";
import { provide } from "./api.js";

provide(new WebAssembly.Module(readFileSync(new URL("../wasm/rxgate.wasm", import.meta.url))), crypto);

/** Nothing is left to do here. */
export const init = async () => {};
export * from "./exports.js";
