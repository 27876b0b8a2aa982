// Writes pkg/types/events.d.ts from schemas/, and the twins of the types that CommonJS reads. With --check it writes nothing, and fails if what is there isn't what it would write.
//
//   scripts/run scripts/types.mjs [--check]

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { compile } from "json-schema-to-typescript";
import { eventTypes } from "../pkg/src/node.js";

const SCHEMAS = new URL("../schemas/", import.meta.url);
const TYPES = new URL("../pkg/types/", import.meta.url);
/** Stands for all types that settings name. */
const CONFIGURED = "rx.configured";
const UNKNOWN = "rx.unknown";
const UNIONS = { osigu: "OsiguEvent", evitalrx: "EvitalrxEvent", "phil-callback": "PhilEvent" };

const schemas = readdirSync(SCHEMAS)
  .filter((file) => file.endsWith(".json"))
  .sort()
  .map((file) => JSON.parse(readFileSync(new URL(file, SCHEMAS), "utf8")));

const capital = (word) => word[0].toUpperCase() + word.slice(1);
const words = (type) => type.split(/[._]/).slice(1).map(capital).join("");
const nameOf = (type) => `${words(type)}Event`;

/** The same without the classes of patient data, which two events may see differently. */
function bare(value) {
  if (Array.isArray(value)) return value.map(bare);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).flatMap(([name, inner]) => (name === "x-class" ? [] : [[name, bare(inner)]])));
}

/** A definition that several schemas have: it has to be the same in each, but for the classes. */
function shared(name, versions) {
  if (versions.some((version) => !isDeepStrictEqual(bare(version), bare(versions[0])))) throw new Error(`${name} isn't the same in all schemas`);
  const [first] = versions;
  if (!first.properties) return first;
  const entries = Object.entries(first.properties).map(([property, value]) => {
    const classes = versions.map((version) => version.properties[property]["x-class"]);
    const some = classes.find((found) => found !== undefined);
    return [property, some ? { ...value, "x-class": classes.includes(undefined) ? `\`${some}\`, though not in every event` : `\`${some}\`` } : value];
  });
  return { ...first, properties: Object.fromEntries(entries) };
}

/** What json-schema-to-typescript reads as it is meant. */
function readable(value) {
  if (Array.isArray(value)) return value.map(readable);
  if (value === null || typeof value !== "object") return value;
  // Anything, null as well.
  if (Object.keys(value).join() === "description") return { ...value, tsType: "unknown" };
  const { $ref, "x-class": patient, pattern: _pattern, minLength: _min, maxLength: _max, format: _format, title: _title, ...rest } = value;
  const inner = Object.fromEntries(Object.entries(rest).map(([name, part]) => [name, readable(part)]));
  if (patient) inner.description += ` Patient data: ${patient}.`;
  if ($ref === undefined) return inner;
  const { description, properties, ...others } = inner;
  if (Object.keys(others).length > 0) throw new Error(`beside a $ref stands ${Object.keys(others)}`);
  const more = properties ? [{ type: "object", properties, required: Object.keys(properties) }] : [];
  return { description, allOf: [{ $ref }, ...more] };
}

function events() {
  const definitions = {};
  for (const name of new Set(schemas.flatMap(({ $defs }) => Object.keys($defs)))) {
    definitions[name] = shared(
      name,
      schemas.flatMap(({ $defs }) => $defs[name] ?? []),
    );
  }
  const envelopes = schemas.map(({ properties, required, description }) => {
    const { data: _data, ...rest } = properties;
    const { type, dataschema, subject } = rest;
    const own = {
      type: { type: "string", description: type.description },
      dataschema: { type: "string", description: dataschema.description },
      subject: { type: "string", description: subject.description, "x-class": subject["x-class"] },
    };
    // An event has its subject required, or not.
    return { type: "object", description, properties: { ...rest, ...own }, required: required.filter((name) => !["data", "subject"].includes(name)).sort() };
  });
  definitions.Envelope = shared("the envelope", envelopes);

  const data = new Map(schemas.map(({ title, properties }) => [title, properties.data]));
  const names = schemas.map((schema) => {
    const { title: type, properties, required, $id } = schema;
    const dataName = dataNameOf(type, data);
    definitions[dataName] ??= properties.data;
    // What is said of these stands in Envelope.
    const own = { type: { const: type }, dataschema: { const: $id }, data: { $ref: `#/$defs/${dataName}` } };
    if (type === CONFIGURED) own.type = { tsType: "`rx.${string}.${string}`" };
    if (required.includes("subject")) own.subject = { tsType: `\`${/^\^([a-z_]+\/)$/.exec(properties.subject.pattern)[1]}\${string}\`` };
    const name = nameOf(type);
    definitions[name] = { type: "object", description: told(type), properties: own, required: required.filter((property) => property in own), extends: { $ref: "#/$defs/Envelope" } };
    return name;
  });

  const root = { title: "GatewayEvent", description: "Any event: what a queue of the gateway's may hold.", oneOf: names.map((name) => ({ $ref: `#/$defs/${name}` })), $defs: Object.fromEntries(Object.entries(definitions).map(([name, value]) => [name, definition(name, value)])) };
  return { root, names };
}

/** An entity's events have the same data. Of those that differ, the most have the entity's name. */
function dataNameOf(type, data) {
  const same = (one) => [...data].filter(([other, content]) => other.split(".")[1] === type.split(".")[1] && isDeepStrictEqual(bare(content), bare(data.get(one)))).length;
  const entity = type.split(".")[1];
  const most = Math.max(...[...data.keys()].filter((other) => other.split(".")[1] === entity).map(same));
  return same(type) === most ? `${capital(entity)}Data` : `${words(type)}Data`;
}

function told(type) {
  if (type === CONFIGURED) return "What a sender that is configured says: `type` is what the settings' `types` call it.";
  if (type === UNKNOWN) return "Authentic, and of a type or api version that isn't known: only `original` says what it is.";
  return `\`${type}\`: ${sendersWord(type)}.`;
}

function definition(name, value) {
  const { extends: base, ...rest } = value;
  return { ...readable(rest), ...(base ? { extends: base } : {}), title: name };
}

function sendersWord(type) {
  const of = eventTypes().filter((known) => known.type === type);
  if (of.length === 0) throw new Error(`${type} is no event type of a sender's`);
  const people = { osigu: "Osigu's", evitalrx: "eVitalRx's", "phil-callback": "PHIL's" };
  if (type === "rx.transfer.callback_missing") return "a PHIL callback didn't come. The gateway says so itself, so no request is read as this";
  return of.map(({ provider, eventType }) => `${people[provider]} \`${eventType}\``).join(", ");
}

function unions() {
  const every = schemas.map(({ title }) => title).filter((type) => type !== CONFIGURED);
  const union = (name, text, members) => `/**\n * ${text}\n */\nexport type ${name} =\n${members.map((member) => `  | ${member}`).join("\n")};\n`;
  const bySender = Object.entries(UNIONS).map(([provider, name]) => {
    const types = eventTypes().flatMap((known) => (known.provider === provider ? [known.type] : []));
    return union(name, `What a source with \`provider: "${provider}"\` gives.`, [...new Set([...types, UNKNOWN])].map(nameOf));
  });
  const all = union("RxEvent", "Every event whose type is known here, told apart by `type`.", every.map(nameOf));
  return [all, "/**\n * The canonical types.\n */\nexport type EventType = RxEvent[\"type\"];\n", ...bySender].join("\n");
}

async function generated() {
  const { root } = events();
  const banner = "// Generated by scripts/types.mjs from schemas/. Change those, not this.\n//\n// What isn't known is left out, never null. More fields may be added at any time. Amounts are decimal strings.";
  const text = await compile(root, "GatewayEvent", { bannerComment: banner, additionalProperties: false, unknownAny: true, declareExternallyReferenced: true, enableConstEnums: false, style: { printWidth: 140 } });
  return `${text}\n${unions()}`;
}

/** What CommonJS reads: the same, with what it imports in the same form. */
const twin = (text, from) => `// Generated by scripts/types.mjs from ${from}, which is for ESM.\n\n${text.replace(/^\/\/ Generated.*\n/, "").replace(/from "\.\/events\.js"/g, 'from "./events.cjs"')}`;

const eventsText = await generated();
const indexText = readFileSync(new URL("index.d.ts", TYPES), "utf8");
const files = { "events.d.ts": eventsText, "events.d.cts": twin(eventsText, "schemas/"), "index.d.cts": twin(indexText, "index.d.ts") };
const check = process.argv.includes("--check");
for (const [name, text] of Object.entries(files)) {
  const at = new URL(name, TYPES);
  if (!check) {
    writeFileSync(at, text);
    continue;
  }
  let there = "";
  try {
    there = readFileSync(at, "utf8");
  } catch {
    // Not there: not what it should be.
  }
  if (there === text) continue;
  console.error(`rxgate: pkg/types/${name} isn't what would be generated: scripts/run scripts/types.mjs`);
  process.exitCode = 1;
}
