#!/usr/bin/env node
// The command-line tool. Each command is in a file of its own, which is read when it is called.

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { Mistake, paint } from "./output.js";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
const USAGE = 2;

const program = new Command("rxgate")
  .description("Verify, sign, send and receive pharmacy webhooks, and check the settings of an rxgate gateway.")
  .version(version)
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "rxgate: ")) })
  .showHelpAfterError("(--help says more)")
  .addHelpText(
    "after",
    `
Examples:
  rxgate types osigu                                      what Osigu sends
  rxgate trigger osigu dispensing.completed               a signed request, as curl would send it
  rxgate listen                                           an origin that verifies what the gateway delivers
  rxgate check wrangler.toml                              faults of a gateway's settings, offline

Exit codes: 0 all is well; 1 refused, faulty, or an answer that isn't 2xx; 2 a wrong use.
Secrets come from variables or files, never from the command line. NO_COLOR switches colours off; RXGATE_DEBUG=1 shows where an error comes from.`,
  );

const SECRET = `
Secrets: <SENDER>_SECRET in capitals with _, such as OSIGU_SECRET, EVITALRX_SECRET (the token of the path), PHIL_SECRET, STANDARD_WEBHOOKS_SECRET; \`rxgate types\` lists them.
For osigu-prescription-notifications OSIGU_PRESCRIPTION_NOTIFICATIONS_API_KEY as well. For standard-webhooks-v1a the private key, whsk_…; to verify, the public one, whpk_…, will do.`;

const SOURCE = "the settings of the source, as JSON; a secret in it may be the name of a variable, as in wrangler.toml";
const collect = (value, list = []) => [...list, value];
let code = 0;
/// Calls a command's own file with its arguments and options.
const call = (file) => async (...given) => {
  const { run } = await import(file);
  code = await run(...given.slice(0, -1));
};

program
  .command("trigger")
  .summary("send a realistic, signed sample of any event of any sender")
  .description("Makes a sample of an event with fresh ids and times, signs it as its sender does, and sends it; without --to the request is printed, for curl.")
  .argument("<sender>", "osigu, evitalrx, phil, or a preset")
  .argument("[event]", "the sender's event; `rxgate types` lists them")
  .option("--to <url>", "the URL of the source; the token and the webhook of eVitalRx are put behind it")
  .option("--all", "one of each of the sender's events")
  .option("--scenario <name>", "the events of a whole life, in order and of the same ids")
  .option("--shuffle [seed]", "with --scenario or --all: in another order, the same for the same seed; the seed is printed")
  .option("--set <path=value>", "change a field before it is signed; JSON if it is JSON, else text; may be repeated", collect)
  .option("--duplicate <n>", "send each so many times in all")
  .option("--tamper", "change a byte of the body after it is signed")
  .option("--skew <span>", "sign with a clock that is wrong by this much: 400s, -400s, 5m")
  .option("--secret-env <name>", "the variable that has the secret")
  .option("--secret-file <file>", "the file that has the secret")
  .option("--source <file>", SOURCE)
  .option("--json", "one JSON document on stdout")
  .addHelpText(
    "after",
    `
Examples:
  rxgate trigger osigu dispensing.completed --to http://127.0.0.1:8787/hooks/osigu-sandbox --secret-env OSIGU_SANDBOX_KEY
  rxgate trigger osigu authorization.created --set data.authorization_id=auth_1 --set data.products[0].quantity=2.50
  rxgate trigger osigu --scenario dispense --shuffle 7 --to "$URL"
  rxgate trigger evitalrx --all --to http://127.0.0.1:8787/hooks/portal
  rxgate trigger stripe payment_intent.succeeded --tamper --to "$URL"

Scenarios: osigu authorization, authorization-rejected, dispense, dispense-cancelled, prescription, settlement; evitalrx delivery, pickup, reassigned; phil confirmed, failed.
The exit code is 1 if an answer isn't 2xx, with --tamper and --skew too: a refusal that you expect is exit code 1.
Without --to a key is made for the print if none is given.
${SECRET}`,
  )
  .action(call("./trigger.js"));

program
  .command("sign")
  .summary("print the headers that a sender would send with a body")
  .description("Prints the headers that the sender would send with this body. Of eVitalRx, which signs nothing, the first line is the request's, with the token in its path.")
  .argument("<sender>", "osigu, evitalrx, phil, a preset, or configured")
  .requiredOption("--body <file>", "the body; - is stdin")
  .option("--secret-env <name>", "the variable that has the secret")
  .option("--secret-file <file>", "the file that has the secret")
  .option("--key-env <name>", "the variable that has another key to sign with, or the private one of Ed25519")
  .option("--source <file>", SOURCE)
  .option("--id <id>", "the event id that is signed in a header; else a new one")
  .option("--url <url>", "the URL, where it is signed")
  .option("--webhook <name>", "of eVitalRx the last segment of the path")
  .option("--at <instant>", "the time to sign with, RFC 3339; else now")
  .option("--json", "one JSON document on stdout")
  .addHelpText("after", `\nExamples:\n  rxgate sign osigu --body body.json > headers.txt\n  rxgate sign svix --body - --id msg_1 --at 2026-06-25T14:22:11Z < body.json\n  rxgate sign evitalrx --webhook order-accepted --body body.json\n${SECRET}`)
  .action(call("./sign.js"));

program
  .command("verify")
  .summary("verify a saved request, and say why it isn't taken")
  .description("Verifies a request that was saved, and prints its event; or says why it isn't taken.")
  .argument("<sender>", "osigu, evitalrx, phil, a preset, or configured")
  .requiredOption("--headers <file>", "name: value lines, behind the first line of a request or an answer if there is one, as curl -i and -D write them; or JSON")
  .requiredOption("--body <file>", "the raw body; - is stdin")
  .option("--secret-env <name>", "the variable that has a secret; may be repeated", collect)
  .option("--secret-file <file>", "the file that has a secret")
  .option("--source <file>", SOURCE)
  .option("--at <instant>", "the time when it came, RFC 3339; else now")
  .option("--url <url>", "the URL that was requested, where it is signed or has the key")
  .option("--address <ip>", "the sender's address, where the settings name addresses")
  .option("--json", "one JSON document on stdout")
  .addHelpText("after", `\nExamples:\n  rxgate verify osigu --headers headers.txt --body body.json --at 2026-06-25T14:22:11Z\n  rxgate verify github --headers headers.json --body body.json --secret-env HOOK_KEY --secret-env HOOK_KEY_NEXT\n  rxgate verify phil --source source.json --headers headers.txt --body body.json --json\n${SECRET}`)
  .action(call("./verify.js"));

program
  .command("check")
  .summary("check the settings of a gateway, offline")
  .description("Reads a wrangler file and lists all that is wrong with the gateway's settings, by path. Nothing is sent.")
  .argument("[file]", "wrangler.toml, wrangler.json or wrangler.jsonc; else the one that is here")
  .option("--secrets <file>", "the secrets, as .dev.vars or JSON; else .dev.vars beside the file, else variables of their names")
  .option("--env <name>", "the environment in the file")
  .option("--strict", "a secret that isn't known here, and what is worth a look, are faults too")
  .option("--json", "one JSON document on stdout")
  .addHelpText("after", "\nExamples:\n  rxgate check\n  rxgate check wrangler.toml --secrets ../rxgate-secrets.json --strict\n  rxgate check wrangler.jsonc --env staging --json")
  .action(call("./check.js"));

program
  .command("listen")
  .summary("an origin that verifies what the gateway delivers")
  .description("Listens on this machine, verifies each request as the gateway signs it (Standard Webhooks), answers, and says what came. Nothing of a patient is printed without --show-data.")
  .option("--port <port>", "the port; 0 takes any", "8788")
  .option("--secret-env <name>", "the variable that has the destination's signing key; RXGATE_SIGNING_KEY if it isn't given; may be repeated", collect)
  .option("--secret-file <file>", "the file that has the key")
  .option("--status <status>", "what is answered to a request that is authentic", "200")
  .option("--show-data", "print the events too: they hold patient data")
  .option("--json", "one line of JSON for each request on stdout")
  .addHelpText("after", "\nExamples:\n  RXGATE_SIGNING_KEY=… rxgate listen\n  rxgate listen --port 9000 --secret-file signing.key --json\n  rxgate listen --status 503                              see the gateway wait and try again")
  .action(call("./listen.js"));

program
  .command("types")
  .summary("list senders, their events and canonical types, presets")
  .description("Lists senders with their events, the canonical type of each, scenarios, and the variables of their secrets.")
  .argument("[sender]", "only this one")
  .option("--json", "one JSON document on stdout")
  .addHelpText("after", "\nExamples:\n  rxgate types\n  rxgate types osigu --json")
  .action(call("./types.js"));

// Whoever reads a part of the output, such as head, may go.
process.stdout.on("error", (fault) => {
  if (fault.code !== "EPIPE") throw fault;
  process.exit(0);
});

try {
  await program.parseAsync();
} catch (fault) {
  code = fault instanceof CommanderError ? (fault.exitCode === 0 ? 0 : USAGE) : failed(fault);
}
process.exitCode = code;

/// One line of what is wrong, and a stack only for who asks for it.
function failed(fault) {
  if (process.env.RXGATE_DEBUG === "1") console.error(fault);
  const message = String(fault?.message ?? fault);
  // The package says of its caller's mistakes that they are: what was given on the command line.
  const mistaken = message.startsWith("rxgate: ");
  const faulty = fault?.name === "ConfigurationError";
  const lines = faulty ? ["the source's settings are faulty:", ...fault.faults.map(({ path, problem }) => `  ${path} ${problem}`.trimEnd())] : [message.replace(/^rxgate: /, "")];
  const known = fault instanceof Mistake || mistaken || faulty;
  process.stderr.write(`${paint("red", "rxgate:", process.stderr)} ${lines.join("\n")}${known ? "" : " (RXGATE_DEBUG=1 shows where)"}\n`);
  return fault instanceof Mistake ? fault.code : known ? USAGE : 1;
}
