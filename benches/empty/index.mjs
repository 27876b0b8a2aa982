// The least that a Worker can do: what the platform itself costs here. Its object is bound, and never asked.

import { DurableObject } from "cloudflare:workers";

export class EntityObject extends DurableObject {}

export default { fetch: () => new Response("") };
