#!/usr/bin/env bash
# `make run`, and the lines it prints for a second terminal, run as they are printed.
#
# It runs in a folder of links to this tree, with configs/dev.ini on a port that is free, so that
# neither the developer's run/ nor a server on the usual port is touched.

set -uo pipefail
cd "$(dirname "$0")/../.." || exit 70

readonly TREE=$PWD
FOLDER=$(mktemp -d)
readonly FOLDER
readonly OUT=$FOLDER/second-terminal
passed=0
failed=0
make_pid=
said=

check() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok     $name"
    else
        failed=$((failed + 1))
        echo "FAILED $name"
    fi
}

# The server says its own pid; no other program is needed to find it.
server_pid() {
    sed -n 's/.* starting .*pid=\([0-9]*\).*/\1/p' <<<"$said"
}

cleanup() {
    if [ -n "$make_pid" ]; then
        kill -KILL "$(server_pid)" "$make_pid" 2>/dev/null
    fi
    rm -rf "$FOLDER"
}
trap cleanup EXIT

make_folder() {
    local entry port
    for entry in "$TREE"/*; do
        case $(basename "$entry") in
        run | configs) ;;
        *) ln -s "$entry" "$FOLDER/" ;;
        esac
    done
    cp -r "$TREE/configs" "$FOLDER/"
    port=$(/usr/bin/python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    sed -i -e "s/:50051/:$port/" -e 's/:9090/:0/' "$FOLDER/configs/dev.ini"
}

# Reads what `make run` says until it says `$1` or ends.
wait_until_said() {
    local line
    while IFS= read -r -t $((60 * ${USERD_SLOW:-1})) line <&3; do
        said+=$line$'\n'
        [[ $line != *"$1"* ]] || return 0
    done
    return 1
}

# The indented lines between "To try it" and "Ctrl-C".
printed_lines() {
    sed -n '/^To try it/,/^Ctrl-C/ s/^  //p' <<<"$said"
}

second_terminal() {
    (cd "$FOLDER" && printed_lines | bash >"$OUT" 2>&1)
}

out_has() {
    grep -Eq -e "$1" "$OUT"
}

ends_clean() {
    local status=0
    kill -TERM "$(server_pid)" || return 1
    wait_until_said 'stopped exit=0' || return 1
    wait "$make_pid" || status=$?
    make_pid=
    [ "$status" -eq 0 ]
}

make_folder
# Where run-tests.sh found the programs tells which build this is.
set --
[[ ${USERD_BUILD:-} != *asan* ]] || set -- "$@" SAN=1
[[ ${USERD_BUILD:-} != *clang* ]] || set -- "$@" CC=clang
exec 3< <(cd "$FOLDER" && exec env -u USERD -u USERCTL -u USERD_BUILD -u USERD_SLOW MAKEFLAGS='' make "$@" run 2>&1)
make_pid=$!
check "make run serves" wait_until_said ' listening '
check "  ... and prints four lines" test "$(printed_lines | wc -l)" -eq 4
check "which run in a second terminal" second_terminal
check "  ... the first creates a user" out_has '^created [0-9a-f-]{36}$'
check "  ... the second shows it" out_has '"username":"ada-[0-9]+"'
check "  ... the third changes it" out_has '"status":"USER_STATUS_SUSPENDED"'
check "  ... the fourth lists it" test "$(grep -c '"username":"ada-[0-9]*".*SUSPENDED' "$OUT")" -eq 2
check "run/ has its secrets for the owner alone" test "$(stat -c %a "$FOLDER/run/jwt.secret")" -eq 600
check "SIGTERM ends it" ends_clean
if [ "$failed" -ne 0 ]; then
    printf '%s' "$said" | sed 's/^/    make run: /'
    sed 's/^/    second terminal: /' "$OUT"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
