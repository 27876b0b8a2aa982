// For a browser without a bundler, and any other runtime that doesn't import a `.wasm`: `rxgate`, and an `init` that has to be called once.

export * from "./index.js";

/** `WebAssembly.Module`, where the compiler knows it. */
type WasmModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Module } } } ? Module & object : never;

/** A Fetch `Response`, whatever declares it. */
interface ResponseLike {
  readonly ok: boolean;
  readonly status: number;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/**
 * Fetches and compiles the module. Before it is done, everything else throws.
 *
 * @param from - A URL, a `Response`, the module's bytes, or the module, compiled. What stands beside this package's files if it is left out.
 * @throws Error if it can't be fetched.
 *
 * @example
 * ```ts
 * import { init, source, verify } from "rxgate/web";
 * await init("/assets/rxgate.wasm");
 * ```
 */
export declare function init(from?: string | { readonly href: string } | ResponseLike | ArrayBuffer | ArrayBufferView | WasmModule): Promise<void>;
