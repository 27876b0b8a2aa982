/** A module from a URL, a Response, bytes or a module. */
export async function compile(from) {
  if (from instanceof WebAssembly.Module) return from;
  if (from instanceof ArrayBuffer || ArrayBuffer.isView(from)) return WebAssembly.compile(from);
  const response = await (from instanceof Response ? from : fetch(from));
  if (!response.ok) throw new Error(`rxgate: the wasm module can't be fetched: ${response.status} ${response.url}. Where a bundler doesn't bring it along: await init(bytes) of "rxgate/web"`);
  // Not compileStreaming: it refuses what a server doesn't call application/wasm.
  return WebAssembly.compile(await response.arrayBuffer());
}
