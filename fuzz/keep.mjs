// Chooses the committed corpus of a target: what was written by hand, named seed-*, and of all others those that reach most. node fuzz/keep.mjs TARGET PROGRAM

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/// With eight targets not three hundred files, and a smoke run that begins at once.
const MOST = 36;

const here = dirname(fileURLToPath(import.meta.url));
const [target, program] = process.argv.slice(2);
const committed = join(here, "corpus", target);
const found = join(here, "target/corpus", target);
const scratch = mkdtempSync(join(tmpdir(), "rxgate-fuzz-"));
const control = join(scratch, "control");
mkdirSync(join(scratch, "merged"));
const folders = [committed, found].filter(existsSync);
// A feature is an edge that is reached, however often.
const settings = ["-merge=1", "-use_counters=0", "-max_len=4096", `-merge_control_file=${control}`];
execFileSync(program, [...settings, join(scratch, "merged"), ...folders], { stdio: "ignore" });

// How many there are, how many of them are in the first folder, a path a line; then "FT <place> <feature>…" of each.
const [count, , ...lines] = readFileSync(control, "latin1").split("\n");
const inputs = lines.slice(0, Number(count)).map((path) => ({ path, reached: [] }));
for (const line of lines.slice(Number(count))) {
  const [kind, place, ...features] = line.split(" ");
  if (kind === "FT") inputs[Number(place)].reached = features;
}

const reached = new Set();
const kept = [];
const keep = (input) => {
  kept.push(input.path);
  for (const feature of input.reached) reached.add(feature);
};
const left = new Set(inputs);
for (const input of inputs) if (basename(input.path).startsWith("seed-") && left.delete(input)) keep(input);
while (kept.length < MOST) {
  let best = { gain: 0 };
  for (const input of left) {
    const gain = input.reached.filter((feature) => !reached.has(feature)).length;
    if (gain > best.gain) best = { gain, input };
  }
  if (best.gain === 0) break;
  left.delete(best.input);
  keep(best.input);
}

const chosen = join(scratch, "chosen");
mkdirSync(chosen);
for (const path of kept) cpSync(path, join(chosen, basename(path)));
rmSync(committed, { recursive: true, force: true });
cpSync(chosen, committed, { recursive: true });
rmSync(scratch, { recursive: true });
const all = new Set(inputs.flatMap((input) => input.reached));
console.log(`${target}: ${readdirSync(committed).length} of ${inputs.length}, ${reached.size} of ${all.size} features`);
