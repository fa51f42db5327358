#!/usr/bin/python3
"""The line that a call gets in the log: which calls get one, what it tells, and what it never tells."""

import os
import shlex
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_harness import PATIENCE_S, Server, run  # noqa: E402

import grpc  # noqa: E402
from h2_by_hand import Peer  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")


class LoggingServer(Server):
    def __init__(self):
        super().__init__({"log": {"access": "all"}})

    def calls(self, since=0):
        return [fields_of(line) for line in self.lines[since:] if " info call " in line]

    def call_line(self, since, method):
        """Waits for the line of a call of this method."""
        return fields_of(self.wait_for(f" info call method={method} ", since).string)


def fields_of(line):
    return dict(word.split("=", 1) for word in shlex.split(line) if "=" in word)


def test_a_call_has_its_line(server):
    with server.channel() as channel:
        since = len(server.lines)
        try:
            server.stub(channel).GetUser(users_pb2.GetUserRequest(id="nobody"), timeout=PATIENCE_S,
                                         metadata=[TRACEPARENT])
        except grpc.RpcError:
            pass
        line = server.call_line(since, method="/users.v1.UserService/GetUser")
    assert line["status"] == "NOT_FOUND" and line["caller"] == "tester", line
    assert line["trace_id"] == TRACE and int(line["us"]) > 0 and line["sample"] == "1", line
    assert line["peer"].startswith("127.0.0.1:") and "grpc-python" in line["user_agent"], line


def test_a_stream_remembers_trace_and_agent(server):
    with server.channel() as channel:
        stub = server.stub(channel)
        user = stub.CreateUser(users_pb2.CreateUserRequest(
            username="logged", email="logged@example.com", password="a canary that sings"),
            timeout=PATIENCE_S).user
        since = len(server.lines)
        watch = stub.WatchUser(users_pb2.GetUserRequest(id=user.id), metadata=[TRACEPARENT])
        assert next(watch) == user
        watch.cancel()
        line = server.call_line(since, method="/users.v1.UserService/WatchUser")
    assert line["status"] == "CANCELLED" and line["trace_id"] == TRACE, line
    assert "grpc-python" in line["user_agent"], line


def test_calls_that_nothing_serves_have_one(server):
    since = len(server.lines)
    with server.channel(token=None) as channel:
        try:
            channel.unary_unary("/no.Such/Method")(b"", timeout=PATIENCE_S)
        except grpc.RpcError:
            pass
    assert server.call_line(since, method="/no.Such/Method")["status"] == "UNAUTHENTICATED"
    with Peer(server) as peer:  # its head alone ends this one
        peer.request(b"", content_type="text/plain")
        peer.answer()
    server.call_line(since, method="/users.v1.UserService/GetUser")


def test_no_line_has_a_secret(server):
    log = "".join(server.whole_log)
    assert "a canary that sings" not in log and "Bearer" not in log
    assert server.token().rpartition(".")[2] not in log


def lines_after_a_reload(server, before, after, good):
    """Reloads with other settings. The lines of that many good calls and then a bad one."""
    server.config.write_text(server.config.read_text().replace(before, after))
    since = len(server.lines)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("reloaded", since)
    with server.channel() as channel:
        stub = server.stub(channel)
        since = len(server.lines)
        for _ in range(good):
            stub.ListUsers(users_pb2.ListUsersRequest(), timeout=PATIENCE_S)
        try:
            stub.GetUser(users_pb2.GetUserRequest(id="last"), timeout=PATIENCE_S)
        except grpc.RpcError:
            pass
        server.call_line(since, method="/users.v1.UserService/GetUser")
    return server.calls(since)


def test_errors_alone_after_a_reload(server):
    lines = lines_after_a_reload(server, "access = all", "access = errors", 50)
    assert [line["status"] for line in lines] == ["NOT_FOUND"], lines


def test_one_in_ten(server):
    lines = lines_after_a_reload(server, "access = errors", "access = all\naccess_sample = 10", 100)
    good = [line for line in lines if line["status"] == "OK"]
    assert len(good) == 10 and all(line["sample"] == "10" for line in good), lines


class DeafServer(Server):
    """One whose log nobody reads for a while."""

    def __init__(self):
        super().__init__({"log": {"level": "debug", "lines_per_s": "0"}})
        self.may_read = threading.Event()
        self.may_read.set()

    def _read_log(self, process):
        class Reader:
            def __iter__(reader):  # pylint: disable=no-self-argument
                for line in process.stderr:
                    self.may_read.wait()
                    yield line

        super()._read_log(type("Process", (), {"stderr": Reader()}))


def test_nobody_reads_the_log(_):
    """A reader of standard error that has stopped costs lines, not calls."""
    with DeafServer.running() as deaf:
        with deaf.channel() as channel:
            stub = deaf.stub(channel)
            deaf.may_read.clear()
            for _ in range(8000):  # more than fits into the pipe
                stub.ListUsers(users_pb2.ListUsersRequest(), timeout=PATIENCE_S)
            deaf.may_read.set()
            while not any("log_lines_dropped" in line for line in deaf.lines):
                stub.ListUsers(users_pb2.ListUsersRequest(), timeout=PATIENCE_S)


if __name__ == "__main__":
    run(globals(), LoggingServer)
