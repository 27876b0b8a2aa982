// The origin of a day of faults, as a process of its own: it can be killed at any moment, and what it has written down stays. One line when a request is there, one when it was answered.
//
//   node origin.mjs PORT LOG

import { appendFileSync } from "node:fs";
import { createServer } from "node:http";

const [port, log] = [Number(process.argv[2]), process.argv[3]];
const write = (line) => appendFileSync(log, `${JSON.stringify(line)}\n`);
/// How requests are answered: { status, delay, hang } and how many of a hundred of them.
let ways = [];
let count = 0;

createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    if (request.url === "/ways") {
      ways = JSON.parse(body);
      response.end();
      return;
    }
    const { id, source, data } = JSON.parse(body);
    const attempt = (count += 1);
    // What is meant to be refused says so itself, so that it is refused at each attempt.
    const way = data.original.data.refuse ? { status: 422 } : pick();
    write({ at: Date.now(), pid: process.pid, attempt, id, source });
    if (way.hang) return;
    setTimeout(() => {
      if (response.destroyed) return;
      response.writeHead(way.status ?? 200).end();
      write({ at: Date.now(), pid: process.pid, answered: attempt, status: way.status ?? 200 });
    }, way.delay ?? 0);
  });
}).listen(port, "127.0.0.1");

function pick() {
  let dice = Math.random() * 100;
  for (const way of ways) {
    dice -= way.percent;
    if (dice < 0) return way;
  }
  return {};
}
