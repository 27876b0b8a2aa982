// The command-line tool as it is run: a process, its output, its exit code.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { eventTypes, fromNode, presets, sign, source, verify } from "../../pkg/src/node.js";
import { SENDERS, developmentSecret, secretVariable, senderOf, settingsOf } from "../../pkg/src/cli/senders.js";
import { prettyJson } from "../../pkg/src/cli/output.js";
import { shuffled } from "../../pkg/src/cli/trigger.js";

const MAIN = join(import.meta.dirname, "../../pkg/src/cli/main.js");
const API_KEY = "api-key-0123456789abcdef";
const secrets = Object.fromEntries(SENDERS.map((sender) => [sender.name, developmentSecret(sender)]));
const variables = { ...Object.fromEntries(SENDERS.map((sender) => [secretVariable(sender), secrets[sender.name]])), OSIGU_PRESCRIPTION_NOTIFICATIONS_API_KEY: API_KEY };
const sourceOf = (name, more = {}) => source({ ...settingsOf(senderOf(name), [{ id: "first", secret: secrets[name] }], { apiKey: API_KEY }), ...more });

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), "rxgate-cli-"))));
after(() => rmSync(folder, { recursive: true }));

/// A file in the folder that the tool runs in.
function file(name, content) {
  writeFileSync(join(folder, name), typeof content === "string" || Buffer.isBuffer(content) ? content : JSON.stringify(content));
  return name;
}

function start(args, { env = {}, input, cwd = folder } = {}) {
  const { PATH, HOME } = process.env;
  const child = spawn(process.execPath, [MAIN, ...args], { cwd, env: { PATH, HOME, ...env }, stdio: ["pipe", "pipe", "pipe"] });
  const told = { child, stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => (told.stdout += chunk));
  child.stderr.on("data", (chunk) => (told.stderr += chunk));
  child.stdin.end(input ?? "");
  told.ended = new Promise((resolve) => child.once("close", (code) => resolve({ code, stdout: told.stdout, stderr: told.stderr })));
  return told;
}

const cli = (args, options) => start(args, options).ended;
/// With every sender's secret in its variable.
const withSecrets = (...args) => cli(args, { env: variables });

/// A receiver at /hooks/<sender> that verifies with the package, and answers as it found.
async function receiver() {
  const received = [];
  const server = createServer(async (request, response) => {
    const [, , name] = request.url.split("/");
    const { host: _, ...headers } = request.headers;
    const read = await fromNode(request, { mount: `/hooks/${name}` });
    const result = verify(sourceOf(name), read);
    received.push({ name, url: request.url, headers, body: Buffer.from(read.body).toString(), result });
    response.writeHead(result.ok ? 200 : result.status, { "content-type": "application/json" }).end(result.answer);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = (name) => `http://127.0.0.1:${server.address().port}/hooks/${name}`;
  return { received, url, take: () => received.splice(0), close: () => (server.closeAllConnections(), new Promise((resolve) => server.close(resolve))) };
}

/// One clear line, and no stack.
function isOneLine({ stderr }) {
  assert.doesNotMatch(stderr, /^\s+at /m);
  assert.match(stderr, /^rxgate: /);
}

describe("trigger", () => {
  let to;
  before(async () => (to = await receiver()));
  after(() => to.close());

  for (const { name, events } of SENDERS) {
    test(`${name}: each of its ${events.length} events verifies`, async () => {
      const { code, stdout, stderr } = await withSecrets("trigger", name, "--all", "--to", to.url(name), "--json");
      const received = to.take();
      assert.deepEqual(received.map(({ result }) => result.code ?? "ok"), events.map(() => "ok"), stderr);
      assert.equal(code, 0);
      assert.deepEqual(JSON.parse(stdout).requests.map(({ event, status }) => [event, status]), events.map((event) => [event, 200]));
      assert.equal(new Set(received.map(({ result }) => result.webhookId)).size, events.length);
      const { provider } = senderOf(name);
      const known = eventTypes().filter((type) => type.provider === provider);
      const types = events.map((event) => known.find(({ eventType }) => eventType === event)?.type ?? "rx.unknown");
      assert.deepEqual(received.map(({ result }) => result.event.type), types);
    });
  }

  test("there is a sample of every event type and of every preset that the package knows", () => {
    const sampled = new Set(SENDERS.flatMap(({ provider, events }) => events.map((event) => `${provider} ${event}`)));
    // The gateway's own word for a callback that didn't come: nobody sends it.
    const missing = eventTypes().filter(({ provider, eventType }) => !sampled.has(`${provider} ${eventType}`));
    assert.deepEqual(missing.map(({ eventType }) => eventType), ["callback_missing"]);
    assert.deepEqual(SENDERS.filter(({ provider }) => provider === "configured").map(({ name }) => name), presets());
    assert.deepEqual(SENDERS.slice(0, 3).map(({ events }) => events.length), [13, 10, 3]);
  });

  test("a sample tells nothing that its type doesn't have: no field is left out with a note", async () => {
    for (const name of ["osigu", "evitalrx", "phil"]) {
      await withSecrets("trigger", name, "--all", "--to", to.url(name));
      for (const { result } of to.take()) assert.equal(result.event.data.notes, undefined, `${name} ${result.event.type}`);
    }
  });

  test("ids are new in each run, times are now", async () => {
    for (let run = 0; run < 2; run += 1) await withSecrets("trigger", "osigu", "dispensing.completed", "--to", to.url("osigu"));
    const [one, other] = to.take().map(({ result }) => result.event);
    assert.notEqual(one.id, other.id);
    assert.notEqual(one.subject, other.subject);
    for (const at of [one.time, one.rxemittedat]) assert.ok(Math.abs(Date.now() - Date.parse(at)) < 60_000, at);
  });

  test("--duplicate sends the same request so many times", async () => {
    const { code, stdout } = await withSecrets("trigger", "osigu", "authorization.created", "--duplicate", "3", "--to", to.url("osigu"));
    const received = to.take();
    assert.equal(code, 0);
    assert.equal(received.length, 3);
    assert.equal(new Set(received.map(({ body, headers }) => body + headers["x-osigu-signature"])).size, 1);
    assert.deepEqual(stdout.match(/\d\/3/g), ["1/3", "2/3", "3/3"]);
  });

  for (const { name, events } of SENDERS.filter(({ provider }) => provider === "osigu" || provider === "configured")) {
    test(`${name}: --tamper is refused, and the exit code says so`, async () => {
      const { code, stdout, stderr } = await withSecrets("trigger", name, events[0], "--tamper", "--to", to.url(name), "--json");
      const [{ body, result }] = to.take();
      assert.equal(result.code, "signature_mismatch");
      assert.doesNotThrow(() => JSON.parse(body));
      assert.equal(code, 1);
      assert.deepEqual([JSON.parse(stdout).ok, JSON.parse(stdout).requests[0].code], [false, "signature_mismatch"]);
      assert.equal(stderr, "");
    });
  }

  test("--tamper of a sender that signs nothing is taken, and is said to be", async () => {
    const { code, stderr } = await withSecrets("trigger", "phil", "RECEIVED", "--tamper", "--to", to.url("phil"));
    to.take();
    assert.equal(code, 0);
    assert.match(stderr, /signs no body/);
  });

  test("--skew signs with a clock that is wrong", async () => {
    for (const [skew, seconds] of [["400s", -400], ["-400s", 400], ["7m", -420], ["-400000ms", 400]]) {
      const { code } = await withSecrets("trigger", "osigu", "authorization.created", "--skew", skew, "--to", to.url("osigu"));
      const [{ result }] = to.take();
      assert.equal(code, 1);
      assert.equal(result.code, "timestamp_out_of_tolerance");
      assert.ok(Math.abs(result.skewSeconds - seconds) <= 5, `${skew}: ${result.skewSeconds}`);
    }
    const within = await withSecrets("trigger", "osigu", "authorization.created", "--skew", "-4m", "--to", to.url("osigu"));
    assert.equal(within.code, 0);
    to.take();
    const timeless = await withSecrets("trigger", "github", "issues.opened", "--skew", "2h", "--to", to.url("github"));
    assert.equal(timeless.code, 0);
    assert.match(timeless.stderr, /signs no time/);
    to.take();
  });

  test("--set changes fields before they are signed: JSON with its digits, or text", async () => {
    const set = ["data.authorization_id=abc", "data.products[0].quantity=2.50", "data.products.0.posology=1e/8h", "data.additional_data={\"price\":[1.10]}", "data.sponsor_reference=null", "data.new.field=\"12\""];
    const { code } = await withSecrets("trigger", "osigu", "authorization.created", ...set.flatMap((one) => ["--set", one]), "--to", to.url("osigu"));
    const [{ body, result }] = to.take();
    assert.equal(code, 0);
    assert.equal(result.event.subject, "authorization/abc");
    assert.match(body, /"quantity":2\.50,"posology":"1e\/8h"/);
    assert.match(body, /"additional_data":\{"price":\[1\.10\]\}/);
    assert.match(body, /"sponsor_reference":null/);
    assert.match(body, /"new":\{"field":"12"\}/);
  });

  test("--set refuses what isn't path=value, and paths into text", async () => {
    for (const set of ["data.authorization_id", "=x", "data..x=1", "__proto__.x=1", "data.authorization_id.x.y=1"]) {
      const told = await withSecrets("trigger", "osigu", "authorization.created", "--set", set);
      assert.equal(told.code, 2, set);
      isOneLine(told);
    }
  });

  for (const { name, scenarios } of SENDERS) {
    for (const life of Object.keys(scenarios)) {
      test(`${name}: the scenario ${life} in order, of one life`, async () => {
        const { code, stderr } = await withSecrets("trigger", name, "--scenario", life, "--to", to.url(name));
        const received = to.take();
        assert.equal(code, 0, stderr);
        assert.deepEqual(received.map(({ result }) => result.event.rxeventtype), scenarios[life].map((step) => step.event ?? step));
        const subjects = new Set(received.map(({ result }) => result.event.subject));
        assert.equal(subjects.size, new Set([...subjects].map((subject) => subject.split("/")[0])).size, [...subjects].join());
        const times = received.map(({ result }) => result.event.rxemittedat ?? result.event.time).filter(Boolean).map(Date.parse);
        assert.deepEqual(times, [...times].sort((one, other) => one - other));
        assert.equal(new Set(received.map(({ body }) => body)).size, received.length);
      });
    }
  }

  test("a dispensation's events are of the authorization's code, or of the prescription's", async () => {
    await withSecrets("trigger", "osigu", "--scenario", "settlement", "--to", to.url("osigu"));
    const [created, started, completed] = to.take().map(({ body }) => JSON.parse(body).data);
    assert.equal(started.code, created.authorization_code);
    assert.deepEqual([completed.code, completed.authorization_id], [created.authorization_code, created.authorization_id]);
    await withSecrets("trigger", "osigu", "--scenario", "prescription", "--to", to.url("osigu"));
    const [issued, , , filled] = to.take().map(({ body }) => JSON.parse(body).data);
    assert.deepEqual([filled.code, filled.prescription_id, filled.code_type], [issued.prescription_code, issued.prescription_id, "PRESCRIPTION"]);
  });

  test("after a reassignment the second pharmacy has the order; a pickup has nobody who brings it", async () => {
    await withSecrets("trigger", "evitalrx", "--scenario", "reassigned", "--to", to.url("evitalrx"));
    const chemists = to.take().map(({ body }) => JSON.parse(body).chemist_code);
    assert.deepEqual(chemists, ["", "C00ER", "C00ER", ...Array(5).fill("C00F2")]);
    await withSecrets("trigger", "evitalrx", "--scenario", "pickup", "--to", to.url("evitalrx"));
    assert.deepEqual(to.take().map(({ body }) => JSON.parse(body).delivery_type), ["delivery", ...Array(4).fill("pickup")]);
  });

  test("--shuffle is another order, the same for the same seed, which is printed", async () => {
    const order = async (...seed) => {
      const told = await withSecrets("trigger", "evitalrx", "--scenario", "reassigned", "--to", to.url("evitalrx"), "--shuffle", ...seed);
      assert.equal(told.code, 0);
      return { seed: /seed (\S+):/.exec(told.stderr)?.[1], events: to.take().map(({ url }) => url.split("/").at(-1)) };
    };
    const inOrder = senderOf("evitalrx").scenarios.reassigned.map((step) => step.event ?? step);
    const seven = await order("7");
    assert.equal(seven.seed, "7");
    assert.notDeepEqual(seven.events, inOrder);
    assert.deepEqual([...seven.events].sort(), [...inOrder].sort());
    assert.deepEqual((await order("7")).events, seven.events);
    assert.notDeepEqual((await order("8")).events, seven.events);
    const drawn = await order();
    assert.match(drawn.seed, /^[0-9a-f]{8}$/);
    assert.deepEqual((await order(drawn.seed)).events, drawn.events);
  });

  test("a shuffle is another order, whatever the seed, and draws different ones", () => {
    for (let length = 2; length < 9; length += 1) {
      const list = Array.from({ length }, (_, place) => place);
      const orders = Array.from({ length: 50 }, (_, seed) => shuffled(list, String(seed)).join());
      assert.ok(!orders.includes(list.join()));
      assert.ok(new Set(orders).size >= Math.min(20, [0, 0, 1, 5][length] ?? 20), `${length}: ${new Set(orders).size}`);
    }
    assert.deepEqual(shuffled(["one"], "7"), ["one"]);
  });

  test("without --to the request is printed, and verifies with the key that was made for it", async () => {
    for (const { name, events } of SENDERS) {
      const { code, stdout } = await cli(["trigger", name, events[0], "--json"]);
      assert.equal(code, 0);
      const { developmentSecrets, requests: [{ method, url, headers, body }] } = JSON.parse(stdout);
      const secret = developmentSecrets[secretVariable(senderOf(name))];
      const apiKey = developmentSecrets.OSIGU_PRESCRIPTION_NOTIFICATIONS_API_KEY;
      const by = source(settingsOf(senderOf(name), [{ id: "made", secret }], { apiKey }));
      const result = verify(by, { method, url, headers, body, path: new URL(url).pathname.split("/").slice(3).join("/") });
      assert.equal(result.code ?? "ok", "ok", name);
    }
  });

  test("what is printed is a command that a shell reads as it was meant", async () => {
    const { stdout, stderr } = await cli(["trigger", "osigu", "authorization.created", "--set", "data.sponsor_reference=it's $HOME `x`"], { env: variables });
    assert.match(stderr, /not sent/);
    assert.doesNotMatch(stdout + stderr, new RegExp(secrets.osigu));
    const shell = spawn("sh", ["-c", `curl() { for word in "$@"; do printf '%s\\036' "$word"; done; }\n${stdout}`], { stdio: ["ignore", "pipe", "inherit"] });
    let words = "";
    for await (const chunk of shell.stdout) words += chunk;
    const list = words.split("\x1e");
    const headers = list.filter((_, place) => list[place - 1] === "-H").map((line) => line.split(": "));
    const result = verify(sourceOf("osigu"), { headers, body: list[list.indexOf("--data-binary") + 1] });
    assert.equal(result.code ?? "ok", "ok");
    assert.equal(result.event.data.original.data.sponsor_reference, "it's $HOME `x`");
  });

  test("--source has the settings: its environment and account, another header, a secret by its variable's name", async () => {
    file("production.json", { provider: "osigu", environment: "production", provider_slug: "clinic-nine", keys: [{ id: "first", secret: "CLINIC_KEY" }] });
    const { code, stderr } = await cli(["trigger", "osigu", "settlement.paid", "--source", "production.json", "--to", to.url("osigu")], { env: { CLINIC_KEY: secrets.osigu } });
    const [{ body, result }] = to.take();
    assert.equal(code, 1, stderr);
    assert.equal(result.code, "environment_mismatch");
    assert.equal(JSON.parse(body).provider.provider_slug, "clinic-nine");
    const unset = await cli(["trigger", "osigu", "settlement.paid", "--source", "production.json", "--to", to.url("osigu")]);
    assert.equal(unset.code, 2);
    assert.match(unset.stderr, /keys\[0\]\.secret: the variable CLINIC_KEY isn't set/);
    file("faulty.json", { provider: "osigu", keys: [{ id: "first", secret: "short" }] });
    const faulty = await cli(["trigger", "osigu", "settlement.paid", "--source", "faulty.json"]);
    assert.equal(faulty.code, 2);
    assert.match(faulty.stderr, /environment is missing/);
    assert.match(faulty.stderr, /keys\[0\]\.secret .*16/);
  });

  test("a secret comes from another variable or a file; without one it says which to set", async () => {
    file("key", `${secrets.osigu}\n`);
    const byFile = await cli(["trigger", "osigu", "settlement.paid", "--secret-file", "key", "--to", to.url("osigu")]);
    const byName = await cli(["trigger", "osigu", "settlement.paid", "--secret-env", "OTHER_NAME", "--to", to.url("osigu")], { env: { OTHER_NAME: secrets.osigu } });
    assert.deepEqual([byFile.code, byName.code, to.take().length], [0, 0, 2]);
    const none = await cli(["trigger", "osigu", "settlement.paid", "--to", to.url("osigu")]);
    assert.equal(none.code, 2);
    assert.match(none.stderr, /set OSIGU_SECRET/);
    const half = await cli(["trigger", "osigu-prescription-notifications", "--all", "--to", to.url("osigu")]);
    assert.match(half.stderr, /set OSIGU_PRESCRIPTION_NOTIFICATIONS_SECRET and OSIGU_PRESCRIPTION_NOTIFICATIONS_API_KEY/);
    const itself = await cli(["trigger", "osigu", "settlement.paid", "--secret-env", "whsec_c2VjcmV0", "--to", to.url("osigu")]);
    assert.equal(itself.code, 2);
    assert.doesNotMatch(itself.stderr, /whsec_c2VjcmV0/);
    assert.equal(to.take().length, 0);
  });

  test("the token of a path isn't printed, nor is the sample of the sandbox left unexplained", async () => {
    const told = await withSecrets("trigger", "evitalrx", "order-accepted", "--to", to.url("evitalrx"), "--json");
    assert.equal(told.code, 0, told.stderr);
    assert.doesNotMatch(told.stdout + told.stderr, new RegExp(secrets.evitalrx));
    assert.equal(JSON.parse(told.stdout).requests[0].url, to.url("evitalrx"));
    assert.ok(to.take()[0].url.includes(secrets.evitalrx));
  });

  test("an answer that isn't 2xx is exit code 1, a redirect too, and so is none at all", async () => {
    const server = createServer((request, response) => response.writeHead({ "/moved": 302, "/there": 200 }[request.url] ?? 503, { location: "/there" }).end("not\u001b[31m now\nplease"));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address();
    const failing = await withSecrets("trigger", "osigu", "--all", "--to", `http://127.0.0.1:${port}`);
    assert.equal(failing.code, 1);
    assert.match(failing.stdout, /503 {2}not \[31m now please/);
    assert.match(failing.stderr, /0 of 13 answered 2xx/);
    assert.equal((await withSecrets("trigger", "osigu", "settlement.paid", "--to", `http://127.0.0.1:${port}/moved`)).code, 1);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const refused = await withSecrets("trigger", "osigu", "--all", "--to", `http://127.0.0.1:${port}`);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /^rxgate: no answer from http:\/\/127\.0\.0\.1:\d+: the connection was refused/);
    isOneLine(refused);
  });
});

describe("sign and verify", () => {
  const AT = "2026-06-25T14:22:11Z";
  const osigu = (data = {}, envelope = {}) => `{"event_id":"evt_1","event_type":"dispensing.completed","created_at":"${AT}","api_version":"2026-01-01","environment":"sandbox","data":{"dispensation_id":"dsp_1","code":"A","code_type":"AUTHORIZATION","total_amount":375.00,"currency":"USD"${Object.entries(data).map(([name, value]) => `,"${name}":${JSON.stringify(value)}`).join("")}}${Object.entries(envelope).map(([name, value]) => `,"${name}":${JSON.stringify(value)}`).join("")}}`;
  const saved = async (name, body, ...options) => {
    file("body.json", body);
    const { code, stdout, stderr } = await withSecrets("sign", name, "--body", "body.json", "--at", AT, ...options);
    assert.equal(code, 0, stderr);
    file("headers.txt", stdout);
    return stdout;
  };
  const check = (name, ...options) => withSecrets("verify", name, "--headers", "headers.txt", "--body", "body.json", "--at", AT, ...options);
  const refusal = async (expected, name, ...options) => {
    const told = await check(name, ...options, "--json");
    assert.equal(told.code, 1, told.stderr);
    const result = JSON.parse(told.stdout);
    for (const [field, value] of Object.entries(expected)) assert.deepEqual(result[field], value, `${field}: ${told.stdout}`);
    const forPeople = await check(name, ...options);
    assert.equal(forPeople.code, 1);
    assert.match(forPeople.stdout, new RegExp(`\\b${expected.code}\\b`));
    return forPeople.stdout;
  };

  test("sign makes Osigu's header as Node's crypto does", async () => {
    const body = osigu();
    const t = Date.parse(AT) / 1000;
    const v1 = createHmac("sha256", secrets.osigu).update(`${t}.${body}`).digest("hex");
    assert.equal(await saved("osigu", body), `x-osigu-signature: t=${t},v1=${v1}\n`);
  });

  for (const { name, events } of SENDERS) {
    test(`${name}: what sign prints is what verify takes`, async () => {
      const { stdout } = await cli(["trigger", name, events[0], "--json"]);
      await saved(name, JSON.parse(stdout).requests[0].body, ...(name === "evitalrx" ? ["--webhook", events[0]] : []));
      const { code, stdout: event, stderr } = await check(name);
      assert.equal(code, 0, event);
      assert.match(stderr, /^authentic {2}key \w+_SECRET/);
      assert.equal(JSON.parse(event).specversion, "1.0");
    });
  }

  test("sign reads stdin, an id, another key, and prints JSON", async () => {
    const { code, stdout } = await cli(["sign", "svix", "--body", "-", "--id", "msg_7", "--at", AT, "--key-env", "OTHER", "--json"], { input: "{}", env: { ...variables, OTHER: developmentSecret({ name: "svix" }) } });
    assert.equal(code, 0);
    const { headers } = JSON.parse(stdout);
    assert.equal(headers["svix-id"], "msg_7");
    assert.equal(verify(sourceOf("svix"), { headers, body: "{}" }, { now: Date.parse(AT) }).code, "signature_mismatch");
    const missing = await cli(["sign", "evitalrx", "--body", "-"], { input: "{}", env: variables });
    assert.equal(missing.code, 2);
    assert.match(missing.stderr, /--webhook is missing/);
    assert.equal((await cli(["sign", "osigu", "--body", "-"], { input: "{}" })).code, 2);
  });

  test("the event is printed with every digit, for people and as JSON", async () => {
    await saved("osigu", osigu());
    const people = await check("osigu");
    assert.match(people.stdout, /"total_amount": 375\.00,/);
    assert.match(people.stdout, /^ {2}"type": "rx\.dispense\.completed",$/m);
    const { stdout } = await check("osigu", "--json");
    assert.match(stdout, /"total_amount": 375\.00,/);
    const { ok, keyId, signedAt, webhookId, event } = JSON.parse(stdout);
    assert.deepEqual([ok, keyId, signedAt, event.type], [true, "OSIGU_SECRET", "2026-06-25T14:22:11.000Z", "rx.dispense.completed"]);
    assert.match(webhookId, /^evt_/);
  });

  test("pretty JSON is the same JSON", () => {
    for (const text of ['{"a":[],"b":{},"c":[{"d":1.50,"e":"x, {y}: \\"z\\""}],"f":null}', "[1,2]", '"x"', '{"a": [ ], "b": { } }']) assert.deepEqual(JSON.parse(prettyJson(text)), JSON.parse(text));
    assert.equal(prettyJson('{"a":[1.0,{"b":{}}]}'), '{\n  "a": [\n    1.0,\n    {\n      "b": {}\n    }\n  ]\n}');
  });

  test("headers are read as curl writes them, and as JSON", async () => {
    const line = (await saved("osigu", osigu())).trim();
    const [name, value] = line.split(": ");
    const forms = {
      "a request": `POST /hooks/osigu HTTP/1.1\r\nHost: x\r\n${line}\r\n\r\n{"a":1}`,
      "an answer, with one before it": `HTTP/1.1 100 Continue\r\n\r\nHTTP/2 200\r\n${line}\r\n\r\nbody: no`,
      "curl -v": `> POST / HTTP/1.1\n> ${line}\n> accept: */*`,
      "other case": `${name.toUpperCase()}:${value}`,
      object: JSON.stringify({ Host: "x", [name]: value }),
      "object of lists": JSON.stringify({ [name]: [value] }),
      "list of pairs": JSON.stringify([["a", "b"], [name, value]]),
    };
    for (const [form, text] of Object.entries(forms)) {
      file("headers.txt", text);
      const { code, stdout, stderr } = await check("osigu");
      assert.equal(code, 0, `${form}: ${stdout}${stderr}`);
    }
    for (const text of ["no colon here", '{"a":', "[1]"]) {
      file("headers.txt", text);
      const told = await check("osigu");
      assert.equal(told.code, 2, text);
      isOneLine(told);
    }
  });

  test("signature_missing, signature_malformed", async () => {
    await saved("osigu", osigu());
    file("headers.txt", "host: x\n");
    await refusal({ code: "signature_missing", status: 401, authentic: false }, "osigu");
    file("headers.txt", "x-osigu-signature: nonsense\n");
    await refusal({ code: "signature_malformed" }, "osigu");
  });

  test("signature_mismatch: another key or another body, with the keys that were tried", async () => {
    await saved("osigu", osigu());
    file("body.json", osigu().replace("375.00", "975.00"));
    const said = await refusal({ code: "signature_mismatch", hint: "key_or_body", keysTried: ["OSIGU_SECRET"] }, "osigu");
    assert.match(said, /keys tried OSIGU_SECRET/);
    assert.match(said, /hint {7}key_or_body/);
    file("body.json", osigu());
    const env = { ONE: "0".repeat(32), TWO: "1".repeat(32) };
    const args = ["verify", "osigu", "--headers", "headers.txt", "--body", "body.json", "--at", AT, "--secret-env", "ONE", "--secret-env", "TWO"];
    const two = await cli([...args, "--json"], { env });
    assert.deepEqual([two.code, JSON.parse(two.stdout).keysTried], [1, ["ONE", "TWO"]]);
    assert.equal((await cli(args, { env: { ...env, TWO: secrets.osigu } })).code, 0);
  });

  test("signature_mismatch: the same JSON, written anew", async () => {
    await saved("osigu", osigu());
    file("body.json", osigu().replaceAll(/([,:{])/g, "$1 "));
    assert.equal((await check("osigu")).code, 1);
    file("body.json", `${osigu()}\n`);
    const said = await refusal({ code: "signature_mismatch", hint: "body_changed" }, "osigu");
    assert.match(said, /hint {7}body_changed/);
  });

  test("signature_mismatch and source_misconfigured: a key that is past its end", async () => {
    await saved("osigu", osigu());
    const expired = { id: "old", secret: "OSIGU_SECRET", not_after: "2026-01-01T00:00:00Z" };
    file("source.json", { provider: "osigu", environment: "sandbox", keys: [{ id: "new", secret: "x".repeat(32) }, expired] });
    const said = await refusal({ code: "signature_mismatch", hint: "key_expired", keysTried: ["new"] }, "osigu", "--source", "source.json");
    assert.match(said, /past its not_after/);
    file("source.json", { provider: "osigu", environment: "sandbox", keys: [expired] });
    await refusal({ code: "source_misconfigured", status: 503, problem: "keys_expired" }, "osigu", "--source", "source.json");
  });

  test("timestamp_out_of_tolerance: the skew, and the time to give", async () => {
    await saved("osigu", osigu());
    const told = await withSecrets("verify", "osigu", "--headers", "headers.txt", "--body", "body.json", "--at", "2026-06-25T14:32:11Z");
    assert.equal(told.code, 1);
    assert.match(told.stdout, /timestamp_out_of_tolerance \(401\)/);
    assert.match(told.stdout, /skew {7}600 s: .*ahead of/);
    assert.match(told.stdout, /--at 2026-06-25T14:22:11\.000Z/);
    assert.match(told.stdout, /key {8}OSIGU_SECRET/);
    const now = await withSecrets("verify", "osigu", "--headers", "headers.txt", "--body", "body.json", "--json");
    const { code, skewSeconds, signedAt } = JSON.parse(now.stdout);
    assert.deepEqual([code, signedAt], ["timestamp_out_of_tolerance", "2026-06-25T14:22:11.000Z"]);
    assert.ok(Math.abs(skewSeconds - (Date.now() - Date.parse(AT)) / 1000) < 30);
    const behind = await withSecrets("verify", "osigu", "--headers", "headers.txt", "--body", "body.json", "--at", "2026-06-25T14:12:11Z");
    assert.match(behind.stdout, /skew {7}-600 s: .*behind/);
  });

  test("what is the sender's, and isn't an event: the field is named", async () => {
    await saved("osigu", "{");
    await refusal({ code: "body_malformed", authentic: true, status: 422 }, "osigu");
    await saved("osigu", osigu().replace('"dispensation_id":"dsp_1",', ""));
    const said = await refusal({ code: "event_invalid", path: "data.dispensation_id", problem: "missing" }, "osigu");
    assert.match(said, /^authentic, but not taken/);
    assert.match(said, /field {6}data\.dispensation_id missing/);
  });

  test("environment_mismatch, provider_mismatch, body_too_large: by the source's settings", async () => {
    const settings = { provider: "osigu", environment: "production", keys: [{ id: "first", secret: "OSIGU_SECRET" }] };
    await saved("osigu", osigu());
    file("source.json", settings);
    await refusal({ code: "environment_mismatch", authentic: true }, "osigu", "--source", "source.json");
    file("source.json", { ...settings, environment: "sandbox", provider_slug: "another" });
    await refusal({ code: "provider_mismatch", authentic: true }, "osigu", "--source", "source.json");
    file("source.json", { ...settings, environment: "sandbox", max_body_bytes: 100 });
    await refusal({ code: "body_too_large", status: 413 }, "osigu", "--source", "source.json");
    // Without settings there is nothing to compare it with.
    await saved("osigu", osigu().replace("sandbox", "production"));
    assert.equal((await check("osigu")).code, 0);
  });

  test("source_unknown, event_contradictory, address_not_allowed: of eVitalRx", async () => {
    const { stdout } = await cli(["trigger", "evitalrx", "order-accepted", "--json"]);
    const body = JSON.parse(stdout).requests[0].body;
    await saved("evitalrx", body, "--webhook", "order-shipped");
    await refusal({ code: "event_contradictory", authentic: true }, "evitalrx");
    await refusal({ code: "source_unknown", status: 404 }, "evitalrx", "--url", `https://hooks.example/hooks/portal/${"0".repeat(48)}/order-accepted`);
    const right = await check("evitalrx", "--url", `https://hooks.example/hooks/portal/${secrets.evitalrx}/order-accepted`);
    assert.equal(right.code, 0);
    file("source.json", { provider: "evitalrx", accept_unsigned: true, addresses: ["203.0.113.0/24"] });
    await refusal({ code: "address_not_allowed", status: 403 }, "evitalrx", "--source", "source.json", "--address", "198.51.100.7");
    assert.equal((await check("evitalrx", "--source", "source.json", "--address", "203.0.113.7", "--url", "https://hooks.example/hooks/portal/order-accepted")).code, 0);
    file("headers.txt", "host: x\n");
    const without = await check("evitalrx");
    assert.equal(without.code, 2);
    assert.match(without.stderr, /the path: give it with --url/);
  });

  test("no secret to verify with: the variable is named", async () => {
    await saved("osigu", osigu());
    const told = await cli(["verify", "osigu", "--headers", "headers.txt", "--body", "body.json"]);
    assert.equal(told.code, 2);
    assert.match(told.stderr, /set OSIGU_SECRET/);
  });
});

describe("check", () => {
  const GOOD = `
[[durable_objects.bindings]]
name = "ENTITIES"
class_name = "EntityObject"
[[kv_namespaces]]
binding = "KV"
[[queues.producers]]
binding = "DELIVERIES"
queue = "rxgate-deliveries"
[[queues.producers]]
binding = "DEAD_LETTERS"
queue = "rxgate-dead-letters"
[[queues.consumers]]
queue = "rxgate-deliveries"
max_retries = 100
retry_delay = 3600
dead_letter_queue = "rxgate-dead-letters"
[[queues.consumers]]
queue = "rxgate-dead-letters"
max_retries = 100
retry_delay = 3600
[[ratelimits]]
name = "FAILED_AUTHENTICATIONS"
[vars.RXGATE]
seal_keys = [{ id = "first", secret = "SEAL_KEY" }]
[vars.SOURCE_OSIGU]
provider = "osigu"
environment = "sandbox"
keys = [{ id = "first", secret = "OSIGU_KEY" }]
destination = "clinic"
[vars.DESTINATION_CLINIC]
url = "https://clinic.example/rxgate"
keys = [{ id = "first", secret = "CLINIC_KEY" }]
headers = { authorization = "CLINIC_TOKEN" }
`;
  const SECRETS = { SEAL_KEY: Buffer.alloc(32, 7).toString("base64"), OSIGU_KEY: "0123456789abcdef0123", CLINIC_KEY: `whsec_${Buffer.alloc(24, 7).toString("base64")}`, CLINIC_TOKEN: "Bearer 0123456789" };

  test("this project's own settings have no faults", async () => {
    const { code, stdout } = await cli(["check", join(import.meta.dirname, "../../wrangler.toml"), "--json"]);
    assert.equal(code, 0, stdout);
    assert.deepEqual(JSON.parse(stdout).faults, []);
    assert.deepEqual(JSON.parse(stdout).notes, []);
  });

  test("without secrets nothing is a fault, and what isn't checked is said; --strict wants them", async () => {
    file("good.toml", GOOD);
    const { code, stdout } = await cli(["check", "good.toml"]);
    assert.equal(code, 0);
    assert.match(stdout, /not checked: these secrets aren't known here/);
    for (const [name, path] of [["SEAL_KEY", "RXGATE.seal_keys[0].secret"], ["OSIGU_KEY", "SOURCE_OSIGU.keys[0].secret"], ["CLINIC_TOKEN", "DESTINATION_CLINIC.headers.authorization"]]) assert.ok(stdout.split("\n").some((line) => line.includes(name) && line.includes(path)), stdout);
    assert.match(stdout, /good\.toml: no faults/);
    const strict = await cli(["check", "good.toml", "--strict"]);
    assert.equal(strict.code, 1);
  });

  test("secrets come from --secrets, JSON or .dev.vars; from .dev.vars beside the file; from variables", async () => {
    file("good.toml", GOOD);
    file("secrets.json", SECRETS);
    file("secrets.env", `# a comment\n${Object.entries(SECRETS).map(([name, value]) => `${name}="${value}"`).join("\n")}\n`);
    for (const name of ["secrets.json", "secrets.env"]) assert.equal((await cli(["check", "good.toml", "--secrets", name, "--strict"])).code, 0, name);
    assert.equal((await cli(["check", "good.toml", "--strict"], { env: SECRETS })).code, 0);
    mkdirSync(join(folder, "beside"), { recursive: true });
    file("beside/wrangler.toml", GOOD);
    file("beside/.dev.vars", readFileSync(join(folder, "secrets.env"), "utf8"));
    assert.equal((await cli(["check", "--strict"], { cwd: join(folder, "beside") })).code, 0);
    assert.equal((await cli(["check", "beside/wrangler.toml", "--strict"])).code, 0);
    const short = await cli(["check", "good.toml", "--strict"], { env: { ...SECRETS, OSIGU_KEY: "short" } });
    assert.equal(short.code, 1);
    assert.match(short.stdout, /SOURCE_OSIGU\.keys\[0\]\.secret {2}the secret OSIGU_KEY has 5 bytes/);
    file("wrong.json", { SEAL_KEY: 1 });
    const wrong = await cli(["check", "good.toml", "--secrets", "wrong.json"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /SEAL_KEY: a secret has to be text/);
  });

  test("all faults at once, by their paths", async () => {
    const faulty = GOOD.replace('environment = "sandbox"', 'environment = "beta"').replace('destination = "clinic"', 'destination = "clinc"').replace("https://", "http://").replace("[vars.RXGATE]", "[vars.RXGATE]\nshardz = 3").replace('binding = "KV"', 'binding = "OTHER"').replace('name = "ENTITIES"', 'name = "OBJECTS"');
    file("faulty.toml", faulty);
    const { code, stdout } = await cli(["check", "faulty.toml", "--json"], { env: SECRETS });
    assert.equal(code, 1);
    const { ok, faults } = JSON.parse(stdout);
    assert.equal(ok, false);
    const paths = faults.map(({ path }) => path);
    for (const path of ["SOURCE_OSIGU.environment", "SOURCE_OSIGU.destination", "DESTINATION_CLINIC.url", "RXGATE.shardz", "KV", "ENTITIES"]) assert.ok(paths.includes(path), `${path} isn't among ${paths}`);
    const people = await cli(["check", "faulty.toml"], { env: SECRETS });
    assert.equal(people.code, 1);
    for (const path of paths) assert.ok(people.stdout.includes(path), path);
    assert.match(people.stdout, /faulty\.toml: \d+ faults/);
  });

  test("a secret that stands where its name belongs is a fault, and isn't repeated", async () => {
    for (const secret of ["whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0+/=", "ABCDEFGHIJKLMNOP"]) {
      file("pasted.toml", GOOD.replace('"OSIGU_KEY"', `"${secret}"`));
      const { stdout, stderr } = await cli(["check", "pasted.toml"]);
      assert.ok(!(stdout + stderr).includes(secret), stdout);
      assert.ok(stdout.includes("SOURCE_OSIGU.keys[0].secret"));
    }
    file("pasted.toml", GOOD.replace('"OSIGU_KEY"', '"whsec_c2VjcmV0c2VjcmV0c2VjcmV0+/="'));
    assert.equal((await cli(["check", "pasted.toml"])).code, 1);
  });

  test("the queues: their names, their consumers, and what is worth a look", async () => {
    const json = async (text, ...options) => {
      file("queues.toml", text);
      const told = await cli(["check", "queues.toml", "--json", ...options], { env: SECRETS });
      return { code: told.code, ...JSON.parse(told.stdout) };
    };
    const renamed = await json(GOOD.replaceAll("rxgate-deliveries", "other-deliveries"));
    assert.deepEqual([renamed.code, renamed.faults.map(({ path }) => path)], [1, ["RXGATE.delivery_queue"]]);
    assert.equal((await json(GOOD.replaceAll("rxgate-deliveries", "other-deliveries").replace("[vars.RXGATE]", '[vars.RXGATE]\ndelivery_queue = "other-deliveries"'))).code, 0);
    const nobody = await json(GOOD.replace('[[queues.consumers]]\nqueue = "rxgate-dead-letters"', '[[queues.consumers]]\nqueue = "another"'));
    assert.deepEqual([nobody.code, nobody.faults.map(({ path }) => path)], [1, ["queues.consumers"]]);
    const hasty = await json(GOOD.replace("max_retries = 100", "max_retries = 3").replace("retry_delay = 3600\n", ""));
    assert.deepEqual([hasty.code, hasty.notes.length], [0, 2]);
    assert.equal((await json(GOOD.replace("max_retries = 100", "max_retries = 3"), "--strict")).code, 1);
  });

  test("jsonc, the file that is here, and an environment, which inherits neither variables nor bindings", async () => {
    mkdirSync(join(folder, "jsonc"), { recursive: true });
    const settings = (url) => `"durable_objects": { "bindings": [{ "name": "ENTITIES", "class_name": "EntityObject" }] }, "kv_namespaces": [{ "binding": "KV", }],
      "queues": { "producers": [{ "binding": "DEAD_LETTERS", "queue": "rxgate-dead-letters" }], "consumers": [{ "queue": "rxgate-dead-letters", "max_retries": 100, "retry_delay": 60 }] },
      "unsafe": { "bindings": [{ "name": "FAILED_AUTHENTICATIONS", "type": "ratelimit" }] },
      "vars": { "RXGATE": { "seal_keys": [{ "id": "first", "secret": "SEAL_KEY" }] }, "DESTINATION_CLINIC": { "url": "${url}", "on_origin_failure": "sender_retries", "keys": [{ "id": "first", "secret": "CLINIC_KEY" }] },
        "SOURCE_OSIGU": { "provider": "osigu", "environment": "sandbox", "keys": [{ "id": "first", "secret": "OSIGU_KEY" }], "destination": "clinic", }, }`;
    file("jsonc/wrangler.jsonc", `// what deploys it\n{ /* a\n comment */ "name": "x // no, \\" comment", ${settings("https://clinic.example/a,b")}, "env": { "staging": { ${settings("http://clinic.example/")} }, "bare": {} } }`);
    const cwd = join(folder, "jsonc");
    const whole = await cli(["check", "--json"], { cwd, env: SECRETS });
    assert.deepEqual([whole.code, JSON.parse(whole.stdout).faults, JSON.parse(whole.stdout).unchecked], [0, [], []]);
    const staging = await cli(["check", "--env", "staging", "--json"], { cwd, env: SECRETS });
    assert.deepEqual([staging.code, JSON.parse(staging.stdout).faults.map(({ path }) => path)], [1, ["DESTINATION_CLINIC.url"]]);
    const bare = await cli(["check", "--env", "bare", "--json"], { cwd, env: SECRETS });
    assert.ok(JSON.parse(bare.stdout).faults.some(({ path }) => path === "KV"));
    const none = await cli(["check", "--env", "nowhere"], { cwd });
    assert.equal(none.code, 2);
    assert.match(none.stderr, /has no environment "nowhere"\. There are: staging, bare/);
  });

  test("a file that isn't TOML, or JSON, is told with its line", async () => {
    file("broken.toml", "[vars.RXGATE]\nshards = \n");
    const toml = await cli(["check", "broken.toml"]);
    assert.equal(toml.code, 2);
    assert.match(toml.stderr, /broken\.toml: isn't TOML: line 2/);
    isOneLine(toml);
    file("broken.json", "{");
    const json = await cli(["check", "broken.json"]);
    assert.equal(json.code, 2);
    isOneLine(json);
  });
});

describe("listen", () => {
  const key = `whsec_${Buffer.alloc(24, 3).toString("base64")}`;
  const gateway = source({ provider: "configured", preset: "standard-webhooks", keys: [{ id: "first", secret: key }] });
  const event = JSON.stringify({ specversion: "1.0", id: "evt_senders_own", type: "rx.order.accepted", subject: "order/secret-order", sequence: "0001795318402666", rxordering: "in_order", data: { state: "accepted", patient: { name: "Manav Patel" }, original: { patient_name: "Manav Patel", total: 0 } } }).replace('"total":0', '"total":1300.00');

  async function listening(args, env) {
    const told = start(["listen", "--port", "0", ...args], { env });
    for (let tries = 0; tries < 200 && !/listening on/.test(told.stderr); tries += 1) await new Promise((resolve) => setTimeout(resolve, 50));
    const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(told.stderr) ?? [];
    assert.ok(url, told.stderr);
    const post = (headers, body = event) => fetch(`${url}/rxgate?x=1`, { method: "POST", headers, body });
    const end = async () => {
      told.child.kill("SIGTERM");
      return told.ended;
    };
    return { url, post, end };
  }
  const signed = (id, options = {}) => sign(gateway, { body: event, id, ...options }).headers;

  test("what holds is shown without anything of a patient, a second time as such; what doesn't is 401", async () => {
    const { post, end } = await listening([], { RXGATE_SIGNING_KEY: key });
    const statuses = [];
    statuses.push((await post(signed("evt_a"))).status, (await post(signed("evt_a"))).status);
    statuses.push((await post(signed("evt_b", { key: `whsec_${Buffer.alloc(24, 4).toString("base64")}` }))).status);
    statuses.push((await post(signed("evt_c", { now: Date.now() - 900_000 }))).status, (await post({})).status);
    const { code, stdout, stderr } = await end();
    assert.deepEqual(statuses, [200, 200, 401, 401, 401]);
    assert.equal(code, 0);
    const lines = stdout.trim().split("\n");
    assert.equal(lines.length, 5, stdout);
    for (const word of ["200", "rx.order.accepted", "state accepted", "in_order", "sequence 0001795318402666", "evt_a"]) assert.ok(lines[0].includes(word), `${word}: ${lines[0]}`);
    assert.ok(!lines[0].includes("came before") && lines[1].includes("came before"), stdout);
    assert.match(lines[2], /401 .*signature_mismatch/);
    assert.match(lines[3], /timestamp_out_of_tolerance \(9\d\d s\)/);
    assert.match(lines[4], /signature_missing/);
    assert.match(stderr, /verifies with RXGATE_SIGNING_KEY/);
    for (const patient of ["Manav", "secret-order", "evt_senders_own", "1300"]) assert.ok(!(stdout + stderr).includes(patient), patient);
    assert.ok(!(stdout + stderr).includes(key));
  });

  test("--json: a line for each; --show-data has the event with its digits", async () => {
    const { post, end } = await listening(["--json"], { RXGATE_SIGNING_KEY: key });
    await post(signed("evt_a"));
    await post({});
    const { stdout } = await end();
    const [one, other] = stdout.trim().split("\n").map(JSON.parse);
    assert.deepEqual([one.verified, one.status, one.type, one.state, one.ordering, one.webhookId, one.duplicate, one.keyId, one.path], [true, 200, "rx.order.accepted", "accepted", "in_order", "evt_a", false, "RXGATE_SIGNING_KEY", "/rxgate"]);
    assert.equal(one.event, undefined);
    assert.deepEqual([other.verified, other.status, other.code, other.type], [false, 401, "signature_missing", undefined]);
    assert.ok(!stdout.includes("Manav"));
    const shown = await listening(["--json", "--show-data"], { RXGATE_SIGNING_KEY: key });
    await shown.post(signed("evt_a"));
    const { stdout: data } = await shown.end();
    assert.match(data, /"total":1300\.00/);
    assert.equal(JSON.parse(data).event.data.patient.name, "Manav Patel");
  });

  test("a body of any kind doesn't end it", async () => {
    const { post, end } = await listening([]);
    const bodies = ["", "null", "[]", '"text"', "{", '{"specversion":"1.0","type":1,"data":3,"sequence":{},"rxordering":[]}', '{"specversion":"1.0","type":"a\\u001b[31m\\nb","data":null}'];
    for (const body of bodies) assert.equal((await post({}, body)).status, 200);
    assert.equal((await post({}, Buffer.alloc(5 * 1024 * 1024, 0x20))).status, 413);
    const { code, stdout } = await end();
    assert.equal(code, 0);
    assert.equal(stdout.trim().split("\n").length, bodies.length + 1);
    assert.ok(!stdout.includes("\x1b"));
  });

  test("without a key it says so, and verifies nothing", async () => {
    const { post, end } = await listening([]);
    assert.equal((await post({ "webhook-id": "evt_a" })).status, 200);
    const { stdout, stderr } = await end();
    assert.match(stderr, /NOT verifying/);
    assert.match(stderr, /RXGATE_SIGNING_KEY/);
    assert.match(stdout, /not verified/);
  });

  test("--status is the answer to what holds; two keys are a rotation; a key from a file", async () => {
    file("signing.key", `${key}\n`);
    const { post, end } = await listening(["--status", "503", "--secret-file", "signing.key", "--secret-env", "NEXT"], { NEXT: `whsec_${Buffer.alloc(24, 4).toString("base64")}` });
    assert.equal((await post(signed("evt_a"))).status, 503);
    assert.equal((await post(signed("evt_b", { key: `whsec_${Buffer.alloc(24, 4).toString("base64")}` }))).status, 503);
    assert.equal((await post(signed("evt_c", { key: `whsec_${Buffer.alloc(24, 5).toString("base64")}` }))).status, 401);
    await end();
  });

  test("a port that is taken is one line, and exit code 1", async () => {
    const { url, end } = await listening([]);
    const taken = await cli(["listen", "--port", new URL(url).port]);
    assert.equal(taken.code, 1);
    assert.match(taken.stderr, /port \d+ is taken: choose another with --port/);
    isOneLine(taken);
    await end();
    assert.equal((await cli(["listen", "--port", "many"])).code, 2);
    const faulty = await cli(["listen", "--port", "0"], { env: { RXGATE_SIGNING_KEY: "short" } });
    assert.equal(faulty.code, 2);
    assert.match(faulty.stderr, /keys\[0\]\.secret/);
  });
});

describe("types, help, mistakes", () => {
  test("types lists each sender, event and canonical type", async () => {
    const { code, stdout } = await cli(["types"]);
    assert.equal(code, 0);
    for (const { name, events } of SENDERS) for (const word of [name, ...events]) assert.ok(stdout.includes(word), word);
    assert.match(stdout, /dispensing\.completed +rx\.dispense\.completed/);
    const { stdout: json } = await cli(["types", "phil-callback", "--json"]);
    const { sender, events, scenarios, variables } = JSON.parse(json);
    assert.deepEqual([sender, variables, scenarios.failed], ["phil", ["PHIL_SECRET"], ["RECEIVED", "ERROR"]]);
    assert.deepEqual(events, [{ event: "RECEIVED", type: "rx.transfer.received" }, { event: "CONFIRMED", type: "rx.transfer.confirmed" }, { event: "ERROR", type: "rx.transfer.failed" }]);
    assert.equal(JSON.parse((await cli(["types", "--json"])).stdout).length, 14);
  });

  for (const command of [[], ["trigger"], ["sign"], ["verify"], ["check"], ["listen"], ["types"]]) {
    test(`${["rxgate", ...command].join(" ")} --help has examples, and names no way to give a secret itself`, async () => {
      const { code, stdout } = await cli([...command, "--help"]);
      assert.equal(code, 0);
      assert.match(stdout, new RegExp(`^Examples:\n  .*rxgate ${command.join(" ")}`, "m"));
      assert.doesNotMatch(stdout, /--secret |--key </);
    });
  }

  test("a mistake is one clear line and exit code 2", async () => {
    for (const [args, line] of [
      [["tigger"], /unknown command 'tigger'\n\(Did you mean trigger\?\)/],
      [["trigger", "osigu", "--al"], /unknown option '--al'\n\(Did you mean --all\?\)/],
      [["trigger", "osigoo", "--all"], /there is no sender "osigoo" \(Did you mean osigu\?\)\. There are: osigu, evitalrx, phil, standard-webhooks/],
      [["trigger", "osigu", "dispensing.complete"], /there is no event of osigu "dispensing\.complete" \(Did you mean dispensing\.completed\?\)\. There are: authorization\.created/],
      [["trigger", "osigu"], /which event\? There are: authorization\.created/],
      [["trigger", "osigu", "settlement.paid", "--all"], /exclude each other/],
      [["trigger", "osigu", "--scenario", "dispence"], /there is no scenario of osigu "dispence" \(Did you mean dispense\?\)/],
      [["trigger", "stripe", "--scenario", "any"], /stripe has no scenarios/],
      [["trigger", "osigu", "settlement.paid", "--shuffle"], /--shuffle goes with/],
      [["trigger", "osigu", "settlement.paid", "--skew", "soon"], /"soon" isn't a span of time/],
      [["trigger", "osigu", "settlement.paid", "--duplicate", "0"], /"0" isn't a whole number from 1/],
      [["trigger", "osigu", "settlement.paid", "--to", "ftp://x"], /--to: "ftp:\/\/x" isn't a URL/],
      [["trigger", "osigu", "settlement.paid", "--source", "none.json"], /none\.json can't be read: there is no such file/],
      [["sign", "osigu"], /required option '--body <file>' not specified/],
      [["sign", "osigu", "--body", "none.json"], /none\.json can't be read: there is no such file/],
      [["sign", "osigu", "--body", "."], /it is a folder/],
      [["sign", "osigu", "--body", "some.json", "--at", "yesterday"], /"yesterday" isn't an instant/],
      [["verify", "osigu", "--headers", "none.txt", "--body", "none.json"], /none\.txt can't be read: there is no such file/],
      [["check", "none.toml"], /none\.toml can't be read: there is no such file/],
      [["check"], /there is no wrangler\.json, wrangler\.jsonc, wrangler\.toml here/],
      [["types", "nobody"], /there is no sender "nobody"/],
    ]) {
      file("some.json", "{}");
      const told = await withSecrets(...args);
      assert.equal(told.code, 2, `${args.join(" ")}: ${told.stderr}`);
      assert.match(told.stderr, line);
      isOneLine(told);
      assert.equal(told.stdout, "");
    }
  });

  test("settings of another sender are refused; configured is any other, by its settings", async () => {
    file("other.json", { provider: "configured", scheme: { algorithm: "hmac-sha256", header: "X-Lab" }, event: { id: "/id", type: "/type" }, keys: [{ id: "first", secret: "LAB_KEY" }] });
    file("osigu.json", { provider: "osigu", environment: "sandbox", keys: [{ id: "first", secret: "LAB_KEY" }] });
    const env = { ...variables, LAB_KEY: "lab-key-0123456789abcdef" };
    for (const args of [["trigger", "stripe", "--all", "--source", "osigu.json"], ["sign", "phil", "--body", "-", "--source", "osigu.json"], ["sign", "stripe", "--body", "-", "--source", "other.json"]]) {
      const told = await cli(args, { env, input: "{}" });
      assert.deepEqual([told.code, /--source is of (osigu|configured), not of (stripe|phil)/.test(told.stderr)], [2, true], told.stderr);
    }
    const signed = await cli(["sign", "configured", "--body", "-", "--source", "other.json"], { env, input: '{"id":"1","type":"a"}' });
    assert.equal(signed.code, 0, signed.stderr);
    file("lab.txt", signed.stdout);
    file("lab.json", '{"id":"1","type":"a"}');
    const verified = await cli(["verify", "configured", "--headers", "lab.txt", "--body", "lab.json", "--source", "other.json", "--json"], { env });
    assert.deepEqual([verified.code, JSON.parse(verified.stdout).event.type], [0, "rx.unknown"]);
    assert.equal((await cli(["sign", "configured", "--body", "-"], { env, input: "{}" })).code, 2);
    const twice = await cli(["verify", "osigu", "--headers", "-", "--body", "-"], { env, input: "{}" });
    assert.deepEqual([twice.code, /can't both be stdin/.test(twice.stderr)], [2, true]);
  });

  test("no secret is repeated: neither from a file, nor from a URL, nor where a name belongs", async () => {
    file("leak.json", '{ "keys": [{ "secret": s3cr3t-value }] }');
    const inFile = await withSecrets("trigger", "osigu", "settlement.paid", "--source", "leak.json");
    const inUrl = await withSecrets("trigger", "osigu", "settlement.paid", "--to", "http://user:s3cr3t-value@127.0.0.1:9/");
    const inName = await withSecrets("trigger", "osigu", "settlement.paid", "--secret-env", "ABCDEF0123456789ABCDEF0123456789", "--to", "http://127.0.0.1:9/");
    for (const told of [inFile, inUrl, inName]) {
      assert.equal(told.code, 2);
      assert.doesNotMatch(told.stdout + told.stderr, /s3cr3t|ABCDEF0123/);
      isOneLine(told);
    }
  });

  test("a source that isn't JSON is told; a stack is for who asks for it", async () => {
    file("bad.json", "{ not json");
    const told = await withSecrets("trigger", "osigu", "settlement.paid", "--source", "bad.json");
    assert.equal(told.code, 2);
    assert.match(told.stderr, /--source bad\.json: isn't JSON/);
    isOneLine(told);
    const debug = await cli(["trigger", "osigu", "settlement.paid", "--source", "bad.json"], { env: { RXGATE_DEBUG: "1" } });
    assert.match(debug.stderr, /^\s+at /m);
  });

  test("no colour without a terminal, and none with NO_COLOR", async () => {
    const escape = /\x1b\[/;
    const run = (env) => cli(["types", "osigu"], { env });
    assert.doesNotMatch((await run({})).stdout, escape);
    assert.match((await run({ FORCE_COLOR: "1" })).stdout, escape);
    assert.doesNotMatch((await run({ FORCE_COLOR: "1", NO_COLOR: "1" })).stdout, escape);
    assert.match((await cli(["types", "nobody"], { env: { FORCE_COLOR: "1" } })).stderr, escape);
    assert.doesNotMatch((await cli(["types", "nobody"], { env: { FORCE_COLOR: "1", NO_COLOR: "1" } })).stderr, escape);
  });

  test("a reader that goes away ends it quietly", async () => {
    const shell = spawn("sh", ["-c", `"${process.execPath}" "${MAIN}" trigger osigu --all --duplicate 200 --json | head -1`], { cwd: folder, env: { PATH: process.env.PATH }, stdio: ["ignore", "pipe", "pipe"] });
    let stderr = "";
    shell.stderr.on("data", (chunk) => (stderr += chunk));
    await new Promise((resolve) => shell.once("close", resolve));
    assert.equal(stderr, "");
  });
});
