#!/usr/bin/env bash
# Prints compile_commands.json: scripts/compile-commands.sh COMPILER FLAG... -- FILE...
set -euo pipefail

quoted() {
    printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"
}

flags=
while [ "$1" != -- ]; do
    flags="$flags$(quoted "$1"),"
    shift
done
shift

separator=
printf '['
for file in "$@"; do
    printf '%s\n{"directory":%s,"file":%s,"arguments":[%s"-c",%s]}' "$separator" "$(quoted "$PWD")" \
        "$(quoted "$file")" "$flags" "$(quoted "$file")"
    separator=,
done
printf '\n]\n'
