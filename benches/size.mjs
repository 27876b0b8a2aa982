// The upload and the start of each Worker, as wrangler counts them. `scripts/bench size`

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { NAMES, upload } from "./lib/contenders.mjs";
import { median, sorted, table } from "./lib/figures.mjs";
import { ROOT, remove, temporary } from "../tests/workerd/harness.mjs";

const RUNS = Number(process.env.RUNS ?? 5);
const AT = { rxgate: [".", "build/dry-run.log"], js: ["benches/worker", "build/benches/worker.log"], empty: ["benches/empty", "build/benches/empty.log"] };

/// Milliseconds in which the samples of one start's profile were not idle.
function start(cwd) {
  const folder = temporary();
  try {
    const outfile = join(folder, "startup.cpuprofile");
    execFileSync(process.execPath, [join(ROOT, "node_modules/wrangler/bin/wrangler.js"), "check", "startup", "--outfile", outfile], { cwd: join(ROOT, cwd), stdio: ["ignore", "ignore", "inherit"] });
    const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(outfile, "utf8"));
    const idle = new Set(nodes.filter(({ callFrame }) => callFrame.functionName === "(idle)").map(({ id }) => id));
    return samples.reduce((sum, id, place) => sum + (idle.has(id) ? 0 : timeDeltas[place]), 0) / 1000;
  } finally {
    remove(folder);
  }
}

const starts = Object.fromEntries(Object.keys(NAMES).map((name) => [name, []]));
for (let run = 0; run < RUNS; run += 1) for (const name of Object.keys(NAMES)) starts[name].push(start(AT[name][0]));

const rows = Object.keys(NAMES).map((name) => {
  const [, raw, gzip] = /Total Upload: ([\d.]+) KiB \/ gzip: ([\d.]+) KiB/.exec(readFileSync(join(ROOT, AT[name][1]), "utf8"));
  const wasm = upload(name).filter((file) => file.endsWith(".wasm")).reduce((sum, file) => sum + readFileSync(file).length, 0) / 1024;
  const times = sorted(starts[name]);
  return [NAMES[name], raw, wasm === 0 ? "–" : wasm.toFixed(0), gzip, `${median(times).toFixed(1)} (${times[0].toFixed(1)}–${times.at(-1).toFixed(1)})`];
});
console.log(`${RUNS} starts each, in turn: milliseconds that aren't idle by \`wrangler check startup\`; the median, the lowest and the highest\n`);
console.log(table(["Worker", "upload KiB", "wasm in it KiB", "gzip KiB", "start ms"], rows));
