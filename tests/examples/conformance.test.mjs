// The tables of the senders' statements name tests: each of them has to be there, and each line of the seeds has to be in its table.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

const ROOT = join(import.meta.dirname, "../..");

/// Each table, how many native tests it names at least, and the pages that it goes through: the statements of each in order.
const TABLES = {
  "docs/osigu-conformance.md": { native: 40, sections: ["Authorization events", "Dispensing events", "Payload reference"], letters: "ADP" },
  "docs/evitalrx-conformance.md": { native: 30, sections: ["Overview", "Webhook details"], letters: "E" },
  "docs/phil-conformance.md": { native: 20, sections: ["Callbacks", "Missing callback", "Sending a request", "Callback responses"], letters: "P" },
};

const source = (file) => ["workerd", "examples"].map((folder) => join(ROOT, "tests", folder, file)).find(existsSync);

/// Whether a test has that title, or a suite its beginning and a test in it the rest.
function isCalled(text, title) {
  const words = title.split(" ");
  const halves = words.map((_, place) => [words.slice(0, place), words.slice(place)].map((half) => `"${half.join(" ")}"`));
  return text.includes(title) || halves.some(([suite, test]) => text.includes(suite) && text.includes(test));
}

for (const [name, { native, sections, letters }] of Object.entries(TABLES)) {
  describe(name, () => {
    const table = readFileSync(join(ROOT, name), "utf8");

    test("every native test that it names is there", () => {
      const named = [...table.matchAll(/`(\w+)::(\w+)`/g)];
      assert.ok(named.length >= native, `${named.length} tests are named`);
      const missing = named.filter(([, module, test]) => {
        const file = join(ROOT, `tests/it/${module}.rs`);
        return !existsSync(file) || !readFileSync(file, "utf8").includes(`fn ${test}(`);
      });
      assert.deepEqual(missing.map(([name]) => name), []);
    });

    test("every other test that it names is there, by its title", () => {
      // `file`: a title; another title; `file`: …
      for (const [, file, titles] of table.matchAll(/`((?:tests\/workerd\/)?\w+\.test\.mjs)`(?:: ([^|`]*))?/g)) {
        const path = source(file.split("/").at(-1));
        assert.ok(path, file);
        const text = readFileSync(path, "utf8");
        for (const title of (titles ?? "").split(";").map((title) => title.trim()).filter((title) => title !== "")) {
          assert.ok(isCalled(text, title), `${file} has no test called: ${title}`);
        }
      }
    });

    test("it has the pages of the seed, and their statements without a gap", () => {
      for (const section of sections) assert.ok(table.includes(`\n## ${section}\n`), section);
      for (const letter of letters) {
        const numbers = [...table.matchAll(new RegExp(`^\\| ${letter}(\\d+) \\|`, "gm"))].map(([, number]) => Number(number));
        assert.ok(numbers.length >= 10, `${letter}: ${numbers.length}`);
        assert.deepEqual(numbers, numbers.map((_, place) => place + 1), letter);
      }
    });
  });
}
