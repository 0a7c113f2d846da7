#!/bin/sh
# Runs the component that was built in a server, against a small one that answers it: `obelisk build`, then `sh test.sh`.
cd "$(dirname "$0")" || exit
failed=0
made=$(mktemp -d)
echo hello >"$made/page"

# until_written FILE TEXT: waits until a server has written it.
until_written() {
  until grep -qs "$2" "$1"; do sleep 0.1; done
}

python3 -u -m http.server --bind 127.0.0.1 --directory "$made" 0 >"$made/pages.txt" 2>&1 &
pages=$!
export OBELISK__API__LISTENING_ADDR=127.0.0.1:0 OBELISK__SQLITE__DIRECTORY="$made/db"
obelisk server run >"$made/server.txt" 2>&1 &
server=$!
trap 'kill $pages $server; wait; rm -r "$made"' EXIT
until_written "$made/pages.txt" "Serving HTTP on "
until_written "$made/server.txt" "Serving gRPC requests at "
at=http://127.0.0.1:$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$made/pages.txt")
OBELISK_API_URL=http://$(sed -n 's/.*Serving gRPC requests at //p' "$made/server.txt")
export OBELISK_API_URL

# expect TEXT URL
expect() {
  found=$(obelisk execution submit --follow template-http:activity/http-activity-ifc.fetch "[\"$2\"]" 2>&1)
  case $found in
    *"$1"*) echo "ok: $2" ;;
    *) echo "FAILED: $2 is not $1:"; echo "$found"; failed=1 ;;
  esac
}

expect '{"status":200,"body":"hello\n"}' "$at/page"
expect '{"status":404,' "$at/nowhere"
expect 'HTTP-request-denied' "http://192.0.2.1/"
expect 'is not an address' "nowhere"
exit $failed
