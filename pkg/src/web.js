// A browser without a bundler, and any other runtime: call `init` once.

import { provide } from "./api.js";
import { compile } from "./compile.js";

/** Fetches and compiles the module: from beside this file, or what is given, a URL, a Response, bytes or a module. */
export async function init(from = new URL("../wasm/rxgate.wasm", import.meta.url)) {
  provide(await compile(from));
}
export * from "./exports.js";
