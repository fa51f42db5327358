#!/usr/bin/env bash
# clang-tidy over one file, silent when it finds nothing: scripts/tidy.sh FLAG... FILE
set -uo pipefail

readonly FILE=${*: -1}
set -- "${@:1:$#-1}"

if ! output=$(clang-tidy --quiet "$FILE" -- "$@" 2>&1); then
    printf '%s\n' "$output" | grep -v -e 'warnings\? generated' -e 'warnings treated as errors'
    exit 1
fi
