// Where a Worker's time goes under load, by V8's profiler: microseconds a request that each function took itself. `scripts/run benches/profile.mjs [rxgate|js] [new|forged] [bytes]`, after `scripts/bench-workers`
//
// What isn't JavaScript or wasm is `(program)`, or stands under the function of the platform that does it: `exec` is SQLite.

import { KEY, NEXT_KEY, freePort } from "../tests/workerd/harness.mjs";
import { startContender } from "./lib/contenders.mjs";
import { bodies, onTheWire, signature } from "./lib/events.mjs";
import { table } from "./lib/figures.mjs";
import { load } from "./lib/generator.mjs";
import { startCountingOrigin } from "./lib/origin.mjs";

const [name = "rxgate", what = "new", size = "700"] = process.argv.slice(2);
const REQUESTS = Number(process.env.REQUESTS ?? 2000);
const SHOWN = 30;

const origin = await startCountingOrigin();
const inspector = await freePort();
const worker = await startContender(name, { originPort: origin.port, inspector });
const [{ webSocketDebuggerUrl }] = (await (await fetch(`http://127.0.0.1:${inspector}/json`)).json()).filter(({ id, title }) => /main/.test(`${id} ${title}`));
const socket = new WebSocket(webSocketDebuggerUrl);
await new Promise((resolve) => (socket.onopen = resolve));
const answers = [];
socket.onmessage = ({ data }) => {
  const { id, result } = JSON.parse(data);
  answers[id]?.(result);
};
const order = (method, params = {}) =>
  new Promise((resolve) => {
    const id = answers.push(resolve) - 1;
    socket.send(JSON.stringify({ id, method, params }));
  });

const body = bodies(Number(size));
const round = (count) => {
  const requests = Array.from({ length: count }, () => body()).map((text) => onTheWire(worker.port, text, signature(what === "forged" ? NEXT_KEY : KEY, text)));
  return load({ port: worker.port, connections: 16, requests });
};

await round(REQUESTS / 2);
await order("Profiler.enable");
await order("Profiler.setSamplingInterval", { interval: 100 });
await order("Profiler.start");
const { answers: ended } = await round(REQUESTS);
const { profile } = await order("Profiler.stop");

const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
const times = new Map();
profile.samples.forEach((id, place) => {
  const { functionName, url, lineNumber } = nodes.get(id).callFrame;
  const key = `${functionName || "(anonymous)"}${url ? ` ${url.split("/").at(-1)}:${lineNumber + 1}` : ""}`;
  times.set(key, (times.get(key) ?? 0) + profile.timeDeltas[place]);
});
console.log(`${name}, ${REQUESTS} requests (${what}, ${size} bytes) over 16 connections: ${JSON.stringify(ended)}\n`);
const longest = [...times].sort(([, a], [, b]) => b - a).slice(0, SHOWN);
console.log(table(["µs a request", "function"], longest.map(([key, time]) => [(time / REQUESTS).toFixed(1), `\`${key}\``])));

await worker.stop();
origin.close();
process.exit();
