// The least that a Worker can do: what the platform itself costs here. It reads what is sent, since workerd closes a connection on which something was left, and answers. Its object is never asked.

import { DurableObject } from "cloudflare:workers";

export class EntityObject extends DurableObject {}

export default {
  async fetch(request) {
    await request.arrayBuffer();
    return new Response("");
  },
};
