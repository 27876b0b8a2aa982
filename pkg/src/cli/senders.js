// The senders that the tool knows: their samples, the variables of their secrets, and their settings as a source.

import { createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import { Command } from "commander";
import { sender as evitalrx } from "./samples/evitalrx.js";
import { sender as osigu } from "./samples/osigu.js";
import { sender as phil } from "./samples/phil.js";
import { senders as presets } from "./samples/presets.js";
import { Mistake } from "./output.js";

export const SENDERS = [{ ...osigu, provider: "osigu" }, { ...evitalrx, provider: "evitalrx" }, { ...phil, provider: "phil-callback" }, ...presets.map((sender) => ({ ...sender, provider: "configured" }))];

/// A sender by its name; `phil-callback`, the name of its settings, is `phil`.
export function senderOf(name) {
  const sender = SENDERS.find((sender) => sender.name === name || (sender.provider !== "configured" && sender.provider === name));
  if (!sender) throw unknown("sender", name, SENDERS.map(({ name }) => name));
  return sender;
}

/// Any other sender has no name of its own: its settings say all.
const OTHER = { name: "configured", provider: "configured", events: [], scenarios: {} };

/// The same for a command that needs no sample: `configured` is any sender, by --source.
export function senderWith(name, { source }) {
  if (name !== OTHER.name) return senderOf(name);
  if (source === undefined) throw new Mistake("configured is any other sender: --source has to say which");
  return OTHER;
}

/// Settings that were given for a sender, if they are of that one.
export function ofSender(sender, settings) {
  const same = settings.provider === sender.provider && (sender.provider !== "configured" || settings.preset === sender.preset || sender === OTHER);
  if (!same) throw new Mistake(`--source is of ${settings.preset ?? settings.provider ?? "no provider"}, not of ${sender.name}`);
  return settings;
}

/// Nothing of that name is there: says what is, and what is near.
export function unknown(what, name, names) {
  return new Mistake(`there is no ${what} "${name.slice(0, 60)}"${nearest(name, names)}. There ${names.length === 1 ? "is" : "are"}: ${names.join(", ")}`);
}

/// Commander's own word for a near miss: ` (Did you mean …?)`, or nothing.
function nearest(name, names) {
  let said = "";
  const command = new Command("of").exitOverride().configureOutput({ writeErr: (text) => (said += text) }).helpCommand(false).helpOption(false);
  for (const known of names) command.command(known);
  try {
    command.parse([name], { from: "user" });
  } catch {}
  const [hint] = /\(Did you mean .*\?\)/.exec(said) ?? [];
  return hint ? ` ${hint}` : "";
}

const variable = (name, end) => `${name.toUpperCase().replaceAll("-", "_")}_${end}`;

/// The variable that a sender's secret is read from where nothing else is said.
export const secretVariable = ({ name }) => variable(name, "SECRET");
/// The variable of the static text that it sends besides, if it does.
export const apiKeyVariable = ({ name }) => (name === "osigu-prescription-notifications" ? variable(name, "API_KEY") : undefined);

/// A secret of the sender's form, good for nothing but trying out.
export function developmentSecret({ name }) {
  if (name === "standard-webhooks" || name === "svix") return `whsec_${randomBytes(24).toString("base64")}`;
  if (name === "standard-webhooks-v1a") return `whsk_${randomBytes(32).toString("base64")}`;
  if (name === "stripe") return `whsec_${randomBytes(16).toString("hex")}`;
  return randomBytes(24).toString("hex");
}

/// The settings of a source for requests of this sender. `keys`: { id, secret }.
export function settingsOf(sender, keys, { apiKey, environment = "sandbox" } = {}) {
  if (sender.provider === "osigu") return { provider: "osigu", environment, keys };
  if (sender.provider === "evitalrx") return { provider: "evitalrx", accept_unsigned: true, path_tokens: keys };
  if (sender.provider === "phil-callback") return { provider: "phil-callback", keys };
  const scheme = apiKeyVariable(sender) ? { scheme: { api_key: { secret: apiKey } } } : {};
  const withPublic = sender.name === "standard-webhooks-v1a" ? keys.map(({ id, secret }) => ({ id, secret: publicKey(secret) })) : keys;
  return { provider: "configured", preset: sender.preset, keys: withPublic, ...scheme };
}

const PKCS8_OF_ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");

/// `whpk_…` of a private key `whsk_…`. What is public already stays as it is.
function publicKey(secret) {
  if (!secret.startsWith("whsk_")) return secret;
  const bytes = Buffer.from(secret.slice("whsk_".length), "base64");
  if (bytes.length !== 32 && bytes.length !== 64) throw new Mistake("the private key isn't whsk_ and base64 of 32 bytes");
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_OF_ED25519, bytes.subarray(0, 32)]), format: "der", type: "pkcs8" });
  return `whpk_${createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32).toString("base64")}`;
}
