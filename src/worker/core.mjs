// The machine in wasm, as the entry drives it. No platform in here: it runs wherever WebAssembly does.
//
// The boundary is in DESIGN.md §2: numbers go in, an address comes out; one call for each effect.

const HEAD_BYTES = 64 * 1024;
const BODY_BYTES = 1024 * 1024;
const ABSENT = "\0";
// What is wrong with a longer header is the same as with this much of it.
const MAX_VALUE_CHARS = 8 * 1024;

export const RECEIVED = { complete: 0, pathUnknown: 1, tooLarge: 2, incomplete: 3, overloaded: 4 };
export const DONE = { replied: 0, answered: 1, failed: 2, timedOut: 3, ok: 4, absent: 5, limited: 6 };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const line = (value) => (value === null ? ABSENT : value.length > MAX_VALUE_CHARS ? value.slice(0, MAX_VALUE_CHARS) : value);

/// The module also holds the Durable Object, whose glue calls back into JavaScript. The machine never does.
function noImports(module) {
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    imports[from] ??= {};
    imports[from][name] = () => {
      throw new Error("the machine calls nothing");
    };
  }
  return imports;
}

/// One wasm instance. It serves until it traps; then its owner takes a new one, and requests under way here still finish here.
export class Core {
  #exports;
  #input;
  #view;
  #stackTop;
  trapped = false;

  constructor(module) {
    this.#exports = new WebAssembly.Instance(module, noImports(module)).exports;
    this.#stackTop = this.#exports.__stack_pointer?.value;
    this.#input = this.#exports.input();
  }

  /// Reads the configuration; `environment` also brings a seed of random bytes. Answers { sound, expects, faults, sources: { id: { header, more, url, path, max_body } } }.
  configure(environment, now) {
    const json = encoder.encode(JSON.stringify(environment));
    this.#put(json, 0);
    return this.#read(this.#call("configure", json.length, now)).head;
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
  resume({ handle }, done, now, { status = 0, bytes = undefined, text = undefined } = {}) {
    let length = 0;
    if (bytes) {
      this.#put(bytes, 0);
      length = bytes.length;
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
  #put(bytes, at) {
    if (at + bytes.length > HEAD_BYTES + BODY_BYTES) throw new RangeError("larger than the input");
    this.#memory().set(bytes, this.#input + at);
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
    const numbers = new DataView(memory.buffer, address, 12);
    const [handle, headLength, bodyLength] = [numbers.getUint32(0, true), numbers.getUint32(4, true), numbers.getUint32(8, true)];
    const start = address + 12;
    const head = JSON.parse(decoder.decode(memory.subarray(start, start + headLength)));
    const body = memory.slice(start + headLength, start + headLength + bodyLength);
    return { handle, head, body };
  }

  /// The memory moves when it grows.
  #memory() {
    const { buffer } = this.#exports.memory;
    if (this.#view?.buffer !== buffer) this.#view = new Uint8Array(buffer);
    return this.#view;
  }
}
