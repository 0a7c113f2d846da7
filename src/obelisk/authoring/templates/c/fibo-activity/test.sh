#!/bin/sh
# Runs the component that was built, in a world with crashes, and with attempts that fail or end late: `obelisk build`, then
# `sh test.sh`.
cd "$(dirname "$0")" || exit
failed=0

# expect RESULT N
expect() {
  found=$(obelisk simulate --function template-fibo:activity/fibo-activity-ifc.fibo --params "[$2]" --seeds 3 2>&1)
  case $found in
    *" ended with $1 in "*) echo "ok: fibo($2) is $1" ;;
    *) echo "FAILED: fibo($2) is not $1:"; echo "$found"; failed=1 ;;
  esac
}

expect '{"ok":0}' 0
expect '{"ok":1}' 1
expect '{"ok":55}' 10
expect '{"ok":12200160415121876738}' 93
expect '{"err":null}' 94
exit $failed
