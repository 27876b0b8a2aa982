// A small HTTP origin: it keeps what reaches it, and answers as it is told.

import { createServer } from "node:http";

export async function startOrigin({ port = 0, onRequest = () => {} } = {}) {
  const received = [];
  const rules = [];
  const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const entry = { at: Date.now(), method: request.method, url: request.url, headers: request.headers, body };
      try {
        entry.event = JSON.parse(body);
      } catch {}
      received.push(entry);
      onRequest(entry);
      const place = rules.findIndex((rule) => rule.when(entry));
      const rule = place < 0 ? {} : rules[place];
      if (rule.once) rules.splice(place, 1);
      respond(rule, request, response);
    });
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return {
    port: server.address().port,
    received,
    /// What was received of one sender's event, by its id.
    of: (id) => received.filter((entry) => entry.event?.id === id || entry.event?.event_id === id),
    /// The next requests that `when` holds for get this answer: { status, headers, body, delay, reset, slowBody, hang, once }.
    rule: (rule) => rules.push({ when: () => true, once: true, ...rule }),
    clear: () => rules.splice(0),
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

function respond({ status = 200, headers = {}, body = "", delay = 0, reset = false, hang = false, slowBody = false }, request, response) {
  if (hang) return;
  setTimeout(() => {
    if (reset) return request.socket.resetAndDestroy();
    if (response.destroyed) return;
    response.writeHead(status, headers);
    if (slowBody) return response.write("{");
    response.end(body);
  }, delay);
}
