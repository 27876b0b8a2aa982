// Bundlers for browsers: the module is an asset beside this file, fetched and compiled before the import is done.

import { provide } from "./api.js";
import { compile } from "./compile.js";

provide(await compile(new URL("../wasm/rxgate.wasm", import.meta.url)));

/** Nothing is left to do here. */
export const init = async () => {};
export * from "./exports.js";
