// The core in wasm, as the package drives it. Numbers go in, an address comes out. All that it calls is the host's HMAC, where there is one that answers at once.

import { hostOf, importsOf } from "./imports.js";

const HEAD_BYTES = 64 * 1024;
/** One byte more than any source takes: so much of a longer body is enough to refuse it. */
export const BODY_BYTES = 1024 * 1024 + 1;
const ABSENT = "\0";
// What is wrong with a longer value is the same as with this much of it.
const MAX_VALUE_CHARS = 8 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const line = (value) => {
  if (value === undefined || value === null) return ABSENT;
  // A string, whatever was given: an array's `includes` would ask another question.
  const whole = String(value);
  const text = whole.length > MAX_VALUE_CHARS ? whole.slice(0, MAX_VALUE_CHARS) : whole;
  // A header's value has no line ends; an object that stands for headers may.
  return text.includes("\n") ? text.replaceAll("\n", " ") : text;
};

/** One wasm instance. It serves until it traps, which is a fault of ours; then its owner takes a new one. */
export class Core {
  #exports;
  #input;
  // Of the memory as it is now: a view of a part costs as much as copying a short text.
  #view;
  #heads;
  #numbers;
  trapped = false;

  constructor(module, crypto) {
    const host = hostOf(crypto, () => this.#memory());
    this.#exports = new WebAssembly.Instance(module, importsOf(module, host)).exports;
    this.#input = this.#exports.input();
  }

  /** Reads JSON; answers what the call says of it. */
  json(name, value, ...numbers) {
    const bytes = encoder.encode(JSON.stringify(value));
    if (bytes.length > HEAD_BYTES + BODY_BYTES) throw new RangeError("rxgate: larger than a configuration can be");
    this.#memory().set(bytes, this.#input);
    return this.#read(this.#call(name, bytes.length, ...numbers));
  }

  /** What needs no input. */
  ask(name) {
    return this.#read(this.#call(name));
  }

  close(handle) {
    if (!this.trapped) this.#call("close", handle);
  }

  /** Hands over lines and a body; answers { ok, head, body }, the body as text. */
  check(name, handle, lines, body, now) {
    let head = line(lines[0]);
    for (let place = 1; place < lines.length; place += 1) head += `\n${line(lines[place])}`;
    const memory = this.#memory();
    const { read, written } = encoder.encodeInto(head, this.#heads);
    // What is cut off mustn't count as absent, nor a cut value as whole.
    if (read < head.length) return { ok: false, head: '{"code":"signature_malformed","status":401,"authentic":false}', body: "" };
    const length = this.#body(memory, body);
    return this.#read(this.#call(name, handle, written, length, now));
  }

  /** Copies a body behind the head, or as much of it as shows that it is too long. */
  #body(memory, body) {
    const start = this.#input + HEAD_BYTES;
    if (typeof body !== "string") {
      memory.set(body.length > BODY_BYTES ? body.subarray(0, BODY_BYTES) : body, start);
      return Math.min(body.length, BODY_BYTES);
    }
    const { read, written } = encoder.encodeInto(body, memory.subarray(start, start + BODY_BYTES));
    return read < body.length ? BODY_BYTES : written;
  }

  #memory() {
    const { buffer } = this.#exports.memory;
    if (this.#view?.buffer !== buffer) {
      this.#view = new Uint8Array(buffer);
      this.#heads = new Uint8Array(buffer, this.#input, HEAD_BYTES);
      this.#numbers = new DataView(buffer);
    }
    return this.#view;
  }

  #call(name, ...numbers) {
    try {
      return this.#exports[name](...numbers);
    } catch (fault) {
      this.trapped = true;
      throw fault;
    }
  }

  #read(address) {
    if (address === 0) throw new Error("rxgate: no such source");
    const memory = this.#memory();
    const number = (place) => this.#numbers.getUint32(address + 4 * place, true);
    const [headLength, bodyLength, bodyStart] = [number(1), number(2), number(3)];
    const start = address + 16;
    const head = decoder.decode(memory.subarray(start, start + headLength));
    const body = bodyLength === 0 ? "" : decoder.decode(memory.subarray(bodyStart, bodyStart + bodyLength));
    return { ok: number(0) === 1, head, body };
  }
}
