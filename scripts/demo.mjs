// Sends what each sender sends through the real Worker to a real origin, and what goes wrong in practice; ends non-zero if a row is not as it should be.

import { createHmac } from "node:crypto";
import { rmSync } from "node:fs";
import * as evitalrx from "./lib/evitalrx.mjs";
import * as osigu from "./lib/osigu.mjs";
import { startOrigin } from "./lib/origin.mjs";
import * as phil from "./lib/phil.mjs";
import { devSecrets, startWorker } from "./lib/worker.mjs";

const ORIGIN_PORT = 8788;
const WORKER_PORT = Number(process.env.PORT ?? 8787);
const STATE = ".rxgate/demo";

rmSync(STATE, { recursive: true, force: true });
const secrets = devSecrets();
const printReceived = ({ method, url, headers, event }) => console.log(`  origin: ${method} ${url}  ${event?.type ?? "?"}  ${headers["webhook-id"]}`);
const origin = await startOrigin({ port: ORIGIN_PORT, onRequest: printReceived }).catch((fault) => fail(`the demo's origin can't listen on port ${ORIGIN_PORT}: ${fault.code}`));
console.log(`origin   http://127.0.0.1:${ORIGIN_PORT} prints what reaches it`);
const worker = await startWorker({ port: WORKER_PORT, args: ["--config", "wrangler.dev.toml", "--persist-to", STATE] }).catch((fault) => fail(fault.message));
console.log(`worker   ${worker.url} (workerd)\n`);

const rows = [];
const sandbox = `${worker.url}/hooks/osigu-sandbox`;
const key = secrets.OSIGU_SANDBOX_KEY;

/// Sends, and compares with what should come of it: the status, the code, and how many times the origin received the event by now.
async function row(sent, event, expected, options = {}) {
  const { url = sandbox, body = event.body, ...request } = options;
  compare(sent, event, expected, await osigu.send(url, body, { key, ...request }));
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
  return subject ? origin.received.filter(({ event }) => event?.subject === subject) : origin.of(id);
}

function compare(sent, event, expected, answer) {
  const received = receivedOf(event);
  const last = received.at(-1)?.event;
  const ok = answer.status === expected.status && answer.code === expected.code && received.length === expected.received &&
    (expected.type === undefined || last?.type === expected.type) && (expected.state === undefined || last?.data.state === expected.state) && (expected.ordering === undefined || last?.rxordering === expected.ordering);
  const state = last?.data.state ? ` (${last.data.state})` : "";
  const ordering = expected.ordering && expected.ordering !== "in_order" ? `, ${last?.rxordering}` : "";
  const seen = received.length === 0 ? "nothing" : `${last.type}${state}${ordering}${received.length > 1 ? ` ×${received.length}` : ""}`;
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
for (const [type, [canonical, state]] of Object.entries(CANONICAL)) {
  events[type] = osigu.event(type);
  await row(type, events[type], { ...taken(canonical), state });
}

const completed = events["dispensing.completed"];
await row("the same dispensing.completed again", completed, { status: 200, code: "duplicate", received: 1 });

const tampered = osigu.event("dispensing.completed");
await row("a tampered body (375.00 became 975.00)", tampered, { status: 401, code: "signature_mismatch", received: 0 }, {
  header: osigu.signatureHeader(key, tampered.body),
  body: Buffer.from(tampered.body.toString().replace("375.00", "975.00")),
});

const stale = osigu.event("dispensing.completed");
await row("a timestamp of ten minutes ago", stale, { status: 401, code: "timestamp_out_of_tolerance", received: 0 }, { t: osigu.seconds() - 600 });

const rotated = osigu.event("dispensing.completed");
await row("signed with the next key of a rotation", rotated, taken("rx.dispense.completed"), { key: secrets.OSIGU_SANDBOX_KEY_NEXT });

const byKv = osigu.event("dispensing.completed");
const kvSource = { url: `${worker.url}/hooks/osigu-kv` };
await row("at a source that KV alone remembers", byKv, taken("rx.dispense.completed"), kvSource);
await row("… and the same again", byKv, { status: 200, code: "duplicate", received: 1 }, kvSource);

const retried = osigu.event("dispensing.completed");
origin.rule({ status: 500, when: (entry) => entry.event?.id === retried.id });
await row("while the origin fails (500)", retried, { status: 200, code: "enqueued", received: 1 });
await row("… and the same again meanwhile", retried, { status: 200, code: "duplicate", received: 1 });
await later("… and from the queue, some seconds later", retried, { received: 2, type: "rx.dispense.completed" });

const refused = osigu.event("dispensing.completed");
origin.rule({ status: 422, when: (entry) => entry.event?.id === refused.id });
await row("the origin refuses it for good (422)", refused, { status: 200, code: "dead_lettered", received: 1 });
const letter = await kept((entry) => entry.reason === "delivery_rejected");
compare("… an operator has it redelivered", refused, { status: 202, code: "dead_letter_redelivered", received: 1 }, await operator("POST", `/v1/dead-letters/${letter.id}/redeliver`));
await later("… and the origin has it", refused, { received: 2, type: "rx.dispense.completed" });

const [undone, late] = ["authorization.voided", "authorization.created"].map((type) => osigu.event(type, { data: { authorization_id: "auth_undone" } }));
await row("authorization.voided, before its created", undone, { ...taken("rx.authorization.voided"), state: "voided", ordering: "early" });
await row("… and the created, whose code was taken back", late, { status: 200, code: "withheld", received: 0 });

const unknown = osigu.event("dispensing.rescheduled", { data: { dispensation_id: "dsp_01HXDQ" } });
await row("an event type that we don't know", unknown, taken("rx.unknown"));

const astray = osigu.event("dispensing.completed");
await row("a sandbox event at a production source", astray, { status: 200, code: "dead_lettered", received: 0 }, {
  url: `${worker.url}/hooks/osigu-production`,
  key: secrets.OSIGU_PRODUCTION_KEY,
});

// eVitalRx signs nothing: a token in the path, and one webhook after the other behind it.
const order = { id: evitalrx.orderId() };
order.subject = `order/${order.id}`;
const portal = `${worker.url}/hooks/portal`;
let told = 0;
async function webhook(sent, name, expected, { token = secrets.PORTAL_TOKEN, of = order, data = {} } = {}) {
  const { body } = evitalrx.event(name, { data: { id: of.id, ...data } });
  await row(sent, of, expected, { url: `${portal}/${token}/${name}`, body, header: null });
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
await webhook("order-shipped, late, by another rider", "order-shipped", orders("shipped", "superseded"), { data: { delivery_person_name: "Asha Nair" } });
await webhook("a body that isn't of its path's webhook", "order-shipped", nothingNew("dead_lettered"), { data: { transaction_nature: "reject", order_status: "rejected" } });
await webhook("another token in the path", "order-accepted", nothingNew("source_unknown", { status: 404 }), { token: "0".repeat(48) });
const unreadable = { id: evitalrx.orderId() };
unreadable.subject = `order/${unreadable.id}`;
await webhook("digitization-rejected", "digitization-rejected", taken("rx.order.digitization_rejected"), { of: unreadable });

// PHIL's partners bring a key, and are answered in PHIL's form.
const transfer = { id: phil.requestId() };
transfer.subject = `transfer/${transfer.id}`;
async function callback(sent, type, expected, { key = secrets.PHIL_KEY, of = transfer, data = { requestID: of.id } } = {}) {
  const answer = await osigu.send(`${worker.url}/hooks/phil`, phil.event(type, { data }).body, { header: null, headers: { authorization: key } });
  const { metadata, error } = JSON.parse(answer.text);
  compare(sent, of, expected, { status: answer.status, code: metadata.responseType, reason: error?.type });
}
const success = (type, received, ordering) => ({ status: 200, code: "RX_CALLBACK_SUCCESS", received, type: `rx.transfer.${type}`, ordering });
const refusal = (status, received) => ({ status, code: "RX_CALLBACK_ERROR", received });
await callback("PHIL: another key", "CONFIRMED", refusal(401, 0), { key: secrets.PORTAL_TOKEN });
await callback("without its requestID", "CONFIRMED", refusal(400, 0), { data: { requestID: undefined } });
await callback("RECEIVED", "RECEIVED", success("received", 1, "in_order"));
await callback("CONFIRMED", "CONFIRMED", success("confirmed", 2, "in_order"));
await callback("… and the same again", "CONFIRMED", success("confirmed", 2, "in_order"));
await callback("ERROR, after the final word", "ERROR", success("failed", 3, "superseded"));

// Whoever asked for a transfer waits for the callback: it was asked for nearly four hours ago, so a second is left.
const awaited = { id: phil.requestId() };
awaited.subject = `transfer/${awaited.id}`;
const expectation = await fetch(`${worker.url}/v1/expectations/phil`, {
  method: "POST",
  headers: { authorization: `Bearer ${secrets.EXPECTATION_KEY}` },
  body: JSON.stringify({ requestID: awaited.id, requested_at: new Date(Date.now() - 4 * 3600_000 + 1000).toISOString() }),
});
compare("a callback is announced", awaited, { status: 201, code: "expectation_registered", received: 0 }, { status: expectation.status, ...(await expectation.json()) });
await later("… and doesn't come", awaited, { received: 1, type: "rx.transfer.callback_missing" });
await callback("… but hours later", "CONFIRMED", success("confirmed", 2, "late"), { of: awaited });

// A fourth sender, by settings alone.
const sample = { id: `evt_${phil.requestId()}` };
sample.body = Buffer.from(JSON.stringify({ event: { id: sample.id, type: "result.ready", at: new Date().toISOString() }, sample: "smp_1", value: 7.1 }));
const lab = (key) => ({ url: `${worker.url}/hooks/lab`, header: null, headers: { "x-lab-signature": createHmac("sha256", key).update(sample.body).digest("hex") } });
await row("a lab, by settings: signed with another key", sample, { status: 401, code: "signature_mismatch", received: 0 }, lab("another"));
await row("result.ready", sample, taken("rx.sample.result_ready"), lab(secrets.LAB_KEY));
await row("… and the same again", sample, { status: 200, code: "duplicate", received: 1 }, lab(secrets.LAB_KEY));

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

const last = origin.of(completed.id)[0];
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
