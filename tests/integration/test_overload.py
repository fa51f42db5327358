#!/usr/bin/python3
"""A server that is short of memory, or has more to do than it can: what it refuses, what it still
answers, and that it comes back.

Its memory does not grow here; the limit comes down to it, by SIGHUP. What it has to do is real: peers
that send calls with forged tokens, each of which costs it a signature and them next to nothing.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from raw_peer import (ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS,  # noqa: E402
                      RawPeer, frame)
from test_admin import ask, wait_until  # noqa: E402
from test_tokens import Key  # noqa: E402
from userd_calls import DEADLINE_S, create, expect, failure, get, stub_of  # noqa: E402
from userd_harness import PATIENCE_S, Server, run  # noqa: E402

import grpc  # noqa: E402
import hpack  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

FLOODING_PEERS = 6
CALLS_UNDER_WAY = 400  # of each
GOOD_CALLS = 50
GOOD_AT_ONCE = 8
MEMORY_MAX = {"nothing": 1 << 43, "all": 1 << 20}


def resident(server):
    pages = int(pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def limit_memory(server, size, event, refused):
    """Sets overload.memory_max, and waits until the server has drawn its conclusions."""
    lines = len(server.lines)
    text = re.sub(r"\n\[overload\]\n(.+\n)*", "\n", server.config.read_text())
    server.config.write_text(f"{text}\n[overload]\ntarget_ms = 0\nmemory_max = {size}\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for(rf"\b{event}\b.*refused=\"?{refused}", lines)


def check_refused(error):
    details = expect(error, grpc.StatusCode.RESOURCE_EXHAUSTED)
    trailers = dict((item.key, item.value) for item in error.trailing_metadata())
    assert details["ErrorInfo"]["reason"] == "MEMORY_PRESSURE", details
    assert "RetryInfo" in details, details
    assert 2500 <= int(trailers["grpc-retry-pushback-ms"]) <= 7500, trailers


def check_health(server):
    """Needs no more of the messages than that the answer is SERVING."""
    call = server.shared_channel.unary_unary("/grpc.health.v1.Health/Check")
    assert call(b"", timeout=DEADLINE_S) == b"\x08\x01"


def is_closed_at_once(server):
    with socket.create_connection((server.host, server.port), timeout=PATIENCE_S) as connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def is_kept(server):
    """The server waits for the client to begin with TLS."""
    with socket.create_connection((server.host, server.port), timeout=PATIENCE_S) as connection:
        connection.settimeout(0.3)
        try:
            connection.recv(1)
        except socket.timeout:
            return True
        return False


def test_over_hard_all_calls_are_refused_but_health(server):
    user = create(server)
    watch = stub_of(server).WatchUser(users_pb2.GetUserRequest(id=user.id))
    assert next(watch) == user
    limit_memory(server, MEMORY_MAX["all"], "memory_pressure", "connections and calls")
    request = users_pb2.GetUserRequest(id=user.id)
    check_refused(failure(stub_of(server).GetUser, request, timeout=DEADLINE_S))
    check_refused(failure(create, server))
    check_health(server)
    assert is_closed_at_once(server)
    limit_memory(server, MEMORY_MAX["nothing"], "memory_relieved", "nothing")
    assert get(server, user.id) == user
    assert is_kept(server)
    stub_of(server).DeleteUser(users_pb2.DeleteUserRequest(id=user.id), timeout=DEADLINE_S)
    assert next(watch).status == users_pb2.USER_STATUS_DELETED  # what was open went on


def test_over_soft_connections_and_watchers_are_refused(server):
    user = create(server)
    # Between the two: 87 % of it are in use. What the process takes moves by less than that leaves.
    limit_memory(server, resident(server) * 100 // 87, "memory_pressure", "connections and watchers")
    watch = stub_of(server).WatchUser(users_pb2.GetUserRequest(id=user.id), timeout=DEADLINE_S)
    check_refused(failure(next, watch))
    assert get(server, user.id) == user
    create(server)
    check_health(server)
    assert is_closed_at_once(server)
    limit_memory(server, MEMORY_MAX["nothing"], "memory_relieved", "nothing")
    watch = stub_of(server).WatchUser(users_pb2.GetUserRequest(id=user.id), timeout=DEADLINE_S)
    assert next(watch) == user
    watch.cancel()
    assert is_kept(server)


class Flood:
    """Peers that always have many calls under way, with a token whose signature is another's."""

    def __init__(self, server, key):
        forged = key.token().rpartition(".")[0] + "." + key.token(sub="other").rpartition(".")[2]
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"),
                  (":path", "/users.v1.UserService/GetUser"), ("te", "trailers"),
                  ("content-type", "application/grpc"), ("authorization", "Bearer " + forged)]
        block = hpack.Encoder().encode(
            [hpack.NeverIndexedHeaderTuple(*field) for field in fields], huffman=False)
        self.server = server
        self.call = frame(HEADERS, END_HEADERS | END_STREAM, 0, block)
        self.is_over = False
        self.problems = []
        self.threads = [threading.Thread(target=self._run, daemon=True)
                        for _ in range(FLOODING_PEERS)]

    def _run(self):
        try:
            with RawPeer(self.server, patience_s=PATIENCE_S) as peer:
                stream = 1
                while not self.is_over:
                    calls = bytearray()
                    for _ in range(CALLS_UNDER_WAY):
                        calls += self.call[:5] + stream.to_bytes(4, "big") + self.call[9:]
                        stream += 2
                    peer.send(bytes(calls))
                    self._take_ends(peer.socket)
        except Exception as problem:  # pylint: disable=broad-except
            self.problems.append(problem)

    @staticmethod
    def _take_ends(connection):
        received = b""
        left = CALLS_UNDER_WAY
        while left > 0:
            more = connection.recv(1 << 20)
            assert more, "the server ended a connection"
            received += more
            at = 0
            while len(received) - at >= 9:
                size = 9 + int.from_bytes(received[at:at + 3], "big")
                if len(received) - at < size:
                    break
                kind, flags = received[at + 3:at + 5]
                assert kind != GOAWAY, received[at + 17:at + size]
                if kind == SETTINGS and not flags & ACK:
                    connection.sendall(frame(SETTINGS, ACK, 0))
                left -= kind == HEADERS and flags & END_STREAM
                at += size
            received = received[at:]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        for thread in self.threads:
            thread.join(PATIENCE_S)
        assert not self.problems, self.problems


@contextlib.contextmanager
def server_with_key():
    """(server, a key that it knows, a channel), in clear text: the peers are to be cheap."""
    # Without a limit on signatures per turn forged tokens are work that can make the loop late.
    server = Server({"overload": {"target_ms": "1"},
                     "auth": {"max_failures": "0", "verifications_per_turn": "0"},
                     "http2": {"max_concurrent_streams": "1000"}}, tls=False)
    try:
        key = Key(server.folder, "ES256", "e1")
        jwks = server.folder / "jwks.json"
        jwks.write_text(json.dumps({"keys": [key.jwk]}))
        server.config.write_text(server.config.read_text().replace(
            "[auth]\n", f"[auth]\njwks_file = {jwks}\n"))
        server.start()
        with grpc.insecure_channel(server.address) as channel:
            yield server, key, channel
        server.stop()
    except Exception:
        print("---- the last lines of the server's log")
        print("".join(server.whole_log[-20:]))
        raise
    finally:
        server.remove()


def metric(server, name):
    for line in ask(server, "GET", "/metrics")[1].splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no metric {name}")


def call_good(server, channel, token, count):
    """Calls that nothing is wrong with but their time, all at once: the errors of those refused."""
    calls = [server.stub(channel).GetUser.future(
        users_pb2.GetUserRequest(id="nobody"), timeout=DEADLINE_S, wait_for_ready=True,
        metadata=[("authorization", "Bearer " + token)]) for _ in range(count)]
    errors = [call.exception(timeout=PATIENCE_S) for call in calls]
    return [error for error in errors if error.code() != grpc.StatusCode.NOT_FOUND]


def check_good(server, channel, token):
    for _ in range(GOOD_CALLS):
        refused = call_good(server, channel, token, 1)
        assert not refused, refused


def check_overloaded(error):
    details = expect(error, grpc.StatusCode.UNAVAILABLE, "The server is overloaded")
    trailers = dict((item.key, item.value) for item in error.trailing_metadata())
    assert details["ErrorInfo"]["reason"] == "OVERLOADED", details
    assert "RetryInfo" in details, details
    assert 500 <= int(trailers["grpc-retry-pushback-ms"]) <= 1500, trailers


def test_a_late_loop_refuses_a_part(_server):
    """Some calls, at most half of them, while there is more work than can be done; none afterwards.
    Health is always answered."""
    delay = 'userd_overload_refused_total{cause="delay"}'
    limit = 'userd_limit_hits_total{limit="overload.target_ms"}'
    with server_with_key() as (server, key, channel):
        token = server.token()
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        check_good(server, channel, token)
        assert metric(server, delay) == 0
        since = len(server.lines)
        with Flood(server, key):
            server.wait_for(r"\boverloaded\b delay_us=\d+ target_us=1000", since)
            refused = []
            served = 0
            end = time.monotonic() + PATIENCE_S
            while not refused or served == 0:
                assert time.monotonic() < end, (served, len(refused))
                errors = call_good(server, channel, token, GOOD_AT_ONCE)
                refused += errors
                served += GOOD_AT_ONCE - len(errors)
                assert health(b"", timeout=DEADLINE_S) == b"\x08\x01"
                assert 0 <= metric(server, "userd_overload_refused_ratio") <= 0.5
            for error in refused:
                check_overloaded(error)
            assert metric(server, delay) >= len(refused)
            assert metric(server, limit) >= len(refused)
        server.wait_for(r"\boverload_over\b refused=[1-9]", since)
        wait_until(lambda: metric(server, "userd_overload_refused_ratio") == 0)
        check_good(server, channel, token)


if __name__ == "__main__":
    run(globals(), Server)
