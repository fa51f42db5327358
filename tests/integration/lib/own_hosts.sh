#!/bin/sh
# Becomes a program that sees a file of ours as /etc/hosts: lib/own_hosts.sh FILE PROGRAM [ARGUMENT]...
#
# In a mount namespace of its own, and where one may not make that, in a user namespace. The file may be
# rewritten in place while the program runs. Exits 77 where neither is allowed.
set -u
user=
if ! unshare --mount true 2>/dev/null; then
    unshare --user --map-root-user --mount true 2>/dev/null || exit 77
    user='--user --map-root-user'
fi
# shellcheck disable=SC2016,SC2086 # for the other shell; words on purpose
exec unshare $user --mount sh -c 'mount --bind "$0" /etc/hosts && exec "$@"' "$@"
