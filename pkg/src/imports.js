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

/** The host's HMAC-SHA256 as imports, by `createHmac` and `createSecretKey` of what is given: node:crypto. Keys are kept under numbers from 1. Without a host, or if it fails, wasm hashes. */
export function hostOf(crypto, memory) {
  const keys = new Map();
  let last = 0;
  return {
    rxgateHostKey: (at, length) => {
      if (!crypto) return 0;
      try {
        // Made once: of bytes, each HMAC would make one of its own.
        const key = crypto.createSecretKey(memory().slice(at >>> 0, (at >>> 0) + (length >>> 0)));
        last += 1;
        keys.set(last, key);
        return last;
      } catch {
        return 0;
      }
    },
    rxgateHostForget: (key) => void keys.delete(key >>> 0),
    rxgateHostTag: (key, parts, count, tag) => {
      try {
        const bytes = memory();
        const pairs = new Uint32Array(bytes.buffer, parts >>> 0, 2 * (count >>> 0));
        const mac = crypto.createHmac("sha256", keys.get(key >>> 0));
        for (let n = 0; n < pairs.length; n += 2) mac.update(bytes.subarray(pairs[n], pairs[n] + pairs[n + 1]));
        // A text, a character for each byte: a Buffer costs the host more than copying these.
        const made = mac.digest("latin1");
        if (made.length !== 32) return 0;
        for (let n = 0; n < 32; n += 1) bytes[(tag >>> 0) + n] = made.charCodeAt(n);
        return 1;
      } catch {
        return 0;
      }
    },
  };
}
