// The workflow template-fibo:workflow/fibo-workflow-ifc. `obelisk build` makes bindings/workflow.h out of wit/: what may be
// called, and what is to be written. A function that returns a result says whether it is ok, and gives the value to *ok.
// Workflows are deterministic: everything that may come out differently is a call of something imported.

#include "bindings/workflow.h"

// Calls, one after another. One that returns an error ends this with it.
bool fiboa(uint8_t n, uint32_t iterations, uint64_t *ok) {
  for (uint32_t i = 0; i < iterations; i++) {
    if (!fibo(n, ok)) return false;
  }
  return true;
}

// The same calls at once, awaited in the order in which they finish.
bool fiboa_concurrent(uint8_t n, uint32_t iterations, uint64_t *ok) {
  join_set_t join_set = join_set_create();
  for (uint32_t i = 0; i < iterations; i++) fibo_submit(join_set, n);
  bool fine = true;
  for (uint32_t i = 0; fine && i < iterations; i++) {
    tuple_execution_id_result_u64_t next;
    await_next_extension_error_t error;
    if (!fibo_await_next(join_set, &next, &error)) __builtin_trap();  // as many as were submitted
    fine = !next.f1.is_err;
    *ok = next.f1.ok;
  }
  join_set_drop(join_set);
  return fine;
}
