// The object's side in wasm, as the Durable Object calls it: a message goes in, a reply comes out, and in between it has its statements run. What is read and written crosses as bytes.
//
// The objects of an isolate share one instance. All of it is synchronous: nothing comes between load and save, and a trap reaches the caller as an exception.

import * as glue from "../../build/wasm/rxgate.js";
import { copyMessage, toMessage } from "./core.mjs";

/// A message up to this goes where there is always room.
const ROOM_BYTES = 4096;
const NULL = 0;
const NUMBER = 1;
const BLOB = 2;
/// What isn't stored here: it can't be read, and nothing else is wrong.
const OTHER = 3;
/// Of what is bound: its kind and eight bytes.
const BOUND_BYTES = 9;

const decoder = new TextDecoder();

/// The one that serves.
let serving;
globalThis.rxgateSql = (...values) => serving.run(...values);
globalThis.rxgateSqlAgain = (to) => serving.again(to);

/// The one that serves now: after a trap it is a new one, and each object is opened in that.
export function currentStore(module) {
  if (serving === undefined || serving.trapped) serving = new Store(module, serving);
  return serving;
}

/// One wasm instance.
class Store {
  #exports;
  #message;
  #bytes;
  #numbers;
  #statements = new Map();
  /// What a statement gave that there was no room for.
  #given;
  trapped = false;

  constructor(module, before) {
    // The glue has one instance at a time.
    if (before) glue.__wbg_reset_state();
    this.#exports = glue.initSync({ module });
    this.#message = this.#exports.object_message(ROOM_BYTES);
  }

  /// Makes the object's tables, and answers how it is called from then on.
  open(ctx, env) {
    const object = new glue.EntityObject(ctx, env);
    this.#call(object, "open");
    return object;
  }

  /// Answers one message, in its own form: text or bytes.
  serve(object, message) {
    const reply = this.#call(object, "serve", this.#put(message), Date.now());
    return typeof message === "string" ? toMessage(reply) : reply.slice();
  }

  overdue(object) {
    return this.#call(object, "overdue", Date.now()).slice();
  }

  notified(object, notices) {
    this.#call(object, "notified", this.#put(notices), Date.now());
  }

  due(object) {
    return this.#number(object, "due", Date.now());
  }

  walk(object) {
    return this.#number(object, "walk", Date.now());
  }

  sweep(object) {
    return this.#number(object, "sweep", Date.now());
  }

  /// Only the test build can.
  fill(object, from, to, expiresInMs) {
    this.#call(object, "fill", from, to, expiresInMs, Date.now());
  }

  #number(object, name, now) {
    const { byteOffset } = this.#call(object, name, now);
    return this.#numbers.getFloat64(byteOffset);
  }

  /// Says how long it is.
  #put(message) {
    const at = message.length > ROOM_BYTES ? this.#exports.object_message(message.length) : this.#message;
    this.#message = at;
    copyMessage(message, this.#memory(), at);
    return message.length;
  }

  /// Calls an export; answers what it says, where it is. A fault that it names is thrown by that name.
  #call(object, name, ...more) {
    const at = object[name](...more);
    const memory = this.#memory();
    const length = this.#numbers.getUint32(at + 4);
    const answer = memory.subarray(at + 8, at + 8 + length);
    if (this.#numbers.getUint32(at) !== 0) throw new Error(decoder.decode(answer));
    return answer;
  }

  /// Runs a statement: see `entity_object.rs`.
  run(sql, text, textLength, bound, boundLength, wanted, to, room) {
    try {
      const memory = this.#memory();
      const numbers = this.#numbers;
      const values = [];
      for (let at = bound; at < bound + boundLength; at += BOUND_BYTES) {
        const kind = memory[at];
        if (kind === NULL) values.push(null);
        else if (kind === NUMBER) values.push(numbers.getFloat64(at + 1));
        else {
          const start = numbers.getUint32(at + 1);
          // Not copied: a statement is through before anything else is written there.
          const bytes = memory.subarray(start, start + numbers.getUint32(at + 5));
          values.push(kind === BLOB ? bytes : decoder.decode(bytes));
        }
      }
      const cursor = sql.exec(this.#statement(text, textLength), ...values);
      const rows = wanted === 1 ? cursor.raw().toArray() : [];
      let length = 8;
      for (const row of rows) for (const value of row) length += typeof value === "number" ? 9 : value instanceof ArrayBuffer ? 5 + value.byteLength : 1;
      const cost = [cursor.rowsRead, cursor.rowsWritten];
      if (length <= room) this.#give(memory, numbers, to, cost, rows);
      else this.#given = { cost, rows };
      return length;
    } catch {
      return 0;
    }
  }

  again(to) {
    const { cost, rows } = this.#given;
    this.#given = undefined;
    this.#give(this.#memory(), this.#numbers, to, cost, rows);
  }

  #give(memory, numbers, to, [read, written], rows) {
    numbers.setUint32(to, read);
    numbers.setUint32(to + 4, written);
    let at = to + 8;
    for (const row of rows) {
      for (const value of row) {
        if (typeof value === "number") {
          memory[at] = NUMBER;
          numbers.setFloat64(at + 1, value);
          at += 9;
        } else if (value instanceof ArrayBuffer) {
          memory[at] = BLOB;
          numbers.setUint32(at + 1, value.byteLength);
          memory.set(new Uint8Array(value), at + 5);
          at += 5 + value.byteLength;
        } else {
          memory[at] = value === null ? NULL : OTHER;
          at += 1;
        }
      }
    }
  }

  /// Each statement is a constant: it is where it was.
  #statement(at, length) {
    let statement = this.#statements.get(at);
    if (statement === undefined) {
      statement = decoder.decode(this.#bytes.subarray(at, at + length));
      this.#statements.set(at, statement);
    }
    return statement;
  }

  /// The memory moves when it grows.
  #memory() {
    const { buffer } = this.#exports.memory;
    if (this.#bytes?.buffer !== buffer) {
      this.#bytes = new Uint8Array(buffer);
      this.#numbers = new DataView(buffer);
    }
    return this.#bytes;
  }
}
