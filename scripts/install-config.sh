#!/usr/bin/env bash
# Puts the configuration in place, and never over one that is there: a newer one is put beside it.
#
#   scripts/install-config.sh FILE TARGET

set -euo pipefail

readonly FILE=$1 TARGET=$2

if [ ! -e "$TARGET" ]; then
    install -m 644 "$FILE" "$TARGET"
elif ! cmp -s "$FILE" "$TARGET"; then
    install -m 644 "$FILE" "$TARGET.new"
    echo "$TARGET stays as it is; the one of this version is $TARGET.new"
fi
