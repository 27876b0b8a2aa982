// `rxgate sign`: the headers that a sender would send with a body.

import { sign, source } from "../node.js";
import { fromEnvironment, readBytes, readInstant, readSecret, readSource, readUrl } from "./input.js";
import { Mistake, print, printJson } from "./output.js";
import { apiKeyVariable, ofSender, secretVariable, senderWith, settingsOf } from "./senders.js";

export async function run(name, options) {
  const sender = senderWith(name, options);
  const own = options.keyEnv === undefined ? undefined : fromEnvironment(options.keyEnv, "--key-env");
  const { settings, key } = signer(sender, options, own);
  const url = options.url === undefined ? undefined : readUrl(options.url, "--url").href;
  const now = options.at === undefined ? undefined : readInstant(options.at);
  if (options.webhook === undefined && settings.provider === "evitalrx") throw new Mistake(`--webhook is missing: the last segment of the path, such as ${sender.events[0]}`);
  const { headers, path } = sign(source(settings), { body: readBytes(options.body, "--body"), url, id: options.id, now, key, webhook: options.webhook });
  if (options.json) printJson({ headers, path });
  else {
    // As a request begins, so that what is printed here can be read by `rxgate verify --headers`.
    if (path !== undefined) print(`POST /${path} HTTP/1.1`);
    for (const [header, value] of Object.entries(headers)) print(`${header}: ${value}`);
  }
  return 0;
}

function signer(sender, options, own) {
  if (options.source !== undefined) {
    const given = options.secretEnv !== undefined || options.secretFile !== undefined ? readSecret(options).secret : undefined;
    return { settings: ofSender(sender, readSource(options.source)), key: own ?? given };
  }
  const name = secretVariable(sender);
  const secret = readSecret(options, name)?.secret ?? own;
  const apiKeyName = apiKeyVariable(sender);
  const apiKey = apiKeyName && process.env[apiKeyName];
  const missing = [secret === undefined ? name : undefined, apiKeyName !== undefined && !apiKey ? apiKeyName : undefined].filter(Boolean);
  if (missing.length > 0) throw new Mistake(`no secret to sign with: set ${missing.join(" and ")}, or name another variable with --secret-env or a file with --secret-file`);
  const key = own ?? (sender.name === "standard-webhooks-v1a" ? secret : undefined);
  return { settings: settingsOf(sender, [{ id: "signer", secret }], { apiKey }), key };
}
