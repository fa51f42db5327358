#!/usr/bin/env bash
# Runs test programs that are already built, and sums up.
#
#   scripts/run-tests.sh BUILD_FOLDER PROGRAM_FOLDER KIND [NAMES [SEED [RUNS]]]   KIND: all or one of
#
# unit         BUILD_FOLDER/tests/unit/test_*: libcheck programs, 120 s each
# sim          BUILD_FOLDER/tests/sim/*: programs that end with the line below, 300 s each;
#              with SEED and RUNS so many seeds from that one on, without a limit in time
# integration  the executable files tests/integration/test_*, 600 s each
# browser      the executable files tests/browser/test_*, likewise; pictures of pages go to build/browser
# mutants      tests/mutants/run.py; part of `all` in the plain build
# hostile      tests/hostile: attacks, malformed connections, testssl.sh; 1 h each
# soak         one integration test named NAMES with SEED (NAME=VALUE) in its environment, without a limit
#
# Lines that a program begins with `counts: ` are shown below its own.
#
# LANES programs run at a time (one per processor, at most four): each has folders and ports of its own.
# What attacks and measures (hostile, soak) runs alone.
#
# Every program's output goes to BUILD_FOLDER/logs; that of a failing one is shown too. An integration
# test ends with a line `N passed, N failed` and exits 0 exactly when nothing failed; it finds what
# it needs in the environment set below. A program that dies, runs too long, contradicts itself or
# runs no test counts as a failure. The last line printed is the sum, and BUILD_FOLDER/logs/sum
# keeps it; BUILD_FOLDER/logs/failures names the logs of what failed. NAMES picks tests: names or globs
# with blanks between, or part of an integration test's name.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 70

readonly BUILD=$1 PROGRAMS=$2 KIND=$3 NAMES=${4:-} SEED=${5:-} RUNS=${6:-}
readonly LOGS=$BUILD/logs

passed=0
failed=0
failures=()

processors=$(nproc)
readonly LANES=${LANES:-$((processors < 4 ? processors : 4))}
declare -A in_lane=() # process -> the result file of what it runs

export USERD=$PWD/$PROGRAMS/userd USERCTL=$PWD/$PROGRAMS/userctl USERWAL=$PWD/$PROGRAMS/userwal
export USERBENCH=$PWD/$PROGRAMS/userbench
export USERD_BUILD=$PWD/$BUILD
export INTEROP_SERVER=$PWD/$PROGRAMS/interop-server
export NODE_PATH=$PWD/build/node_modules PYTHONPATH=$PWD/build/gen/python PYTHONDONTWRITEBYTECODE=1
# Debian's python3, whose packages deps.sh installed, whatever other python3 is first on the path.
export PYTHON=/usr/bin/python3
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
case $BUILD in
*asan* | *tsan*) export CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-3} USERD_SLOW=3 ;;
*) export USERD_SLOW=1 ;;
esac

# The sanitizers of gcc 12 cannot cope with the most random address layouts: now and then a program dies
# before it begins. Containers may forbid to switch that off, and then it has to do without.
RUNNER=()
if [[ $BUILD == *tsan* || $BUILD == *asan* ]] && setarch -R true 2>/dev/null; then
    RUNNER=(setarch -R)
fi

# The number of passed and failed tests that a log ends with; nothing when it does not say.
counts_in() {
    awk '
        /^[0-9]+%: Checks: / { gsub(/[^0-9 ]/, " "); found = 1; p = $2 - $3 - $4; f = $3 + $4 }
        /^[0-9]+ passed, [0-9]+ failed$/ { found = 1; p = $1; f = $3 }
        END { if (found) print p, f }' "$1"
}

# run_one RESULT KIND LIMIT PROGRAM [ARGUMENT...]: prints what came out; "PASSED FAILED LOG" goes to RESULT.
run_one() {
    local result=$1 kind=$2 limit=$3 program=$4 name log started status=0 p=0 f=0 note=
    shift 4
    name=$(basename "$program")
    log=$LOGS/$kind-$name.log
    started=$(date +%s%N)
    set -m # a job of its own, or it would ignore SIGINT, as would all that it starts
    timeout -k 10 "$limit" "${RUNNER[@]}" "$program" "$@" </dev/null >"$log" 2>&1 &
    trap 'kill $!' TERM
    wait $! || status=$?
    read -r p f <<<"$(counts_in "$log")"
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        note="stopped after $limit s"
    elif [ -z "$p" ]; then
        note="ended with status $status and no closing line"
    elif [ $((p + f)) -eq 0 ]; then
        note="ran no test"
    elif [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        note="ended with status $status although nothing failed"
    elif [ "$status" -eq 0 ] && [ "$f" -ne 0 ]; then
        note="ended with status 0 although $f failed"
    fi
    p=${p:-0}
    f=${f:-0}
    if [ -n "$note" ]; then
        f=$((f + 1))
    fi
    printf '%-11s %-32s %4d passed %s%6.1f s %s\n' "$kind" "$name" "$p" \
        "$([ "$f" -eq 0 ] || printf '%d FAILED ' "$f")" \
        "$((($(date +%s%N) - started) / 100000000))e-1" "$note"
    sed -n -e 's/^counts: /            /p' -e '/^SKIPPED/ s/^/            /p' "$log"
    [ "$f" -eq 0 ] || tail -n 60 "$log" | sed 's/^/    | /'
    echo "$p $f $log" >"$result"
}

# A lane has ended: what it printed is shown in one piece, and counted.
end_lane() {
    local pid p f log
    wait -n -p pid "${!in_lane[@]}"
    cat "${in_lane[$pid]}.out"
    if ! read -r p f log <"${in_lane[$pid]}" 2>/dev/null; then # the runner itself died
        p=0 f=1 log=${in_lane[$pid]}.out
    fi
    passed=$((passed + p))
    failed=$((failed + f))
    [ "$f" -eq 0 ] || failures+=("$log")
    unset "in_lane[$pid]"
}

stop_lanes() {
    kill "${!in_lane[@]}" 2>/dev/null
    exit 130
}
trap stop_lanes INT TERM

finish_lanes() {
    while [ ${#in_lane[@]} -gt 0 ]; do
        end_lane
    done
}

# run KIND LIMIT PROGRAM [ARGUMENT...]: begins it as soon as a lane is free.
run() {
    local result
    result=$LOGS/.$1-$(basename "$3")
    while [ ${#in_lane[@]} -ge "$LANES" ]; do
        end_lane
    done
    rm -f "$result"
    run_one "$result" "$@" >"$result.out" 2>&1 &
    in_lane[$!]=$result
}

# run_built KIND PREFIX NAME LIMIT [ARGUMENT...]: every test program must be there; a missing one would be a silent skip.
run_built() {
    local kind=$1 pattern=$2${3:-*} word=$3 source name any=no limit=$4
    shift 4
    [ $# -eq 0 ] || limit=0 # whoever names seeds knows how long they take
    for source in tests/"$kind"/$pattern.c; do
        [ -f "$source" ] || continue
        any=yes
        name=$(basename "$source" .c)
        if [ -x "$BUILD/tests/$kind/$name" ]; then
            run "$kind" "$limit" "$BUILD/tests/$kind/$name" "$@"
        else
            printf '%-11s %-32s not built\n' "$kind" "$name"
            failed=$((failed + 1))
            failures+=("$source (not built)")
        fi
    done
    nothing_matched "$kind" $any "$word"
}

# The same for each of NAMES, or for all tests.
run_named() {
    local name names
    read -r -a names <<<"$NAMES"
    for name in "${names[@]-}"; do
        run_built "$1" "$2" "$name" "$3" ${SEED:+"$SEED"} ${RUNS:+"$RUNS"}
    done
}

# run_files KIND: the executable files tests/KIND/test_*.
run_files() {
    local kind=$1 program any=no
    for program in tests/"$kind"/test_*; do
        if ! [[ -f $program && $program == *$NAMES* ]]; then
            continue
        fi
        any=yes
        if [ -x "$program" ]; then
            run "$kind" 600 "./$program"
        else
            printf '%-11s %-32s not executable\n' "$kind" "$(basename "$program")"
            failed=$((failed + 1))
            failures+=("$program (not executable)")
        fi
    done
    nothing_matched "$kind" $any "$NAMES"
}

# A name that fits no test is a mistake of the caller, not a success.
nothing_matched() {
    if [ "$2" = no ] && [ -n "$3" ]; then
        printf '%-11s no test is named %s\n' "$1" "$3"
        failed=$((failed + 1))
    fi
}

mkdir -p "$LOGS"
: >"$LOGS/failures"
case $KIND in
unit) run_named unit test_ 120 ;;
sim) run_named sim '' 300 ;;
integration | browser) run_files "$KIND" ;;
hostile)
    for program in tests/hostile/run.py tests/hostile/connections.py tests/hostile/testssl.py; do
        [[ $program == *$NAMES* ]] || continue
        run hostile 3600 "./$program"
        finish_lanes
        grep '^|' "$LOGS/hostile-$(basename "$program").log" # the table
    done
    ;;
soak)
    export "${SEED?}"
    run soak 0 "tests/integration/$NAMES.py"
    ;;
mutants)
    run mutants 1200 tests/mutants/run.py ${NAMES:+"$NAMES"}
    finish_lanes
    sed '$d' "$LOGS/mutants-run.py.log" # the table
    ;;
all)
    run_named unit test_ 120
    run_named sim '' 300
    if [ "$BUILD" = build/release ]; then
        run mutants 1200 tests/mutants/run.py
    fi
    run_files integration
    ;;
*)
    echo "usage: scripts/run-tests.sh BUILD_FOLDER PROGRAM_FOLDER all|unit|sim|integration|browser|mutants|hostile|soak [NAMES]" >&2
    exit 64
    ;;
esac
finish_lanes

if [ ${#failures[@]} -ne 0 ]; then
    printf '%s\n' "${failures[@]}" >"$LOGS/failures"
    echo "failures; the logs are:"
    while read -r log; do
        echo "    $log"
        # What failed and why, again: here it is seen by who sees the end of the output alone.
        [ ! -f "$log" ] || grep -E -A 16 '^FAILED |:[FE]:|Sanitizer|runtime error:' "$log" | tail -n 30 | sed 's/^/        | /'
    done <"$LOGS/failures"
fi
if [ $((passed + failed)) -eq 0 ]; then
    echo "no test was found"
    failed=1
fi
echo "$passed passed, $failed failed" | tee "$LOGS/sum"
[ "$failed" -eq 0 ]
