#!/usr/bin/env bash
# Serves on configs/dev.ini with certificates and data under run/: scripts/dev-run.sh PROGRAM_FOLDER
# Called by `make run` once everything is built.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly PROGRAMS=${1:-build}

# A token for the administrator `dev`, good for 30 days, made anew after 7.
make_token() {
    [ -s run/token ] && [ -n "$(find run/token -mtime -7 -newer run/jwt.secret)" ] && return
    (umask 077 && "$PROGRAMS/userctl" token --secret-file run/jwt.secret --sub dev --roles admin \
        --ttl 720h >run/token.new)
    mv run/token.new run/token
}

# The port of the first address in `listen` of section [server].
port_of() {
    awk -F = '/^\[/ { section = $1 }
        section ~ /^\[server\]/ && $1 ~ /^listen[ \t]*$/ { split($2, list, ","); print list[1]; exit }' \
        "$1" | sed 's/.*:\([0-9][0-9]*\).*/\1/'
}

# What a second terminal reads: the command `userctl` with the options of this server.
write_env() {
    local port
    port=$(port_of configs/dev.ini)
    cat >run/env <<END
userctl() {
    '$PWD/$PROGRAMS/userctl' --target localhost:${port:-50051} --ca '$PWD/run/ca.pem' \\
        --token-file '$PWD/run/token' "\$@"
}
END
}

print_commands() {
    cat <<'END'

To try it, paste these lines into a second terminal, in this folder:

  . run/env; name=ada-$(date +%s); id=$(echo 'correct horse battery' | userctl --json create --username $name --email $name@example.com --password-stdin | sed -n 's/.*"id": *"\([^"]*\)".*/\1/p'); echo "created $id"
  . run/env; userctl get $id
  . run/env; userctl update $id --set status=SUSPENDED
  . run/env; userctl list --filter 'status = SUSPENDED AND username = "ada-*"'

Ctrl-C stops the server.

END
}

scripts/dev-certs.sh run
make_token
write_env
print_commands
exec "$PROGRAMS/userd" --config configs/dev.ini
