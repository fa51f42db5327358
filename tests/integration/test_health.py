#!/usr/bin/python3
"""grpc.health.v1 as the C-core client sees it, with the messages of Debian's grpc-proto: calls by hand, and
the client's own health checking."""

import json
import os
import pathlib
import queue
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import DEADLINE_S, create, expect, failure, get  # noqa: E402
from userd_harness import PATIENCE_S, SLOW, Server, fields_of, run  # noqa: E402

import grpc  # noqa: E402

# The generated package would be a part of `grpc`, which is installed elsewhere; its messages need nothing.
GENERATED = next(folder for folder in (pathlib.Path(path, "grpc/health/v1") for path in sys.path)
                 if (folder / "health_pb2.py").exists())
sys.path.insert(0, str(GENERATED))
import health_pb2  # noqa: E402

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


if __name__ == "__main__":
    run(globals(), Server)
