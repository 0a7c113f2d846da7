// Runs the components that were built, in a world with crashes, lost acknowledgements, and activities that fail or end
// late: `obelisk build`, then `npm test`.

import assert from "node:assert";
import { execFileSync } from "node:child_process";
import test from "node:test";

const WORKFLOW = "template-fibo:workflow/fibo-workflow-ifc";
const ACTIVITY = "template-fibo:activity/fibo-activity-ifc";

function simulate(name, params, ...options) {
  const command = ["simulate", "--json", "--function", `${WORKFLOW}.${name}`, "--params", JSON.stringify(params)];
  return JSON.parse(execFileSync("obelisk", [...command, ...options], { encoding: "utf8" })).ok.result;
}

for (const name of ["fiboa", "fiboa-concurrent"]) {
  test(`${name} does not notice faults`, () => {
    assert.deepStrictEqual(simulate(name, [10, 4], "--seeds", "10"), { ok: 55 });
  });

  test(`${name} ends with an error of the activity`, () => {
    const given = ["--activity", `${ACTIVITY}.fibo={"err": null}`, "--seeds", "3"];
    assert.deepStrictEqual(simulate(name, [10, 2], ...given), { err: null });
  });
}
