#!/usr/bin/env bash
# Makes what a server on this machine needs for development: scripts/dev-certs.sh FOLDER
#
#   FOLDER/ca.pem, ca.key          a certificate authority of this folder alone
#   FOLDER/server.pem, server.key  ECDSA P-256 for localhost, 127.0.0.1 and ::1, signed by it
#   FOLDER/jwt.secret              48 random bytes in base64: the key of HS256 tokens
#
# What is there and good for 30 more days is kept. Never use any of it in production.

set -euo pipefail
umask 077

readonly DIR=${1:?usage: scripts/dev-certs.sh FOLDER}
readonly MONTH_S=$((30 * 24 * 3600))

still_good() {
    [ -s "$1" ] && openssl x509 -in "$1" -noout -checkend $MONTH_S >/dev/null
}

make_key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
}

make_ca() {
    make_key "$DIR/ca.key"
    openssl req -x509 -new -key "$DIR/ca.key" -sha256 -days 730 -subj "/CN=userd development CA" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 \
        -addext keyUsage=critical,keyCertSign,cRLSign -out "$DIR/ca.pem"
    rm -f "$DIR/server.pem"
}

make_server() {
    make_key "$DIR/server.key"
    openssl req -new -key "$DIR/server.key" -subj /CN=localhost |
        openssl x509 -req -sha256 -days 365 -CA "$DIR/ca.pem" -CAkey "$DIR/ca.key" -extfile /dev/fd/3 \
            -set_serial "0x$(openssl rand -hex 16)" -out "$DIR/server.pem" 2>/dev/null 3<<END
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1,IP:::1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
END
}

mkdir -p "$DIR"
if ! still_good "$DIR/ca.pem" || [ ! -s "$DIR/ca.key" ]; then
    make_ca
    echo "certs: made a development CA, $DIR/ca.pem"
fi
if ! still_good "$DIR/server.pem" || [ ! -s "$DIR/server.key" ]; then
    make_server
    echo "certs: made a server certificate for localhost, $DIR/server.pem"
fi
if [ ! -s "$DIR/jwt.secret" ]; then
    printf '%s' "$(openssl rand -base64 48)" >"$DIR/jwt.secret"
    rm -f "$DIR/token"
    echo "certs: made a token secret, $DIR/jwt.secret"
fi
