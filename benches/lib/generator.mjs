// Sends requests that stand ready as bytes, over connections that stay open, one at a time on each. It does as little as can be done, since it shares the machine with what it measures.

import { connect } from "node:net";

const END_OF_HEAD = Buffer.from("\r\n\r\n");
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

/// Sends all `requests` over `connections`. Answers { seconds, latencies: milliseconds of each, answers: { "200 delivered": n } }.
export async function load({ port, connections, requests }) {
  const latencies = new Float64Array(requests.length);
  const answers = {};
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(port)));
  let next = 0;
  const began = performance.now();
  await Promise.all(
    sockets.map(async (socket) => {
      for (let place = next++; place < requests.length; place = next++) {
        const sent = performance.now();
        const answer = await socket.send(requests[place]);
        latencies[place] = performance.now() - sent;
        answers[answer] = (answers[answer] ?? 0) + 1;
      }
    }),
  );
  const seconds = (performance.now() - began) / 1000;
  for (const socket of sockets) socket.close();
  return { seconds, latencies, answers };
}

function open(port) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    let received = Buffer.alloc(0);
    let waiting;
    const failed = (error) => (waiting ? waiting.reject(error) : reject(error));
    socket.on("error", failed);
    socket.on("close", () => failed(new Error("the connection was closed")));
    socket.on("data", (chunk) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      const answer = whole(received);
      if (answer === undefined) return;
      received = Buffer.alloc(0);
      waiting.resolve(answer);
    });
    socket.once("connect", () =>
      resolve({
        send: (bytes) =>
          new Promise((resolve, reject) => {
            waiting = { resolve, reject };
            socket.write(bytes);
          }),
        close: () => {
          waiting = { resolve() {}, reject() {} };
          socket.destroy();
        },
      }),
    );
  });
}

/// The status and the code of an answer, once all of it is there.
function whole(bytes) {
  const end = bytes.indexOf(END_OF_HEAD);
  if (end < 0) return undefined;
  const head = bytes.latin1Slice(0, end);
  const start = end + END_OF_HEAD.length;
  const [, length] = /\r\ncontent-length: (\d+)/i.exec(head) ?? [];
  if (length === undefined) {
    if (!/\r\ntransfer-encoding: chunked/i.test(head)) throw new Error(`an answer without a length:\n${head}`);
    if (!bytes.subarray(start).subarray(-LAST_CHUNK.length).equals(LAST_CHUNK)) return undefined;
  } else if (bytes.length < start + Number(length)) return undefined;
  const [, code] = /"code":"(\w+)"/.exec(bytes.latin1Slice(start)) ?? [];
  const status = head.slice(9, 12);
  return code === undefined ? status : `${status} ${code}`;
}
