// What an event costs in each mode: calls, rows, KV and queue operations counted on the Worker as it is deployed, at Cloudflare's list prices. `scripts/bench cost`
//
// Calls, rows and KV are what the Worker's log says of each request and message, the queues' operations what the platform under it counted. Times play no part.

import { KEY, NEXT_KEY, settings, until } from "../tests/workerd/harness.mjs";
import { startContender } from "./lib/contenders.mjs";
import { bodies, signature } from "./lib/events.mjs";
import { table } from "./lib/figures.mjs";
import { send } from "../scripts/lib/osigu.mjs";
import { startOrigin } from "../scripts/lib/origin.mjs";

/// Dollars per million, November 2026, beyond what a month includes.
const PRICE = { request: 0.3, call: 0.15, row: 1, read: 0.5, write: 5, operation: 0.4 };
/// A row is written once more when it has expired. An upper bound: all events of an entity share it. A dead letter leaves a tombstone, and that goes as well.
const EXPIRY = 1;
const LETTER_EXPIRY = 3;
/// Messages that a consumer gets at a time, at best: wrangler.toml.
const BATCH = 10;
const EVENTS = 20;
const OURS = ["rxgate-deliveries", "rxgate-dead-letters"];
const THEIRS = "clinic-events";

const origin = await startOrigin();
const { SOURCE_OSIGU, DESTINATION_LOCAL } = settings(origin.port);
const more = {
  SOURCE_EVENTS: { ...SOURCE_OSIGU, destination: "events" },
  SOURCE_QUEUED: { ...SOURCE_OSIGU, destination: "queued" },
  SOURCE_KV: { ...SOURCE_OSIGU, dedupe: "kv" },
  SOURCE_KVEVENTS: { ...SOURCE_OSIGU, dedupe: "kv", destination: "events" },
  SOURCE_EDGE: { ...SOURCE_OSIGU, edge_cache: true },
  DESTINATION_EVENTS: { queue: "EVENTS" },
  DESTINATION_QUEUED: { ...DESTINATION_LOCAL, delivery: "queue" },
};
const worker = await startContender("rxgate", { originPort: origin.port, logs: true, more });
const { platform } = worker;
const body = bodies(700);

async function post(source, text, key, code) {
  const answer = await send(`${worker.url}/hooks/${source}`, text, { key });
  if (answer.code !== code) throw new Error(`${source}: ${answer.code}, not ${code}`);
}

/// Waits until the queues have handed on all that they hold, and the log is written.
async function quiet() {
  for (const queue of OURS) await platform.advance(queue, 60_000);
  await platform.idle({ within: 60_000 });
  for (let before = -1; before !== worker.records().length; ) {
    before = worker.records().length;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

/// Sends `EVENTS` events to a source and answers what one of them cost, and what our own consumer got. Those of `earlier` codes are sent before, and don't count.
async function cost(source, { code = "delivered", key = KEY, earlier = [], status = undefined, lines = 1 } = {}) {
  const events = Array.from({ length: EVENTS }, () => body());
  for (const code of earlier) for (const text of events) await post(source, text, key, code);
  await quiet();
  const first = worker.records().length;
  platform.resetCounts();
  if (status) origin.rule({ status, once: false });
  for (const text of events) await post(source, text, key, code);
  if (status) origin.clear();
  await quiet();
  // A line for each request and for each message of our own queues.
  await until(() => worker.records().length - first >= lines * EVENTS, { what: `${lines} lines of log for each event` });
  await quiet();
  const records = worker.records().slice(first);
  if (records.length !== lines * EVENTS) throw new Error(`${records.length} lines of log of ${EVENTS} events, not ${lines} of each`);
  const sum = (name) => records.reduce((sum, record) => sum + (record[name] ?? 0), 0) / EVENTS;
  const { queues } = platform.counts();
  // Written, read and deleted.
  const operations = Object.values(queues).reduce((sum, { sends, deliveries, acks }) => sum + sends + deliveries + acks, 0) / EVENTS;
  const consumed = OURS.reduce((sum, name) => sum + queues[name].deliveries, 0) / EVENTS;
  return { calls: sum("store_calls"), rows: sum("rows_written"), reads: sum("kv_reads"), writes: sum("kv_writes"), operations, consumed };
}

// The isolate's first event asks for the layout as well, and the first dead letter makes room for them.
await post("osigu", body(), KEY, "delivered");
origin.rule({ status: 422 });
await post("osigu", body(), KEY, "dead_lettered");

const MODES = {
  "`exact`, direct": ["osigu"],
  "`exact`, to a queue that you consume": ["events", { code: "enqueued" }],
  '`exact`, by our queue (`delivery = "queue"`)': ["queued", { code: "enqueued", lines: 2 }],
  "`exact` with `edge_cache`, direct": ["edge"],
  "`kv`, direct": ["kv"],
  "`kv`, to a queue that you consume": ["kvevents", { code: "enqueued" }],
  "a direct delivery that failed, and went on through our queue": ["osigu", { code: "enqueued", status: 500, lines: 2 }],
  "a dead letter: the origin refuses it": ["osigu", { code: "dead_lettered", status: 422, lines: 2, expiry: LETTER_EXPIRY }],
  "a resend, `exact`": ["osigu", { code: "duplicate", earlier: ["delivered"] }],
  "a resend, `kv`": ["kv", { code: "duplicate", earlier: ["delivered"] }],
  "a resend, `edge_cache`, once KV knows": ["edge", { code: "duplicate", earlier: ["delivered", "duplicate"] }],
  "a forged request": ["osigu", { code: "signature_mismatch", key: NEXT_KEY }],
};

const rows = [];
const count = (value) => (value === 0 ? "–" : Number(value.toFixed(2)));
for (const [mode, [source, options = {}]] of Object.entries(MODES)) {
  const { calls, rows: written, reads, writes, operations, consumed } = await cost(source, options);
  const { expiry = EXPIRY } = options;
  const all = written > 0 ? written + expiry : 0;
  const dollars = PRICE.request * (1 + consumed / BATCH) + PRICE.call * calls + PRICE.row * all + PRICE.read * reads + PRICE.write * writes + PRICE.operation * operations;
  rows.push([mode, count(calls), written > 0 ? `${count(written)} + ${expiry}` : "–", count(reads), count(writes), count(operations), `$${dollars.toFixed(2)}`]);
}
console.log(`${EVENTS} requests of 700 bytes a mode. Rows: those that were written, and one when it expires. Dollars per million of such requests: a request $${PRICE.request}, a call to an object $${PRICE.call}, a row $${PRICE.row}, KV $${PRICE.read} a read and $${PRICE.write} a write, a queue's operation $${PRICE.operation}; our own consumer gets ${BATCH} messages at a time\n`);
console.log(table(["what", "calls to objects", "rows written", "KV reads", "KV writes", "queue operations", "per million"], rows));

await worker.stop();
await origin.close();
process.exit();
