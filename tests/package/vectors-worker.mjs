// The vectors in workerd: the files come in the request.

import * as api from "../../pkg/src/workerd.js";
import { run } from "./vectors.mjs";

export default {
  async fetch(request) {
    if (request.method !== "POST") return new Response("ok");
    return Response.json(run(api, await request.json()));
  },
};

/// The harness declares one.
export class EntityObject {}
