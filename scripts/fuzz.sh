#!/usr/bin/env bash
# Runs fuzz targets that are already built: BUILD_FOLDER/tests/fuzz/fuzz_NAME.
#
#   scripts/fuzz.sh BUILD_FOLDER SECONDS NAME   that target, its output as it comes
#   scripts/fuzz.sh BUILD_FOLDER SECONDS        every target, one per processor at a time, and the sum
#
# A target starts from the inputs in tests/fuzz/corpus/NAME and BUILD_FOLDER/corpus/NAME and keeps in
# the latter what reached new code. tests/fuzz/NAME.dict, if there, lists words of its language.
# An input that crashes it, leaks, or takes too long or too much memory is kept in
# BUILD_FOLDER/crashes: mend the code, then copy the input to tests/fuzz/corpus/NAME for good.
#
# The last line of the second form is the sum, and BUILD_FOLDER/logs/sum keeps it.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 70

readonly BUILD=$1 SECONDS_EACH=$2 NAME=${3:-}
readonly LOGS=$BUILD/logs
readonly INPUT_BYTES_MAX=16384
readonly INPUT_SECONDS_MAX=5
readonly MEMORY_MB_MAX=1024

export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

# run_target NAME: the status is that of the program; 124 or 137 when it did not end by itself.
run_target() {
    local name=$1 options=() seeds=()
    mkdir -p "$BUILD/corpus/$name" "$BUILD/crashes"
    [ ! -f "tests/fuzz/$name.dict" ] || options=("-dict=tests/fuzz/$name.dict")
    [ ! -d "tests/fuzz/corpus/$name" ] || seeds=("tests/fuzz/corpus/$name")
    timeout -k 10 $((SECONDS_EACH + 60)) "$BUILD/tests/fuzz/fuzz_$name" \
        -max_total_time="$SECONDS_EACH" -max_len=$INPUT_BYTES_MAX -timeout=$INPUT_SECONDS_MAX \
        -rss_limit_mb=$MEMORY_MB_MAX -artifact_prefix="$BUILD/crashes/$name-" -print_final_stats=1 \
        "${options[@]}" "$BUILD/corpus/$name" "${seeds[@]}" </dev/null
}

# What a log says of a failure: the input, and how to run it again.
explain() {
    local name=$1 log=$2 input
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    if [ -n "$input" ]; then
        printf 'the input is %s\nrun it again: %s %s\n' "$input" "$BUILD/tests/fuzz/fuzz_$name" "$input"
    else
        printf 'there is no input; the log is %s\n' "$log"
    fi
}

# In the background: the log and, in NAME.status, how it ended.
smoke_target() {
    local status=0
    if [ -x "$BUILD/tests/fuzz/fuzz_$1" ]; then
        run_target "$1" >"$LOGS/fuzz-$1.log" 2>&1 || status=$?
    else
        echo "$BUILD/tests/fuzz/fuzz_$1 was not built" >"$LOGS/fuzz-$1.log"
        status=127
    fi
    echo "$status" >"$LOGS/fuzz-$1.status"
}

# judge NAME: prints one line for a target that has ended, more if it failed.
judge() {
    local name=$1 log=$LOGS/fuzz-$1.log status runs covered
    status=$(cat "$LOGS/fuzz-$name.status")
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    if [ "$status" -eq 0 ] && [ "${runs:-0}" -gt 0 ]; then
        passed=$((passed + 1))
        printf 'fuzz        %-32s %9d inputs, %5d places reached\n' "$name" "$runs" "${covered:-0}"
    else
        failed=$((failed + 1))
        tail -n 60 "$log" | sed 's/^/    | /'
        printf 'fuzz        %-32s FAILED with status %d\n' "$name" "$status"
        explain "$name" "$log" | sed 's/^/    /'
    fi
}

smoke() {
    local source folder name names=() passed=0 failed=0
    rm -f "$LOGS"/fuzz-*
    for source in tests/fuzz/fuzz_*.c; do
        [ -f "$source" ] || continue
        name=$(basename "$source" .c)
        name=${name#fuzz_}
        names+=("$name")
        while [ "$(jobs -r | wc -l)" -ge "$(nproc)" ]; do
            wait -n
        done
        smoke_target "$name" &
    done
    wait
    for name in "${names[@]}"; do
        judge "$name"
    done
    # Inputs of a misspelt or removed target would never be run.
    for folder in tests/fuzz/corpus/*/; do
        name=$(basename "$folder")
        if [ -d "$folder" ] && [ ! -f "tests/fuzz/fuzz_$name.c" ]; then
            echo "fuzz        $folder belongs to no target"
            failed=$((failed + 1))
        fi
    done
    if [ $((passed + failed)) -eq 0 ]; then
        echo "no fuzz target was found"
        failed=1
    fi
    echo "$passed passed, $failed failed" | tee "$LOGS/sum"
    [ "$failed" -eq 0 ]
}

mkdir -p "$LOGS"
if [ -z "$NAME" ]; then
    smoke
elif [ ! -f "tests/fuzz/fuzz_$NAME.c" ]; then
    echo "there is no tests/fuzz/fuzz_$NAME.c" >&2
    exit 64
else
    run_target "$NAME" 2>&1 | tee "$LOGS/fuzz-$NAME.log"
    status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || explain "$NAME" "$LOGS/fuzz-$NAME.log"
    exit "$status"
fi
