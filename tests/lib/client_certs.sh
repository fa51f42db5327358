#!/usr/bin/env bash
# Certificates of clients, good ones and every kind of bad one: tests/lib/client_certs.sh FOLDER
#
#   client.key        the key of all of them (EC P-256), but for weak.key
#   ca.pem            the authority that is trusted; other.pem is not, old.pem has expired
#   NAME.pem          the certificates below; chain*.pem with those of the authorities between
#   old-server.pem, new-server.pem   of a server: expired, not yet valid
#   ca.crl            names revoked.pem and revoked-ca.pem; stale.crl has expired; future.crl is of 2099,
#                     soon.crl of a clock that is two minutes ahead; all.crl also has the list of the
#                     intermediate authority; partial.crl, other.crl, twice.crl: bad ones

set -euo pipefail
export LC_ALL=C
cd "$1"
exec 2>openssl.log

key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

cat >openssl.cnf <<END
[req]
distinguished_name = name
[name]
[ca_extensions]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[full_crl]
authorityKeyIdentifier = keyid
[partial_crl]
issuingDistributionPoint = critical,@only
[only]
onlyuser = TRUE
[any]
commonName = optional
END

# An authority's part of the configuration.
authority() {
    local name=$1
    touch "$name.db"
    echo 01 >"$name.number"
    cat >>openssl.cnf <<END
[$name]
certificate = $name.pem
private_key = $name.key
database = $name.db
new_certs_dir = .
rand_serial = yes
crlnumber = $name.number
unique_subject = no
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
END
}

root() {
    key "$1.key"
    openssl req -x509 -new -config openssl.cnf -extensions ca_extensions -key "$1.key" -sha256 -days 30 \
        -subj "/CN=$1" -out "$1.pem"
    authority "$1"
}

# sign AUTHORITY REQUEST OUTPUT EXTENSIONS [OPTION...]: extensions separated by |.
sign() {
    local by=$1 request=$2 output=$3
    tr '|' '\n' <<<"$4" >extensions
    shift 4
    openssl ca -batch -notext -config openssl.cnf -name "$by" -in "$request" -out "$output" \
        -extfile extensions "$@"
    rm -f [0-9A-F]*.pem
}

# below NAME AUTHORITY [EXTENSIONS [OPTION...]]: an intermediate authority; NAME.pem is its certificate
# alone.
below() {
    local name=$1 by=$2 more=${3:-}
    shift $(($# < 3 ? 2 : 3))
    key "$name.key"
    openssl req -new -config openssl.cnf -key "$name.key" -subj "/CN=$name" -out "$name.csr"
    sign "$by" "$name.csr" "$name.pem" "basicConstraints=critical,CA:TRUE|keyUsage=critical,keyCertSign,cRLSign|subjectKeyIdentifier=hash|authorityKeyIdentifier=keyid$more" "$@"
    authority "$name"
}

# limited NAME [EXTENSIONS [OPTION...]]: an authority below ca, and a client of it, in chain-NAME.pem
limited() {
    below "$1" ca "${@:2}"
    sign "$1" client.csr leaf.pem "$EKU|$URI"
    cat leaf.pem "$1.pem" >"chain-$1.pem"
}

readonly EKU='extendedKeyUsage=clientAuth'
readonly URI='subjectAltName=URI:spiffe://test/client'

client() {
    local name=$1 extensions=$2
    shift 2
    sign ca client.csr "$name.pem" "basicConstraints=CA:FALSE|$extensions" "$@"
}

root ca
root other
key client.key
openssl req -new -config openssl.cnf -key client.key -subj /CN=client -out client.csr

client uri "$EKU|$URI"
client dns "$EKU|subjectAltName=DNS:Client.Test"
client uri-dns "$EKU|subjectAltName=DNS:one.test,URI:spiffe://test/both,DNS:two.test,IP:127.0.0.1"
client two-purposes "extendedKeyUsage=serverAuth,clientAuth|$URI"
client no-name "$EKU"
client two-uris "$EKU|subjectAltName=URI:spiffe://test/a,URI:spiffe://test/b"
client two-dns "$EKU|subjectAltName=DNS:a.test,DNS:b.test"
client ip "$EKU|subjectAltName=IP:127.0.0.1"
client email "$EKU|subjectAltName=email:client@test.example"
client long-name "$EKU|subjectAltName=URI:spiffe://test/$(printf 'x%.0s' {1..250})"
client nul-name "$EKU|subjectAltName=DER:30:0b:82:09:61:2e:74:65:73:74:00:2e:62"
client blank-name "$EKU|subjectAltName=DER:30:09:82:07:61:20:62:2e:63:6f:6d"
client no-purpose "$URI"
client server-purpose "extendedKeyUsage=serverAuth|$URI"
client any-purpose "extendedKeyUsage=anyExtendedKeyUsage|$URI"
client expired "$EKU|$URI" -startdate 20200101000000Z -enddate 20210101000000Z
client future "$EKU|$URI" -startdate 20990101000000Z -enddate 20990201000000Z
client revoked "$EKU|$URI"
client old-server "extendedKeyUsage=serverAuth|subjectAltName=DNS:localhost" -startdate 20200101000000Z \
    -enddate 20210101000000Z
client new-server "extendedKeyUsage=serverAuth|subjectAltName=DNS:localhost" -startdate 20990101000000Z \
    -enddate 20990201000000Z
sign other client.csr foreign.pem "$EKU|$URI"
openssl req -x509 -new -config openssl.cnf -key client.key -sha256 -days 30 -subj /CN=client -addext "$EKU" \
    -addext "$URI" -out self.pem

openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out weak.key
openssl req -new -config openssl.cnf -key weak.key -subj /CN=weak -out weak.csr
sign ca weak.csr weak.pem "$EKU|$URI"

# An authority that has expired, with a client of its own that has not.
key old.key
openssl req -new -config openssl.cnf -key old.key -subj /CN=old -out old.csr
authority old
cat >>openssl.cnf <<END
[old_self]
basicConstraints = critical,CA:TRUE
END
openssl ca -batch -notext -config openssl.cnf -name old -selfsign -in old.csr -out old.pem -extensions old_self \
    -startdate 20200101000000Z -enddate 20210101000000Z
sign old client.csr of-old.pem "$EKU|$URI"

# ca - middle - low - lower - lowest
below middle ca
below low middle
below lower low
below lowest lower
sign middle client.csr alone.pem "$EKU|$URI"
cat alone.pem middle.pem >chain.pem
cat alone.pem middle.pem ca.pem >chain-root.pem
sign lower client.csr leaf.pem "$EKU|$URI"
cat leaf.pem lower.pem low.pem middle.pem >chain-4.pem
sign lowest client.csr leaf.pem "$EKU|$URI"
cat leaf.pem lowest.pem lower.pem low.pem middle.pem >chain-5.pem
below revoked-ca ca
sign revoked-ca client.csr leaf.pem "$EKU|$URI"
cat leaf.pem revoked-ca.pem >chain-revoked.pem
limited uris '|nameConstraints=critical,permitted;URI:.allowed.test'
limited no-uris '|nameConstraints=critical,excluded;URI:test'
limited servers '|extendedKeyUsage=serverAuth'
limited for-any '|extendedKeyUsage=anyExtendedKeyUsage'
limited for-clients '|extendedKeyUsage=serverAuth,clientAuth'
limited weak-ca '' -md sha1
client sha1 "$EKU|$URI" -md sha1
client large "$EKU|$URI|nsComment=$(printf 'x%.0s' {1..15000})"
client fat "$EKU|$URI|nsComment=$(printf 'x%.0s' {1..17000})"

openssl ca -config openssl.cnf -name ca -revoke revoked.pem
openssl ca -config openssl.cnf -name ca -revoke revoked-ca.pem
openssl ca -config openssl.cnf -name ca -gencrl -crlexts full_crl -out ca.crl
openssl ca -config openssl.cnf -name ca -gencrl -out stale.crl -crl_lastupdate 20200101000000Z \
    -crl_nextupdate 20200201000000Z
openssl ca -config openssl.cnf -name ca -gencrl -out future.crl -crl_lastupdate 20990101000000Z \
    -crl_nextupdate 20990201000000Z
openssl ca -config openssl.cnf -name ca -gencrl -crlexts full_crl -out soon.crl \
    -crl_lastupdate "$(date -u -d '+2 minutes' +%Y%m%d%H%M%SZ)" -crl_nextupdate 20990201000000Z
openssl ca -config openssl.cnf -name ca -gencrl -crlexts partial_crl -out partial.crl
openssl ca -config openssl.cnf -name other -gencrl -out other.crl
openssl ca -config openssl.cnf -name middle -gencrl -out middle.crl
cat ca.crl middle.crl >all.crl
cat ca.crl ca.crl >twice.crl
cat ca.pem middle.pem >both.pem
cat ca.pem old.pem >with-old.pem
cat ca.pem uris.pem >with-uris.pem
cat ca.pem servers.pem >with-servers.pem
cat ca.pem revoked-ca.pem >with-revoked.pem
: >empty.pem
