// Runs the component that was built, in a world with crashes, and with attempts that fail or end late: `obelisk build`,
// then `npm test`.

import assert from "node:assert";
import { execFileSync } from "node:child_process";
import test from "node:test";

const FIBO = "template-fibo:activity/fibo-activity-ifc.fibo";

function simulate(n) {
  const command = ["simulate", "--json", "--seeds", "3", "--function", FIBO, "--params", JSON.stringify([n])];
  return JSON.parse(execFileSync("obelisk", command, { encoding: "utf8" })).ok.result;
}

test("numbers", () => {
  assert.deepStrictEqual([0, 1, 10, 78].map(simulate), [0, 1, 55, 8944394323791464].map((ok) => ({ ok })));
});

test("what does not fit is an error", () => {
  assert.deepStrictEqual(simulate(79), { err: null });
});
