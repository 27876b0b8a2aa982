// Breaks the protocol, one rule at a time, in a copy of the sources, and runs the simulation against each. Ends non-zero if it doesn't notice one. `scripts/run scripts/mutations.mjs [pattern of names]`

import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MUTATIONS } from "../tests/sim/mutations.mjs";

const ROOT = join(import.meta.dirname, "..");
const COPY = join(ROOT, "target/mutations/tree");
const SEEDS = "200000";
const env = { ...process.env, CARGO_TARGET_DIR: join(ROOT, "target/mutations/target"), CARGO_PROFILE_RELEASE_LTO: "off", CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16", CARGO_PROFILE_RELEASE_OPT_LEVEL: "2", CARGO_INCREMENTAL: "1" };

rmSync(COPY, { recursive: true, force: true });
mkdirSync(COPY, { recursive: true });
for (const what of ["Cargo.toml", "Cargo.lock", "src", "tests", "README.md"]) cpSync(join(ROOT, what), join(COPY, what), { recursive: true });

function replaced(text, { from, to }) {
  if (text.split(from).length !== 2) throw new Error(`what is to be changed stands there ${text.split(from).length - 1} times:\n${from}`);
  return text.replace(from, () => to);
}

const run = () => {
  execFileSync("cargo", ["build", "--quiet", "--release", "--locked", "--test", "sim"], { cwd: COPY, env, stdio: ["ignore", "ignore", "inherit"] });
  return spawnSync("cargo", ["test", "--quiet", "--release", "--locked", "--test", "sim", "--", "--seeds", SEEDS], { cwd: COPY, env, encoding: "utf8" });
};

const unchanged = run();
if (unchanged.status !== 0) throw new Error(`the simulation fails without any mutation:\n${unchanged.stdout}`);
let survived = 0;
const chosen = MUTATIONS.filter(({ name }) => new RegExp(process.argv[2] ?? "").test(name));
if (chosen.length === 0) throw new Error("no mutation has that in its name");
for (const { name, file, and = [], ...change } of chosen) {
  const path = join(COPY, file);
  const before = readFileSync(path, "utf8");
  writeFileSync(path, [change, ...and].reduce(replaced, before));
  const { status, stdout } = run();
  writeFileSync(path, before);
  const [, seed, why] = /seed (\d+) fails: (.*)/.exec(stdout) ?? [];
  survived += status === 0 ? 1 : 0;
  console.log(status === 0 ? `SURVIVED  ${name}` : `caught    ${name}: seed ${seed}, ${why}`);
}
console.log(`${chosen.length - survived} caught, ${survived} survived`);
process.exit(survived === 0 ? 0 : 1);
