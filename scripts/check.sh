#!/usr/bin/env bash
# Everything that CI asks of a change, step by step; called by `make check`, which installed the tools.
# A step of rules or compiling counts as one test. Goes on after a failure, so that one run tells all.
# Who sees only the end of the output sees why something failed: the ends of the logs are repeated
# there. The last line is the sum.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 70
# Each step is a make of its own, with its own job count.
unset MAKEFLAGS MAKELEVEL MFLAGS

readonly LOGS=build/check-logs
readonly LOGS_REPEATED=3 # of 40 lines

passed=0
failed=0
failures=()
failed_logs=()

# step NAME COMMAND...: counts one; the output is shown when it fails.
step() {
    local name=$1 started=$SECONDS
    shift
    if "$@" >"$LOGS/$name.log" 2>&1; then
        passed=$((passed + 1))
        printf 'ok      %-16s %4d s\n' "$name" $((SECONDS - started))
    else
        failed=$((failed + 1))
        failures+=("$name ($LOGS/$name.log)")
        failed_logs+=("$LOGS/$name.log")
        tail -n 60 "$LOGS/$name.log" | sed 's/^/    | /'
        printf 'FAILED  %-16s %4d s\n' "$name" $((SECONDS - started))
    fi
}

# tests NAME VARIANT COMMAND...: counts what the test runner counted; the output is shown as it comes.
tests() {
    local name=$1 sum=build/$2/logs/sum list=build/$2/logs/failures started=$SECONDS p=0 f=0 status=0
    shift 2
    rm -f "$sum" "$list"
    printf '%s\n' "-- $name"
    "$@" 2>&1 | tee "$LOGS/$name.log" | sed -u 's/^\([0-9]* passed, [0-9]* failed\)$/   \1/' || status=$?
    [ ! -f "$sum" ] || read -r p _ f _ <"$sum"
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        f=1
    fi
    passed=$((passed + p))
    failed=$((failed + f))
    if [ "$f" -ne 0 ]; then
        failures+=("$name ($f)")
        if [ -s "$list" ]; then
            mapfile -t -O ${#failed_logs[@]} failed_logs <"$list"
        else # not one test ran, as when something did not compile
            failed_logs+=("$LOGS/$name.log")
        fi
    fi
    printf '%-7s %-16s %4d s\n' "$([ "$f" -eq 0 ] && echo ok || echo FAILED)" "$name" $((SECONDS - started))
}

mkdir -p "$LOGS"
step format-check make format-check
step shellcheck shellcheck scripts/*.sh
step check-source make check-source
step cppcheck make cppcheck
step tidy make tidy
step build-gcc make build-tests
step build-clang make CC=clang build-tests
step instructions make bench-instructions
tests test release make test
tests browser release make test-browser
tests asan asan make asan
tests tsan tsan make tsan
tests fuzz-smoke fuzz make fuzz-smoke
# Debian's wolfSSL instead of ours: what depends on the library, and one client through everything.
tests system-unit release-system make TLS=system T='tls*' test-unit
tests system-client release-system make TLS=system T=grpcio test-integration
# nghttp2's checks of messages instead of ours: the same tests of what a client may send.
tests nghttp2-unit release-nghttp2 make HEADERS=nghttp2 T='h2* grpc*' test-unit
for name in interop_raw malformed hostile; do
    tests "nghttp2-$name" release-nghttp2 make HEADERS=nghttp2 T=$name test-integration
done

for log in "${failed_logs[@]:0:LOGS_REPEATED}"; do
    echo "-- the end of $log"
    [ ! -f "$log" ] || grep -v '^ok ' "$log" | tail -n 40 | sed 's/^/    | /'
done
if [ ${#failures[@]} -ne 0 ]; then
    echo "failed:"
    printf '    %s\n' "${failures[@]}"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
