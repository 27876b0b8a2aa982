// A folder as a reader has it: the package and the frameworks under node_modules, the examples copied beside them.

import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const EXAMPLES = join(ROOT, "examples/package");

/// Makes one, and removes it when the tests of `context` are done.
export function workshop(context, files = []) {
  const folder = mkdtempSync(join(tmpdir(), "rxgate-package-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const modules = join(folder, "node_modules");
  mkdirSync(join(modules, "@types"), { recursive: true });
  symlinkSync(join(ROOT, "pkg"), join(modules, "rxgate"), "dir");
  const installed = join(ROOT, "node_modules");
  const types = readdirSync(join(installed, "@types")).map((name) => `@types/${name}`);
  for (const name of ["express", "fastify", "hono", ...types]) symlinkSync(join(installed, name), join(modules, name), "dir");
  for (const file of files) copyFileSync(file, join(folder, file.slice(dirname(file).length + 1)));
  return folder;
}

export const examples = () => readdirSync(EXAMPLES).map((name) => join(EXAMPLES, name));
