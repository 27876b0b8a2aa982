// Sends what each sender sends through the real Worker to a real origin, and what goes wrong in practice; ends non-zero if a row is not as it should be.

import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { startListener } from "../pkg/src/cli/listen.js";
import { allOf, request, sample, send } from "../pkg/src/cli/trigger.js";
import { sign, source } from "../pkg/src/node.js";
import { devSecrets, startWorker } from "./lib/worker.mjs";

const ORIGIN_PORT = 8788;
const WORKER_PORT = Number(process.env.PORT ?? 8787);
const STATE = ".rxgate/demo";

rmSync(STATE, { recursive: true, force: true });
const secrets = devSecrets();
// What has reached the origin, and the answers that it was told to give: event id to status, once each.
const received = [];
const answers = new Map();
const origin = await startListener({
  port: ORIGIN_PORT,
  keys: [{ id: "local", secret: secrets.LOCAL_SIGNING_KEY }],
  onRequest: (entry) => {
    received.push(entry);
    console.log(`  origin: ${entry.method} ${entry.url}  ${entry.verified ? (entry.event?.type ?? "?") : entry.refused.code}  ${entry.webhookId}`);
  },
  respond: ({ status, event }, _, response) => {
    response.writeHead(answers.get(event?.id) ?? status).end();
    answers.delete(event?.id);
  },
}).catch((fault) => fail(`the demo's origin can't listen on port ${ORIGIN_PORT}: ${fault.code}`));
console.log(`origin   http://127.0.0.1:${ORIGIN_PORT} verifies what reaches it, and prints it`);
const worker = await startWorker({ port: WORKER_PORT, args: ["--config", "wrangler.dev.toml", "--persist-to", STATE] }).catch((fault) => fail(fault.message));
console.log(`worker   ${worker.url} (workerd)\n`);

const rows = [];
const sandbox = `${worker.url}/hooks/osigu-sandbox`;
const key = secrets.OSIGU_SANDBOX_KEY;

/// Sends a sample, and compares with what should come of it: the status, the code, and how many times the origin received the event by now.
async function row(sent, event, expected, { url = sandbox, secret = key, ...options } = {}) {
  compare(sent, event, expected, await send(request(event, { url, secret, ...options })));
}

/// What happens without a request: waits until the origin has received the event so often, and compares.
async function later(what, event, expected) {
  const end = Date.now() + 30_000;
  while (receivedOf(event).length < expected.received && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 100));
  compare(what, event, expected, {});
}

/// An operator asks.
async function operator(method, path) {
  const response = await fetch(`${worker.url}${path}`, { method, headers: { authorization: `Bearer ${secrets.ADMIN_KEY}` } });
  return { status: response.status, ...(await response.json()) };
}

/// What the origin received of the event, or, where the sender gives events no id, of what they are about.
function receivedOf({ id, subject }) {
  return received.filter(({ event }) => (subject ? event?.subject === subject : event?.id === id));
}

function compare(sent, event, expected, answer) {
  const mine = receivedOf(event);
  const last = mine.at(-1)?.event;
  const ok = answer.status === expected.status && answer.code === expected.code && mine.length === expected.received && mine.every(({ verified }) => verified) &&
    (expected.type === undefined || last?.type === expected.type) && (expected.state === undefined || last?.data.state === expected.state) && (expected.ordering === undefined || last?.rxordering === expected.ordering);
  const state = last?.data.state ? ` (${last.data.state})` : "";
  const ordering = expected.ordering && expected.ordering !== "in_order" ? `, ${last?.rxordering}` : "";
  const seen = mine.length === 0 ? "nothing" : `${last.type}${state}${ordering}${mine.length > 1 ? ` ×${mine.length}` : ""}`;
  const code = answer.reason ? `${answer.code}: ${answer.reason}` : answer.code;
  rows.push({ sent, status: answer.status ?? "", code: code ?? "", seen, ok, expected });
}

const taken = (type, received = 1) => ({ status: 200, code: "delivered", received, type });
/// The canonical type of each, and the state that it leaves.
const CANONICAL = {
  "authorization.created": ["rx.authorization.approved", "approved"],
  "authorization.rejected": ["rx.authorization.rejected", "rejected"],
  "authorization.updated": ["rx.authorization.updated", "approved"],
  "authorization.voided": ["rx.authorization.voided", "voided"],
  "dispensing.started": ["rx.dispense.started", "in_flight"],
  "dispensing.completed": ["rx.dispense.completed", "redeemed"],
  "dispensing.cancelled": ["rx.dispense.cancelled", "redeemable"],
  "prescription.issued": ["rx.prescription.issued", "issued"],
  "prescription.email_delivered": ["rx.prescription.notification_delivered", "issued"],
  "prescription.email_failed": ["rx.prescription.notification_failed", "issued"],
  "settlement.paid": ["rx.settlement.paid", "paid"],
  "settlement.rejected": ["rx.settlement.rejected", "rejected"],
  "settlement.partially_accepted": ["rx.settlement.partially_accepted", "partially_accepted"],
};
const events = {};
for (const { event: type, ids } of allOf("osigu")) {
  const [canonical, state] = CANONICAL[type];
  events[type] = sample("osigu", type, { ids });
  await row(type, events[type], { ...taken(canonical), state });
}

const completed = events["dispensing.completed"];
await row("the same dispensing.completed again", completed, { status: 200, code: "duplicate", received: 1 });

const newCompleted = () => sample("osigu", "dispensing.completed");
const tamper = (body) => Buffer.from(body.toString().replace("375.00", "975.00"));
await row("a tampered body (375.00 became 975.00)", newCompleted(), { status: 401, code: "signature_mismatch", received: 0 }, { tamper });

await row("a timestamp of ten minutes ago", newCompleted(), { status: 401, code: "timestamp_out_of_tolerance", received: 0 }, { now: Date.now() - 600_000 });

await row("signed with the next key of a rotation", newCompleted(), taken("rx.dispense.completed"), { secret: secrets.OSIGU_SANDBOX_KEY_NEXT });

const byKv = newCompleted();
const kvSource = { url: `${worker.url}/hooks/osigu-kv` };
await row("at a source that KV alone remembers", byKv, taken("rx.dispense.completed"), kvSource);
await row("… and the same again", byKv, { status: 200, code: "duplicate", received: 1 }, kvSource);

const retried = newCompleted();
answers.set(retried.id, 500);
await row("while the origin fails (500)", retried, { status: 200, code: "enqueued", received: 1 });
await row("… and the same again meanwhile", retried, { status: 200, code: "duplicate", received: 1 });
await later("… and from the queue, some seconds later", retried, { received: 2, type: "rx.dispense.completed" });

const refused = newCompleted();
answers.set(refused.id, 422);
await row("the origin refuses it for good (422)", refused, { status: 200, code: "dead_lettered", received: 1 });
const letter = await kept((entry) => entry.reason === "delivery_rejected");
compare("… an operator has it redelivered", refused, { status: 202, code: "dead_letter_redelivered", received: 1 }, await operator("POST", `/v1/dead-letters/${letter.id}/redeliver`));
await later("… and the origin has it", refused, { received: 2, type: "rx.dispense.completed" });

const undone = sample("osigu", "authorization.voided");
const late = sample("osigu", "authorization.created", { ids: undone.ids, at: Date.now() - 60_000 });
await row("authorization.voided, before its created", undone, { ...taken("rx.authorization.voided"), state: "voided", ordering: "early" });
await row("… and the created, whose code was taken back", late, { status: 200, code: "withheld", received: 0 });

const unknown = sample("osigu", "dispensing.started", { set: { event_type: "dispensing.rescheduled" } });
await row("an event type that we don't know", unknown, taken("rx.unknown"));

const astray = newCompleted();
await row("a sandbox event at a production source", astray, { status: 200, code: "dead_lettered", received: 0 }, {
  url: `${worker.url}/hooks/osigu-production`,
  secret: secrets.OSIGU_PRODUCTION_KEY,
});

// eVitalRx signs nothing: a token in the path, and one webhook after the other behind it.
const newOrder = () => {
  const { ids } = sample("evitalrx", "order-accepted");
  return { ids, subject: `order/${ids.id}` };
};
const order = newOrder();
const at = Date.now();
let told = 0;
async function webhook(sent, name, expected, { secret = secrets.PORTAL_TOKEN, of = order, set = {} } = {}) {
  await row(sent, { ...sample("evitalrx", name, { ids: of.ids, at, set }), ...of }, expected, { url: `${worker.url}/hooks/portal`, secret });
}
const orders = (type, ordering = "in_order") => ({ ...taken(`rx.order.${type}`, (told += 1)), ordering });
const nothingNew = (code, more = {}) => ({ status: 200, code, received: told, ...more });
await webhook("eVitalRx: digitization-completed", "digitization-completed", orders("digitized"));
await webhook("order-assigned", "order-assigned", orders("assigned"));
await webhook("order-accepted", "order-accepted", orders("accepted"));
await webhook("… and the same again", "order-accepted", nothingNew("duplicate"));
await webhook("order-rejected", "order-rejected", orders("rejected"));
await webhook("order-reassign", "order-reassign", orders("reassigned"));
await webhook("order-accepted, the same words in a new round", "order-accepted", orders("accepted"));
await webhook("order-shipped", "order-shipped", orders("shipped"));
await webhook("order-picked-up", "order-picked-up", orders("picked_up"));
await webhook("order-delivered", "order-delivered", orders("delivered"));
await webhook("order-split", "order-split", orders("split"));
await webhook("order-shipped, late, by another rider", "order-shipped", orders("shipped", "superseded"), { set: { delivery_person_name: "Asha Nair" } });
await webhook("a body that isn't of its path's webhook", "order-shipped", nothingNew("dead_lettered"), { set: { transaction_nature: "reject", order_status: "rejected" } });
await webhook("another token in the path", "order-accepted", nothingNew("source_unknown", { status: 404 }), { secret: "0".repeat(48) });
await webhook("digitization-rejected", "digitization-rejected", taken("rx.order.digitization_rejected"), { of: newOrder() });

// PHIL's partners bring a key, and are answered in PHIL's form.
const callback = (type, { ids, set } = {}) => {
  const made = sample("phil", type, { ids, set });
  return { ...made, subject: `transfer/${made.ids.requestID}` };
};
const calls = (sent, event, expected, secret = secrets.PHIL_KEY) => row(sent, event, expected, { url: `${worker.url}/hooks/phil`, secret });
const success = (type, received, ordering) => ({ status: 200, code: "RX_CALLBACK_SUCCESS", received, type: `rx.transfer.${type}`, ordering });
const refusal = (status, received) => ({ status, code: "RX_CALLBACK_ERROR", received });
const first = callback("RECEIVED");
const { ids } = first;
const confirmed = callback("CONFIRMED", { ids });
await calls("PHIL: another key", confirmed, refusal(401, 0), secrets.PORTAL_TOKEN);
await calls("without its requestID", callback("CONFIRMED", { ids, set: { requestID: undefined } }), refusal(400, 0));
await calls("RECEIVED", first, success("received", 1, "in_order"));
await calls("CONFIRMED", confirmed, success("confirmed", 2, "in_order"));
await calls("… and the same again", confirmed, success("confirmed", 2, "in_order"));
await calls("ERROR, after the final word", callback("ERROR", { ids }), success("failed", 3, "superseded"));

// Whoever asked for a transfer waits for the callback: it was asked for nearly four hours ago, so a second is left.
const awaited = callback("CONFIRMED");
const expectation = await fetch(`${worker.url}/v1/expectations/phil`, {
  method: "POST",
  headers: { authorization: `Bearer ${secrets.EXPECTATION_KEY}` },
  body: JSON.stringify({ requestID: awaited.ids.requestID, requested_at: new Date(Date.now() - 4 * 3600_000 + 1000).toISOString() }),
});
compare("a callback is announced", awaited, { status: 201, code: "expectation_registered", received: 0 }, { status: expectation.status, ...(await expectation.json()) });
await later("… and doesn't come", awaited, { received: 1, type: "rx.transfer.callback_missing" });
await calls("… but hours later", awaited, success("confirmed", 2, "late"));

// A fourth sender, by settings alone.
const result = { id: `evt_${randomBytes(10).toString("hex")}` };
result.body = JSON.stringify({ event: { id: result.id, type: "result.ready", at: new Date().toISOString() }, sample: "smp_1", value: 7.1 });
async function lab(sent, expected, secret) {
  const from = source({ provider: "configured", scheme: { algorithm: "hmac-sha256", header: "X-Lab-Signature" }, keys: [{ id: "lab", secret }] });
  const { headers } = sign(from, { body: result.body });
  compare(sent, result, expected, await send({ method: "POST", url: `${worker.url}/hooks/lab`, headers, body: result.body }));
}
await lab("a lab, by settings: signed with another key", { status: 401, code: "signature_mismatch", received: 0 }, secrets.PORTAL_TOKEN);
await lab("result.ready", taken("rx.sample.result_ready"), secrets.LAB_KEY);
await lab("… and the same again", { status: 200, code: "duplicate", received: 1 }, secrets.LAB_KEY);

await kept((entry) => entry.reason === "environment_mismatch");
const { dead_letters: deadLetters } = await operator("GET", "/v1/dead-letters");

await worker.stop();
await origin.close();
console.log();

const columns = [["sent", (r) => r.sent], ["HTTP", (r) => String(r.status)], ["code", (r) => String(r.code)], ["the origin received", (r) => r.seen], ["", (r) => (r.ok ? "ok" : "NOT AS EXPECTED")]];
const widths = columns.map(([title, cell]) => Math.max(title.length, ...rows.map((r) => cell(r).length)));
const print = (cells) => console.log(cells.map((cell, n) => cell.padEnd(widths[n])).join("  ").trimEnd());
print(columns.map(([title]) => title));
print(widths.map((width) => "─".repeat(width)));
for (const r of rows) print(columns.map(([, cell]) => cell(r)));

const [last] = receivedOf(completed);
console.log(`\nOne delivery, as the origin received it:\n`);
for (const name of ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature"]) console.log(`${name}: ${last?.headers[name]}`);
console.log(`\n${JSON.stringify({ ...last?.event, data: { ...last?.event.data, original: "… the sender's own bytes …" } }, null, 2)}`);

console.log("\nThe dead letters, as an operator lists them:\n");
for (const { id, source, reason, received_at: at, redelivered_at: again } of deadLetters) console.log(`${at}  ${id}  ${source}  ${reason}${again ? "  redelivered" : ""}`);

const wrong = rows.filter((r) => !r.ok);
for (const r of wrong) console.error(`\nnot as it should be: ${r.sent}: expected ${JSON.stringify(r.expected)}`);
console.log(`\n${rows.length - wrong.length} of ${rows.length} as they should be. \`make dev\` keeps the Worker and the origin up for your own curl.`);
if (wrong.length > 0) console.error(worker.output());
process.exit(wrong.length === 0 ? 0 : 1);

/// Waits until there is such a dead letter.
async function kept(such) {
  for (let tries = 0; tries < 200; tries += 1) {
    const found = (await operator("GET", "/v1/dead-letters")).dead_letters?.find(such);
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  fail("a dead letter isn't kept");
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
