// The activity template-fibo:activity/fibo-activity-ifc. `obelisk build` makes bindings/activity.h out of wit/: what may be
// called, and what is to be written. A function that returns a result says whether it is ok, and gives the value to *ok.
// Activities may do anything: they run again when they fail, and their results are kept.

#include "bindings/activity.h"

// The n-th Fibonacci number.
bool fibo(uint8_t n, uint64_t *ok) {
  if (n > 93) return false;  // does not fit
  uint64_t last = 0, following = 1;
  while (n--) {
    uint64_t next = last + following;
    last = following;
    following = next;
  }
  *ok = last;
  return true;
}
