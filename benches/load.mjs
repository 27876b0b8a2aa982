// rxgate's Worker under load, beside a Worker in JavaScript that does the same job and an empty one: each in a workerd of its own, on the same machine, in turn. `scripts/bench load`
//
// A round is a fixed number of requests that stand ready, signed, before it begins. What each round ended in is checked: every answer, and the origin's own count. CPU is workerd's alone.

import { KEY, NEXT_KEY } from "../tests/workerd/harness.mjs";
import { NAMES, startContender } from "./lib/contenders.mjs";
import { bodies, onTheWire, signature } from "./lib/events.mjs";
import { figure, median, percentile, sorted, spread, table } from "./lib/figures.mjs";
import { load } from "./lib/generator.mjs";
import { startCountingOrigin } from "./lib/origin.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 5);
/// Of each round; a third of it over one connection.
const REQUESTS = Number(process.env.REQUESTS ?? 2000);
/// After so many new events the memory is read, and after a tenth of them.
const RESIDENT_AFTER = Number(process.env.RESIDENT_AFTER ?? 100_000);
/// Made and sent at a time.
const BATCH = 2000;
const CONNECTIONS = [1, 16, 64];
/// More of what is cheap: the kernel counts CPU in steps of 10 ms.
const TIMES = { empty: 4, forged: 3, resent: 2 };
const SMALL = 700;
const LARGE = 32 * 1024;

const origin = await startCountingOrigin();
const start = (name) => startContender(name, { originPort: origin.port });
const workers = {};
for (const name of Object.keys(NAMES)) workers[name] = await start(name);

/// `count` events of that size; `key` signs them. The empty Worker can't tell them apart, and gets a few again and again.
function requests({ name, port }, size, count, key = KEY) {
  const body = bodies(size);
  const made = Array.from({ length: name === "empty" ? 100 : count }, () => {
    const text = body();
    return onTheWire(port, text, signature(key, text));
  });
  return Array.from({ length: count }, (_, place) => made[place % made.length]);
}

/// Sends, and checks what came of it: all answers alike, and so many at the origin.
async function send(worker, connections, list, answer, delivered) {
  const before = worker.cpu();
  const { seconds, latencies, answers } = await load({ port: worker.port, connections, requests: list });
  const cpu = worker.cpu() - before;
  const taken = await origin.taken();
  const expected = worker.name === "empty" ? "200" : answer;
  if (answers[expected] !== list.length) throw new Error(`${worker.name} answered ${JSON.stringify(answers)}, not ${expected}`);
  if (taken !== (worker.name === "empty" ? 0 : delivered)) throw new Error(`${worker.name}: the origin got ${taken}, not ${delivered}`);
  return { perSecond: list.length / seconds, cpu: (cpu * 1000) / list.length, latencies };
}

/// What is sent: new events, what a stranger forges, and resends of what was delivered.
const SENDINGS = {
  new: (worker, connections, count, size) => send(worker, connections, requests(worker, size, count), "200 delivered", count),
  forged: (worker, connections, count, size) => send(worker, connections, requests(worker, size, count, NEXT_KEY), "401 signature_mismatch", 0),
  resent: async (worker, connections, count, size) => {
    const list = requests(worker, size, count);
    await send(worker, connections, list, "200 delivered", count);
    return send(worker, connections, list, "200 duplicate", 0);
  },
};

const ROWS = [
  ...CONNECTIONS.map((connections) => ({ what: "new", size: SMALL, connections, names: ["rxgate", "js", "empty"] })),
  { what: "new", size: LARGE, connections: 16, names: ["rxgate", "js", "empty"] },
  { what: "forged", size: SMALL, connections: 16, names: ["rxgate", "js"] },
  { what: "forged", size: LARGE, connections: 16, names: ["rxgate", "js"] },
  { what: "resent", size: SMALL, connections: 16, names: ["rxgate", "js"] },
];

const began = performance.now();
// Until the engine has compiled what is hot.
for (const worker of Object.values(workers)) await SENDINGS.new(worker, 16, REQUESTS, SMALL);

const printed = [];
const verdicts = [];
for (const { what, size, connections, names } of ROWS) {
  const requestsOf = (name) => Math.ceil(REQUESTS * (connections === 1 ? 1 / 3 : 1) * (TIMES[name] ?? TIMES[what] ?? 1));
  const rounds = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    // Each goes first as often as the others.
    const order = names.map((_, place) => names[(place + round) % names.length]);
    for (const name of order) rounds[name].push(await SENDINGS[what](workers[name], connections, requestsOf(name), size));
  }
  const ratios = (name, of) => rounds[name].map((round, place) => of(rounds.rxgate[place]) / of(round));
  for (const name of names) {
    const latencies = sorted(rounds[name].flatMap((round) => [...round.latencies]));
    const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => figure(percentile(latencies, share)));
    const perSecond = rounds[name].map((round) => round.perSecond);
    const cpu = rounds[name].map((round) => round.cpu);
    const beside = name === "rxgate" ? "1" : spread(ratios(name, (round) => round.cpu));
    printed.push([what, size, connections, NAMES[name], spread(perSecond), p50, p99, p999, spread(cpu), beside]);
  }
  verdicts.push([what, size, connections, spread(ratios("js", (round) => round.perSecond)), spread(ratios("js", (round) => round.cpu))]);
}

console.log(`node ${process.version}, ${ROUNDS} rounds of ${REQUESTS} requests a contender (a third of it over one connection, more of what is cheap), in turn; medians, the lowest and the highest round in brackets; percentiles of all rounds together\n`);
console.log(table(["requests", "bytes", "connections", "Worker", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs a request", "rxgate's CPU by its"], printed));
console.log("\nrxgate against the Worker in JavaScript, of rounds that followed each other: the bar is at least 1 for requests per second, at most 1 for CPU\n");
console.log(table(["requests", "bytes", "connections", "requests/s, times", "CPU, times"], verdicts));

for (const worker of Object.values(workers)) await worker.stop();

const residents = [];
for (const name of Object.keys(NAMES)) {
  const worker = await start(name);
  const marks = [RESIDENT_AFTER / 10, RESIDENT_AFTER];
  const read = [figure(worker.resident())];
  for (let served = 0; served < RESIDENT_AFTER; ) {
    const count = Math.min(BATCH, marks[read.length - 1] - served);
    await SENDINGS.new(worker, 64, count, SMALL);
    served += count;
    if (served === marks[read.length - 1]) read.push(figure(worker.resident()));
  }
  residents.push([NAMES[name], ...read]);
  await worker.stop();
}
console.log("\nMiB of resident memory of workerd, just started and after so many new events over 64 connections\n");
console.log(table(["Worker", "0", RESIDENT_AFTER / 10, RESIDENT_AFTER], residents));
console.log(`\n${Math.round((performance.now() - began) / 1000)} s`);

origin.close();
process.exit();
