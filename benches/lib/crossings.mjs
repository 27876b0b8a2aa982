// Counts what one call of the package does at the boundary of wasm: calls of exports and of imports, and bytes copied into and out of its memory. Import it before the package.
// Copies are seen by what JavaScript has for them, patched for the one call; bytes that wasm lets Node's HMAC read are not copied.

const memories = new Set();
let tally;

const { Instance } = WebAssembly;

WebAssembly.Instance = class {
  constructor(module, imports) {
    const wrapped = {};
    for (const [from, those] of Object.entries(imports)) wrapped[from] = mapped(those, "called");
    const instance = new Instance(module, wrapped);
    memories.add(instance.exports.memory);
    this.exports = mapped(instance.exports, "calls");
  }
};

const mapped = (object, what) => Object.fromEntries(Object.entries(object).map(([name, value]) => [name, typeof value === "function" ? through(value, what) : value]));

const through =
  (call, what) =>
  (...values) => {
    if (tally) tally[what] += 1;
    return call(...values);
  };

const within = (view) => view?.buffer !== undefined && [...memories].some(({ buffer }) => view.buffer === buffer);

/// Where JavaScript copies bytes: of an object, by name, what it made of the values that it was called with.
const COPIES = [
  [Uint8Array.prototype, "set", (self, [from]) => within(self) && { into: from.length }],
  [Uint8Array.prototype, "slice", (self, _, made) => within(self) && { out: made.length }],
  [TextEncoder.prototype, "encodeInto", (_, [, to], { written }) => within(to) && { into: written }],
  [TextDecoder.prototype, "decode", (_, [from]) => within(from) && { out: from.byteLength }],
  [Buffer.prototype, "copy", (self, [to], copied) => (within(to) ? { into: copied } : within(self) && { out: copied })],
  ...["utf8Write", "latin1Write", "asciiWrite"].map((name) => [Buffer.prototype, name, (self, _, written) => within(self) && { into: written }]),
  ...["utf8Slice", "latin1Slice", "asciiSlice"].map((name) => [Buffer.prototype, name, (self, [start = 0, end = self.length]) => within(self) && { out: end - start }]),
];

/// What one call does: { calls, called, into, out }.
export function counted(call) {
  tally = { calls: 0, called: 0, into: 0, out: 0 };
  const before = COPIES.map(([object, name]) => Object.getOwnPropertyDescriptor(object, name) ?? null);
  for (const [object, name, bytes] of COPIES) {
    const original = object[name];
    if (original === undefined) continue;
    object[name] = function (...values) {
      const made = original.apply(this, values);
      for (const [way, count] of Object.entries(bytes(this, values, made) || {})) tally[way] += count;
      return made;
    };
  }
  try {
    call();
    return tally;
  } finally {
    tally = undefined;
    COPIES.forEach(([object, name], place) => (before[place] ? Object.defineProperty(object, name, before[place]) : delete object[name]));
  }
}
