// What the Worker refuses before it looks at an event, how much it takes in at a time, and what it says of its own health.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import * as osigu from "../../scripts/lib/osigu.mjs";
import { startOrigin } from "../../scripts/lib/origin.mjs";
import { KEY, NEXT_KEY, remove, settings, startWorkerd, unique, until } from "./harness.mjs";
import { startPlatform } from "./platform.mjs";

const KIB = 1024;
const MIB = 1024 * KIB;
/// The smaller of the two limits: the default.
const LIMIT = 256 * KIB;
const ROOM = 32;

let origin;
let worker;

before(async () => {
  // Of large deliveries only the id is kept.
  const onRequest = (entry) => {
    if (entry.body.length > 2 * LIMIT) Object.assign(entry, { body: undefined, event: { id: entry.event.id } });
  };
  origin = await startOrigin({ onRequest });
  const sound = settings(origin.port);
  const more = {
    SOURCE_LARGE: { ...sound.SOURCE_OSIGU, max_body_bytes: MIB },
    SOURCE_FAULTY: { ...sound.SOURCE_OSIGU, destination: "nowhere" },
  };
  worker = await startWorkerd({ vars: { ...sound, ...more } });
});

after(async () => {
  await worker?.kill();
  await origin?.close();
});

const large = () => `${worker.url}/hooks/large`;
const records = (code) => worker.records().filter((record) => record.code === code);

/// An event of exactly so many bytes.
function eventOf(bytes) {
  const make = (length) => osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), posology: "x".repeat(length) } });
  const event = make(bytes - make(0).body.length);
  assert.equal(event.body.length, bytes);
  return event;
}

const signed = (body) => ({ "content-type": "application/json", "x-osigu-signature": osigu.signatureHeader(KEY, body) });
const answerOf = (text, response) => ({ status: response.statusCode, code: JSON.parse(text).code, headers: response.headers });

/// A request whose body the caller writes. `answer` settles when the answer is there, whether the body was sent or not.
function open(url, headers, { agent = false, method = "POST" } = {}) {
  const sending = request(url, { method, headers, agent });
  const answer = new Promise((resolve, reject) => {
    sending.once("error", reject);
    sending.once("response", (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve(answerOf(Buffer.concat(chunks).toString(), response)));
    });
  });
  answer.catch(() => {});
  return { sending, answer };
}

/// Sends the body as a whole, with or without announcing its length.
function send(url, body, { chunked = false, agent } = {}) {
  const length = chunked ? { "transfer-encoding": "chunked" } : { "content-length": body.length };
  const { sending, answer } = open(url, { ...signed(body), ...length }, { agent });
  sending.end(body);
  return answer;
}

/// Sends what will be refused. Announced, that is before a byte of it is sent; and who would go on sending may find the connection closed, and miss the answer.
function refused(url, body, { chunked }) {
  if (chunked) return send(url, body, { chunked });
  const { sending, answer } = open(url, { ...signed(body), "content-length": body.length });
  sending.flushHeaders();
  return answer.finally(() => sending.destroy());
}

const outcome = async (answer) => {
  const { status, code } = await answer;
  return [status, code];
};

describe("before an event is looked at", () => {
  test("a method other than POST is 405, with Allow", async () => {
    for (const method of ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      const { sending, answer } = open(worker.hook, {}, { method });
      sending.end();
      assert.deepEqual(await outcome(answer), [405, "method_not_allowed"], method);
      assert.equal((await answer).headers.allow, "POST");
    }
    const head = await fetch(worker.hook, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers.get("allow")], [405, "POST"]);
  });

  test("a path that is none of ours is 404, whatever the method", async () => {
    for (const path of ["/", "/hooks", "/hooks/", "/hooks/osigu/", "/hooks/osigu/x", "/Hooks/osigu", "/healthz/x", "/favicon.ico"]) {
      for (const method of ["GET", "POST"]) {
        const { sending, answer } = open(`${worker.url}${path}`, {}, { method });
        sending.end();
        assert.deepEqual(await outcome(answer), [404, "path_unknown"], `${method} ${path}`);
      }
    }
  });

  test("a source that there isn't is 404, also by the name of a field that every object has", async () => {
    for (const source of ["other", "OSIGU", "osigu%20", "constructor", "__proto__", "toString"]) {
      const event = osigu.event("dispensing.completed");
      assert.deepEqual(await outcome(send(`${worker.url}/hooks/${source}`, event.body)), [404, "source_unknown"], source);
    }
  });

  test("a content type other than JSON's, or none, is 415; parameters and capitals don't matter", async () => {
    const event = osigu.event("dispensing.completed");
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "text/plain; application/json", undefined]) {
      const { "content-type": _, ...headers } = signed(event.body);
      const { sending, answer } = open(worker.hook, { ...headers, ...(type ? { "content-type": type } : {}) });
      sending.end(event.body);
      assert.deepEqual(await outcome(answer), [415, "content_type_unsupported"], type);
    }
    const { sending, answer } = open(worker.hook, { ...signed(event.body), "content-type": "Application/JSON; charset=utf-8" });
    sending.end(event.body);
    assert.deepEqual(await outcome(answer), [200, "delivered"]);
  });
});

describe("the size of a body", () => {
  for (const chunked of [false, true]) {
    const how = chunked ? "in chunks" : "announced";
    test(`${how}: exactly the limit is delivered, whole; one byte more is 413${chunked ? "" : " before any of it is sent"}`, async () => {
      const fits = eventOf(LIMIT);
      assert.deepEqual(await outcome(send(worker.hook, fits.body, { chunked })), [200, "delivered"]);
      assert.ok(origin.of(fits.id)[0].body.includes(fits.body));
      const over = eventOf(LIMIT + 1);
      assert.deepEqual(await outcome(refused(worker.hook, over.body, { chunked })), [413, "body_too_large"]);
      assert.equal(origin.of(over.id).length, 0);
    });

    test(`${how}: exactly 1 MiB is delivered where the source allows it; one byte more is 413`, async () => {
      const fits = eventOf(MIB);
      assert.deepEqual(await outcome(send(large(), fits.body, { chunked })), [200, "delivered"]);
      assert.equal(origin.of(fits.id).length, 1);
      assert.deepEqual(await outcome(refused(large(), eventOf(MIB + 1).body, { chunked })), [413, "body_too_large"]);
    });
  }

  test("sent in chunks without end: refused while the sender still sends, and the rest isn't read", async (t) => {
    const before = records("body_too_large").length;
    const { sending, answer } = open(worker.hook, { ...signed(Buffer.from("{}")), "transfer-encoding": "chunked" });
    let written = 0;
    let ended = false;
    answer.finally(() => (ended = true)).catch(() => {});
    const chunk = Buffer.alloc(16 * KIB, "x");
    // One chunk as soon as the one before has left.
    for (; !ended && written < 64 * MIB; written += chunk.length) {
      await new Promise((resolve) => sending.write(chunk, () => setImmediate(resolve)));
    }
    // A sender that goes on sending after it was refused may miss the answer. The Worker's log has it.
    const answered = await outcome(answer).catch(({ code }) => code);
    assert.ok(["413,body_too_large", "EPIPE", "ECONNRESET"].includes(String(answered)), String(answered));
    await until(() => records("body_too_large").length === before + 1, { what: "the record" });
    // What was sent is more than what was read: sockets have buffers.
    assert.ok(written > LIMIT && written < 16 * MIB, `${written} bytes were sent`);
    t.diagnostic(`answered after ${written / KIB} KiB were sent, of at most ${64 * KIB} KiB`);
    sending.destroy();
  });

  test("a body that breaks off is 503 body_incomplete, announced or in chunks, and nothing is delivered", async () => {
    const event = osigu.event("dispensing.completed");
    const half = event.body.subarray(0, 300);
    const framing = {
      announced: [`content-length: ${event.body.length}`, half],
      "in chunks": ["transfer-encoding: chunked", Buffer.concat([Buffer.from(`${half.length.toString(16)}\r\n`), half, Buffer.from("\r\n")])],
    };
    for (const [how, [header, bytes]] of Object.entries(framing)) {
      const socket = connect({ port: worker.port, host: "127.0.0.1", allowHalfOpen: true });
      let text = "";
      socket.on("data", (chunk) => (text += chunk));
      const closed = new Promise((resolve) => socket.once("close", resolve));
      socket.on("end", () => socket.destroy());
      const before = records("body_incomplete").length;
      socket.write(`POST /hooks/osigu HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-osigu-signature: t=1,v1=00\r\n${header}\r\n\r\n`);
      socket.end(bytes);
      await closed;
      assert.match(text, /^HTTP\/1\.1 503 /, how);
      assert.match(text, /\{"code":"body_incomplete"\}/, how);
      await until(() => records("body_incomplete").length > before, { what: "the record" });
    }
    assert.equal(origin.of(event.id).length, 0);
  });
});

test("a body that stalls, or comes in drops, is 503 body_incomplete after 9 s", async () => {
  const body = osigu.event("dispensing.completed").body;
  const started = Date.now();
  const stalled = open(worker.hook, { ...signed(body), "content-length": body.length });
  stalled.sending.write(body.subarray(0, 10));
  const dripping = open(worker.hook, { ...signed(body), "transfer-encoding": "chunked" });
  const drops = setInterval(() => dripping.sending.write(" "), 300);
  const answers = await Promise.all([stalled, dripping].map(({ answer }) => outcome(answer)));
  clearInterval(drops);
  const taken = Date.now() - started;
  for (const { sending } of [stalled, dripping]) sending.destroy();
  assert.deepEqual(answers, Array(2).fill([503, "body_incomplete"]));
  assert.ok(taken >= 8900 && taken < 12_000, `${taken} ms`);
});

describe("health and faulty settings", () => {
  test("/healthz is 503 faulty where a source is faulty; that source is 503, and the sound one delivers", async () => {
    const health = await fetch(`${worker.url}/healthz`);
    assert.deepEqual([health.status, await health.json()], [503, { status: "faulty" }]);
    const event = osigu.event("dispensing.completed");
    const refused = await osigu.send(`${worker.url}/hooks/faulty`, event.body, { key: KEY });
    assert.deepEqual([refused.status, refused.code, refused.retryAfter], [503, "source_misconfigured", "60"]);
    assert.equal((await osigu.send(worker.hook, event.body, { key: KEY })).code, "delivered");
    const faults = records("configuration_faulty").map((record) => record.faults);
    assert.deepEqual(faults, [["SOURCE_FAULTY.destination: isn't the name of a destination: there are local"]]);
  });

  test("/healthz is 200 ok where all is sound, also for HEAD", async () => {
    const sound = await startWorkerd({ vars: settings(origin.port) });
    try {
      const health = await fetch(`${sound.url}/healthz`);
      assert.deepEqual([health.status, await health.json()], [200, { status: "ok" }]);
      assert.equal((await fetch(`${sound.url}/healthz`, { method: "HEAD" })).status, 200);
      assert.deepEqual(sound.records(), []);
    } finally {
      await sound.kill();
    }
  });

  test("a gateway without a source is faulty, and says so", async () => {
    const empty = await startWorkerd({ vars: { RXGATE: { shards: 4 } } });
    try {
      assert.equal((await fetch(`${empty.url}/healthz`)).status, 503);
      const answer = await osigu.send(empty.hook, osigu.event("dispensing.completed").body, { key: KEY });
      assert.deepEqual([answer.status, answer.code], [404, "source_unknown"]);
    } finally {
      await empty.kill();
    }
  });
});

describe("bodies under way", () => {
  /// Opens requests that send so much of a body of 1 MiB, and wait.
  function begun(count, framing, bytes) {
    return Array.from({ length: count }, () => {
      const event = eventOf(MIB);
      const { sending, answer } = open(large(), { ...signed(event.body), ...framing });
      sending.write(event.body.subarray(0, bytes));
      return { event, sending, answer, rest: event.body.subarray(bytes) };
    });
  }

  test("announced: 32 of 1 MiB are taken, and each one more is 503 overloaded with Retry-After, until there is room again", async () => {
    const before = records("overloaded").length;
    const all = begun(ROOM + 4, { "content-length": MIB }, MIB - KIB);
    await until(() => records("overloaded").length >= before + 4, { within: 8000, what: "four that are refused" });
    // There is room for a KiB of each, and a body that needs more is refused as well.
    const medium = eventOf(64 * KIB);
    const refused = await send(worker.hook, medium.body);
    assert.deepEqual([refused.status, refused.code, refused.headers["retry-after"]], [503, "overloaded", "1"]);
    assert.equal(records("overloaded").length, before + 5);

    for (const { sending, rest } of all) sending.end(rest);
    // Those that were refused may have found the connection closed while they still sent.
    const answers = await Promise.all(all.map(({ answer, event }) => answer.then(outcome, () => "refused").then((answer) => ({ answer: String(answer), event }))));
    for (const { answer, event } of answers) assert.equal(origin.of(event.id).length, answer === "200,delivered" ? 1 : 0, answer);
    assert.equal(answers.filter(({ answer }) => answer === "200,delivered").length, ROOM);
    assert.ok(answers.every(({ answer }) => ["200,delivered", "503,overloaded", "refused"].includes(answer)));
    assert.deepEqual(await outcome(send(worker.hook, medium.body)), [200, "delivered"]);
  });

  test("in chunks: what counts is what was received, so 64 halves are taken and a 65th is overloaded", async () => {
    const before = { overloaded: records("overloaded").length, incomplete: records("body_incomplete").length };
    const all = begun(2 * ROOM + 1, { "transfer-encoding": "chunked" }, MIB / 2);
    await until(() => records("overloaded").length > before.overloaded, { within: 8000, what: "one that is refused" });
    // Room is given back as soon as the senders are gone.
    for (const { sending } of all) sending.destroy();
    await until(() => records("body_incomplete").length === before.incomplete + 2 * ROOM, { within: 5000, what: "the end of the others" });
    assert.equal(records("overloaded").length, before.overloaded + 1);
    assert.deepEqual(await outcome(send(large(), eventOf(MIB).body)), [200, "delivered"]);
  });

  test("200 of 1 MiB at once are each delivered or refused as overloaded; what was refused is delivered when it is sent again", async (t) => {
    const agent = new Agent({ keepAlive: false, maxSockets: 200 });
    const events = Array.from({ length: 200 }, () => eventOf(MIB));
    const delivered = new Set();
    const counts = { rounds: 0, refused: 0, missed: 0 };
    for (let open = events; open.length > 0; open = events.filter((event) => !delivered.has(event))) {
      counts.rounds += 1;
      assert.ok(counts.rounds <= 40, `${open.length} events are left after 40 rounds`);
      const before = worker.records().length;
      await Promise.all(
        open.map(async (event) => {
          try {
            const answer = (await outcome(send(large(), event.body, { agent }))).join(" ");
            assert.ok(["200 delivered", "503 overloaded"].includes(answer), answer);
            if (answer === "200 delivered") delivered.add(event);
            else counts.refused += 1;
          } catch (fault) {
            // A sender that goes on sending after it was refused may miss the answer. The Worker's log has it.
            if (!["EPIPE", "ECONNRESET"].includes(fault.code)) throw fault;
            counts.missed += 1;
          }
        }),
      );
      await until(() => worker.records().length >= before + open.length, { what: "the records" });
      const round = Object.groupBy(worker.records().slice(before), ({ code }) => code);
      assert.deepEqual(Object.keys(round).filter((code) => !["delivered", "overloaded"].includes(code)), []);
      assert.equal((round.delivered ?? []).length + (round.overloaded ?? []).length, open.length);
    }
    agent.destroy();
    assert.ok(counts.refused > 0, "more was sent at a time than there is room for");
    for (const { id } of events) assert.equal(origin.of(id).length, 1);
    if (!existsSync("/proc/self/status")) return;
    const memory = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${worker.pid}/status`, "utf8"))[1]) / KIB;
    t.diagnostic(`${JSON.stringify(counts)}; RSS of workerd: ${memory("VmRSS").toFixed()} MiB, at most ${memory("VmHWM").toFixed()} MiB`);
    assert.ok(memory("VmHWM") < 1024);
  });
});

describe("the log of refusals", () => {
  const LIMIT = 10;
  const SAMPLE = 100;
  let platform;
  let at;

  before(async () => {
    platform = await startPlatform({ rateLimits: { FAILED_AUTHENTICATIONS: { limit: LIMIT, period: 60 } } });
    const sound = settings(origin.port);
    at = await startWorkerd({ vars: { ...sound, SOURCE_OTHER: sound.SOURCE_OSIGU, SOURCE_THIRD: sound.SOURCE_OSIGU, SOURCE_FOURTH: sound.SOURCE_OSIGU }, platform });
  });

  after(async () => {
    await at?.kill();
    remove(at?.state);
    await platform?.close();
  });

  const lines = (source, code = "signature_mismatch") => at.records().filter((record) => record.code === code && record.source === source);

  /// So many requests of a stranger, twenty at a time; answers how they were answered.
  async function forge(source, count, options = { key: NEXT_KEY }) {
    const answers = new Set();
    let left = count;
    const one = async () => {
      while (left > 0) {
        left -= 1;
        const { status, code, text } = await osigu.send(`${at.url}/hooks/${source}`, osigu.event("dispensing.completed").body, options);
        answers.add(`${status} ${code} ${text}`);
      }
    };
    await Promise.all(Array.from({ length: 20 }, one));
    return [...answers];
  }

  test("is bounded under 500 forged requests, which are all answered alike; an authentic event in between is delivered, and logged", async (t) => {
    const event = osigu.event("dispensing.completed");
    const forging = forge("osigu", 500);
    await until(() => platform.counts().limits > 50, { what: "a part of them" });
    const limits = platform.counts().limits;
    assert.deepEqual((await osigu.send(at.hook, event.body, { key: KEY })).code, "delivered");
    assert.deepEqual(await forging, ['401 signature_mismatch {"code":"signature_mismatch"}']);
    assert.ok(limits < 500, "it came in between");
    assert.equal(platform.counts().limits, 500, "each refusal asks the limit, and nothing else does");
    await until(() => at.records().some(({ code }) => code === "delivered"), { what: "its record" });
    const all = lines("osigu");
    const sampled = all.filter((record) => record.sampled !== undefined);
    t.diagnostic(`500 forged requests: ${all.length} lines, ${sampled.length} of them sampled`);
    // The period may have turned once in the meantime. That 30 of 500 are drawn with a chance of 1 in 100 won't happen.
    assert.ok(all.length - sampled.length >= LIMIT && all.length - sampled.length <= 2 * LIMIT, `${all.length - sampled.length} lines`);
    assert.ok(sampled.length < 30, `${sampled.length} sampled lines`);
    for (const { sampled, level, status } of all) assert.ok([undefined, SAMPLE].includes(sampled) && level === "warn" && status === 401);
  });

  test("of one source doesn't use up another's, and what there is no source for has one limit of its own", async () => {
    await forge("other", 3);
    await until(() => lines("other").length === 3, { what: "the lines of another source" });
    assert.ok(lines("other").every(({ sampled }) => sampled === undefined));
    for (const code of ["source_unknown", "path_unknown"]) {
      const before = at.records().filter((record) => record.code === code).length;
      for (let n = 0; n < 40; n += 1) {
        const path = code === "source_unknown" ? `/hooks/nobody-${n}` : `/nowhere-${n}`;
        assert.equal((await osigu.send(`${at.url}${path}`, Buffer.from("{}"), { key: KEY })).code, code);
      }
      const lines = at.records().filter((record) => record.code === code).length - before;
      assert.ok(code === "source_unknown" ? lines >= LIMIT && lines < 35 : lines < 35, `${lines} lines of ${code}`);
    }
  });

  test("is whole where the limit fails, hangs or is slow, and the answer isn't kept for it", async () => {
    for (const [source, how] of [["third", "fail"], ["fourth", "hang"]]) {
      platform.fault({ on: "ratelimit", how });
      const began = Date.now();
      await forge(source, 30);
      assert.ok(Date.now() - began < 5000);
      await until(() => lines(source).length === 30, { what: "30 lines" });
      assert.ok(lines(source).every(({ sampled }) => sampled === undefined), how);
      platform.clearFaults();
    }
  });

  test("of authentic requests has no limit, whatever comes of them", async () => {
    platform.fault({ on: "ratelimit", how: "limited" });
    const before = platform.counts().limits;
    for (let n = 0; n < 30; n += 1) await osigu.send(at.hook, Buffer.from(`no json ${n}`), { key: KEY });
    await osigu.send(at.hook, osigu.event("dispensing.completed").body, { key: KEY, t: osigu.seconds() - 400 });
    await until(() => lines("osigu", "dead_lettered").length === 30 && lines("osigu", "timestamp_out_of_tolerance").length === 1, { what: "their records" });
    assert.equal(platform.counts().limits, before);
    platform.clearFaults();
  });
});
