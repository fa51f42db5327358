#!/usr/bin/env bash
# CPU time per GetUser, with userd pinned to one core and h2load on the others: `make bench-smoke`.
#
#   USERD=build/userd USERCTL=build/userctl bench/smoke.sh [REQUESTS]
#
# The time is what the kernel charged to the process (user and system, /proc/PID/stat), divided by
# the requests: it does not depend on how fast the load generator is. TLS 1.3, a token with every
# request (verified once, then from the cache), one user of usual size. Every request must be
# answered with that user, or the script ends with 1.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly USERD=${USERD:-build/userd} USERCTL=${USERCTL:-build/userctl}
readonly REQUESTS=${1:-100000}
readonly SERVER_CORE=0
FOLDER=$(mktemp -d)
readonly FOLDER
server=

cleanup() {
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    rm -rf "$FOLDER"
}
trap cleanup EXIT

die() {
    echo "bench-smoke: $*" >&2
    exit 1
}

# The cores that are left for the load; with one core only, that one.
load_cores() {
    local last=$(($(nproc --all) - 1))
    if [ "$last" -ge 1 ]; then
        echo "1-$last"
    else
        echo 0
    fi
}

write_config() {
    scripts/dev-certs.sh "$FOLDER" >/dev/null
    sed -e "s,run/bench-data,$FOLDER/data," -e "s,run/,$FOLDER/," \
        -e 's/^listen = .*/listen = 127.0.0.1:0/' -e 's/^level = .*/level = info/' configs/bench.ini \
        >"$FOLDER/bench.ini"
}

# Starts userd on its core; its log goes to a pipe that stays open as descriptor 3.
start_server() {
    local line
    mkfifo "$FOLDER/log"
    taskset -c $SERVER_CORE "$USERD" --config "$FOLDER/bench.ini" 2>"$FOLDER/log" >/dev/null &
    server=$!
    exec 3<"$FOLDER/log"
    while IFS= read -r -t 60 line <&3; do
        printf '%s\n' "$line" >>"$FOLDER/userd.log"
        [[ $line != *' listening '* ]] || break
    done
    address=$(sed -n 's/.* listening .*address="\{0,1\}\([^" ]*\).*/\1/p' "$FOLDER/userd.log")
    crypto=$(sed -n 's/.* starting .*tls_library="\([^"]*\)".*/\1/p' "$FOLDER/userd.log")
    [ -n "$address" ] || die "userd did not start: $(cat "$FOLDER/userd.log")"
}

# Makes the one user, and the body of the calls: a gRPC frame with its ID of 36 bytes as field 1.
make_body() {
    local id
    "$USERCTL" token --secret-file "$FOLDER/jwt.secret" --sub bench --roles admin >"$FOLDER/token"
    id=$(echo 'correct horse battery' | "$USERCTL" --target "$address" --ca "$FOLDER/ca.pem" \
        --token-file "$FOLDER/token" --json create --username bench --email bench@example.com \
        --password-stdin | sed 's/.*"id":"\([^"]*\)".*/\1/')
    [ ${#id} -eq 36 ] || die "could not create the user"
    printf '\0\0\0\0\x26\x0a\x24%s' "$id" >"$FOLDER/body"
}

# load REQUESTS CLIENTS STREAMS: one burst, report in $FOLDER/report.
load() {
    taskset -c "$(load_cores)" h2load -n "$1" -c "$2" -m "$3" -d "$FOLDER/body" -H 'te: trailers' \
        -H 'content-type: application/grpc' -H "authorization: Bearer $(cat "$FOLDER/token")" \
        "https://$address/users.v1.UserService/GetUser" >"$FOLDER/report" 2>&1 || die "h2load failed"
    grep -q "^requests: $1 total, $1 started, $1 done, $1 succeeded, 0 failed" "$FOLDER/report" ||
        die "not every request succeeded: $(grep '^requests:' "$FOLDER/report")"
}

data_bytes() {
    sed -n 's/^traffic: .* (\([0-9]*\)) data$/\1/p' "$FOLDER/report"
}

# CPU time of the server so far, in nanoseconds.
cpu_ns() {
    awk -v ticks="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%.0f", ($12 + $13) * 1e9 / ticks }' \
        "/proc/$server/stat"
}

# measure REQUESTS CLIENTS STREAMS
measure() {
    local requests=$1 clients=$2 streams=$3 before after
    load "$((clients * streams))" "$clients" "$streams" # warms caches and the token cache
    before=$(cpu_ns)
    load "$requests" "$clients" "$streams"
    after=$(cpu_ns)
    [ "$(data_bytes)" -eq $((requests * answer_bytes)) ] || die "some answers were errors"
    awk -v cpu=$((after - before)) -v n="$requests" -v c="$clients" -v m="$streams" '
        /^finished in/ { rate = $4 }
        END { printf "| %3d x %-3d | %8d | %10.2f | %14.0f |\n", c, m, n, cpu / n / 1000, rate }' "$FOLDER/report"
}

write_config
start_server
make_body
load 1 1 1
answer_bytes=$(data_bytes)
[ "$answer_bytes" -gt 60 ] || die "the answer is no user"

printf 'machine: %s, %d cores, Linux %s\n' \
    "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc --all)" "$(uname -r)"
printf 'crypto:  %s\n' "$crypto"
printf 'load:    GetUser over TLS, %s requests per row, answers of %d bytes\n\n' "$REQUESTS" "$answer_bytes"
echo '| conns x m | requests | CPU us/call | calls/s (here) |'
echo '|-----------|----------|------------|----------------|'
# One call at a time costs the most turns of the loop, so a tenth of the requests is enough there.
measure $((REQUESTS / 10)) 1 1
measure "$REQUESTS" 10 10
measure "$REQUESTS" 10 100
