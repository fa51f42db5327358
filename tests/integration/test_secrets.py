#!/usr/bin/python3
"""Secrets are planted in everything that a server is given, and searched for in everything that it
leaves behind: log, data directory, metrics, and memory as a core file would show it.

The memory is read from /proc/PID/mem, mapping by mapping, which needs no debugger. What a core file
leaves out (VmFlags dd) is read too, to see that the search finds what is there. Of tokens their
signatures count, without which nobody can use one; they are searched for as HPACK writes them, too.
"""

import base64
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from h2_by_hand import Peer, get_user  # noqa: E402
from test_admin import ask  # noqa: E402
from userd_harness import PATIENCE_S, SLOW, Server, run, sign_token  # noqa: E402

import grpc  # noqa: E402
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

MAPPING_MAX = 512 * 1024 * 1024  # larger ones are shadows of a sanitizer

PASSWORDS = {
    "plain": "canary-unary-4f1d8a90c27be365",
    "gzip": "canary-gzip-93bc07de1f6a2854",
    "batch": "canary-batch-b87e2d60491fca35",
    "short": "canary",  # refused, as is the next
    "refused": "canary-refused-" + "07c1e5a4d2f896b3" * 100,
}
SUBJECT = "canary-subject"
ENDS = 6  # bytes of each end of a signature that may be lost: what is left is as good as found
TOKEN_SIZES = (0, 100, 300, 1000, 3000, 5500)  # of a claim: a field of each size that is kept somewhere


class SecretServer(Server):
    """Says all it ever says: level debug."""

    def __init__(self):
        super().__init__({"log": {"level": "debug"}, "server": {"core_dumps": "true"},
                          "password": {"min_length": "8"}})


def key_scalar(path):
    """The 32 bytes that a P-256 key is (RFC 5915: version 1, then an octet string)."""
    der = subprocess.run(["openssl", "pkey", "-in", str(path), "-outform", "DER"], check=True,
                         capture_output=True).stdout
    found = re.search(rb"\x02\x01\x01\x04\x20(.{32})", der, re.DOTALL)
    assert found, "the key is not what the test expects"
    return found.group(1)


def planted(server):
    """What must not be found: name -> bytes."""
    pem = server.certificates.key.read_bytes()
    body = b"".join(pem.split(b"\n")[1:-2])
    secrets = {f"password {name}": text.encode() for name, text in PASSWORDS.items()
               if len(text) >= 16}
    secrets["token secret"] = server.secret.strip()
    secrets["key file"] = body[:64]
    secrets["key"] = key_scalar(server.certificates.key)
    secrets["page token key"] = (server.data / "page-token.key").read_bytes()
    for name, token in server.tokens.items():
        secrets[f"token {name}"] = token.rpartition(".")[2].encode()[ENDS:-ENDS]
    return secrets


def in_huffman(text):
    """What HPACK makes of a text that stands behind another (RFC 7541, 5.2), at each bit where it may
    begin, without its first and last bits."""
    bits = "".join(f"{REQUEST_CODES[byte]:0{REQUEST_CODES_LENGTH[byte]}b}" for byte in text)
    for shift in range(8):
        size = (len(bits) - shift) // 8
        yield int(bits[shift:shift + 8 * size], 2).to_bytes(size, "big")


def mappings(pid):
    """(start, end, is in core files) of all that holds data."""
    found = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ", line)
        if head:
            span = int(head[1], 16), int(head[2], 16)
            is_readable = head[3].startswith("r")
        elif line.startswith("Rss:"):
            has_data = int(line.split()[1]) > 0
        elif line.startswith("VmFlags:") and is_readable and has_data:
            found.append((*span, "dd" not in line.split()))
    return found


def read_memory(pid):
    """(bytes, is in core files) of each mapping."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, is_dumped in mappings(pid):
            if end - start <= MAPPING_MAX:
                try:
                    memory.seek(start)
                    yield memory.read(end - start), is_dumped
                except OSError:
                    pass  # vvar and the like


def make_tokens(server):
    """name -> token, and whether it is good."""
    def make(number, **claims):
        return server.token(sub=SUBJECT, number=number, **claims)

    tokens = {f"of a claim of {size} bytes": (make(size, note="n" * size), True)
              for size in TOKEN_SIZES}
    tokens["that is sent first"] = make(1), True
    tokens["of a stream"] = make(2), True
    tokens["that has expired"] = make(3, ttl_s=-3600), False
    tokens["of another secret"] = sign_token(b"x" * 48, sub=SUBJECT), False
    tokens["that is none"] = "canary." + make(5).rpartition(".")[2], False
    tokens["too long"] = make(6, note="n" * 9000), False
    return tokens


def call_with(server, token, is_good):
    with server.channel(token=token) as channel:
        try:
            server.stub(channel).GetUser(users_pb2.GetUserRequest(id="x"), timeout=PATIENCE_S)
            raise AssertionError("found user x")
        except grpc.RpcError as error:
            assert error.code() == (grpc.StatusCode.NOT_FOUND if is_good
                                    else grpc.StatusCode.UNAUTHENTICATED), error


def send_tokens(server):
    """Each on a connection of its own, and by a peer that writes Huffman code all on one; some in ways
    that no library uses."""
    tokens = make_tokens(server)
    server.tokens = {name: token for name, (token, _) in tokens.items()}
    for token, is_good in tokens.values():
        call_with(server, token, is_good)
    with Peer(server) as peer:
        for number, token in enumerate(server.tokens.values()):
            peer.request(get_user("x"), 2 * number + 1, authorization="Bearer " + token)
            assert peer.answer(2 * number + 1).ended

    def one_more(name, number):
        server.tokens[name] = server.token(sub=SUBJECT, number=number)
        return "Bearer " + server.tokens[name]

    with Peer(server) as peer:
        fields = peer.head(authorization=one_more("beside another", 11))
        peer.request(get_user("x"), 1, fields + [("authorization", one_more("behind another", 12))])
        assert peer.answer(1)["grpc-status"] == "16"
        fields = peer.head(content_type="text/plain", authorization=one_more("of no gRPC call", 13))
        peer.request(get_user("x"), 3, fields)
        assert peer.answer(3).ended
        head = peer.headers(5, peer.head(authorization=one_more("of half a head", 14))).serialize()
        peer.send_raw(head[:-20])  # and away
    with Peer(server) as peer:
        peer.send(peer.headers(1, peer.head(authorization=one_more("of a call without a body", 15))))


def exercise(server):
    """Everything that takes a secret, on connections that are closed afterwards."""
    send_tokens(server)
    with server.channel(token=server.tokens["of a stream"]) as channel:
        stub = server.stub(channel)

        def request(name):
            return users_pb2.CreateUserRequest(username=f"canary-{name}",
                                               email=f"{name}@example.com",
                                               password=PASSWORDS[name])

        user = stub.CreateUser(request("plain"), timeout=PATIENCE_S).user
        watch = stub.WatchUser(users_pb2.GetUserRequest(id=user.id), timeout=PATIENCE_S)
        next(watch)
        stub.CreateUser(request("gzip"), timeout=PATIENCE_S, compression=grpc.Compression.Gzip)
        assert len(list(stub.BatchCreateUsers(iter([request("batch")]), timeout=PATIENCE_S))) == 1
        for name in ("short", "refused"):
            try:
                stub.CreateUser(request(name), timeout=PATIENCE_S)
                raise AssertionError(f"the password {name} passed")
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        assert stub.ListUsers(users_pb2.ListUsersRequest(page_size=1),
                              timeout=PATIENCE_S).next_page_token
        watch.cancel()
    end = time.monotonic() + PATIENCE_S
    while re.search(r"^userd_connections (?!0$)", ask(server, "GET", "/metrics")[1], re.MULTILINE):
        assert time.monotonic() < end, "the connections stay"
        time.sleep(0.05 * SLOW)


def in_several_forms(secret):
    return {"as it is": secret, "in hex": secret.hex().encode(),
            "in base64": base64.b64encode(secret).rstrip(b"=")}


def check_absent(where, content, secrets):
    for name, secret in secrets.items():
        for form, text in in_several_forms(secret).items():
            assert text not in content, f"{where} holds the {name} {form}"


def test_the_secrets_are_used(server):
    exercise(server)


def test_log(server):
    server.wait_for(SUBJECT)
    log = server.log().encode()
    assert SUBJECT.encode() in log  # it does tell who called
    check_absent("the log", log, planted(server))


def test_data_directory(server):
    server.take_snapshot()
    server.wait_for(r"\bsnapshot_done\b")
    files = [path for path in server.data.iterdir() if path.name != "page-token.key"]
    assert any(path.name.startswith("snap-") for path in files)
    found = b"".join(path.read_bytes() for path in files)
    assert b"canary-plain" in found and b"$argon2id$" in found
    check_absent("the data directory", found, planted(server))


def test_admin_port(server):
    for path in ("/metrics", "/", "/readyz"):
        check_absent(path, ask(server, "GET", path)[1].encode(), planted(server))


def test_memory(server):
    """The keys are there, and locked; passwords are not, though core files are allowed here."""
    secrets = {name: secret for name, secret in planted(server).items()
               if not name.startswith("token ") or name == "token secret"}
    kept = {name: False for name in ("token secret", "page token key")}
    for content, is_dumped in read_memory(server.process.pid):
        for name, secret in secrets.items():
            if secret in content:
                assert not is_dumped, f"a core file would hold the {name}"
                assert name in kept or name == "key", f"the {name} is still in memory"
                kept[name] = True
    assert all(kept.values()), f"the search does not find what must be there: {kept}"


def find_tokens(server):
    """name of a token -> where it is."""
    found = {}
    forms = {(name, form): text for name, secret in planted(server).items()
             if name.startswith("token ") and name != "token secret"
             for form, text in (("as it is", secret),
                                *((f"in Huffman code from bit {bit}", text)
                                  for bit, text in enumerate(in_huffman(secret))))}
    for content, _ in read_memory(server.process.pid):
        for (name, form), text in forms.items():
            at = content.find(text)
            if at >= 0:
                found[name] = form, content[max(0, at - 64):at + 64]
    return found


def test_tokens_in_memory(server):
    """While a connection is open its last token is there; when it has closed no token is."""
    found = find_tokens(server)
    assert not found, found
    with server.channel(token=server.tokens["that is sent first"]) as channel:
        stub = server.stub(channel)
        watch = stub.WatchUser(users_pb2.GetUserRequest(id="x"), timeout=PATIENCE_S)
        try:
            next(watch)
            raise AssertionError("user x is there")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert "token that is sent first" in find_tokens(server), "the search finds nothing"


def test_nobody_may_look(server):
    """server.core_dumps = false, the default: no core file, and none with memory in it."""
    del server
    with Server.running() as other:
        pid = other.process.pid
        assert int(pathlib.Path(f"/proc/{pid}/coredump_filter").read_text(), 16) == 0
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), limits


if __name__ == "__main__":
    run(globals(), SecretServer)
