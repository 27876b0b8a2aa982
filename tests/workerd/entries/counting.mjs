// The Worker with every crossing between JavaScript and wasm counted, in both directions and for each instance: `/crossings` tells, and starts again at nothing.

const instances = [];

const { Instance } = WebAssembly;

WebAssembly.Instance = class {
  constructor(module, imports) {
    const counts = { exports: {}, imports: {} };
    instances.push(counts);
    const counted = (into, name, call) => (typeof call === "function" ? (...values) => count(into, name, call, values) : call);
    const wrapped = {};
    for (const [from, those] of Object.entries(imports)) {
      wrapped[from] = mapped(those, (name, value) => counted(counts.imports, name, value));
    }
    const instance = new Instance(module, wrapped);
    // The real object of exports is frozen.
    this.exports = mapped(instance.exports, (name, value) => counted(counts.exports, name, value));
  }
};

function count(into, name, call, values) {
  // An import's name has a hash behind it.
  const [, plain = name] = /^__wbg_(\w+)_[0-9a-f]{16}$/.exec(name) ?? [];
  into[plain] = (into[plain] ?? 0) + 1;
  return call(...values);
}

const mapped = (object, by) => Object.fromEntries(Object.entries(object).map(([name, value]) => [name, by(name, value)]));

// After the patch, so not a static import.
const production = await import("../../../src/worker/entry.mjs");

export const { EntityObject } = production;

export default {
  ...production.default,
  fetch(request, env, ctx) {
    if (new URL(request.url).pathname !== "/crossings") return production.default.fetch(request, env, ctx);
    const counts = instances.map(({ exports, imports }) => ({ exports: { ...exports }, imports: { ...imports } }));
    for (const { exports, imports } of instances) for (const into of [exports, imports]) for (const name of Object.keys(into)) delete into[name];
    return Response.json(counts);
  },
};
