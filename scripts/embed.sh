#!/usr/bin/env bash
# Writes a file as C: an array of its bytes, and the struct bytes that src/service/embedded.h declares.
#
#   scripts/embed.sh NAME FILE >OUT.c

set -euo pipefail

readonly NAME=$1 FILE=$2

cat <<EOF
#include "service/embedded.h"

static const unsigned char content[] = {
EOF
od -An -v -t u1 -w20 "$FILE" | sed -e 's/[0-9][0-9]*/&,/g'
cat <<EOF
};

const struct bytes $NAME = {content, sizeof(content)};
EOF
