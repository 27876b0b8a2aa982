// workerd: a `.wasm` is imported as a compiled module.

import module from "../wasm/rxgate.wasm";
import { provide } from "./api.js";

provide(module);

/** Nothing is left to do here. */
export const init = async () => {};
export * from "./exports.js";
