// An origin in a process of its own: it answers 200 and counts. `startCountingOrigin` is for the bench, the rest is the process.

import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";

export async function startCountingOrigin() {
  const child = fork(import.meta.filename, ["serve"]);
  const [{ port }] = await once(child, "message");
  return {
    port,
    /// Requests since the last time this was asked.
    taken: async () => {
      child.send("taken");
      const [{ taken }] = await once(child, "message");
      return taken;
    },
    close: () => child.kill(),
  };
}

if (process.argv[2] === "serve") {
  let taken = 0;
  const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    request.resume();
    request.on("end", () => {
      taken += 1;
      response.writeHead(200, { "content-length": 0 }).end();
    });
  });
  server.listen(0, "127.0.0.1", () => process.send({ port: server.address().port }));
  process.on("message", () => {
    process.send({ taken });
    taken = 0;
  });
  process.on("disconnect", () => process.exit());
}
