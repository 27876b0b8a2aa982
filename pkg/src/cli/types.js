// `rxgate types`: senders, their events, and what these are called here.

import { eventTypes } from "../node.js";
import { paint, print, printJson } from "./output.js";
import { SENDERS, apiKeyVariable, secretVariable, senderOf } from "./senders.js";

export async function run(name, options) {
  const chosen = name === undefined ? SENDERS : [senderOf(name)];
  const listed = eventTypes();
  const told = chosen.map((sender) => {
    const events = sender.events.map((event) => ({ event, type: listed.find(({ provider, eventType }) => provider === sender.provider && eventType === event)?.type }));
    const scenarios = Object.fromEntries(Object.entries(sender.scenarios).map(([life, steps]) => [life, steps.map((step) => step.event ?? step)]));
    const variables = [secretVariable(sender), apiKeyVariable(sender)].filter(Boolean);
    return { sender: sender.name, provider: sender.provider, preset: sender.preset, variables, events, scenarios };
  });
  if (options.json) {
    printJson(name === undefined ? told : told[0]);
    return 0;
  }
  told.forEach(({ sender, preset, variables, events, scenarios }, place) => {
    print(`${place > 0 ? "\n" : ""}${paint("bold", sender)}${preset ? "  preset" : ""}  ${paint("dim", `secret: ${variables.join(", ")}`)}`);
    const width = Math.max(...events.map(({ event }) => event.length));
    for (const { event, type } of events) print(`  ${event.padEnd(width)}  ${type ?? "named by the settings, else rx.unknown"}`);
    for (const [life, steps] of Object.entries(scenarios)) print(`  ${paint("dim", `--scenario ${life}: ${steps.join(" → ")}`)}`);
  });
  return 0;
}
