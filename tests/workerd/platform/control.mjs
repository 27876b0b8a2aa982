// The way to the clock of a queue's object: such orders are taken from `cf` only, which no plain request can carry.

export default {
  async fetch(request, env) {
    const { queue, name, args } = await request.json();
    const object = env.BROKER.get(env.BROKER.idFromName(queue));
    return object.fetch("http://control/", { cf: { miniflare: { controlOp: { name, args } } } });
  },
};
