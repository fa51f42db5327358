#!/usr/bin/python3
"""What a filter over all users costs the others: latencies of GetUser without and with scans.

    bench/scan.py [USERS [SCANS]]        (`make bench-scan`; 1,000,000 users, 1 scan at a time)

One connection calls GetUser, one call after the other; a second one keeps SCANS lists under way
whose filter matches nobody. Server and clients are pinned to two cores where there are two. Prints
percentiles of three rounds each, taken in turns, in microseconds, and their difference. Figures of
one run may be compared with each other, and with nothing else.
"""

import os
import pathlib
import statistics
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/integration/lib"))

from raw_peer import DATA, RawPeer, frame, head_block, message  # noqa: E402
from userd_harness import Server  # noqa: E402

from users.v1 import users_pb2  # noqa: E402

CALLS = 20000
ROUNDS = 3
FILTER = 'profile.last_name = "nobody has this name" OR roles:nothing'


class Loader(RawPeer):
    """Makes users with SyncUsers."""

    def load(self, count):
        start = time.monotonic()
        self.send(self.request(head_block("/users.v1.UserService/SyncUsers"), b"", ends=False))
        reader = threading.Thread(target=self.read_until, args=(lambda: 0 in self.ended,))
        reader.start()
        for first in range(0, count, 100):
            body = b"".join(message(users_pb2.User(
                id=f"user-{i}", username=f"user{i}", email=f"user{i}@example.com",
                roles=["member"],
                profile=users_pb2.User.Profile(first_name=f"First{i}", last_name=f"Last{i}"),
            ).SerializeToString()) for i in range(first, min(first + 100, count)))
            self.write(body)
        self.send(frame(DATA, 1, 1))
        reader.join()
        print(f"{count} users made in {time.monotonic() - start:.1f} s")

    def write(self, body):
        for at in range(0, len(body), 16384):
            piece = body[at:at + 16384]
            while self.granted - self.used < len(piece):
                time.sleep(0.0001)
            self.used += len(piece)
            self.send(frame(DATA, 0, 1, piece))

    used = 0  # of the stream's window: the writer's count
    granted = 1 << 20  # the reader's

    def _take(self, kind, flags, stream, at, size):
        if kind == 8 and stream == 0:  # of the only stream
            self.granted += int.from_bytes(self.received[at:at + 4], "big")
        super()._take(kind, flags, stream, at, size)


def percentiles(values):
    cuts = statistics.quantiles(values, n=1000)
    return {"p50": cuts[499], "p99": cuts[989], "p99.9": cuts[998], "max": max(values)}


def latencies(server, block, body):
    values = []
    with RawPeer(server) as peer:
        for number in range(CALLS):
            request = peer.request(block, body)
            start = time.perf_counter_ns()
            peer.send(request)
            peer.read_until(lambda: number in peer.ended)
            values.append((time.perf_counter_ns() - start) / 1000)
    return values


class Scanner(threading.Thread):
    """Keeps so many lists under way until it is stopped."""

    def __init__(self, server, count):
        super().__init__(daemon=True)
        self.peer = RawPeer(server)
        self.count = count
        self.stopping = False
        self.start()

    def run(self):
        block = head_block("/users.v1.UserService/ListUsers")
        body = message(users_pb2.ListUsersRequest(filter=FILTER).SerializeToString())
        while not self.stopping:
            while self.peer.opened - len(self.peer.ended) < self.count:
                self.peer.send(self.peer.request(block, body))
            self.peer.read()
        self.peer.socket.close()

    def stop(self):
        self.stopping = True
        self.join()
        return len(self.peer.ended)


def main():
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000
    scans = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    settings = {"auth": {"mode": "none"}, "limits": {"max_stream_messages": str(users + 1)},
                "wal": {"segment_size": "64MiB", "max_pending_bytes": "16MiB"},
                "http2": {"max_concurrent_streams": "1000", "stream_window": "1MiB",
                          "connection_window": "4MiB"}}
    with Server.running(settings, tls=False) as server:
        if os.cpu_count() > 1:
            for task in os.listdir(f"/proc/{server.process.pid}/task"):
                os.sched_setaffinity(int(task), {0})
            os.sched_setaffinity(0, {1})
        Loader(server, window=2**31 - 1).load(users)  # the echoes fit into it
        block = head_block("/users.v1.UserService/GetUser")
        body = message(users_pb2.GetUserRequest(id=f"user-{users // 2}").SerializeToString())
        alone, beside = [], []
        for _ in range(ROUNDS):
            alone += latencies(server, block, body)
            scanner = Scanner(server, scans)
            started = time.monotonic()
            beside += latencies(server, block, body)
            took = time.monotonic() - started
            done = scanner.stop()
            print(f"round: {done} scans of {users} users in {took:.1f} s beside {CALLS} calls")
        first, second = percentiles(alone), percentiles(beside)
        print(f"{'us':8} {'alone':>10} {'with scans':>10} {'more':>10}")
        for name, value in first.items():
            print(f"{name:8} {value:10.0f} {second[name]:10.0f} {second[name] - value:10.0f}")


if __name__ == "__main__":
    main()
