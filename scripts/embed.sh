#!/usr/bin/env bash
# Writes a file as C: an array of its bytes, and what src/service/embedded.h declares.
#
#   scripts/embed.sh NAME FILE >OUT.c
#
# In a page, *.html, a line `<!-- include: OTHER -->` stands for the file OTHER beside it, so that style
# and script have files of their own and the page needs no second request. NAME_policy is then the
# Content-Security-Policy to send with it: what stands in <style> and <script> and nothing else, known by
# its SHA-256. Those tags stand once, alone on their lines.

set -euo pipefail

readonly NAME=$1 FILE=$2
FOLDER=$(dirname "$FILE")
readonly FOLDER

# The struct bytes of a file.
write_bytes() {
    cat <<EOF
#include "service/embedded.h"

static const unsigned char content[] = {
EOF
    od -An -v -t u1 -w20 "$1" | sed -e 's/[0-9][0-9]*/&,/g'
    cat <<EOF
};

const struct bytes $NAME = {content, sizeof(content)};
EOF
}

# The page with its parts in place.
assemble() {
    local line
    while IFS= read -r line; do
        if [[ $line =~ ^'<!-- include: '([a-z_.]+)' -->'$ ]]; then
            cat "$FOLDER/${BASH_REMATCH[1]}"
        else
            printf '%s\n' "$line"
        fi
    done <"$FILE"
}

# hash_of TAG: 'sha256-...' of what stands between <TAG> and </TAG>, line breaks at both ends included.
hash_of() {
    if [ "$(grep -c "^<$1>\$" "$whole")" -ne 1 ] || [ "$(grep -c "<$1[ >]" "$whole")" -ne 1 ]; then
        echo "embed.sh: $FILE: write <$1> once, alone on its line" >&2
        exit 1
    fi
    awk -v tag="$1" '
        $0 == "</" tag ">" { inside = 0 }
        inside { print }
        $0 == "<" tag ">" { inside = 1; print "" }' "$whole" |
        openssl dgst -sha256 -binary | openssl base64 -A | sed "s/.*/'sha256-&'/"
}

if [[ $FILE != *.html ]]; then
    write_bytes "$FILE"
    exit
fi

whole=$(mktemp)
readonly whole
trap 'rm -f "$whole"' EXIT
assemble >"$whole"
script=$(hash_of script)
style=$(hash_of style)
write_bytes "$whole"
cat <<EOF
const char *const ${NAME}_policy =
    "default-src 'none'; script-src $script; style-src $style; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
EOF
