#!/usr/bin/python3
"""grpc.health.v1 as the C-core client sees it, with the messages of Debian's grpc-proto: calls by hand, and
the client's own health checking. On the main port, and on the port for probes."""

import contextlib
import itertools
import json
import os
import pathlib
import queue
import re
import signal
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import block_disk  # noqa: E402
from userd_calls import DEADLINE_S, create, expect, failure, get, stub_of  # noqa: E402
from userd_harness import PATIENCE_S, SLOW, Server, fields_of, run  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2, users_pb2_grpc  # noqa: E402

# The generated package is a part of `grpc`, which is installed elsewhere.
grpc.__path__ += [str(pathlib.Path(path, "grpc")) for path in sys.path if pathlib.Path(path, "grpc/health").exists()]
from grpc.health.v1 import health_pb2, health_pb2_grpc  # noqa: E402

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
NAMES = ("", "users.v1.UserService", "readiness", "liveness")
CODE = grpc.StatusCode


def method(channel, name):
    make = channel.unary_stream if name == "Watch" else channel.unary_unary
    return make(f"/grpc.health.v1.Health/{name}",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString)


def check(channel, service, **keywords):
    request = health_pb2.HealthCheckRequest(service=service)
    return method(channel, "Check")(request, timeout=DEADLINE_S, **keywords).status


class Watcher:
    """A call of Watch, read by a thread of its own."""

    def __init__(self, channel, service):
        self.events = queue.Queue()
        self.call = method(channel, "Watch")(health_pb2.HealthCheckRequest(service=service))
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            for message in self.call:
                self.events.put(message.status)
            self.events.put(None)
        except grpc.RpcError as error:
            self.events.put(error)

    def next(self):
        return self.events.get(timeout=PATIENCE_S)

    def cancel(self):
        self.call.cancel()
        self.thread.join()


# ---- without a token


def test_a_serving_server_says_so_of_every_name(server):
    with server.channel(token=None) as channel:
        assert [check(channel, name) for name in NAMES] == [SERVING] * len(NAMES)


def test_other_names_are_not_found(server):
    with server.channel(token=None) as channel:
        for name in ("users.v1.UserServic", "*", "Liveness", "x" * 1000):
            expect(failure(check, channel, name), CODE.NOT_FOUND, "unknown service")


def test_list_has_every_name(server):
    with server.channel(token=None) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/List")
        entries = [dict(fields_of(value)) for _, value in fields_of(call(b"", timeout=DEADLINE_S))]
    found = {entry.get(1, b"").decode(): dict(fields_of(entry[2]))[1] for entry in entries}
    assert found == {name: SERVING for name in NAMES}, found


def test_bad_tokens_do_not_matter(server):
    with server.channel(token=None) as channel:
        for token in ("Bearer x", "nonsense", ""):
            assert check(channel, "", metadata=[("authorization", token)]) == SERVING


def test_the_users_are_not_open_with_it(server):
    with server.channel(token=None) as channel:
        error = failure(channel.unary_unary("/users.v1.UserService/GetUser"), b"", timeout=DEADLINE_S)
        assert error.code() == CODE.UNAUTHENTICATED, error
        error = failure(channel.unary_unary("/grpc.health.v1.Health/Other"), b"", timeout=DEADLINE_S)
        assert error.code() == CODE.UNAUTHENTICATED, error


def test_a_token_may_be_asked_for(_server):
    with Server.running({"auth": {"anonymous_health": "false"}}) as server:
        with server.channel(token=None) as channel:
            error = failure(check, channel, "")
            expect(error, CODE.UNAUTHENTICATED, "No authentication token provided")
        with server.channel() as channel:
            assert check(channel, "") == SERVING


# ---- watchers


def test_watch_begins_with_the_present_status(server):
    with server.channel(token=None) as channel:
        watchers = [Watcher(channel, name) for name in ("", "liveness", "no.such.Service")]
        assert [watcher.next() for watcher in watchers] == [SERVING, SERVING, SERVICE_UNKNOWN]
        # They stay: nothing follows while nothing changes.
        assert check(channel, "") == SERVING
        assert all(watcher.events.empty() for watcher in watchers)
        for watcher in watchers:
            watcher.cancel()


def test_watchers_are_limited_on_a_connection(server):
    with server.channel(token=None) as channel:
        watchers = [Watcher(channel, "") for _ in range(8)]
        assert [watcher.next() for watcher in watchers] == [SERVING] * 8
        refused = Watcher(channel, "").next()
        expect(refused, CODE.RESOURCE_EXHAUSTED)
        with server.channel(token=None) as other:
            watcher = Watcher(other, "")
            assert watcher.next() == SERVING
            watcher.cancel()
        for watcher in watchers:
            watcher.cancel()


def test_watchers_are_limited_in_all(_server):
    with Server.running({"watch": {"max_health": "1"}}) as server:
        with server.channel(token=None) as one, server.channel(token=None) as two:
            first = Watcher(one, "")
            assert first.next() == SERVING
            refused = Watcher(two, "").next()
            expect(refused, CODE.RESOURCE_EXHAUSTED)
            assert "watch.max_health" in refused.details(), refused.details()
            first.cancel()


# ---- the end


def wait_for_log(server, text):
    deadline = time.monotonic() + PATIENCE_S
    while text not in server.log():
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.01)


def test_a_server_that_goes_tells_first(_server):
    settings = {"server": {"drain_delay_s": str(3 * SLOW)}}
    with Server.running(settings) as server:
        user = create(server)
        with server.channel() as channel:
            watchers = {name: Watcher(channel, name) for name in NAMES}
            assert all(watcher.next() == SERVING for watcher in watchers.values())
            server.process.send_signal(signal.SIGTERM)
            for name, watcher in watchers.items():
                if name != "liveness":
                    assert watcher.next() == NOT_SERVING, name
            # Until the delay is over it serves on, old connections and new ones.
            assert check(channel, "readiness") == NOT_SERVING
            assert check(channel, "liveness") == SERVING
            assert get(server, user.id) == user
            with server.channel(token=None) as late:
                assert check(late, "") == NOT_SERVING
            # Then every watcher ends, and does not hold up the end.
            for watcher in watchers.values():
                end = watcher.next()
                expect(end, CODE.UNAVAILABLE, "the server is shutting down")
            server.shared_channel.close()


def test_clients_that_check_health_leave_by_themselves(_server):
    """The client's own health checking, without a token: it takes the connection out of use while it is up."""
    config = json.dumps({"loadBalancingConfig": [{"round_robin": {}}],
                         "healthCheckConfig": {"serviceName": "users.v1.UserService"}})
    with Server.running({"server": {"drain_delay_s": str(3 * SLOW)}}) as server:
        states = queue.Queue()
        with server.channel([("grpc.service_config", config)]) as channel:
            channel.subscribe(states.put)
            while states.get(timeout=PATIENCE_S) is not grpc.ChannelConnectivity.READY:
                pass
            server.process.send_signal(signal.SIGTERM)
            while states.get(timeout=PATIENCE_S) is grpc.ChannelConnectivity.READY:
                pass
            # The port is still open: it was no broken connection that told.
            with server.channel(token=None) as other:
                assert check(other, "liveness") == SERVING
            wait_for_log(server, "draining")


def test_a_backend_that_drains_is_left_without_an_error(_server):
    """Two backends in turns, one of which goes: no call notices."""
    settings = {"server": {"drain_delay_s": str(3 * SLOW)}, "auth": {"mode": "none", "jwt_secret_file": ""}}
    config = json.dumps({"loadBalancingConfig": [{"round_robin": {}}],
                         "healthCheckConfig": {"serviceName": "users.v1.UserService"}})
    with contextlib.ExitStack() as stack:
        leaving = Server(settings, tls=False)
        stack.callback(leaving.remove)
        staying = stack.enter_context(Server.running(settings, tls=False))
        leaving.start()
        target = f"ipv4:{leaving.address},{staying.address}"
        channel = stack.enter_context(grpc.insecure_channel(target, [("grpc.service_config", config)]))
        grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
        stub = users_pb2_grpc.UserServiceStub(channel)

        def call():
            stub.ListUsers(users_pb2.ListUsersRequest(page_size=1), timeout=DEADLINE_S)

        for _ in range(100):
            call()
        leaving.process.send_signal(signal.SIGTERM)
        while leaving.is_running():
            call()
        assert leaving.wait_for_end() == 0
        for _ in range(100):
            call()
        calls = int(re.search(r"\bstopped\b.* calls=(\d+)", leaving.log()).group(1))
        assert calls >= 40, calls  # it had its turns


# ---- the port for probes


PORT = {"health": {"listen": "127.0.0.1:0"}}
_numbers = itertools.count()


def with_port(**sections):
    return Server.running({**PORT, **sections})


def port_of(server):
    return server.wait_for(r"\bhealth_listening address=\"?([^ \"]+)").group(1)


def probe(server):
    """A channel as a probe has it: no TLS, no token."""
    # Connections of one process are shared by equal arguments; a number makes them unequal.
    own = [("grpc.use_local_subchannel_pool", 1), ("userd.number", next(_numbers))]
    channel = grpc.insecure_channel(port_of(server), options=own)
    grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
    return channel


def statuses(channel):
    """What a generated stub is told of every name."""
    stub = health_pb2_grpc.HealthStub(channel)
    return {name: stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_S).status
            for name in NAMES}


def told(**changes):
    return {**dict.fromkeys(NAMES, SERVING), **changes}


def test_probes_need_neither_tls_nor_token(_server):
    with with_port(auth={"anonymous_health": "false"}) as server, probe(server) as channel:
        assert statuses(channel) == told()
        expect(failure(check, channel, "users.v1.Other"), CODE.NOT_FOUND, "unknown service")
        call = channel.unary_unary("/grpc.health.v1.Health/List")
        assert len(fields_of(call(b"", timeout=DEADLINE_S))) == len(NAMES)
        watcher = Watcher(channel, "no.such.Service")
        assert watcher.next() == SERVICE_UNKNOWN
        assert check(channel, "liveness") == SERVING
        assert watcher.events.empty()
        watcher.cancel()
        # On the main port all is as it was.
        with server.channel(token=None) as main:
            assert failure(check, main, "").code() == CODE.UNAUTHENTICATED


def test_the_port_serves_nothing_else(_server):
    with with_port() as server, probe(server) as channel:
        for path in ("/users.v1.UserService/ListUsers", "/grpc.health.v1.Health/Other",
                     "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
            error = failure(channel.unary_unary(path), b"", timeout=DEADLINE_S)
            assert error.code() == CODE.UNIMPLEMENTED, error
        error = failure(channel.unary_unary("/grpc.health.v1.Health/Check"), bytes(8192), timeout=DEADLINE_S)
        assert error.code() == CODE.RESOURCE_EXHAUSTED, error


def is_closed_at_once(address):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def test_the_port_has_a_limit_of_its_own(_server):
    with with_port(health={**PORT["health"], "max_connections": "2"},
                   limits={"max_connections": "3", "max_connections_per_ip": "3"}) as server:
        with probe(server) as one, probe(server) as two:
            assert statuses(one) == statuses(two) == told()
            lines = len(server.lines)
            assert is_closed_at_once(port_of(server))
            server.wait_for(r"\bconnection_refused\b.*health\.max_connections", lines)
            # Those of the main port are others.
            with server.channel() as three:
                create(server)
                assert three is not None
            server.shared_channel.close()
        assert "limits.max_connections" not in server.log()


def test_the_port_answers_until_the_last_call_has_ended(_server):
    with with_port() as server, probe(server) as channel:
        requests = queue.Queue()
        replies = stub_of(server).BatchCreateUsers(iter(requests.get, None), timeout=PATIENCE_S)
        requests.put(users_pb2.CreateUserRequest(username="long", email="long@example.com",
                                                 password="correct horse battery"))
        next(replies)
        watcher = Watcher(channel, "")
        assert watcher.next() == SERVING
        server.process.send_signal(signal.SIGTERM)
        assert watcher.next() == NOT_SERVING
        expect(watcher.next(), CODE.UNAVAILABLE, "the server is shutting down")
        # The main port is closed, and a call is open there. Who waits there to be accepted is reset.
        deadline = time.monotonic() + PATIENCE_S
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
            while time.monotonic() < deadline:
                socket.create_connection((server.host, server.port), timeout=PATIENCE_S).close()
        with probe(server) as late:
            assert statuses(late) == {**dict.fromkeys(NAMES, NOT_SERVING), "liveness": SERVING}
        requests.put(None)
        assert [reply for reply in replies] == []
        server.shared_channel.close()
        assert server.wait_for_end() == 0
        server.start()  # to end as the others


# ---- trouble


def test_who_refuses_calls_for_memory_is_not_ready(_server):
    with with_port(overload={"target_ms": "0", "memory_max": str(1 << 43)}) as server, probe(server) as channel:
        watcher = Watcher(channel, "readiness")
        assert watcher.next() == SERVING
        text = server.config.read_text()
        for memory, status in ((1 << 20, NOT_SERVING), (1 << 43, SERVING)):
            server.config.write_text(re.sub("memory_max = .*", f"memory_max = {memory}", text))
            server.process.send_signal(signal.SIGHUP)
            assert watcher.next() == status
            # Clients are told by each call; and a new start would help nobody.
            assert statuses(channel) == told(readiness=status)
        watcher.cancel()


def fill_disk(path):
    with open(path, "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
        os.fsync(file.fileno())


def write_until_refused(server):
    names = (f"full{number}" for number in itertools.count())
    requests = (users_pb2.CreateUserRequest(username=name, email=f"{name}@example.com",
                                            password="correct horse battery") for name in names)
    for reply in stub_of(server).BatchCreateUsers(requests, timeout=PATIENCE_S):
        assert reply is not None


def test_who_takes_no_changes_is_not_ready_but_serves(_server):
    missing = block_disk.why_not("root", "tools", "mounts")
    if missing is not None:
        block_disk.announce_skip("test_who_takes_no_changes_is_not_ready_but_serves", missing)
        return
    block_disk.own_mounts()
    with tempfile.TemporaryDirectory(prefix="userd-test-") as folder:
        with block_disk.Ext4(pathlib.Path(folder), 24 << 20) as disk:
            with with_port(store={"data_dir": disk.folder / "data"}) as server, probe(server) as channel:
                watcher = Watcher(channel, "readiness")
                assert watcher.next() == SERVING
                fill_disk(disk.folder / "ballast")
                error = failure(write_until_refused, server)
                assert error.code() == CODE.RESOURCE_EXHAUSTED, error
                assert watcher.next() == NOT_SERVING
                assert statuses(channel) == told(readiness=NOT_SERVING)
                assert stub_of(server).ListUsers(users_pb2.ListUsersRequest(), timeout=DEADLINE_S).users
                (disk.folder / "ballast").unlink()
                assert watcher.next() == SERVING
                assert statuses(channel) == told()
                watcher.cancel()
                server.shared_channel.close()


if __name__ == "__main__":
    run(globals(), Server)
