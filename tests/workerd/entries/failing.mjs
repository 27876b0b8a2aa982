// The Worker with objects that fail when a request asks for it: `x-fault: <call> <how> <times>`. `before`: nothing was done; `after`: it was done, and the answer is
// lost; `hang`: no answer comes; `slow`: it is done a second later. `/faults/next?…` orders the same for what follows, messages and the cron included.

import production from "../../../src/worker/entry.mjs";

export { EntityObject } from "../../../src/worker/entry.mjs";

/// The first number of each request to an object; a claim is a sender's or a message's.
const CALLS = { layout: [1], claim: [2, 6], commit: [3], release: [4], move: [5], letters: [7] };
/// The number after that one, of requests about letters.
const LETTERS = { keep: 1, list: 2, read: 3, remove: 4, mark: 5, count: 6 };

/// Whether a message to an object, text or bytes, is one of the calls of that name.
function is(call, message) {
  if (call === "any") return true;
  const [, number, about] = typeof message === "string" ? [...message.slice(0, 3)].map((byte) => byte.charCodeAt(0)) : message;
  return LETTERS[call] === undefined ? CALLS[call]?.includes(number) : number === CALLS.letters[0] && about === LETTERS[call];
}

/// An order: "<call> <how> <times>".
const ordered = (text) => {
  const [call, how, times] = (text ?? "").split(" ");
  return { call, how, left: Number(times) };
};
let standing = ordered("");

/// A class of its own, as the binding is: a plain object would be a variable.
class Failing {
  #objects;
  #order;

  constructor(objects, order) {
    this.#objects = objects;
    this.#order = order;
  }

  getByName(name) {
    const object = this.#objects.getByName(name);
    const order = this.#order;
    const serve = async (message) => {
      if (order.left === 0 || !is(order.call, message)) return object.serve(message);
      order.left -= 1;
      if (order.how === "hang") return new Promise(() => {});
      if (order.how === "slow") {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        return object.serve(message);
      }
      if (order.how === "after") await object.serve(message);
      throw new Error("the object failed");
    };
    return { serve };
  }
}

const failing = (env, order) => ({ ...env, ENTITIES: new Failing(env.ENTITIES, order) });

export default {
  fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/faults/next") {
      standing = ordered(searchParams.get("object"));
      return new Response();
    }
    const header = request.headers.get("x-fault");
    return production.fetch(request, failing(env, header === null ? standing : ordered(header)), ctx);
  },
  queue: (batch, env, ctx) => production.queue(batch, failing(env, standing), ctx),
  scheduled: (controller, env, ctx) => production.scheduled(controller, failing(env, standing), ctx),
};
