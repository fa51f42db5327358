#!/usr/bin/env bash
# The command line of userd: arguments, exit codes, messages, configuration from file and environment.

set -uo pipefail
cd "$(dirname "$0")/../.." || exit 70

readonly USERD=${USERD:-$PWD/build/userd} USERCTL=${USERCTL:-$PWD/build/userctl}
FOLDER=$(mktemp -d)
readonly FOLDER OUT=$FOLDER/out ERR=$FOLDER/err LOG=$FOLDER/log
passed=0
failed=0
server=

clean_up() {
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null
    rm -rf "$FOLDER"
}
trap clean_up EXIT

# Nothing from outside decides here.
for variable in GRPC_PORT JWT_SECRET $(compgen -e | grep '^USERD_'); do
    unset "$variable"
done

ok() {
    passed=$((passed + 1))
    echo "ok     $1"
}

not_ok() {
    failed=$((failed + 1))
    echo "FAILED $1: $2"
    sed 's/^/    out: /' "$OUT"
    sed 's/^/    err: /' "$ERR"
}

# exits CODE NAME COMMAND...: the command must end with that code. Output in $OUT and $ERR.
exits() {
    local code=$1 name=$2 status=0
    shift 2
    timeout 60 "$@" >"$OUT" 2>"$ERR" </dev/null || status=$?
    if [ "$status" -eq "$code" ]; then
        ok "$name"
    else
        not_ok "$name" "ended with $status, not $code"
    fi
}

# says FILE TEXT: the output or the error output has this text, as it stands here.
says() {
    if grep -Fq -e "$2" "$1"; then
        ok "  ... says $2"
    else
        not_ok "  ... says $2" "it does not"
    fi
}

says_not() {
    if grep -Fq -e "$2" "$1"; then
        not_ok "  ... does not say $2" "but it does"
    else
        ok "  ... does not say $2"
    fi
}

# serve COMMAND...: starts a server and waits until it is ready; its log so far is in $LOG.
serve() {
    local line
    : >"$LOG"
    exec {log_fd}< <(exec "$@" 2>&1 </dev/null)
    server=$!
    while read -r -t 60 -u "$log_fd" line; do
        printf '%s\n' "$line" >>"$LOG"
        [[ $line != *" ready "* ]] || return 0
    done
    cp "$LOG" "$ERR"
    : >"$OUT"
    not_ok "$* gets ready" "it does not"
    return 1
}

# ends CODE NAME: the server ends by itself with that code; its whole log is in $LOG and $ERR.
ends() {
    local status=0
    cat <&"$log_fd" >>"$LOG"
    exec {log_fd}<&-
    wait "$server" || status=$?
    server=
    : >"$OUT"
    cp "$LOG" "$ERR"
    if [ "$status" -eq "$1" ]; then
        ok "$2"
    else
        not_ok "$2" "ended with $status, not $1"
    fi
}

stop() {
    kill -TERM "$server"
    ends 0 "$1"
}

port() {
    sed -n 's/.* listening address=127.0.0.1:\([0-9]*\) .*/\1/p' "$LOG" | head -n 1
}

# ini FILE LINE...: a configuration that serves on any port, with lines of its own.
ini() {
    local file=$1
    shift
    cat >"$file" <<END
[server]
listen = 127.0.0.1:0
drain_delay_s = 0
[admin]
listen = 127.0.0.1:0
[tls]
cert_file = $FOLDER/certs/server.pem
key_file = $FOLDER/certs/server.key
[store]
data_dir = $FOLDER/data
[wal]
segment_size = 1MiB
[auth]
jwt_secret_file = $FOLDER/certs/jwt.secret
END
    printf '%s\n' "$@" >>"$file"
}

scripts/dev-certs.sh "$FOLDER/certs" >/dev/null
readonly INI=$FOLDER/userd.ini
ini "$INI"

# ------------------------------------------------------------------------------------------ arguments

exits 0 "--version" "$USERD" --version
for text in "userd 0." "GPL-2.0-or-later" "wolfSSL" "accelerat" "libjwt         MPL-2.0, with libcrypto" \
    "jansson        MIT" "nghttp2        MIT"; do
    says "$OUT" "$text"
done
exits 0 "--help" "$USERD" --help
says "$OUT" "--config FILE"
says "$OUT" "78 wrong configuration"
exits 64 "an unknown option" "$USERD" --nonsense
says "$ERR" "unknown option --nonsense"
exits 64 "an argument too many" "$USERD" --config "$INI" more
says "$ERR" "unexpected argument more"
exits 64 "--config without a file" "$USERD" --config
exits 64 "--config twice" "$USERD" --config "$INI" --config "$INI"
exits 64 "--check and --print-config" "$USERD" --check --print-config

# -------------------------------------------------------------------------------------- configuration

exits 78 "no configuration at all" "$USERD"
says "$ERR" "tls.cert_file is not set"
says "$ERR" "auth.jwt_secret_file is not set"
exits 78 "a file that is missing" "$USERD" --config "$FOLDER/missing.ini"
says "$ERR" "missing.ini cannot be read: No such file or directory"
exits 0 "--check on a good file" "$USERD" --config "$INI" --check
says "$OUT" "the configuration is good"
if [ -e "$FOLDER/data" ]; then
    not_ok "--check leaves no data" "but it does"
else
    ok "--check leaves no data"
fi

ini "$FOLDER/bad.ini" "audiense = x" "leeway_s = -1" "[log]" "level = loud"
exits 78 "--check on a bad file" "$USERD" --config "$FOLDER/bad.ini" --check
says "$ERR" "bad.ini:15: unknown key auth.audiense: did you mean audience?"
says "$ERR" "bad.ini:16: auth.leeway_s = \"-1\" is not allowed: write a whole number of seconds from 0 to 600 (default 30)"
says "$ERR" "bad.ini:18: log.level = \"loud\" is not allowed: write one of debug, info, warn, error (default info)"
exits 78 "a start on it" "$USERD" --config "$FOLDER/bad.ini"

exits 0 "--print-config" env USERD_LOG_LEVEL=warn GRPC_PORT=6001 JWT_SECRET=do-not-show-this-secret-anywhere \
    "$USERD" --config "$INI" --print-config
says "$OUT" "listen = 127.0.0.1:6001 ; environment GRPC_PORT"
says "$OUT" "level = warn ; environment USERD_LOG_LEVEL"
says "$OUT" "drain_delay_s = 0 ; $INI:3"
says "$OUT" "max_message = 64KiB ; default"
says "$OUT" "; jwt_secret = ******** ; environment JWT_SECRET"
says_not "$OUT" "do-not-show"
cp "$OUT" "$FOLDER/printed.ini"
exits 0 "what it prints is a configuration" "$USERD" --config "$FOLDER/printed.ini" --check

exits 78 "an environment out of range" env USERD_SERVER_BACKLOG=0 "$USERD" --config "$INI" --check
says "$ERR" "USERD_SERVER_BACKLOG in the environment: server.backlog = \"0\" is not allowed"

scripts/dev-certs.sh "$FOLDER/others" >/dev/null
exits 78 "a key of another certificate" env USERD_TLS_KEY_FILE="$FOLDER/others/server.key" \
    "$USERD" --config "$INI" --check
says "$ERR" "tls.cert_file, tls.key_file: "
exits 78 "a certificate that is missing" env USERD_TLS_CERT_FILE=/nonexistent/c.pem \
    "$USERD" --config "$INI" --check
says "$ERR" "/nonexistent/c.pem"
exits 78 "a secret too short" env JWT_SECRET=short "$USERD" --config "$INI" --check
says "$ERR" "the secret must have 32 to 4096 bytes"
says_not "$ERR" "=short"

# ------------------------------------------------------------------------------------------ a server

if serve "$USERD" --config "$INI"; then
    for text in " starting version=0." "accelerated=" " recovered data_dir=" " listening address=127.0.0.1:" \
        "tls=on" " ready users=0"; do
        says "$LOG" "$text"
    done
    says_not "$LOG" " warn "
    says_not "$LOG" "$(cat "$FOLDER/certs/jwt.secret")"
    exits 75 "a second one on the same data" "$USERD" --config "$INI"
    says "$ERR" "is in use by process $server"
    exits 78 "another on the same address" env USERD_STORE_DATA_DIR="$FOLDER/data2" \
        USERD_SERVER_LISTEN="127.0.0.1:$(port)" "$USERD" --config "$INI"
    says "$ERR" "server.listen: "
    stop "SIGTERM ends it"
    says "$LOG" " draining signal=15"
    says "$LOG" " stopped exit=0"
fi

# Without a file: everything from the environment, the secret too.
readonly SECRET=0123456789abcdef0123456789abcdef
printf '%s' "$SECRET" >"$FOLDER/secret"
if serve env GRPC_PORT=0 JWT_SECRET=$SECRET USERD_SERVER_LISTEN=127.0.0.1:0 USERD_SERVER_DRAIN_DELAY_S=0 \
    USERD_ADMIN_LISTEN=127.0.0.1:0 \
    USERD_TLS_CERT_FILE="$FOLDER/certs/server.pem" USERD_TLS_KEY_FILE="$FOLDER/certs/server.key" \
    USERD_STORE_DATA_DIR="$FOLDER/data3" USERD_LOG_FORMAT=text "$USERD"; then
    "$USERCTL" token --secret-file "$FOLDER/secret" --sub alice --ttl 1h >"$FOLDER/token"
    exits 5 "a token of JWT_SECRET is taken" "$USERCTL" --target "localhost:$(port)" \
        --ca "$FOLDER/certs/ca.pem" --token-file "$FOLDER/token" get nobody
    says "$ERR" "User nobody not found"
    "$USERCTL" token --secret-file "$FOLDER/others/jwt.secret" --sub alice --ttl 1h >"$FOLDER/token2"
    exits 16 "a token of another secret is not" "$USERCTL" --target "localhost:$(port)" \
        --ca "$FOLDER/certs/ca.pem" --token-file "$FOLDER/token2" get nobody
    says "$ERR" "Invalid authentication token"
    stop "a server without a file ends"
    says "$LOG" "calls=2 calls_ok=0 calls_refused=1"
fi

# Secrets that everybody may read are none.
for name in jwt.secret server.key; do
    chmod 644 "$FOLDER/certs/$name"
    exits 78 "$name that everybody may read" "$USERD" --config "$INI"
    says "$ERR" "everybody may access $FOLDER/certs/$name (mode 0644), which must be secret: chmod 600"
    exits 78 "--check on it" "$USERD" --config "$INI" --check
    chmod 600 "$FOLDER/certs/$name"
done

# What is legal but doubtful is said at each start.
if serve env USERD_LOG_LEVLE=debug "$USERD" --config "$INI"; then
    says "$LOG" "USERD_LOG_LEVLE names no option and is ignored"
    stop "a server with warnings ends"
fi
if serve env USERD_TLS_ENABLED=false USERD_AUTH_MODE=none "$USERD" --config "$INI"; then
    says "$LOG" "tls.enabled = false: "
    says "$LOG" "auth.mode = none: "
    says "$LOG" "tls=off"
    stop "an open server ends"
fi

# The limit of open files goes up to what the system allows.
if serve bash -c "ulimit -Sn 256; exec '$USERD' --config '$INI'"; then
    read -r soft hard < <(awk '/^Max open files/ { print $4, $5 }' "/proc/$server/limits")
    if [ "$soft" = "$hard" ]; then
        ok "it raises its limit of open files"
    else
        not_ok "it raises its limit of open files" "$soft of $hard"
    fi
    stop "a server with more files ends"
fi

# A disk that fails: from now on every write is refused. The change is answered, but not with OK.
if serve bash -c "trap '' XFSZ; exec '$USERD' --config '$INI'"; then
    "$USERCTL" token --secret-file "$FOLDER/certs/jwt.secret" --sub alice --ttl 1h >"$FOLDER/token"
    prlimit --pid "$server" --fsize=0
    echo "correct horse" >"$FOLDER/password"
    status=0
    "$USERCTL" --target "localhost:$(port)" --ca "$FOLDER/certs/ca.pem" --token-file "$FOLDER/token" create \
        --username ada --email ada@example.com --password-file "$FOLDER/password" >"$OUT" 2>"$ERR" || status=$?
    if [ "$status" -ne 0 ]; then
        ok "a write on a failing disk is not acknowledged"
    else
        not_ok "a write on a failing disk is not acknowledged" "but it is"
    fi
    ends 74 "a failing disk ends the server"
    says "$LOG" " error log_failed"
fi
if serve "$USERD" --config "$INI"; then
    says "$LOG" " ready users="
    stop "after that it starts again"
fi

# Damage is refused and stays as it is.
for segment in "$FOLDER"/data/wal-*.log; do
    head -c 8192 /dev/zero | tr '\0' x | dd of="$segment" conv=notrunc status=none
done
exits 65 "damaged data" "$USERD" --config "$INI"
says "$ERR" "start_failed"
says "$ERR" "$FOLDER/data"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
