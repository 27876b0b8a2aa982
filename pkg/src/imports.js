// What the core in wasm imports, in the package and in the Worker: the host's HMAC, where there is one that answers at once.

/** What the module imports: of what is given, by their names in Rust. What else glue would bring is never called. */
export function importsOf(module, given) {
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    const [, known] = /^__wbg_(\w+)_[0-9a-f]+$/.exec(name) ?? [];
    imports[from] ??= {};
    imports[from][name] =
      given[known] ??
      (() => {
        throw new Error("the core calls nothing else");
      });
  }
  return imports;
}

/** The host's HMAC-SHA256 as imports: `hmac(key)` answers an object with `update(bytes)` and `digest()`. Keys are kept under numbers from 1. Without a host, or if it fails, wasm hashes. */
export function hostOf(hmac, memory) {
  const keys = new Map();
  let last = 0;
  return {
    rxgateHostKey: (at, length) => {
      if (!hmac) return 0;
      last += 1;
      keys.set(last, memory().slice(at >>> 0, (at >>> 0) + (length >>> 0)));
      return last;
    },
    rxgateHostForget: (key) => void keys.delete(key >>> 0),
    rxgateHostTag: (key, parts, count, tag) => {
      try {
        const bytes = memory();
        const pairs = new Uint32Array(bytes.buffer, parts >>> 0, 2 * (count >>> 0));
        const mac = hmac(keys.get(key >>> 0));
        for (let n = 0; n < pairs.length; n += 2) mac.update(bytes.subarray(pairs[n], pairs[n] + pairs[n + 1]));
        bytes.set(mac.digest(), tag >>> 0);
        return 1;
      } catch {
        return 0;
      }
    },
  };
}
