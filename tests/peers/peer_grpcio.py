#!/usr/bin/python3
"""The foreign server of README.md on grpcio."""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import sys
import threading

GENERATED = pathlib.Path(__file__).resolve().parents[2] / "build/gen/python"
sys.path.insert(0, str(GENERATED))

import grpc  # noqa: E402

grpc.__path__.append(str(GENERATED / "grpc"))  # health, of Debian's grpc-proto
from google.rpc import status_pb2  # noqa: E402
from grpc.health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from users.v1 import users_pb2, users_pb2_grpc  # noqa: E402

THREADS = 64  # calls at once: each takes one
TICK_S = 0.05  # how soon a quiet stream notices what it waits for


def user_of(user_id, username=None, size=0):
    name = user_id if username is None else username
    return users_pb2.User(id=user_id, username=name, email=f"{name}@example.com",
                          status=users_pb2.USER_STATUS_ACTIVE,
                          profile=users_pb2.User.Profile(avatar_url="x" * size) if size else None)


class State:
    """What the lines of the input change and ask for."""

    def __init__(self, details):
        self.lock = threading.Lock()
        self.details = details
        self.is_unavailable = False
        self.is_serving = True
        self.is_stopping = threading.Event()
        self.calls = 0
        self.cancelled = 0
        self.flaky = collections.Counter()


class Users(users_pb2_grpc.UserServiceServicer):
    def __init__(self, state):
        self.state = state

    def _fail(self, context, code, text):
        if self.state.details:
            context.set_trailing_metadata((("grpc-status-details-bin", self.state.details),))
        context.abort(code, text)

    def _begin(self, context):
        with self.state.lock:
            self.state.calls += 1
        if self.state.is_unavailable:
            self._fail(context, grpc.StatusCode.UNAVAILABLE, "told to be unavailable")

    def _leave_open(self, context):
        """What to wait for, until the client gives up. Counted here: a generator whose call is over may never
        be resumed."""
        ended = threading.Event()

        def on_end():
            with self.state.lock:
                self.state.cancelled += 1
            ended.set()

        if not context.add_callback(on_end):
            on_end()
        return ended

    def GetUser(self, request, context):
        self._begin(context)
        kind, *rest = request.id.split(":")
        if kind == "missing":
            self._fail(context, grpc.StatusCode.NOT_FOUND, "User missing not found")
        if kind == "slow":
            self._leave_open(context).wait()
            return users_pb2.GetUserResponse()
        if kind == "flaky":
            with self.state.lock:
                self.state.flaky[rest[1]] += 1
                count = self.state.flaky[rest[1]]
            if count <= int(rest[0]):
                self._fail(context, grpc.StatusCode.UNAVAILABLE, f"failure {count} of {rest[0]}")
        if kind == "size":
            return users_pb2.GetUserResponse(user=user_of(request.id, size=int(rest[0])))
        if kind == "field":
            value = dict(context.invocation_metadata()).get(rest[0], "")
            return users_pb2.GetUserResponse(user=user_of(request.id, username=value))
        return users_pb2.GetUserResponse(user=user_of(request.id))

    def CreateUser(self, request, context):
        self._begin(context)
        if request.username == "taken":
            self._fail(context, grpc.StatusCode.ALREADY_EXISTS, "User already exists")
        return self._created(request)

    @staticmethod
    def _created(request):
        return users_pb2.CreateUserResponse(user=users_pb2.User(
            id=f"id-{request.username}", username=request.username, email=request.email,
            status=users_pb2.USER_STATUS_ACTIVE))

    def WatchUser(self, request, context):
        self._begin(context)
        kind, *rest = request.id.split(":")
        if kind == "missing":
            self._fail(context, grpc.StatusCode.NOT_FOUND, "User missing not found")
        if kind == "states":
            for number in range(int(rest[0])):
                yield user_of(request.id, username=f"state{number}", size=int(rest[1]))
            return
        ended = self._leave_open(context)
        yield user_of(request.id)
        ended.wait()

    def BatchCreateUsers(self, requests, context):
        self._begin(context)
        goes_on = dict(context.invocation_metadata()).get("users-continue-on-error") == "true"
        for request in requests:
            if request.username != "taken":
                yield self._created(request)
            elif goes_on:
                code = grpc.StatusCode.ALREADY_EXISTS.value[0]
                yield users_pb2.CreateUserResponse(
                    error=status_pb2.Status(code=code, message="User already exists"))
            else:
                self._fail(context, grpc.StatusCode.ALREADY_EXISTS, "User already exists")


class Health(health_pb2_grpc.HealthServicer):
    def __init__(self, state):
        self.state = state

    def _now(self):
        kinds = health_pb2.HealthCheckResponse
        status = kinds.SERVING if self.state.is_serving else kinds.NOT_SERVING
        return kinds(status=status)

    def Check(self, request, context):
        return self._now()

    def Watch(self, request, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        told = None
        while not ended.wait(TICK_S) and not self.state.is_stopping.is_set():
            now = self._now()
            if now != told:
                told = now
                yield now


def make_server(options, state):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(THREADS), options=[
        ("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 << 20),
        ("grpc.max_send_message_length", 64 << 20)])
    users_pb2_grpc.add_UserServiceServicer_to_server(Users(state), server)
    health_pb2_grpc.add_HealthServicer_to_server(Health(state), server)
    host = options.listen.rpartition(":")[0]
    if options.cert:
        pair = (pathlib.Path(options.key).read_bytes(), pathlib.Path(options.cert).read_bytes())
        authority = pathlib.Path(options.client_ca).read_bytes() if options.client_ca else None
        credentials = grpc.ssl_server_credentials([pair], authority, authority is not None)
        port = server.add_secure_port(options.listen, credentials)
    else:
        port = server.add_insecure_port(options.listen)
    if port == 0:
        sys.exit(f"{options.listen} cannot be bound")
    server.start()
    print(f"listening {host}:{port}", flush=True)
    return server


def obey(line, state):
    """The answer to a line of the input; None = stop."""
    word, _, value = line.strip().partition(" ")
    if word == "stop":
        return None
    if word == "unavailable":
        state.is_unavailable = value == "on"
        return "ok"
    if word == "serving":
        state.is_serving = value == "on"
        return "ok"
    if word in ("calls", "cancelled"):
        return f"{word} {getattr(state, word)}"
    return f"unknown command {word}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--client-ca")
    parser.add_argument("--details", default="", type=bytes.fromhex)
    options = parser.parse_args()
    state = State(options.details)
    server = make_server(options, state)
    for line in sys.stdin:
        answer = obey(line, state)
        if answer is None:
            state.is_stopping.set()
            server.stop(grace=60).wait()
            os._exit(0)  # C-core 1.51 may wait for one of its threads for ever
        print(answer, flush=True)
    os._exit(1)  # whoever started it is gone


if __name__ == "__main__":
    main()
