#!/usr/bin/python3
"""A server that is short of memory: what it refuses, what it still answers, and that it comes back.

Its memory does not grow here; the limit comes down to it, by SIGHUP.
"""

import os
import pathlib
import re
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import DEADLINE_S, create, expect, failure, get, stub_of  # noqa: E402
from userd_harness import PATIENCE_S, Server, run  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

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


if __name__ == "__main__":
    run(globals(), Server)
