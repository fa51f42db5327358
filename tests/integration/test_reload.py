#!/usr/bin/python3
"""Certificates, keys, revocation lists, rules and limits are replaced while clients call all the
time: by SIGHUP, and by files that change in each of the ways in which files change. No call fails
for it, what is bad is refused and the old kept, and who lost a right loses it at once."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import DEADLINE_S, create, expect, failure, stub_of  # noqa: E402
from userd_harness import (PATIENCE_S, ROOT, USERD, Certificates, Server, base64url,  # noqa: E402
                           run, sign_token)

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

LOADERS = 4
ISSUING = """
[ca]
default_ca = issuing
[issuing]
certificate = {authority}/ca.pem
private_key = {authority}/ca.key
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
x509_extensions = server
[any]
commonName = supplied
[server]
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
"""
POLICY = "/users.v1.UserService/"
ISSUER = "https://id.example"
NOBODY = 65534


def openssl(*words, data=None):
    return subprocess.run(["openssl", *map(str, words)], check=True, input=data,
                          capture_output=True).stdout


# ------------------------------------------------------------------------------- how files change


def in_place(path, content):
    """As an editor may write it, in two steps."""
    with open(path, "r+b") as file:
        file.truncate()
        file.write(content[:len(content) // 2])
        file.flush()
        time.sleep(0.05)
        file.write(content[len(content) // 2:])


def rename_over(path, content):
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    new.chmod(path.stat().st_mode & 0o777)
    new.rename(path)


def write_secret(path, content):
    path.touch(0o600)
    path.write_bytes(content)


class Volume:
    """A folder as Kubernetes mounts one: names are links into ..data, a link to a folder with a
    time for its name, which is replaced as a whole."""

    def __init__(self, folder):
        self.folder = folder
        self.number = 0
        folder.mkdir()

    def put(self, files):
        self.number += 1
        version = self.folder / f"..{self.number}"
        version.mkdir()
        for name, content in files.items():
            write_secret(version / name, content)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        old = self.folder / "..data"
        before = old.resolve() if old.is_symlink() else None
        link.rename(old)
        if before is not None:
            shutil.rmtree(before)


# ------------------------------------------------------------------------------------------ servers


class ReloadServer(Server):
    """One with every kind of file that can be reloaded, and clients that may show certificates."""

    def __init__(self, settings=None):
        super().__init__()
        certs = self.certificates.folder
        self.clients = self.folder / "clients"
        self.clients.mkdir()
        subprocess.run([str(ROOT / "tests/lib/client_certs.sh"), str(self.clients)], check=True)
        self.volume = Volume(self.folder / "volume")
        self.pair = {"tls.crt": self.certificates.cert.read_bytes(),
                     "tls.key": self.certificates.key.read_bytes()}
        self.volume.put(self.pair)
        self.signers = {name: Signer(certs, name) for name in ("one", "two", "three")}
        self.jwks = certs / "jwks.json"
        self.jwks.write_bytes(self.key_set("one", "two"))
        self.authorities = certs / "clients.pem"
        self.authorities.write_bytes((self.clients / "ca.pem").read_bytes())
        self.revoked = certs / "clients.crl"
        self.revoked.write_bytes((self.clients / "ca.crl").read_bytes())
        self.settings = {
            "tls": {"cert_file": self.volume.folder / "tls.crt",
                    "key_file": self.volume.folder / "tls.key",
                    "client_auth": "optional", "client_ca_file": self.authorities,
                    "crl": "require", "crl_file": self.revoked},
            "auth": {"jwks_file": self.jwks},
            "policy": {"allow /*": "role:admin"},
            **(settings or {}),
        }
        self.configure()

    def configure(self, **changes):
        """Writes the INI anew: the settings of this server, with sections changed."""
        whole = {name: dict(keys) for name, keys in self.settings.items()}
        for section, keys in changes.items():
            whole[section] = {**whole.get(section, {}), **keys} if section != "policy" else keys
        self._write_config(whole)

    def token(self, **claims):
        """One that passes whatever rules the tests set."""
        return super().token(**{"iss": ISSUER, "aud": ["others", "users"], "groups": ["admin"],
                                **claims})

    def key_set(self, *names):
        return json.dumps({"keys": [self.signers[name].jwk for name in names]}).encode()

    def reload(self, since=None):
        """SIGHUP, and what the log then says of it: the line."""
        since = len(self.lines) if since is None else since
        self.process.send_signal(signal.SIGHUP)
        return self.wait_for(r"(reloaded|reload_failed) source=SIGHUP .*", since).group(0)

    def change(self, action, pattern=r"reloaded source=files .*"):
        """Lets files change, and returns the line that the log then has."""
        since = len(self.lines)
        action()
        return self.wait_for(pattern, since).group(0)

    def shown_certificate(self, client=None):
        """What a new connection is shown; with a client certificate: after it was taken."""
        context = self.tls_context()
        if client is not None:
            context.load_cert_chain(self.clients / client, self.clients / "client.key")
        with socket.create_connection((self.host, self.port), timeout=PATIENCE_S) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                assert secure.recv(1), "closed after the handshake"  # its SETTINGS
                return secure.getpeercert(binary_form=True)

    def refuses_certificate(self, client):
        try:
            self.shown_certificate(client)
        except (ssl.SSLError, ConnectionError, AssertionError):
            return True
        return False

    def new_certificate(self, days=30, expired=False):
        """A pair for localhost from the authority that clients trust, PEM."""
        folder = self.folder / "issued"
        authority = self.certificates.folder
        key, request, cert = (folder / f"new.{end}" for end in ("key", "csr", "crt"))
        if not folder.exists():
            folder.mkdir()
            (folder / "index").touch()
            (folder / "openssl.cnf").write_text(ISSUING.format(folder=folder, authority=authority))
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        openssl("req", "-new", "-key", key, "-subj", "/CN=localhost", "-out", request)
        openssl("ca", "-batch", "-notext", "-config", folder / "openssl.cnf", "-in", request,
                "-out", cert, *(("-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
                                if expired else ("-days", days)))
        return {"tls.crt": cert.read_bytes(), "tls.key": key.read_bytes()}


class Signer:
    """A key of a key set, and tokens signed with it, made by openssl."""

    def __init__(self, folder, name):
        self.name = name
        self.path = folder / f"signer-{name}.key"
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                "-out", self.path)
        modulus = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip()
        self.jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": name, "e": "AQAB",
                    "n": base64url(bytes.fromhex(modulus.partition("=")[2]))}

    def token(self, sub="tester", roles=("admin",)):
        payload = {"sub": sub, "roles": list(roles), "exp": int(time.time()) + 3600}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in
                          ({"alg": "RS256", "typ": "JWT", "kid": self.name}, payload))
        signature = openssl("dgst", "-sha256", "-sign", self.path, data=signed.encode())
        return f"{signed}.{base64url(signature)}"


def der(pem):
    return ssl.PEM_cert_to_DER_cert(pem.decode())


# --------------------------------------------------------------------------------------------- load


class Load:
    """Threads that call without a pause, half of them on one connection for all calls, half with a
    new one for each few; and one stream that must go on, with a change every now and then."""

    def __init__(self, server):
        self.server = server
        self.user = create(server)
        self.stop = threading.Event()
        self.failures = []
        self.counts = [0] * LOADERS
        self.threads = [threading.Thread(target=self._guard, args=(self._call, i), daemon=True)
                        for i in range(LOADERS)]
        self.seen = 0
        self.watch_channel = server.channel()
        self.stream = server.stub(self.watch_channel).WatchUser(
            users_pb2.GetUserRequest(id=self.user.id))
        self.threads.append(threading.Thread(target=self._guard, args=(self._watch,), daemon=True))

    def _guard(self, function, *arguments):
        try:
            function(*arguments)
        except Exception as error:  # pylint: disable=broad-except
            if not (self.stop.is_set() and isinstance(error, grpc.RpcError)):
                self.failures.append(error)

    def _call(self, number):
        request = users_pb2.GetUserRequest(id=self.user.id)
        while not self.stop.is_set():
            token = self.server.token(sub=f"load{number}")
            with contextlib.closing(self.server.channel(token=token)) as channel:
                stub = self.server.stub(channel)
                done = 0
                while not self.stop.is_set() and (number % 2 == 0 or done < 20):
                    assert stub.GetUser(request, timeout=DEADLINE_S).user.id == self.user.id
                    self.counts[number] += 1
                    done += 1
                    time.sleep(0.001)

    def _watch(self):
        for _ in self.stream:
            self.seen += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.progress()
        return self

    def progress(self):
        """Every thread has gone on, and the stream tells a change made now."""
        assert not self.failures, self.failures
        before, seen = list(self.counts), self.seen
        stub_of(self.server).UpdateUser(users_pb2.UpdateUserRequest(
            id=self.user.id, user=users_pb2.User(roles=[f"r{seen}"])), timeout=DEADLINE_S)
        end = time.monotonic() + PATIENCE_S
        while self.seen == seen or any(now == then for now, then in zip(self.counts, before)):
            assert not self.failures, self.failures
            assert time.monotonic() < end, (before, self.counts, seen, self.seen)
            time.sleep(0.01)

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.progress()
        finally:
            self.stop.set()
            self.stream.cancel()
            for thread in self.threads:
                thread.join(PATIENCE_S)
            self.watch_channel.close()
        if kind is None:
            assert not self.failures, self.failures


# -------------------------------------------------------------------------------------- certificates


def test_certificate_in_a_volume_that_is_swapped(server):
    with Load(server) as load:
        for _ in range(2):
            server.pair = server.new_certificate()
            line = server.change(lambda: server.volume.put(server.pair))
            assert "files=\"tls.cert_file, tls.key_file\"" in line, line
            assert server.shown_certificate() == der(server.pair["tls.crt"])
            load.progress()


def test_certificate_in_place_and_by_rename(server):
    folder = server.certificates.folder
    cert, key = folder / "own.crt", folder / "own.key"
    with Load(server) as load:
        pair = server.new_certificate()
        write_secret(cert, pair["tls.crt"])
        write_secret(key, pair["tls.key"])
        server.configure(tls={"cert_file": cert, "key_file": key})
        line = server.reload()
        assert "options=\"tls.cert_file, tls.key_file\"" in line, line
        assert server.shown_certificate() == der(pair["tls.crt"])
        for write in (in_place, rename_over):
            pair = server.new_certificate()
            server.change(lambda w=write, p=pair: (w(cert, p["tls.crt"]), w(key, p["tls.key"])))
            assert server.shown_certificate() == der(pair["tls.crt"]), write
            load.progress()
        server.configure()
        server.reload()
        assert server.shown_certificate() == der(server.pair["tls.crt"])


def test_bad_certificates_are_refused(server):
    before = server.shown_certificate()
    other = Certificates(server.folder / "others")
    failed = r"reload_failed source=files .*"
    with Load(server) as load:
        for pair, cause in (
                ({**server.pair, "tls.key": other.key.read_bytes()}, "does not belong to"),
                ({**server.pair, "tls.crt": b"no certificate\n"}, "tls.crt")):
            line = server.change(lambda p=pair: server.volume.put(p), failed)
            assert "cause=\"tls.cert_file, " in line and cause in line, line
            assert "the old one stays in use" in line, line
            assert server.shown_certificate() == before
            load.progress()
        line = server.reload()
        assert line.startswith("reload_failed") and "nothing was changed" in line, line
        line = server.change(
            lambda: (server.volume.put(server.pair),
                     (server.volume.folder / "tls.key").resolve().chmod(0o644)), failed)
        assert "tls.key_file: everybody may access" in line, line
        server.change(lambda: server.volume.put(server.pair))
        assert server.shown_certificate() == before


def test_a_certificate_that_ends_is_told_of(server):
    since = len(server.lines)
    server.change(lambda: server.volume.put(server.new_certificate(days=9)))
    days = server.wait_for(r"certificate_expires file=.* not_after=\S+ days=(\d+)", since).group(1)
    assert days in ("8", "9"), days
    server.change(lambda: server.volume.put(server.pair))


def test_an_expired_certificate(server):
    """It is refused as long as the one in use is good, and served, with an error, at a start."""
    expired = server.new_certificate(expired=True)
    with Load(server):
        line = server.change(lambda: server.volume.put(expired), r"reload_failed source=files .*")
        assert "tls.cert_file: this certificate has expired" in line, line
        assert server.shown_certificate() == der(server.pair["tls.crt"])
        server.change(lambda: server.volume.put(server.pair))
    with Server.running() as other:
        change = ReloadServer.change.__get__(other)
        other.stop()
        other.certificates.cert.write_bytes(expired["tls.crt"])
        other.certificates.key.write_bytes(expired["tls.key"])
        other.start()
        assert "error certificate_expired file=" in other.log()
        change(lambda: (rename_over(other.certificates.cert, server.pair["tls.crt"]),
                        rename_over(other.certificates.key, server.pair["tls.key"])))
        other.ca = server.ca
        other.channel().close()


def test_clients_authorities_and_revocation(server):
    with Load(server) as load:
        server.shown_certificate("uri.pem")
        assert server.refuses_certificate("revoked.pem")
        assert server.refuses_certificate("foreign.pem")
        # An authority more, and its list.
        both = [b"".join((server.clients / f"{name}{end}").read_bytes() for name in ("ca", "other"))
                for end in (".pem", ".crl")]
        line = server.change(lambda: (rename_over(server.authorities, both[0]),
                                      in_place(server.revoked, both[1])))
        assert "tls.client_ca_file, tls.crl_file" in line, line
        server.shown_certificate("foreign.pem")
        load.progress()
        # A list that has expired would let nobody in: the old one is kept.
        stale = (server.clients / "stale.crl").read_bytes()
        line = server.change(lambda: in_place(server.revoked, stale),
                             r"(reload_failed|reloaded) source=files .*")
        assert line.startswith("reload_failed"), line
        server.shown_certificate("foreign.pem")
        # Another list, that names one more.
        openssl_ca(server.clients, "-revoke", "dns.pem")
        openssl_ca(server.clients, "-gencrl", "-crlexts", "full_crl", "-out", "next.crl")
        server.change(lambda: in_place(
            server.revoked, (server.clients / "next.crl").read_bytes() +
            (server.clients / "other.crl").read_bytes()))
        assert server.refuses_certificate("dns.pem")
        server.shown_certificate("uri.pem")


def openssl_ca(folder, *words):
    subprocess.run(["openssl", "ca", "-batch", "-config", "openssl.cnf", "-name", "ca", *words],
                   cwd=folder, check=True, capture_output=True)


# ---------------------------------------------------------------------------------------------- keys


def watch(server, token):
    """(stream, channel) of a watcher that has got its first state."""
    user = create(server)
    channel = server.channel(token=token)
    stream = server.stub(channel).WatchUser(users_pb2.GetUserRequest(id=user.id),
                                            timeout=10 * DEADLINE_S)
    assert next(stream).id == user.id
    return stream, channel


def ends_with(stream, status, reason):
    details = expect(failure(next, stream), status)
    assert details["ErrorInfo"]["reason"] == reason, details


def get_with(server, token):
    with contextlib.closing(server.channel(token=token)) as channel:
        return server.stub(channel).GetUser(users_pb2.GetUserRequest(id="nobody"),
                                            timeout=DEADLINE_S)


def passes(server, token):
    error = failure(get_with, server, token)
    assert error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED), error
    return error.code() == grpc.StatusCode.NOT_FOUND


def test_a_key_that_is_removed_counts_no_more(server):
    tokens = {name: signer.token() for name, signer in server.signers.items()}
    assert [passes(server, tokens[name]) for name in ("one", "two", "three")] == [True, True, False]
    with Load(server) as load:
        lost, lost_channel = watch(server, tokens["one"])
        kept, kept_channel = watch(server, tokens["two"])
        line = server.change(lambda: rename_over(server.jwks, server.key_set("two", "three")))
        assert "files=auth.jwks_file" in line, line
        ends_with(lost, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_KEY_REMOVED")
        stub = server.stub(lost_channel)  # the connection lives; it knew the token
        expect(failure(stub.GetUser, users_pb2.GetUserRequest(id="x"), timeout=DEADLINE_S),
               grpc.StatusCode.UNAUTHENTICATED)
        assert [passes(server, tokens[name]) for name in ("one", "two", "three")] == \
            [False, True, True]
        assert kept.is_active()
        load.progress()
        server.change(lambda: in_place(server.jwks, server.key_set("one", "two")))
        assert passes(server, tokens["one"]) and kept.is_active()
        kept.cancel()
        lost_channel.close()
        kept_channel.close()


def test_bad_key_sets_are_refused(server):
    token = server.signers["one"].token()
    with Load(server) as load:
        for content in (b"{", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', b""):
            line = server.change(lambda c=content: rename_over(server.jwks, c),
                                 r"reload_failed source=files .*")
            assert f"auth.jwks_file: {server.jwks}" in line, line
            assert passes(server, token)
        load.progress()
        server.change(lambda: rename_over(server.jwks, server.key_set("one", "two")))
        assert passes(server, token)


def test_a_secret_is_replaced(_server):
    with Server.running() as server:
        old = server.secret
        new = b"n" * 48
        lost, channel = watch(server, server.token())
        server.change = ReloadServer.change.__get__(server)
        line = server.change(lambda: rename_over(server.certificates.secret, new + b"\n"))
        assert "files=auth.jwt_secret_file" in line, line
        ends_with(lost, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_KEY_REMOVED")
        assert passes(server, sign_token(new)) and not passes(server, sign_token(old))
        channel.close()


class NobodysServer(Server):
    """One of a user who may go through the folder with the secret, but not read it."""

    def __init__(self):
        super().__init__()
        program = shutil.copy(USERD, self.folder / "userd")  # which nobody else's folders hide
        self.wrapper = ["sh", "-c", "shift; exec setpriv --reuid=65534 --regid=65534 "
                                    f"--clear-groups {program} \"$@\"", "sh"]
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.chown(self.certificates.folder, 0, 0)
        self.certificates.folder.chmod(0o711)

    def replace_secret(self, content):
        path = self.certificates.secret
        new = path.with_name("new")
        write_secret(new, content)
        os.chown(new, NOBODY, NOBODY)
        new.rename(path)


def test_a_folder_that_may_not_be_read(_server):
    if os.geteuid() != 0:
        print("SKIPPED: test_a_folder_that_may_not_be_read: only root can become somebody else")
        return
    with NobodysServer.running() as server:
        server.change = ReloadServer.change.__get__(server)
        for letter in (b"n", b"m"):  # the way is looked at again after the first time
            line = server.change(lambda c=letter: server.replace_secret(c * 48 + b"\n"))
            assert "files=auth.jwt_secret_file" in line, line
            assert passes(server, sign_token(letter * 48))
        assert not re.search("files_not_watched", server.log())


def test_rules_for_tokens(server):
    """Each change refuses one more token: new calls with it, those on a connection that knew it, and
    the stream that it had opened. All others go on."""
    unauthenticated = grpc.StatusCode.UNAUTHENTICATED
    auth = {**server.settings["auth"], "leeway_s": "600"}
    changes = (
        ({"issuer": ISSUER}, {"iss": ISSUER + "/other"}, unauthenticated, "TOKEN_INVALID"),
        ({"audience": "users"}, {"aud": "others"}, unauthenticated, "TOKEN_INVALID"),
        ({"leeway_s": "0"}, {"ttl_s": -60}, unauthenticated, "TOKEN_EXPIRED"),
        ({"roles_claim": "groups"}, {"groups": None}, grpc.StatusCode.PERMISSION_DENIED,
         "ACCESS_REVOKED"),
        ({"max_token": "600"}, {"note": "x" * 600}, unauthenticated, None))
    server.configure(auth=auth)
    assert server.reload().startswith("reloaded")
    with Load(server) as load:
        kept, kept_channel = watch(server, server.token(sub="kept"))
        for change, claims, status, reason in changes:
            token = server.token(**claims)
            assert passes(server, token), claims
            lost, channel = watch(server, token)
            auth.update(change)
            server.configure(auth=auth)
            since = len(server.lines)
            line = server.reload()
            assert line.startswith("reloaded") and f"options=auth.{min(change)}" in line, line
            server.wait_for(rf"option_changed option=auth.{min(change)} from=\S+ to=\S+ taken=now",
                            since)
            if reason is None:
                lost.cancel()  # how long a token is says nothing against it
            else:
                ends_with(lost, status, reason)
            stub = server.stub(channel)
            error = failure(stub.GetUser, users_pb2.GetUserRequest(id="x"), timeout=DEADLINE_S)
            assert error.code() == status, (change, error)
            channel.close()
            load.progress()
        assert kept.is_active()
        kept.cancel()
        kept_channel.close()
    server.configure()
    assert server.reload().startswith("reloaded")
    assert all(passes(server, server.token(**claims)) for _, claims, _, _ in changes
               if "ttl_s" not in claims)


# --------------------------------------------------------------------------------- rules and limits


def test_a_right_that_is_withdrawn_ends_at_once(server):
    viewer = server.signers["two"].token(sub="viewer", roles=("viewer",))
    expect(failure(get_with, server, viewer), grpc.StatusCode.PERMISSION_DENIED)
    with Load(server) as load:
        both = {"allow /*": "role:admin",
                f"allow {POLICY}GetUser": "role:viewer", f"allow {POLICY}WatchUser": "role:viewer"}
        server.configure(policy=both)
        line = server.reload()
        assert line.startswith("reloaded") and "options=policy" in line, line
        assert passes(server, viewer)
        stream, channel = watch(server, viewer)
        other, other_channel = watch(server, server.token(sub="other"))
        load.progress()
        server.configure(policy={"allow /*": "role:admin", f"allow {POLICY}GetUser": "role:viewer"})
        assert server.reload().startswith("reloaded")
        ends_with(stream, grpc.StatusCode.PERMISSION_DENIED, "ACCESS_REVOKED")
        assert passes(server, viewer) and other.is_active()
        expect(failure(next, server.stub(channel).WatchUser(users_pb2.GetUserRequest(id="x"))),
               grpc.StatusCode.PERMISSION_DENIED)
        other.cancel()
        channel.close()
        other_channel.close()
        server.configure()
        server.reload()


def test_limits_and_rates(server):
    with Load(server) as load:
        big = users_pb2.GetUserRequest(id="x" * 3000)
        old = server.channel()
        assert failure(server.stub(old).GetUser, big, timeout=DEADLINE_S).code() != \
            grpc.StatusCode.RESOURCE_EXHAUSTED
        server.configure(limits={"max_message": "1KiB"},
                         rate={"identity_per_s": "2000", "identity_burst": "3000"},
                         server={**server.settings.get("server", {}), "backlog": "77"})
        since = len(server.lines)
        line = server.reload()
        assert "rate.identity_per_s" in line and "limits.max_message" in line, line
        server.wait_for(r"restart_needed options=server.backlog", since)
        new = server.channel()
        assert failure(server.stub(new).GetUser, big, timeout=DEADLINE_S).code() == \
            grpc.StatusCode.RESOURCE_EXHAUSTED
        load.progress()
        server.configure(rate={"write_identity_per_s": "1", "write_identity_burst": "1"})
        server.reload()
        writer = server.channel(token=server.token(sub="writer"))
        codes = [failure(server.stub(writer).DeleteUser, users_pb2.DeleteUserRequest(id="x"),
                         timeout=DEADLINE_S).code() for _ in range(3)]
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes, codes
        server.configure()
        server.reload()
        for channel in (old, new, writer):
            channel.close()


def test_a_bad_configuration_changes_nothing(server):
    before = server.config.read_text()
    pair = server.new_certificate()
    shown = server.shown_certificate()
    with Load(server) as load:
        since = len(server.lines)
        server.config.write_text(before + "[limits]\nmax_mesage = 1\n[log]\nlevel = loud\n"
                                 "[policy]\nallow /users.v1.UserService/GetUsr = role:x\n")
        server.reload()
        for part in ("max_mesage: did you mean max_message", "log.level = ", "GetUsr"):
            server.wait_for("reload_failed source=SIGHUP cause=.*" + part, since)
        # One bad part is enough, whatever else is good.
        volume = Volume(server.folder / "bad-volume")
        volume.put(pair)
        server.configure(tls={"cert_file": volume.folder / "tls.crt",
                              "key_file": volume.folder / "tls.key"},
                         auth={**server.settings["auth"], "jwks_file": "/nonexistent/keys.json"})
        line = server.reload()
        assert "auth.jwks_file: /nonexistent/keys.json cannot be read" in line, line
        assert server.shown_certificate() == shown
        load.progress()
        server.config.unlink()
        assert "cannot be read: No such file" in server.reload()
        server.config.write_text(before)
        assert server.reload().startswith("reloaded")


def test_many_at_once(server):
    """SIGHUPs and changes in any order, faster than they are taken."""
    with Load(server) as load:
        for i in range(20):
            if i % 4 == 0:
                server.pair = server.new_certificate()
                server.volume.put(server.pair)
            rename_over(server.jwks, server.key_set(*(("one", "two"), ("two", "one"))[i % 2]))
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        load.progress()
        server.reload()
        assert server.shown_certificate() == der(server.pair["tls.crt"])


if __name__ == "__main__":
    run(globals(), ReloadServer)
