// The machine in wasm, as the entry drives it. No platform in here: it runs wherever WebAssembly does.
//
// The boundary is in DESIGN.md §2: numbers go in, an address comes out; one call for each effect.

import { hostOf, importsOf } from "../../pkg/src/imports.js";

const HEAD_BYTES = 64 * 1024;
const BODY_BYTES = 1024 * 1024;
const ABSENT = "\0";
// What is wrong with a longer header is the same as with this much of it.
const MAX_VALUE_CHARS = 8 * 1024;

export const RECEIVED = { complete: 0, pathUnknown: 1, tooLarge: 2, incomplete: 3, overloaded: 4 };
export const DONE = { replied: 0, answered: 1, failed: 2, timedOut: 3, ok: 4, absent: 5, limited: 6 };
/// What an effect is: see `Kind` in `edge.rs`.
export const DO = { ask: 1, deliver: 2, get: 3, put: 4, enqueue: 5, limit: 6, answer: 7, settle: 8 };
/// What the output begins with.
const FRONT_BYTES = 28;
/// Messages between Worker and object are text up to this, a character for each byte: an array of bytes costs the platform more to hand over than such a message costs altogether.
const TEXT_BYTES = 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const line = (value) => (value === null ? ABSENT : value.length > MAX_VALUE_CHARS ? value.slice(0, MAX_VALUE_CHARS) : value);

/// A message as it is handed over.
export function toMessage(bytes) {
  return bytes.length > TEXT_BYTES ? bytes.slice() : String.fromCharCode.apply(null, bytes);
}

/// Copies a message, text or bytes, into memory.
export function copyMessage(message, memory, at) {
  if (typeof message !== "string") return memory.set(message, at);
  for (let n = 0; n < message.length; n += 1) memory[at + n] = message.charCodeAt(n);
}

/// One wasm instance. It serves until it traps; then its owner takes a new one, and requests under way here still finish here.
export class Core {
  #exports;
  #input;
  #view;
  #numbers;
  #stackTop;
  trapped = false;

  /// `crypto`: the host's node:crypto, if it has it.
  constructor(module, crypto) {
    const host = hostOf(crypto, () => this.#memory());
    this.#exports = new WebAssembly.Instance(module, importsOf(module, host)).exports;
    this.#stackTop = this.#exports.__stack_pointer?.value;
    this.#input = this.#exports.input();
  }

  /// Reads the configuration; `environment` also brings a seed of random bytes. Answers { sound, expects, faults, sources: { id: { header, more, url, path, max_body } } }.
  configure(environment, now) {
    const json = encoder.encode(JSON.stringify(environment));
    this.#put(json, 0);
    return JSON.parse(this.#read(this.#call("configure", json.length, now)).text);
  }

  /// Takes a request, its body as the chunks in which it arrived; answers its first effect.
  begin({ method, source, contentType, traceparent, url, path, address, signature, more, received, body, receivedAt }, now) {
    const head = [method, source, contentType, traceparent, url, path, address, signature, ...more].map(line).join("\n");
    const memory = this.#memory();
    const { written } = encoder.encodeInto(head, memory.subarray(this.#input, this.#input + HEAD_BYTES));
    let length = 0;
    for (const chunk of body) {
      this.#put(chunk, HEAD_BYTES + length);
      length += chunk.length;
    }
    return this.#read(this.#call("begin", written, length, received, receivedAt, now));
  }

  /// Whether a body is worth reading from whoever asks at this path, from this address.
  admits({ source, path, address }, now) {
    const { written } = encoder.encodeInto(`${line(source)}\n${line(path)}\n${line(address)}`, this.#memory().subarray(this.#input, this.#input + HEAD_BYTES));
    return this.#call("admits", written, now) === 1;
  }

  /// Whether a call's body is worth reading from who has this key.
  admitsCall(source, authorization, now) {
    const { written } = encoder.encodeInto(`${line(source)}\n${authorization}`, this.#memory().subarray(this.#input, this.#input + HEAD_BYTES));
    return this.#call("admits_call", written, now) === 1;
  }

  /// Takes a message of a queue; answers its first effect.
  attempt({ queue, body, attempts, sentAt }, now) {
    const { written } = encoder.encodeInto(line(queue), this.#memory().subarray(this.#input, this.#input + HEAD_BYTES));
    this.#put(body, HEAD_BYTES);
    return this.#read(this.#call("attempt", written, body.length, Math.min(attempts, 65535), sentAt, now));
  }

  /// Takes a call of an operator, or about expected callbacks: { method, path, authorization, query, body }.
  operate(call, now) {
    const json = encoder.encode(JSON.stringify(call));
    this.#put(json, 0);
    return this.#read(this.#call("operate", json.length, now));
  }

  /// One turn of the cron.
  tick(now) {
    return this.#read(this.#call("tick", now));
  }

  /// The cron's turn over expected callbacks.
  watch(now) {
    return this.#read(this.#call("watch", now));
  }

  /// Says what came of an effect; answers the next one.
  resume({ handle }, { done, status = 0, message = undefined, text = undefined }, now) {
    let length = 0;
    if (message) {
      this.#put(message, 0);
      length = message.length;
    } else if (text) {
      length = encoder.encodeInto(line(text), this.#memory().subarray(this.#input, this.#input + HEAD_BYTES)).written;
    }
    return this.#read(this.#call("resume", handle, done, status, length, now));
  }

  /// Forgets a request that won't be resumed.
  abandon({ handle }) {
    if (!this.trapped) this.#exports.abandon(handle);
  }

  /// Copies into the input. What lies behind it is Rust's: nothing may reach that far.
  #put(message, at) {
    if (at + message.length > HEAD_BYTES + BODY_BYTES) throw new RangeError("larger than the input");
    copyMessage(message, this.#memory(), this.#input + at);
  }

  #call(name, ...numbers) {
    try {
      return this.#exports[name](...numbers);
    } catch (fault) {
      this.trapped = true;
      // A trap leaves the stack where it was; the next call of a request under way starts at its top again.
      if (this.#stackTop !== undefined) this.#exports.__stack_pointer.value = this.#stackTop;
      throw fault;
    }
  }

  /// Copies the output: another request may overwrite it as soon as this one waits for something.
  #read(address) {
    if (address === 0) throw new Error("no such machine");
    const memory = this.#memory();
    const numbers = this.#numbers;
    const kind = numbers.getUint32(address + 4, true);
    const start = address + FRONT_BYTES;
    const middle = start + numbers.getUint32(address + 20, true);
    const rest = memory.subarray(middle, middle + numbers.getUint32(address + 24, true));
    const name = memory.subarray(start, middle);
    return {
      handle: numbers.getUint32(address, true),
      kind,
      // An object's name is ours and short.
      text: kind === DO.ask ? String.fromCharCode.apply(null, name) : decoder.decode(name),
      body: kind === DO.ask ? toMessage(rest) : rest.slice(),
      a: numbers.getUint32(address + 8, true),
      b: numbers.getUint32(address + 12, true),
      c: numbers.getUint32(address + 16, true),
    };
  }

  /// The memory moves when it grows.
  #memory() {
    const { buffer } = this.#exports.memory;
    if (this.#view?.buffer !== buffer) {
      this.#view = new Uint8Array(buffer);
      this.#numbers = new DataView(buffer);
    }
    return this.#view;
  }
}
