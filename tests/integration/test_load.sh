#!/usr/bin/env bash
# A short burst of GetUser from h2load over TLS: everything is answered, and everything with the user.
#
# h2load knows nothing of gRPC, but it counts bytes: an error has no message, so the bytes of DATA tell
# that every answer was the whole one.

set -uo pipefail
cd "$(dirname "$0")/../.." || exit 70
[ -n "${TEST_TARGET:-}" ] || exec tests/integration/lib/with_server.py "$PWD/tests/integration/$(basename "$0")"

readonly USERCTL=${USERCTL:-$PWD/build/userctl}
readonly REQUESTS=$((10000 / ${USERD_SLOW:-1}))
readonly BODY=$TEST_FOLDER/body LOG=$TEST_FOLDER/h2load.log
passed=0
failed=0

check() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok     $name"
    else
        failed=$((failed + 1))
        echo "FAILED $name"
        sed 's/^/    /' "$LOG"
    fi
}

# load REQUESTS CLIENTS STREAMS: the burst, with its report in $LOG.
load() {
    h2load -n "$1" -c "$2" -m "$3" -d "$BODY" -H 'te: trailers' -H 'content-type: application/grpc' \
        -H "authorization: Bearer $(cat "$TEST_TOKEN_FILE")" \
        "https://$TEST_TARGET/users.v1.UserService/GetUser" >"$LOG" 2>&1
}

# Bytes of DATA in the last report.
data_bytes() {
    sed -n 's/^traffic: .* \(([0-9]*)\) data$/\1/p' "$LOG" | tr -d '()'
}

all_succeeded() {
    grep -q "^requests: $1 total, $1 started, $1 done, $1 succeeded, 0 failed, 0 errored, 0 timeout$" "$LOG" &&
        grep -q "^status codes: $1 2xx, 0 3xx, 0 4xx, 0 5xx$" "$LOG"
}

id=$(echo 'correct horse battery' | "$USERCTL" --target "$TEST_TARGET" --ca "$TEST_CA" \
    --token-file "$TEST_TOKEN_FILE" create --username loaded --email loaded@example.com \
    --password-stdin | sed 's/.*"id":"\([^"]*\)".*/\1/')

# One gRPC frame with a GetUserRequest: an ID of 36 bytes is its field 1.
printf '\0\0\0\0\x26\x0a\x24%s' "$id" >"$BODY"
check "the body is a frame" test "$(stat -c %s "$BODY")" -eq 43

check "one call" load 1 1 1
check "  ... is answered" all_succeeded 1
one=$(data_bytes)
check "  ... with the user" test "$one" -gt 60

for shape in '1 1' '10 10' '50 1' '10 100'; do
    read -r clients streams <<<"$shape"
    check "$REQUESTS calls over $clients connections with $streams at once" load "$REQUESTS" "$clients" "$streams"
    check "  ... are answered" all_succeeded "$REQUESTS"
    check "  ... with the user" test "$(data_bytes)" -eq $((REQUESTS * one))
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
