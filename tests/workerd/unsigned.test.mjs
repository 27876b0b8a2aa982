// The senders that sign nothing, through the real Worker: eVitalRx behind what was agreed with its people instead, and PHIL's callbacks, answered in PHIL's own form.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import * as evitalrx from "../../scripts/lib/evitalrx.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import * as phil from "../../scripts/lib/phil.mjs";
import { SECRETS, settings, sleep, startWorkerd, until } from "./harness.mjs";

const TOKEN = "path-token-for-tests-0123456789";
const NEXT_TOKEN = "path-token-next-for-tests-0123456789";
const PHIL_KEY = "phil-key-for-tests-0123456789";
/// In every request: what the log mustn't have.
const PATIENT = "Marigold Quistgaard";
const PHONE = "7458701853";

let origin;
let worker;

before(async () => {
  origin = await startOrigin();
  const orders = { provider: "evitalrx", accept_unsigned: true, destination: "local" };
  const path_tokens = [
    { id: "path-1", secret: "PATH_TOKEN" },
    { id: "path-2", secret: "NEXT_PATH_TOKEN" },
  ];
  const addresses = ["203.0.113.0/24", "2001:db8::/32"];
  const more = {
    SOURCE_PORTAL: { ...orders, path_tokens, max_body_bytes: 100_000 },
    SOURCE_OFFICE: { ...orders, addresses },
    SOURCE_BOTH: { ...orders, path_tokens, addresses },
    SOURCE_PHIL: { provider: "phil-callback", keys: [{ id: "phil-1", secret: "PHIL_KEY" }], destination: "local" },
  };
  const secrets = { ...SECRETS, PATH_TOKEN: TOKEN, NEXT_PATH_TOKEN: NEXT_TOKEN, PHIL_KEY };
  worker = await startWorkerd({ vars: settings(origin.port, { more }), secrets });
});

after(async () => {
  await worker?.kill();
  await origin?.close();
});

async function post(path, body, headers = {}) {
  const response = await fetch(`${worker.url}/hooks/${path}`, { method: "POST", headers, body });
  return { status: response.status, ...(await response.json()) };
}

const short = ({ status, code }) => `${status} ${code}`;

/// The records of one source's requests. Those of messages, such as of a letter that was kept, have no status.
const recordsOf = (source) => worker.records().filter((record) => record.source === source && record.status);

/// The record of the request after the first `count`: a line may come after its answer.
async function recordAfter(source, count) {
  await until(() => recordsOf(source).length > count, { what: "the record" });
  return recordsOf(source)[count];
}

/// An order's webhook, of a patient whom the log mustn't know.
const order = (type, id, data = {}) => evitalrx.event(type, { data: { id, patient_name: PATIENT, mobile: PHONE, ...data } }).body;
/// What the origin got of an order, oldest first.
const ofOrder = (id) => origin.received.filter(({ event }) => event?.subject === `order/${id}`);

describe("behind a token in its path", () => {
  test("an order is delivered once as a canonical event, and its resend is a duplicate", async () => {
    for (const [token, key, path] of [
      [TOKEN, "path-1", "/order-accepted"],
      [NEXT_TOKEN, "path-2", ""],
    ]) {
      const id = evitalrx.orderId();
      const body = order("order-accepted", id);
      const first = await post(`portal/${token}${path}`, body);
      assert.equal(short(first), "200 delivered");
      const second = await post(`portal/${token}${path}`, body);
      assert.deepEqual([short(second), second.event_id], ["200 duplicate", first.event_id]);
      const [delivery, ...others] = ofOrder(id);
      assert.equal(others.length, 0);
      assert.equal(delivery.headers["content-type"], "application/cloudevents+json");
      const { event } = delivery;
      assert.deepEqual([event.id, event.type, event.rxprovider, event.rxordering], [first.event_id, "rx.order.accepted", "evitalrx", "in_order"]);
      assert.deepEqual([event.rxauth, event.rxkeyid], ["token", key]);
      assert.equal(event.data.state, "accepted");
      assert.ok(delivery.body.includes(body), "the sender's bytes are in the event");
    }
  });

  test("a webhook in the path that the body contradicts is a dead letter", async () => {
    const id = evitalrx.orderId();
    const answer = await post(`portal/${TOKEN}/order-shipped`, order("order-accepted", id));
    assert.deepEqual([short(answer), answer.reason], ["200 dead_lettered", "event_contradictory"]);
    assert.equal(ofOrder(id).length, 0);
  });

  test("a wrong or missing token is answered as an unknown source, and nothing is delivered", async () => {
    const id = evitalrx.orderId();
    const body = order("order-accepted", id);
    const unknown = await post(`nobody/${TOKEN}`, body);
    assert.deepEqual(unknown, { status: 404, code: "source_unknown" });
    for (const path of ["", "/", "/order-accepted", `/${TOKEN}x`, `/${TOKEN.slice(1)}`, `/%${TOKEN.charCodeAt(0).toString(16)}${TOKEN.slice(1)}`, `/order-accepted/${TOKEN}`, `/${PHIL_KEY}`, `?token=${TOKEN}`]) {
      const count = recordsOf("portal").length;
      assert.deepEqual(await post(`portal${path}`, body), unknown, path);
      const record = await recordAfter("portal", count);
      assert.deepEqual([record.code, record.problem], ["source_unknown", "path_token_mismatch"], path);
    }
    assert.equal(ofOrder(id).length, 0);
    // It was the token: the same bytes are taken with it.
    assert.equal(short(await post(`portal/${TOKEN}`, body)), "200 delivered");
  });

  test("the body is read for whoever has the token, and for nobody else", async () => {
    const id = evitalrx.orderId();
    const body = order("order-accepted", id);
    const huge = 1024 ** 3;
    const framings = [{ "content-length": body.length }, { "content-length": huge }, { "transfer-encoding": "chunked" }];
    for (const headers of framings) {
      const count = recordsOf("portal").length;
      const stranger = open(`portal/${TOKEN}x`, headers);
      // Its body never comes. A body that is waited for is given up after 9 s, and with another code.
      assert.equal(short(await soon(stranger.answer)), "404 source_unknown", JSON.stringify(headers));
      assert.equal((await recordAfter("portal", count)).body_bytes ?? null, null);
      stranger.sending.destroy();
    }
    const greedy = open(`portal/${TOKEN}`, { "content-length": huge });
    assert.equal(short(await soon(greedy.answer)), "413 body_too_large");
    greedy.sending.destroy();
    const trusted = open(`portal/${TOKEN}`, { "content-length": body.length });
    assert.equal(await soon(trusted.answer, 1000), "no answer");
    trusted.sending.end(body);
    assert.equal(short(await trusted.answer), "200 delivered");
    assert.equal(ofOrder(id).length, 1);
  });
});

/// A request whose head is sent, and whose body the caller writes.
function open(path, headers) {
  const sending = request(`${worker.url}/hooks/${path}`, { method: "POST", headers, agent: false });
  const answer = new Promise((resolve, reject) => {
    sending.on("error", reject);
    sending.once("response", async (response) => {
      const chunks = await response.toArray();
      resolve({ status: response.statusCode, ...JSON.parse(Buffer.concat(chunks)) });
    });
  });
  answer.catch(() => {});
  sending.flushHeaders();
  return { sending, answer };
}

const soon = (answer, milliseconds = 5000) => Promise.race([answer, sleep(milliseconds).then(() => "no answer")]);

// Bare workerd hands on the `cf-connecting-ip` that a client sends. At Cloudflare's edge nobody can: the edge writes the header over, and that alone is why it may be trusted.
describe("from its addresses only", () => {
  const from = (address) => (address === undefined ? {} : { "cf-connecting-ip": address });
  const strangers = [undefined, "203.0.114.9", "::1", "203.0.113.9, 198.51.100.1", "unknown"];

  test("an order is delivered, and says that it isn't authenticated", async () => {
    for (const address of ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::7"]) {
      const id = evitalrx.orderId();
      assert.equal(short(await post("office/order-accepted", order("order-accepted", id), from(address))), "200 delivered", address);
      const [{ event }] = ofOrder(id);
      assert.deepEqual([event.type, event.rxauth], ["rx.order.accepted", "none"]);
    }
  });

  test("from another address it is 403, whichever other header names a good one", async () => {
    const id = evitalrx.orderId();
    const body = order("order-accepted", id);
    const claimed = { "x-forwarded-for": "203.0.113.9", "x-real-ip": "203.0.113.9", "true-client-ip": "203.0.113.9" };
    for (const address of strangers) {
      assert.deepEqual(await post("office", body, { ...claimed, ...from(address) }), { status: 403, code: "address_not_allowed" }, address);
    }
    assert.equal(ofOrder(id).length, 0);
    // A stranger's body isn't waited for.
    const stranger = open("office", { ...from("203.0.114.9"), "content-length": body.length });
    assert.equal(short(await soon(stranger.answer)), "403 address_not_allowed");
    stranger.sending.destroy();
  });

  test("with a token besides, both have to hold", async () => {
    const id = evitalrx.orderId();
    const body = order("order-accepted", id);
    for (const address of strangers) assert.equal(short(await post(`both/${TOKEN}`, body, from(address))), "403 address_not_allowed", address);
    assert.equal(short(await post(`both/${TOKEN}x`, body, from("203.0.113.9"))), "404 source_unknown");
    assert.equal(ofOrder(id).length, 0);
    assert.equal(short(await post(`both/${TOKEN}`, body, from("203.0.113.9"))), "200 delivered");
    assert.equal(ofOrder(id)[0].event.rxauth, "token");
  });
});

test("the same words after a rejection and a re-assignment are other events, and each is delivered once", async () => {
  const id = evitalrx.orderId();
  const webhooks = ["order-accepted", "order-rejected", "order-reassign", "order-accepted", "order-rejected"];
  const ids = [];
  for (const webhook of webhooks) {
    const body = order(webhook, id);
    const answer = await post(`portal/${TOKEN}/${webhook}`, body);
    assert.equal(short(answer), "200 delivered", webhook);
    const again = await post(`portal/${TOKEN}/${webhook}`, body);
    assert.deepEqual([short(again), again.event_id], ["200 duplicate", answer.event_id], webhook);
    ids.push(answer.event_id);
  }
  const deliveries = ofOrder(id);
  assert.deepEqual(deliveries.map(({ event }) => event.id), ids);
  assert.deepEqual(
    deliveries.map(({ event }) => `${event.data.state} ${event.rxordering}`),
    ["accepted", "rejected", "assigned", "accepted", "rejected"].map((state) => `${state} in_order`),
  );
  // To the origin they differ in the id that it knows resends by.
  assert.equal(new Set(deliveries.map(({ headers }) => headers["webhook-id"])).size, webhooks.length);
  assert.ok(deliveries[3].body.includes(order("order-accepted", id)), "the same words");
  const [accepted, rejected, , acceptedAgain, rejectedAgain] = ids;
  assert.match(accepted, /^ord_[^.]+$/);
  // The id of the words, and behind it the round: the rejection and the re-assignment began one each.
  assert.equal(acceptedAgain, `${accepted}.2`);
  const [words] = rejected.split(".");
  assert.deepEqual([rejected, rejectedAgain], [`${words}.1`, `${words}.3`]);
});

describe("PHIL's callbacks", () => {
  const patient = { ...phil.prescription.patient, name: { ...phil.prescription.patient.name, firstName: PATIENT, lastName: PATIENT } };
  const ofPhil = { CONFIRMED: { prescription: { ...phil.prescription, patient } } };
  const callback = (type, requestID) => phil.event(type, { data: { ...ofPhil[type], requestID }, metadata: { referenceID: `ref-${requestID}`, responseID: `res-${requestID}` } }).body;
  const ofTransfer = (requestID) => origin.received.filter(({ event }) => event?.rxprovider === "phil-callback" && event.subject?.endsWith(`/${requestID}`));
  const authorized = { authorization: PHIL_KEY };

  /// Its answer, without the time, which is checked.
  async function answered(body, headers) {
    const { status, metadata, ...rest } = await post("phil", body, headers);
    const { responseTimestamp, ...named } = metadata;
    assert.match(responseTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.ok(Math.abs(Date.parse(responseTimestamp) - Date.now()) < 60_000, responseTimestamp);
    return { status, metadata: named, ...rest };
  }

  const success = (requestID) => ({ status: 200, requestID, metadata: { referenceID: `ref-${requestID}`, responseType: "RX_CALLBACK_SUCCESS", responseID: `res-${requestID}` } });
  const unauthorized = {
    status: 401,
    requestID: "",
    metadata: { referenceID: "", responseType: "RX_CALLBACK_ERROR", responseID: "" },
    error: { type: "OTHER", description: "could not process callback - it is not authorized." },
  };

  test("are delivered once, and answered as PHIL documents it", async () => {
    const id = phil.requestId();
    const body = callback("CONFIRMED", id);
    for (const code of ["delivered", "duplicate"]) {
      const count = recordsOf("phil").length;
      assert.deepEqual(await answered(body, authorized), success(id));
      assert.equal((await recordAfter("phil", count)).code, code);
    }
    const [{ event, body: delivered }, ...others] = ofTransfer(id);
    assert.equal(others.length, 0);
    assert.deepEqual([event.type, event.data.state, event.rxauth, event.rxkeyid], ["rx.transfer.confirmed", "confirmed", "token", "phil-1"]);
    assert.ok(delivered.includes(body), "the sender's bytes are in the event");
  });

  test("with a wrong key, or none, are 401 in that form, which repeats nothing of them", async () => {
    const id = phil.requestId();
    const body = callback("CONFIRMED", id);
    const wrong = [{}, { authorization: `${PHIL_KEY}x` }, { authorization: PHIL_KEY.slice(1) }, { authorization: `Bearer ${PHIL_KEY}` }, { "x-authorization": PHIL_KEY }];
    for (const headers of wrong) assert.deepEqual(await answered(body, headers), unauthorized, JSON.stringify(headers));
    assert.equal(ofTransfer(id).length, 0);
    assert.deepEqual(await answered(body, authorized), success(id));
  });

  test("that say another thing of a transfer are delivered as superseded, and are a success", async () => {
    const id = phil.requestId();
    for (const type of ["CONFIRMED", "ERROR"]) assert.deepEqual(await answered(callback(type, id), authorized), success(id));
    assert.deepEqual(ofTransfer(id).map(({ event }) => event.rxordering), ["in_order", "superseded"]);
  });

  test("without their requestID are a bad request, and so again", async () => {
    const body = callback("CONFIRMED", undefined);
    for (const code of ["dead_lettered", "duplicate"]) {
      const count = recordsOf("phil").length;
      const answer = await answered(body, authorized);
      assert.deepEqual([answer.status, answer.requestID, answer.metadata.responseType], [400, "", "RX_CALLBACK_ERROR"]);
      assert.deepEqual(answer.error, { type: "MISSING_INFO", description: "could not map callback - requestID is missing." });
      assert.equal((await recordAfter("phil", count)).code, code);
    }
  });
});

test("no token, key, patient or phone is in the log", async () => {
  const marks = [TOKEN, NEXT_TOKEN, PHIL_KEY, PATIENT, PHONE, ...PATIENT.split(" ")];
  // They did come: the origin has the patient's, and each kind of end is in the log.
  const delivered = Buffer.concat(origin.received.map(({ body }) => body)).toString();
  for (const mark of [PATIENT, PHONE]) assert.ok(delivered.includes(mark), mark);
  const ends = (source) => new Set(recordsOf(source).map(({ code }) => code));
  for (const code of ["delivered", "duplicate", "dead_lettered", "source_unknown"]) assert.ok(ends("portal").has(code), code);
  for (const code of ["delivered", "duplicate", "dead_lettered", "signature_mismatch", "signature_missing"]) assert.ok(ends("phil").has(code), code);
  const output = worker.output();
  for (const mark of marks) assert.ok(!output.includes(mark), mark);
});
