"""Unary calls without a pause, many in flight, from grpcio and from grpc-js, with no policy of retries:
what fails in spite of the transparent retries that every client of gRPC makes, has failed.

    with calling(Order(addresses, ca, token, user, calls=1000)) as loads:
        for load in loads:
            answered, failures = load.wait()
"""

import collections
import contextlib
import json
import os
import pathlib
import select
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from userd_harness import PATIENCE_S, ROOT, SLOW  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2, users_pb2_grpc  # noqa: E402

DEADLINE_S = 60 * SLOW
IN_FLIGHT = 16  # on each client
CALLS_PATIENCE_S = 400  # for all calls of one load

# When the last channel goes C-core shuts itself down, and 1.51 may wait there for a thread for ever, if it was
# busy. This one never goes, and connects to nobody.
STAYS = grpc.insecure_channel("unix:/nonexistent")


class Order:
    """What is to be called, by how many clients, and how often."""

    def __init__(self, addresses, ca, token, user, policy="pick_first", clients=2, calls=0):
        self.target = "ipv4:" + ",".join(addresses)
        self.ca = str(ca)
        self.token = token
        self.user = user  # to be got, again and again
        self.policy = policy
        self.clients = clients
        self.calls = calls  # in all; 0 = until stop()
        self.in_flight = IN_FLIGHT
        self.deadline_s = DEADLINE_S

    def options(self):
        """Of a channel: connections of its own, and back soon to a server that is back."""
        return {
            "grpc.ssl_target_name_override": "localhost",
            "grpc.use_local_subchannel_pool": 1,
            "grpc.initial_reconnect_backoff_ms": 100,
            "grpc.max_reconnect_backoff_ms": 500,
            "grpc.service_config": json.dumps({"loadBalancingConfig": [{self.policy: {}}]}),
        }


def open_channel(order, number=0):
    """A channel of grpcio; `number` tells it from others with the same order."""
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(pathlib.Path(order.ca).read_bytes()),
        grpc.access_token_call_credentials(order.token))
    options = list(order.options().items()) + [("userd.number", number)]
    return grpc.secure_channel(order.target, credentials, options=options)


class PythonLoad:
    """Calls of grpcio, made by its own threads."""

    def __init__(self, order):
        self.order = order
        self.lock = threading.Lock()
        self.left = order.calls or float("inf")
        self.open = 0
        self.answered = 0
        self.seen = set()  # (number of the client, username in its answer)
        self.failures = collections.Counter()
        self.is_ready = threading.Event()
        self.is_over = threading.Event()
        self.channels = [open_channel(order, number) for number in range(order.clients)]

    def start(self):
        for channel in self.channels:
            # C-core 1.51 now and then takes a connection under way for a failed one (userd_harness.py).
            grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
        for number, channel in enumerate(self.channels):
            stub = users_pb2_grpc.UserServiceStub(channel)
            for _ in range(IN_FLIGHT):
                self._call(number, stub)

    def _call(self, number, stub):
        with self.lock:
            if self.left <= 0:
                if self.open == 0:
                    self.is_over.set()
                return
            self.left -= 1
            self.open += 1
        future = stub.GetUser.future(users_pb2.GetUserRequest(id=self.order.user), timeout=DEADLINE_S)
        future.add_done_callback(lambda done: self._ended(number, stub, done))

    def _ended(self, number, stub, done):
        try:
            user = done.result().user
            problem = None if user.id == self.order.user else "not the user asked for"
        except grpc.RpcError as error:
            problem = f"{error.code().value[0]} {error.details()}"
        with self.lock:
            self.open -= 1
            if problem is None:
                self.answered += 1
                self.seen.add((number, user.username))
            else:
                self.failures[problem] += 1
            if self.answered >= len(self.channels) * IN_FLIGHT:
                self.is_ready.set()
        self._call(number, stub)

    def wait_ready(self):
        """Until all clients may have had answers."""
        assert self.is_ready.wait(PATIENCE_S), f"grpcio gets no answers: {self.failures}"

    def wait_for_servers(self, count):
        """Until every client has had answers, from now on, with so many names of the user."""
        self.seen.clear()
        end = time.monotonic() + PATIENCE_S
        while len(self.seen) < count * self.order.clients:
            assert time.monotonic() < end, f"clients of grpcio do not come back: {self.seen}"
            time.sleep(0.01)

    def stop(self):
        with self.lock:
            self.left = 0

    def wait(self):
        """(how many calls were answered, what ended the others)."""
        assert self.is_over.wait(CALLS_PATIENCE_S), f"calls of grpcio do not end: {self.answered} did"
        return self.answered, dict(self.failures)

    def close(self):
        self.stop()
        for channel in self.channels:
            channel.close()


class NodeLoad:
    """The same calls by a process of Node."""

    def __init__(self, order):
        self.order = order
        self.orders = json.dumps({**vars(order), "options": order.options()})
        self.process = None

    def start(self):
        modules = os.environ.get("NODE_PATH") or str(ROOT / "build/node_modules")
        self.process = subprocess.Popen(
            ["node", str(pathlib.Path(__file__).with_suffix(".cjs")), self.orders],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "NODE_PATH": modules})

    def _tell(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def _hear(self, line, problem):
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        assert ready and self.process.stdout.readline() == line + "\n", problem

    def wait_ready(self):
        self._hear("ready", "grpc-js gets no answers")

    def wait_for_servers(self, count):
        self._tell(f"servers {count}")
        self._hear("seen", "clients of grpc-js do not come back")

    def stop(self):
        self._tell("stop")

    def wait(self):
        try:
            self.process.wait(CALLS_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError("calls of grpc-js do not end") from None
        assert self.process.returncode == 0, f"the calls of grpc-js ended with {self.process.returncode}"
        report = json.loads(self.process.stdout.read().splitlines()[-1])
        return report["answered"], report["failures"]

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@contextlib.contextmanager
def calling(*orders):
    """Calls of both kinds by each order, begun; at its end nothing is left of them."""
    loads = [kind(order) for kind in (PythonLoad, NodeLoad) for order in orders]
    try:
        for load in loads:
            load.start()
        yield loads
    finally:
        for load in loads:
            load.close()
