// Runs what stands in `proptest! { … }`, wherever it does, under one seed after the other, on all cores.

import { execFile, execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs, promisify } from "node:util";

const run = promisify(execFile);
const { values } = parseArgs({ options: { seeds: { type: "string", default: "500" }, from: { type: "string", default: "0" } } });
const seeds = Number(values.seeds);
const from = Number(values.from);
if (!Number.isSafeInteger(seeds) || !Number.isSafeInteger(from) || seeds < 1 || from < 0) throw new Error("--seeds and --from are numbers");

/// The names of the tests in the blocks of a file.
function properties(path) {
  // rustfmt ends a block by a brace as far in as its first line.
  const text = readFileSync(path, "utf8");
  const blocks = Array.from(text.matchAll(/^( *)(?:proptest::)?proptest! \{\n([^]*?)^\1\}/gm), ([, , block]) => block);
  const named = blocks.map((block) => Array.from(block.matchAll(/#\[test\]\s+fn (\w+)/g), ([, name]) => name));
  if (blocks.length !== text.split("proptest! {").length - 1 || named.some((names) => names.length === 0)) throw new Error(`${path} has a proptest! that isn't understood`);
  return named.flat();
}

// Optimised, and built in a fraction of the time of what is shipped.
const env = { ...process.env, CARGO_TARGET_DIR: "target/properties", CARGO_PROFILE_RELEASE_LTO: "off", CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16", CARGO_PROFILE_RELEASE_OPT_LEVEL: "2", CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS: "true", CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS: "true" };
const names = globSync("{src,tests}/**/*.rs").flatMap(properties);
const built = execFileSync("cargo", ["test", "--quiet", "--locked", "--release", "--workspace", "--features", "schema,js", "--lib", "--test", "it", "--no-run", "--message-format", "json"], { env, encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "inherit"] });
const programs = built.split("\n").flatMap((line) => (line.includes('"executable":"') ? JSON.parse(line).executable : []));

let next = from;
let cases = 0;
const failed = [];

async function worker() {
  while (next < from + seeds) {
    const seed = next;
    next += 1;
    for (const program of programs) {
      try {
        const { stdout } = await run(program, [...names, "--test-threads", "1"], { env: { ...process.env, PROPTEST_RNG_SEED: String(seed) }, maxBuffer: 1 << 26 });
        cases += Number(/(\d+) passed/.exec(stdout)[1]);
      } catch (error) {
        const failing = Array.from(String(error.stdout).matchAll(/^test (\S+) (?:\.\.\. |--- )FAILED$/gm), ([, name]) => name);
        if (failing.length === 0) throw new Error(`${program} ended under seed ${seed}`, { cause: error });
        for (const name of failing) {
          failed.push(`PROPTEST_RNG_SEED=${seed} cargo test --features schema,js ${name}`);
          console.log(failed.at(-1));
        }
      }
    }
  }
}

await Promise.all(Array.from({ length: availableParallelism() }, worker));
console.log(`${names.length} properties, seeds ${from} to ${from + seeds - 1}: ${cases} runs passed, ${failed.length} failed`);
process.exitCode = failed.length === 0 ? 0 : 1;
