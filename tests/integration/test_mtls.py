#!/usr/bin/python3
"""Client certificates, seen from outside: grpcio and Python's ssl against a real server."""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import DEADLINE_S  # noqa: E402
from userd_harness import PATIENCE_S, ROOT, Server, run  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

FOLDER = tempfile.TemporaryDirectory(prefix="userd-mtls-")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])

REFUSED = ("no-name", "two-uris", "two-dns", "ip", "email", "long-name", "nul-name", "blank-name",
           "no-purpose", "any-purpose", "server-purpose", "expired", "future", "foreign", "self",
           "of-old", "chain-5", "fat", "revoked", "chain-revoked", "weak")
VERSIONS = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)

subprocess.run([str(ROOT / "tests/lib/client_certs.sh"), FOLDER.name], check=True)


def path(name):
    return os.path.join(FOLDER.name, name)


def settings(client_auth, **tls):
    """Certificates instead of tokens; one of the names may read, and nobody else."""
    return {
        "tls": {"client_auth": client_auth, "client_ca_file": path("both.pem"),
                "min_version": "1.2", "crl": "require", "crl_file": path("all.crl"), **tls},
        "auth": {"mode": "none"},
        "log": {"level": "debug"},
        "policy": {"allow /users.v1.UserService/GetUser": "id:spiffe://test/client"},
    }


def make_server():
    return Server(settings("require"))


def channel(server, name):
    """A connected channel that shows a certificate."""
    def read(file):
        with open(path(file), "rb") as stream:
            return stream.read()

    credentials = grpc.ssl_channel_credentials(server.ca.read_bytes(), read("client.key"),
                                               read(f"{name}.pem"))
    found = grpc.secure_channel(server.address, credentials,
                                options=[("grpc.use_local_subchannel_pool", 1), ("name", name)])
    grpc.channel_ready_future(found).result(timeout=PATIENCE_S)
    return found


def knock(server, name, version):
    """Opens a connection with a certificate (None: without), sends a preface; returns the first
    bytes that the server says, or what TLS says instead."""
    context = server.tls_context()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if name is not None:
        context.load_cert_chain(path(f"{name}.pem"),
                                path("weak.key" if name == "weak" else "client.key"))
    with socket.create_connection((server.host, server.port), timeout=PATIENCE_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as tls:
                tls.sendall(PREFACE)
                return tls.recv(9)
        except (ssl.SSLError, ConnectionError) as error:
            return error


def is_settings(answer):
    """Whether it is the head of a SETTINGS frame, the first word of an HTTP/2 server."""
    return isinstance(answer, bytes) and len(answer) == 9 and answer[3] == 4


def get_user(server, name):
    """The status of a call by the holder of this certificate."""
    with channel(server, name) as found:
        try:
            server.stub(found).GetUser(users_pb2.GetUserRequest(id="nobody"), timeout=DEADLINE_S)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_good_certificates_get_in(server):
    for version in VERSIONS:
        for name in ("uri", "dns", "uri-dns", "two-purposes", "chain"):
            answer = knock(server, name, version)
            assert is_settings(answer), (name, version, answer)


def test_bad_certificates_are_refused_with_an_alert(server):
    for version in VERSIONS:
        for name in REFUSED:
            answer = knock(server, name, version)
            assert isinstance(answer, ssl.SSLError), (name, version, answer)
            assert "ALERT" in str(answer).upper(), (name, version, answer)


def test_no_certificate_is_refused_when_required(server):
    for version in VERSIONS:
        answer = knock(server, None, version)
        assert isinstance(answer, ssl.SSLError), (version, answer)


def test_the_policy_knows_the_identity(server):
    assert get_user(server, "uri") == grpc.StatusCode.NOT_FOUND
    assert get_user(server, "dns") == grpc.StatusCode.PERMISSION_DENIED
    assert get_user(server, "uri-dns") == grpc.StatusCode.PERMISSION_DENIED


def test_the_log_says_why(_):
    """On a server of its own: the log leaves failures out when they are many."""
    with Server.running(settings("require")) as server:
        assert isinstance(knock(server, "two-uris", VERSIONS[0]), ssl.SSLError)
        server.wait_for("several URI names")
        assert isinstance(knock(server, "revoked", VERSIONS[0]), ssl.SSLError)
        server.wait_for("(?i)the client's certificate: .*revoked")


def test_optional_lets_nobody_in_but_nothing_bad(_):
    with Server.running(settings("optional")) as server:
        for version in VERSIONS:
            assert is_settings(knock(server, None, version))
            assert is_settings(knock(server, "uri", version))
            for name in REFUSED:
                assert isinstance(knock(server, name, version), ssl.SSLError), (name, version)
        with server.channel(token=None) as found:  # no certificate: nobody, whom no rule allows
            try:
                server.stub(found).GetUser(users_pb2.GetUserRequest(id="x"), timeout=DEADLINE_S)
                raise AssertionError("nobody was let in")
            except grpc.RpcError as error:
                assert error.code() in (grpc.StatusCode.UNAUTHENTICATED,
                                        grpc.StatusCode.PERMISSION_DENIED), error


def test_what_cannot_work_stops_the_start(_):
    for tls, words in (({"client_ca_file": ""}, "tls.client_ca_file is not set"),
                       ({"client_ca_file": path("none.pem")}, "No such file"),
                       ({"client_ca_file": path("empty.pem")}, "holds no certificate"),
                       ({"crl_file": ""}, "tls.crl_file is not set"),
                       ({"crl_file": path("stale.crl")}, "next update 2020-02-01"),
                       ({"crl_file": path("other.crl")}, "not in tls.client_ca_file")):
        server = Server(settings("require", **tls))
        try:
            server.spawn()
            assert server.wait_for_end() != 0
            assert words in server.log(), (tls, server.log())
        finally:
            server.remove()


def test_a_flood_of_key_updates_ends_the_connection(_):
    """openssl s_client sends a KeyUpdate for each line that begins with k."""
    with Server.running(settings("require")) as server:
        client = subprocess.Popen(
            ["openssl", "s_client", "-connect", server.address, "-servername", "localhost",
             "-alpn", "h2", "-CAfile", str(server.ca), "-cert", path("uri.pem"),
             "-key", path("client.key")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            while b"ALPN protocol: h2" not in client.stdout.readline():
                assert client.poll() is None
            end = time.monotonic() + PATIENCE_S
            with contextlib.suppress(BrokenPipeError):
                while client.poll() is None:
                    assert time.monotonic() < end, "the server takes any number of KeyUpdates"
                    client.stdin.write(b"k\n")
                    client.stdin.flush()
                    time.sleep(0.01)  # else s_client takes two lines for one
            server.wait_for("too many TLS records without data")
        finally:
            client.kill()
            client.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                client.stdin.close()
            client.wait()
        assert is_settings(knock(server, "uri", VERSIONS[0]))


if __name__ == "__main__":
    run(globals(), make_server)
