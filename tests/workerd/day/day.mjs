// A day of faults: mixed traffic while everything around the Worker, and the Worker itself, fails in turn. At its end all is counted by id.
//
//   scripts/run tests/workerd/day/day.mjs [SECONDS] [SEED]

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as osigu from "../../../scripts/lib/osigu.mjs";
import { ADMIN_KEY, KEY, freePort, readText, remove, settings, sleep, startWorkerd, temporary, unique, until } from "../harness.mjs";
import { startPlatform } from "../platform.mjs";

/// Sources, and where their events go: direct with the queue behind it, by the queue, to a queue of the customer's, and direct with KV for a memory.
const SOURCES = ["direct", "queued", "events", "kv"];
/// What the sender sends, and how many of a hundred.
const KINDS = { valid: 58, duplicate: 10, forged: 9, oversized: 3, slow: 3, aborted: 5, invalid: 5, refused: 4, large: 3 };
const SENDERS = 8;
const OURS = /^rxgate-/;
const OURS_ALL = ["rxgate-deliveries", "rxgate-dead-letters"];
/// A kill in this time around a delivery makes its outcome unknown: its commit may not have come about.
const KILL_MS = 4000;
/// Longer than this no origin is waited for at ingest.
const TIMEOUT_MS = 6000;

export async function day({ seconds, seed = Date.now() % 100_000, say = () => {} }) {
  const random = generator(seed);
  const folder = temporary();
  const log = join(folder, "origin.log");
  const originPort = await freePort();
  const platform = await startPlatform({ rateLimits: { FAILED_AUTHENTICATIONS: { limit: 20, period: 60 } } });
  const vars = settings(originPort);
  const source = (more) => ({ ...vars.SOURCE_OSIGU, max_body_bytes: 512 * 1024, ...more });
  Object.assign(vars, {
    SOURCE_DIRECT: source({}),
    SOURCE_QUEUED: source({ destination: "queued" }),
    SOURCE_EVENTS: source({ destination: "events" }),
    SOURCE_KV: source({ dedupe: "kv" }),
    DESTINATION_QUEUED: { ...vars.DESTINATION_LOCAL, delivery: "queue" },
    DESTINATION_EVENTS: { queue: "EVENTS" },
  });

  const started = Date.now();
  const kills = [];
  const outputs = [];
  let worker;
  let origin;
  const startGateway = async () => (worker = await startWorkerd({ vars, platform, state: join(folder, "state") }));
  const stopGateway = async () => {
    const { output } = worker;
    kills.push(Date.now());
    await worker.kill();
    outputs.push(output());
  };
  const startOrigin = async () => {
    origin = spawn(process.execPath, [join(import.meta.dirname, "origin.mjs"), String(originPort), log], { stdio: "ignore" });
    await until(() => fetch(`http://127.0.0.1:${originPort}/ways`, { method: "POST", body: "[]" }).then(() => true, () => false));
  };
  const ways = (list) => fetch(`http://127.0.0.1:${originPort}/ways`, { method: "POST", body: JSON.stringify(list) }).catch(() => {});
  const killOrigin = async () => {
    const exited = new Promise((resolve) => origin.once("exit", resolve));
    origin.kill("SIGKILL");
    await exited;
  };

  /// All that was sent, by id: { id, source, kind, event, acknowledged }.
  const sent = new Map();
  const refused = { forged: 0, oversized: 0 };
  const codes = {};
  const wrong = [];
  const counted = ({ status, code }) => {
    codes[`${status} ${code}`] = (codes[`${status} ${code}`] ?? 0) + 1;
    return status;
  };

  await startOrigin();
  await startGateway();
  let over = false;
  try {
    // ── traffic ──

    /// Sends until it is acknowledged, as a sender does that retries for longer than the faults last.
    const deliver = async (entry) => {
      for (let tries = 0; ; tries += 1) {
        const status = counted(await send(worker, entry));
        if (status >= 200 && status < 300) {
          entry.acknowledged = true;
          return;
        }
        if (status >= 400 && status < 500) wrong.push(`${entry.kind} ${entry.id} was answered ${status}`);
        if (tries > 400) throw new Error(`${entry.id} isn't taken`);
        await sleep(over ? 100 : 200 + random(600));
      }
    };
    const fresh = (kind, more = {}) => {
      const from = SOURCES[random(SOURCES.length)];
      const event = osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp"), ...more } });
      const entry = { id: event.id, source: from, kind, event, acknowledged: false };
      sent.set(event.id, entry);
      return entry;
    };
    /// What isn't to be taken, sent until it is refused.
    const forged = [];
    const refuse = async (kind, event, source, refusal, key) => {
      const entry = { id: event.id, source, kind, refused: false };
      forged.push(entry);
      while (!entry.refused) {
        const status = counted(await send(worker, { event, source }, { key }));
        entry.refused = status === refusal;
        if (entry.refused) refused[kind] += 1;
        else if (status < 500 && status !== 0) return wrong.push(`a request that is ${kind} was answered ${status}`);
        else await sleep(100 + random(200));
      }
    };
    const act = {
      valid: () => deliver(fresh("valid")),
      large: () => deliver(fresh("large", { note: "x".repeat(150_000 + random(200_000)) })),
      invalid: () => deliver(fresh("invalid", { dispensation_id: undefined })),
      refused: () => deliver(fresh("refused", { refuse: true })),
      duplicate: async () => {
        const known = [...sent.values()];
        const entry = known[random(known.length)] ?? fresh("valid");
        await Promise.all([deliver(entry), deliver(entry)]);
      },
      forged: () => refuse("forged", osigu.event("dispensing.completed", { data: { dispensation_id: unique("dsp") } }), SOURCES[random(SOURCES.length)], 401, `${KEY}x`),
      oversized: () => refuse("oversized", osigu.event("dispensing.completed", { data: { note: "x".repeat(600_000) } }), "direct", 413, KEY),
      /// In pieces, with pauses.
      slow: async () => {
        const entry = fresh("slow");
        await trickle(worker, entry, 5, 100);
        await deliver(entry);
      },
      /// Cut off: in the middle of the body, or after its end.
      aborted: async () => {
        const entry = fresh("aborted");
        await cut(worker, entry, random(2) === 0);
        await deliver(entry);
      },
    };
    const choose = () => {
      let dice = random(Object.values(KINDS).reduce((sum, n) => sum + n, 0));
      for (const [kind, share] of Object.entries(KINDS)) {
        dice -= share;
        if (dice < 0) return kind;
      }
      return "valid";
    };
    const senders = Array.from({ length: SENDERS }, async () => {
      while (!over) {
        await act[choose()]();
        await sleep(random(60));
      }
    });

    // ── faults, one after the other ──

    const tally = {};
    const faults = {
      "the Worker is killed": async () => {
        await stopGateway();
        await sleep(random(500));
        await startGateway();
      },
      "the origin is killed": async () => {
        await killOrigin();
        await sleep(500 + random(2000));
        await startOrigin();
      },
      "the origin fails": () => forAWhile(() => ways([{ percent: 80, status: 500 }]), () => ways([])),
      "the origin hangs and is slow": () => forAWhile(() => ways([{ percent: 10, hang: true }, { percent: 40, delay: 400 }]), () => ways([])),
      "KV fails": () => withFault({ on: "kv", how: "fail" }),
      "KV is slow": () => withFault({ on: "kv", how: { delay: 800 } }),
      "KV is stale": () => withFault({ on: "kv.get", how: { stale: 60_000 } }),
      "KV says 429": () => withFault({ on: "kv.put", how: "rate_limited" }),
      "KV takes it and says no": () => withFault({ on: "kv.put", how: "fail_after" }),
      "queues take nothing": () => withFault({ on: "queue.send", how: "fail" }),
      "queues take it and say no": () => withFault({ on: "queue.send", how: "fail_after" }),
      "queues hang": () => withFault({ on: "queue.send", how: "hang", times: 3 }),
      "batches come twice": () => withFault({ on: "queue.deliver", queue: OURS, how: "twice" }),
      "batches come twice at once": () => withFault({ on: "queue.deliver", queue: OURS, how: "at_once" }),
      "acks get lost": () => withFault({ on: "queue.deliver", queue: OURS, how: "fail_after" }),
    };
    const forAWhile = async (begin, end) => {
      await begin();
      await sleep(800 + random(1500));
      await end();
    };
    const unknown = [];
    const withFault = (fault) => {
      let ordered;
      return forAWhile(
        () => {
          ordered = platform.fault(fault);
          unknown.push({ ...fault, from: Date.now(), ordered });
        },
        () => {
          unknown.at(-1).to = Date.now();
          ordered.clear();
          platform.clearFaults();
        },
      );
    };
    const names = Object.keys(faults);
    const end = started + seconds * 1000;
    for (let turn = 0; Date.now() < end; turn += 1) {
      // Each of them before any comes again, in an order of the seed's.
      const name = names[turn % names.length];
      if (turn % names.length === 0) shuffle(names, random);
      tally[name] = (tally[name] ?? 0) + 1;
      say(`${String(Math.round((Date.now() - started) / 1000)).padStart(4)} s  ${name}`);
      await faults[name]();
      // Queues are quick today: what is held back for an hour comes at once.
      for (const queue of OURS_ALL) await platform.advance(queue, 60_000);
      await sleep(random(400));
    }

    // ── the end: everything works again, and what is under way ends ──

    over = true;
    platform.clearFaults();
    await ways([]);
    await Promise.all(senders);
    // What the Worker held when it was killed, is free again after a lease: 40 s at most.
    let result;
    const counts = () => account({ worker, platform, log, lines: [...outputs, worker.output()].join("\n").split("\n"), sent, forged, refused, kills, unknown, wrong });
    for (const until = Date.now() + 90_000; ; ) {
      for (const queue of OURS_ALL) await platform.advance(queue, 600_000);
      await sleep(500);
      result = await counts();
      if (result.missing.length === 0 || Date.now() > until) break;
    }
    await platform.idle({ within: 20_000 });
    result = await counts();
    outputs.push(worker.output());
    return { seed, seconds: Math.round((Date.now() - started) / 1000), faults: tally, codes, kills: kills.length, ...result, records: records(outputs) };
  } finally {
    over = true;
    await worker.kill().catch(() => {});
    origin.kill("SIGKILL");
    await platform.close();
    remove(folder);
  }
}

const webhookIdOf = ({ source, id }) => `evt_${createHash("sha256").update(`${source}\0${id}`).digest("base64url")}`;

/// Whether it can't be delivered for good. A customer's queue refuses nothing.
const isDead = ({ kind, source }) => kind === "invalid" || (kind === "refused" && source !== "events");

/// Where each event is, by its id.
async function account({ worker, platform, log, lines, sent, forged, refused, kills, unknown, wrong: before }) {
  const wrong = [...before];
  const attempts = new Map();
  const byNumber = new Map();
  for (const line of readText(log).split("\n").filter(Boolean).map((text) => JSON.parse(text))) {
    if (line.answered) {
      Object.assign(byNumber.get(`${line.pid} ${line.answered}`), { status: line.status, answeredAt: line.at });
      continue;
    }
    byNumber.set(`${line.pid} ${line.attempt}`, line);
    attempts.set(line.id, [...(attempts.get(line.id) ?? []), line]);
  }
  const enqueued = new Map();
  for (const { body } of platform.consumed("clinic-events")) {
    const message = JSON.parse(body);
    const id = message.rxgate === "reference" ? message.webhook_id : message.id;
    enqueued.set(id, (enqueued.get(id) ?? 0) + 1);
  }
  const letters = await deadLetters(worker);

  const counts = { sent: 0, delivered: 0, enqueued: 0, dead_lettered: 0, duplicates_after_unknown: 0, kv_duplicates: 0, missing: [], twice: [] };
  for (const entry of sent.values()) {
    counts.sent += 1;
    assert.ok(entry.acknowledged, `${entry.id} was acknowledged in the end`);
    const webhookId = webhookIdOf(entry);
    const of = attempts.get(entry.id) ?? [];
    const taken = of.filter(({ status }) => status === 200);
    const inQueue = (enqueued.get(entry.id) ?? 0) + (enqueued.get(webhookId) ?? 0);
    const isLetter = letters.has(webhookId);
    if (isLetter !== isDead(entry)) wrong.push(`${entry.kind} ${entry.source} ${entry.id} is ${isLetter ? `a dead letter: ${letters.get(webhookId)}` : "no dead letter"}`);
    if (isLetter && (taken.length > 0 || inQueue > 0)) {
      wrong.push(`${entry.kind} ${entry.source} ${entry.id} is a dead letter, and somebody has it ${JSON.stringify(of)}\n${lines.filter((line) => line.includes(webhookId)).join("\n")}`);
    }
    if (isLetter) counts.dead_lettered += 1;
    else if (taken.length > 0) counts.delivered += 1;
    else if (inQueue > 0) counts.enqueued += 1;
    else counts.missing.push(`${entry.kind} ${entry.source} ${entry.id} ${webhookId} ${JSON.stringify(of)}\n${lines.filter((line) => line.includes(webhookId)).join("\n")}`);

    const near = (at) => kills.some((kill) => kill > at - KILL_MS && kill < at + KILL_MS);
    const sends = unknown.filter(({ on, how }) => on === "queue.send" && how !== "fail");
    if (entry.source === "kv") {
      counts.kv_duplicates += Math.max(0, taken.length - 1);
      continue;
    }
    // The outcome of an attempt is unknown if it wasn't answered in time, or if the Worker was killed around it. What an origin took, isn't to come again otherwise.
    const isUnknown = ({ at, answeredAt }) => answeredAt - at > TIMEOUT_MS || near(at);
    const again = of.slice(0, -1).filter(({ status }) => status === 200);
    for (const attempt of again) {
      if (isUnknown(attempt)) counts.duplicates_after_unknown += 1;
      else counts.twice.push(`${entry.kind} ${entry.source} ${entry.id}: ${JSON.stringify(of)}`);
    }
    if (inQueue > 1) {
      const sentAt = platform.messages()["clinic-events"].filter(({ body }) => body.includes(entry.id) || body.includes(webhookId)).map(({ at }) => at);
      const excused = sentAt.some((at) => near(at) || sends.some(({ from, to }) => at >= from - 1000 && at <= (to ?? at) + 4000));
      if (excused) counts.duplicates_after_unknown += inQueue - 1;
      else counts.twice.push(`${entry.kind} ${entry.source} ${entry.id}: ${inQueue} messages`);
    }
  }
  for (const entry of forged) {
    const { id, kind } = entry;
    if (!entry.refused) wrong.push(`${kind} ${id} wasn't refused`);
    if (attempts.has(id) || enqueued.has(id) || enqueued.has(webhookIdOf(entry)) || letters.has(webhookIdOf(entry))) wrong.push(`${kind} ${id} was refused, and somebody has it`);
  }
  return { ...counts, refused, wrong };
}

/// The `webhook_id` of all that are kept, page by page.
async function deadLetters(worker) {
  const found = new Map();
  let cursor = null;
  do {
    const query = new URLSearchParams({ limit: "100", ...(cursor && { cursor }) });
    const response = await fetch(`${worker.url}/v1/dead-letters?${query}`, { headers: { authorization: `Bearer ${ADMIN_KEY}` } });
    const page = await response.json();
    assert.equal(response.status, 200, JSON.stringify(page));
    for (const letter of page.dead_letters) found.set(letter.webhook_id, letter.reason);
    cursor = page.cursor;
  } while (cursor);
  return found;
}

/// How many lines of the log have each code.
function records(outputs) {
  const counts = {};
  for (const line of outputs.join("\n").split("\n")) {
    const code = /^\{.*"code":"(\w+)"/.exec(line)?.[1];
    if (code) counts[code] = (counts[code] ?? 0) + 1;
  }
  return counts;
}

/// One request; a connection that fails is status 0.
async function send(worker, { event, source }, { key = KEY } = {}) {
  try {
    const signal = AbortSignal.timeout(12_000);
    return await osigu.send(`${worker.url}/hooks/${source}`, event.body, { key, signal });
  } catch {
    return { status: 0, code: "no answer" };
  }
}

const opening = ({ event, source }) =>
  `POST /hooks/${source} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-osigu-signature: ${osigu.signatureHeader(KEY, event.body)}\r\ncontent-length: ${event.body.length}\r\n\r\n`;

async function trickle(worker, entry, pieces, pause) {
  const socket = connect(worker.port, "127.0.0.1");
  socket.on("error", () => {}).resume();
  socket.write(opening(entry));
  const size = Math.ceil(entry.event.body.length / pieces);
  for (let at = 0; at < entry.event.body.length; at += size) {
    socket.write(entry.event.body.subarray(at, at + size));
    await sleep(pause);
  }
  socket.destroy();
}

async function cut(worker, entry, afterAll) {
  const socket = connect(worker.port, "127.0.0.1");
  socket.on("error", () => {}).resume();
  socket.write(opening(entry));
  socket.write(afterAll ? entry.event.body : entry.event.body.subarray(0, 200));
  await sleep(20);
  socket.resetAndDestroy();
}

/// Whole numbers below `n`, the same for the same seed.
function generator(seed) {
  let state = seed >>> 0 || 1;
  return (n) => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % Math.max(1, n);
  };
}

function shuffle(list, random) {
  for (let place = list.length - 1; place > 0; place -= 1) {
    const other = random(place + 1);
    [list[place], list[other]] = [list[other], list[place]];
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [seconds = 300, seed] = process.argv.slice(2).map(Number);
  const result = await day({ seconds, seed, say: (text) => console.log(text) });
  console.log(JSON.stringify(result, null, 2));
  const ok = result.missing.length + result.twice.length + result.wrong.length === 0;
  console.log(ok ? "sent = delivered + enqueued + dead-lettered; nothing acknowledged is missing; nothing came twice but after an unknown outcome" : "NOT AS IT SHOULD BE");
  process.exit(ok ? 0 : 1);
}
