#!/usr/bin/python3
"""Tokens of every kind against the real server: a secret and a key set, tokens signed by openssl(1),
claims that must be right, forged tokens, connections that guess, streams that end with their token
or its key."""

import hmac
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from h2_by_hand import ENHANCE_YOUR_CALM, Peer, get_user, message  # noqa: E402
from hyperframe import frame as frames  # noqa: E402
from metrics_reader import scrape, value  # noqa: E402
from userd_calls import DEADLINE_S, create, expect, failure  # noqa: E402
from userd_harness import SLOW, Server, base64url, run  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

ISSUER = "https://id.example"
AUDIENCE = "users"
REFUSED = "Invalid authentication token"
MAX_FAILURES = 5


def openssl(*words, data=None):
    return subprocess.run(["openssl", *map(str, words)], check=True, input=data,
                          capture_output=True).stdout


def raw_of_der(der):
    """r and s, 32 bytes each, from an ECDSA signature as openssl writes it."""
    assert der[0] == 0x30 and der[2] == 2
    r = der[4:4 + der[3]]
    s = der[4 + der[3] + 2:]
    return b"".join(number.lstrip(b"\0").rjust(32, b"\0") for number in (r, s))


class Key:
    """A pair of keys, and tokens signed with it."""

    def __init__(self, folder, algorithm, kid):
        self.algorithm = algorithm
        self.kid = kid
        self.path = folder / f"{kid}.pem"
        self.message = folder / f"{kid}.message"
        kind = {"RS256": ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
                "ES256": ("EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
                "EdDSA": ("ED25519",)}[algorithm]
        openssl("genpkey", "-algorithm", *kind, "-out", self.path)
        self.pem = openssl("pkey", "-in", self.path, "-pubout")
        self.der = openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")

    @property
    def jwk(self):
        common = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        if self.algorithm == "RS256":
            modulus = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip()
            return {"kty": "RSA", "e": "AQAB",
                    "n": base64url(bytes.fromhex(modulus.partition("=")[2])), **common}
        if self.algorithm == "ES256":
            return {"kty": "EC", "crv": "P-256", "x": base64url(self.der[-64:-32]),
                    "y": base64url(self.der[-32:]), **common}
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(self.der[-32:]), **common}

    def signature(self, message, raw=True):
        if self.algorithm == "EdDSA":
            self.message.write_bytes(message)
            return openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.path, "-in", self.message)
        signature = openssl("dgst", "-sha256", "-sign", self.path, data=message)
        return raw_of_der(signature) if raw and self.algorithm == "ES256" else signature

    def token(self, header=None, raw=True, **claims):
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **(header or {})}
        signed = signed_part(head, claims_of(**claims))
        return f"{signed}.{base64url(self.signature(signed.encode(), raw))}"


def signed_part(*parts):
    return ".".join(base64url(json.dumps(part).encode()) for part in parts)


def claims_of(ttl_s=3600, **claims):
    """Claims that pass; those of None are left out."""
    whole = {"sub": "tester", "groups": ["admin"], "iss": ISSUER, "aud": ["x", AUDIENCE],
             "iat": int(time.time()), "exp": int(time.time()) + ttl_s, **claims}
    return {name: value for name, value in whole.items() if value is not None}


def hs256_token(secret, header, **claims):
    signed = signed_part(header, claims_of(**claims))
    return f"{signed}.{base64url(hmac.new(secret, signed.encode(), 'sha256').digest())}"


class TokenServer(Server):
    """One that takes a secret and keys of each kind, and looks at every claim it can."""

    def __init__(self, settings=None):
        super().__init__()
        self.keys = {algorithm: Key(self.folder, algorithm, kid) for algorithm, kid in
                     (("RS256", "r1"), ("ES256", "e1"), ("EdDSA", "d1"))}
        self.jwks = self.folder / "jwks.json"
        self.put_keys(*self.keys.values())
        self._write_config({
            "auth": {"jwks_file": self.jwks, "issuer": ISSUER, "audience": AUDIENCE,
                     "roles_claim": "groups", "leeway_s": "0", "max_failures": "0",
                     **(settings or {})},
            "policy": {"allow /users.v1.UserService/*": "role:admin, scope:users.all"},
        })

    def put_keys(self, *keys):
        """As the manual says: written aside, and renamed."""
        new = self.jwks.with_suffix(".new")
        new.write_text(json.dumps({"keys": [key.jwk for key in keys]}))
        new.rename(self.jwks)

    def reload(self):
        since = len(self.lines)
        self.process.send_signal(signal.SIGHUP)
        return self.wait_for(r"(reloaded|reload_failed) source=.*", since).group(0)

    def token(self, **claims):
        """One by the secret, as the shared channel and Peer use it."""
        return hs256_token(self.secret, {"alg": "HS256", "typ": "JWT"}, **claims)


def call(server, token):
    """The error of a call with such a token; None when it passed."""
    if not hasattr(server, "bare_channel"):
        server.bare_channel = server.channel(token=None)
    error = failure(server.stub(server.bare_channel).GetUser, users_pb2.GetUserRequest(id="nobody"),
                    metadata=[("authorization", "Bearer " + token)], timeout=DEADLINE_S)
    return None if error.code() == grpc.StatusCode.NOT_FOUND else error


def passes(server, token):
    error = call(server, token)
    if error is not None and error.code() == grpc.StatusCode.UNAUTHENTICATED:
        details = expect(error, grpc.StatusCode.UNAUTHENTICATED, REFUSED)
        assert details["ErrorInfo"]["reason"] == "TOKEN_INVALID", details
    return error is None


def watch(server, make_token):
    """An open WatchUser that has had its first message."""
    user = create(server)
    channel = server.channel(token=None)
    stream = server.stub(channel).WatchUser(
        users_pb2.GetUserRequest(id=user.id), timeout=10 * DEADLINE_S,
        metadata=[("authorization", "Bearer " + make_token())])
    next(stream)
    return stream, channel


def test_each_kind_of_key_passes_its_tokens(server):
    assert passes(server, server.token())
    for algorithm, key in server.keys.items():
        assert passes(server, key.token()), algorithm
        assert passes(server, key.token({"typ": "at+jwt"})), algorithm
        assert not passes(server, key.token()[:-4] + "AAAA"), algorithm
    access = {"alg": "HS256", "typ": "at+jwt"}
    assert passes(server, hs256_token(server.secret, access))
    assert not passes(server, hs256_token(server.secret + b"x", access))


def test_claims_must_be_right(server):
    key = server.keys["EdDSA"]
    for wrong in ({"iss": None}, {"iss": ISSUER + "/"}, {"aud": None}, {"aud": "user"},
                  {"aud": []}, {"exp": None}, {"exp": str(int(time.time()) + 60)}, {"ttl_s": -1},
                  {"nbf": int(time.time()) + 60}, {"iat": int(time.time()) + 60}, {"sub": None},
                  {"sub": ""}, {"groups": 7}, {"scope": 7}):
        assert not passes(server, key.token(**wrong)), wrong
        assert not passes(server, server.token(**wrong)), wrong
    for good in ({"aud": AUDIENCE}, {"exp": time.time() + 60.5}, {"nbf": int(time.time())}):
        assert passes(server, key.token(**good)), good


def test_roles_and_scopes_come_from_their_claims(server):
    key = server.keys["ES256"]
    assert passes(server, key.token(groups="viewer admin"))
    assert passes(server, key.token(groups=None, scope="other users.all"))
    assert passes(server, key.token(groups=None, scp=["users.all"]))
    for none in ({"groups": None}, {"groups": ["viewer"]}, {"groups": None, "roles": ["admin"]},
                 {"groups": None, "scope": "users.alle"}):
        error = call(server, key.token(**none))
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED, (none, error)


def test_forged_tokens_are_refused(server):
    for algorithm, key in server.keys.items():
        for other in ("none", "HS256", "RS256", "ES256", "EdDSA", "PS256", algorithm.lower()):
            if other != algorithm:
                assert not passes(server, key.token({"alg": other})), (algorithm, other)
        for other in server.keys.values():
            if other is not key:
                assert not passes(server, key.token({"kid": other.kid})), (algorithm, other.kid)
        for secret in (key.pem, key.pem.strip(), key.der, json.dumps(key.jwk).encode(), b""):
            for head in ({"alg": "HS256"}, {"alg": "HS256", "kid": key.kid}):
                assert not passes(server, hs256_token(secret, head)), (algorithm, head)
        for header in ({"kid": "../" + key.kid}, {"kid": None}, {"kid": [key.kid]}, {"kid": "x" * 300},
                       {"kid": "' OR '1'='1"}, {"jku": "https://evil.example"}, {"crit": ["exp"]},
                       {"jwk": key.jwk}, {"zip": "DEF"}, {"typ": "JWE"}):
            assert not passes(server, key.token(header)), (algorithm, header)
    assert not passes(server, server.keys["ES256"].token(raw=False)), "DER"
    head, payload, _ = server.keys["RS256"].token().split(".")
    for signature in ("", "AA", "A" * 342, base64url(bytes(64))):
        assert not passes(server, f"{head}.{payload}.{signature}"), signature


def test_a_connection_that_guesses_is_ended(_server):
    with TokenServer.running({"max_failures": MAX_FAILURES}) as server:
        with Peer(server) as peer:
            stream = 1
            for _ in range(MAX_FAILURES + 1):
                assert peer.goaway is None
                for token, status in ((server.token(), 5), ("x.y.z", 16)):
                    peer.request(get_user("nobody"), stream, authorization="Bearer " + token)
                    peer.answer(stream).expect(200, status)
                    stream += 2
            peer.expect_end(ENHANCE_YOUR_CALM)
            assert b"authentication" in peer.goaway.additional_data, peer.goaway
        assert passes(server, server.token())
        server.bare_channel.close()


def test_new_tokens_take_turns(_server):
    """Many at once: each is judged, a few per turn, and what their clients send meanwhile is kept."""
    with TokenServer.running({"verifications_per_turn": "1"}) as server:
        with Peer(server, settings={frames.SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 20}) as peer:
            peer.request(get_user("nobody"), 1)
            peer.answer(1).expect(200, 5)
            one_record = []
            for number in range(30):
                token = server.token(sub=f"user{number}", ttl_s=3600 + number)
                token = token[:-4] + "AAAA" if number % 3 == 0 else token
                stream = 3 + 2 * number
                one_record += [peer.headers(stream, peer.head(authorization="Bearer " + token)),
                               peer.data(stream, get_user("nobody"), True)]
            sync = 3 + 2 * 30
            token = server.token(sub="syncer")
            items = [message(users_pb2.User(username=name, email=name + "@example.com").SerializeToString())
                     for name in ("first", "second")]
            one_record += [peer.headers(sync, peer.head("/users.v1.UserService/SyncUsers",
                                                        authorization="Bearer " + token)),
                           peer.data(sync, items[0][:7]),
                           peer.data(sync, items[0][7:] + items[1], True)]
            peer.send(*one_record)
            for number in range(30):
                peer.answer(3 + 2 * number).expect(200, 16 if number % 3 == 0 else 5)
            answer = peer.answer(sync).expect(200, 0)
            first = int.from_bytes(answer.data[1:5], "big")
            assert 5 + first < len(answer.data), "one answer to two messages"
            peer.expect_alive(sync + 2)
        samples = scrape(server)
        assert value(samples, "userd_limit_hits_total", limit="auth.verifications_per_turn") > 20, samples
        assert value(samples, "userd_auth_waiting_calls") == 0, samples


def test_a_stream_ends_with_its_token(server):
    stream, channel = watch(server, lambda: server.keys["ES256"].token(ttl_s=3 * SLOW))
    details = expect(failure(next, stream), grpc.StatusCode.UNAUTHENTICATED, REFUSED)
    assert details["ErrorInfo"]["reason"] == "TOKEN_EXPIRED", details
    channel.close()


def ends_by_key(stream):
    details = expect(failure(next, stream), grpc.StatusCode.UNAUTHENTICATED, REFUSED)
    assert details["ErrorInfo"]["reason"] == "TOKEN_KEY_REMOVED", details


def test_a_stream_ends_with_its_key(server):
    lost, lost_channel = watch(server, server.keys["RS256"].token)
    kept, kept_channel = watch(server, server.keys["ES256"].token)
    server.put_keys(server.keys["ES256"], server.keys["EdDSA"])
    server.reload()
    ends_by_key(lost)
    assert not passes(server, server.keys["RS256"].token())
    assert passes(server, server.keys["ES256"].token()) and kept.is_active()
    server.put_keys(*server.keys.values())
    server.reload()
    assert passes(server, server.keys["RS256"].token()) and kept.is_active()
    kept.cancel()
    lost_channel.close()
    kept_channel.close()


def test_a_key_may_overlap(_server):
    overlap_s = 3
    with TokenServer.running({"key_overlap_s": overlap_s}) as server:
        token = server.keys["EdDSA"].token()
        stream, channel = watch(server, lambda: token)
        server.put_keys(server.keys["RS256"])
        before = time.monotonic()
        server.reload()
        still = passes(server, token) and stream.is_active()
        assert still or time.monotonic() - before >= overlap_s
        ends_by_key(stream)
        assert time.monotonic() - before >= overlap_s
        assert not passes(server, token)
        channel.close()
        server.bare_channel.close()


def test_an_overlap_may_be_cut_short(_server):
    """As when the key that was removed turns out to be stolen."""
    with TokenServer.running({"key_overlap_s": 3600}) as server:
        token = server.keys["EdDSA"].token()
        stream, channel = watch(server, lambda: token)
        server.put_keys(server.keys["RS256"])
        server.reload()
        assert passes(server, token) and stream.is_active()
        server.config.write_text(server.config.read_text().replace("key_overlap_s = 3600",
                                                                   "key_overlap_s = 0"))
        assert "options=auth.key_overlap_s" in server.reload()
        ends_by_key(stream)
        assert not passes(server, token)
        channel.close()
        server.bare_channel.close()


def test_a_bad_key_set_starts_nothing(_server):
    private = "-private"
    for name, change in (("d", lambda jwk: jwk.update(d="AAAA")),
                         ("kid", lambda jwk: jwk.pop("kid")),
                         ("alg", lambda jwk: jwk.update(alg="HS256")),
                         ("kty", lambda jwk: jwk.update(kty="oct", k="c2VjcmV0" + private))):
        server = TokenServer()
        try:
            jwk = server.keys["EdDSA"].jwk
            change(jwk)
            server.jwks.write_text(json.dumps({"keys": [jwk]}))
            server.spawn()
            assert server.wait_for_end() == 78, server.log()
            assert "auth.jwks_file" in server.log() and "key 1" in server.log(), server.log()
            assert private not in server.log(), name
        finally:
            server.remove()


if __name__ == "__main__":
    run(globals(), TokenServer)
