// The workflow template-fibo:workflow/fibo-workflow-ifc: an object of the interface's name.
// Workflows are deterministic: everything that may come out differently is a call of something imported.

import { fibo } from "template-fibo:activity/fibo-activity-ifc";
import { fiboAwaitNext, fiboSubmit } from "template-fibo:activity-obelisk-ext/fibo-activity-ifc";
import { joinSetCreate } from "obelisk:workflow/workflow-support@5.1.0";

export const fiboWorkflowIfc = {
  // Calls, one after another. One that returns an error throws, and so does this.
  fiboa(n, iterations) {
    let last = 0;
    for (let i = 0; i < iterations; i++) last = fibo(n);
    return last;
  },

  // The same calls at once, awaited in the order in which they finish.
  fiboaConcurrent(n, iterations) {
    const joinSet = joinSetCreate();
    for (let i = 0; i < iterations; i++) fiboSubmit(joinSet, n);
    let last = 0;
    for (let i = 0; i < iterations; i++) {
      const [_executionId, result] = fiboAwaitNext(joinSet);
      if (result.tag === "err") throw result.val;
      last = result.val;
    }
    return last;
  },
};
