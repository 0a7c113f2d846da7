#!/bin/sh
# Runs the components that were built, in a world with crashes, lost acknowledgements, and activities that fail or end late:
# `obelisk build`, then `sh test.sh`.
cd "$(dirname "$0")" || exit
failed=0

# expect RESULT FUNCTION PARAMS [OPTION]...
expect() {
  expected=$1 function=$2 params=$3
  shift 3
  found=$(obelisk simulate --function "template-fibo:workflow/fibo-workflow-ifc.$function" --params "$params" "$@" 2>&1)
  case $found in
    *" ended with $expected in "*) echo "ok: $function $params is $expected" ;;
    *) echo "FAILED: $function $params is not $expected:"; echo "$found"; failed=1 ;;
  esac
}

given='template-fibo:activity/fibo-activity-ifc.fibo={"err": null}'  # in place of the real one
for function in fiboa fiboa-concurrent; do
  expect '{"ok":55}' "$function" '[10, 4]' --seeds 10
  expect '{"err":null}' "$function" '[10, 2]' --activity "$given" --seeds 3
done
exit $failed
