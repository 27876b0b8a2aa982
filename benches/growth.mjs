// Claims of new events in a Durable Object that remembers a thousand to a million: four of them, each in a workerd of its own, in turn. `scripts/bench growth`
//
// A request makes one claim and nothing else: no signature, no delivery. After each round its rows are taken away again, so that an object stays as full as it was.

import { join } from "node:path";
import { KEY, remove, settings, startWorkerd } from "../tests/workerd/harness.mjs";
import { startPlatform } from "../tests/workerd/platform.mjs";
import { upload } from "./lib/contenders.mjs";
import { bodies, onTheWire, signature } from "./lib/events.mjs";
import { figure, percentile, sorted, spread, table } from "./lib/figures.mjs";
import { load } from "./lib/generator.mjs";
import { startCountingOrigin } from "./lib/origin.mjs";

const ROUNDS = Number(process.env.ROUNDS ?? 15);
const CLAIMS = Number(process.env.CLAIMS ?? 1000);
const STORED = (process.env.STORED ?? "1000,10000,100000,1000000").split(",").map(Number);
const CONNECTIONS = [1, 16];
const STEP = 50_000;
/// The one object, with `shards = 1`.
const OBJECT = "entity-v1-1-1-0";

const began = performance.now();
const origin = await startCountingOrigin();
const platform = await startPlatform({ rateLimits: {} });

async function start(stored) {
  const vars = settings(origin.port, { gateway: { shards: 1 } });
  const worker = await startWorkerd({ vars, bundle: "entry", entry: join(import.meta.dirname, "growth-entry.mjs"), imports: upload("rxgate"), platform, output: "dropped" });
  const door = async (what) => (await (await fetch(`${worker.url}/door/${OBJECT}/${what}`)).json()).rows;
  const body = bodies(700)();
  const { answers } = await load({ port: worker.port, connections: 1, requests: [onTheWire(worker.port, body, signature(KEY, body))] });
  if (!answers["200 delivered"]) throw new Error(`the first event ended as ${JSON.stringify(answers)}`);
  let rows = 1;
  while (rows < stored) rows = await door(Math.min(STEP, stored - rows));
  if (rows !== stored) throw new Error(`${rows} rows, not ${stored}`);
  return { worker, door, stored, request: Buffer.from(`POST /claim/${OBJECT} HTTP/1.1\r\nhost: 127.0.0.1:${worker.port}\r\ncontent-length: 0\r\n\r\n`) };
}

async function round({ worker, door, stored, request }, connections) {
  const count = connections === 1 ? Math.ceil(CLAIMS / 3) : CLAIMS;
  const { seconds, latencies, answers } = await load({ port: worker.port, connections, requests: Array.from({ length: count }, () => request) });
  const claimed = await door("claimed");
  if (answers["200"] !== count || claimed !== count) throw new Error(`${claimed} rows by ${count} claims, which were answered ${JSON.stringify(answers)}`);
  if ((await door("forget")) !== stored) throw new Error("other rows than before");
  return { perSecond: count / seconds, latencies };
}

const objects = [];
for (const stored of STORED) objects.push(await start(stored));
for (const object of objects) await round(object, 16);

const rows = [];
for (const connections of CONNECTIONS) {
  const rounds = new Map(objects.map((object) => [object, []]));
  for (let n = 0; n < ROUNDS; n += 1) {
    for (let place = 0; place < objects.length; place += 1) {
      const object = objects[(place + n) % objects.length];
      rounds.get(object).push(await round(object, connections));
    }
  }
  const least = rounds.get(objects[0]);
  for (const object of objects) {
    const own = rounds.get(object);
    const latencies = sorted(own.flatMap((round) => [...round.latencies]));
    const percentiles = [0.5, 0.99].map((share) => figure(percentile(latencies, share)));
    const ratios = own.map((round, n) => round.perSecond / least[n].perSecond);
    const beside = object === objects[0] ? "1" : spread(ratios);
    rows.push([object.stored, connections, spread(own.map((round) => round.perSecond)), ...percentiles, beside]);
  }
}

console.log(`${ROUNDS} rounds of ${CLAIMS} claims (a third of it over one connection), in turn; medians, the lowest and the highest round in brackets. The bar: within 20 % of the claims with ${STORED[0]}\n`);
console.log(table(["events stored", "connections", "claims/s", "p50 ms", "p99 ms", `claims/s, times those with ${STORED[0]}`], rows));
console.log(`\n${Math.round((performance.now() - began) / 1000)} s`);

for (const { worker } of objects) {
  await worker.kill();
  remove(worker.state);
}
await platform.close();
origin.close();
process.exit();
