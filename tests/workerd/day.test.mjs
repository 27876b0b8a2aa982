// The day of faults in its short form. In its long one: scripts/run tests/workerd/day/day.mjs 300

import assert from "node:assert/strict";
import { test } from "node:test";
import { day } from "./day/day.mjs";

test("after half a minute of faults every acknowledged event is where it should be, once", async () => {
  const result = await day({ seconds: 30 });
  const { seed, missing, twice, wrong } = result;
  console.log(JSON.stringify({ ...result, missing: missing.length, twice: twice.length }));
  assert.deepEqual({ missing, twice, wrong }, { missing: [], twice: [], wrong: [] }, `scripts/run tests/workerd/day/day.mjs 30 ${seed}`);
  assert.equal(result.sent, result.delivered + result.enqueued + result.dead_lettered);
  // The traffic was mixed, and the faults did something.
  assert.ok(result.delivered > 50 && result.enqueued > 20 && result.dead_lettered > 10, JSON.stringify(result));
  assert.ok(result.refused.forged > 10 && result.refused.oversized > 1);
  assert.ok(result.kills > 0 && Object.keys(result.faults).length > 8);
});
