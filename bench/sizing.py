#!/usr/bin/python3
"""What a server takes of memory, disk and CPU for each connection, watcher, user and change: the
figures for choosing a machine (docs/OPERATIONS.md, Sizing): `make bench-sizing`.

    bench/sizing.py [CONNECTIONS [USERS]]     (2,000 and 100,000)

Memory is what the process has resident; what the kernel keeps for its sockets is not in it. Each
figure is a difference divided by a count. CPU is that of the process, threads included, so a busy
machine changes it by a part, not by a multiple.
"""

import sys
import time

from bench_rig import cpu_seconds, folder, machine, memory_bytes, snapshot
from metrics_reader import scrape, value  # bench_rig knows where it is
from raw_peer import ACK, SETTINGS, RawPeer, head_block, message
from userd_harness import Server

import grpc  # noqa: F401  (the harness makes channels with it)
from users.v1 import users_pb2

KIB = 1024
MIB = 1024 * KIB
PATIENCE_S = 60

# One client, with as many connections and watchers as many have.
ROOMY = {
    "auth": {"mode": "none"},
    "wal": {"segment_size": "64MiB", "max_pending_bytes": "16MiB", "snapshot_rate": "0"},
    "limits": {"max_connections_per_ip": "100000", "max_handshakes_per_ip": "10000",
               "max_handshakes": "10000", "handshake_rate": "0"},
    "watch": {"max_per_user": "100000"},
    "http2": {"control_burst": "100000", "control_rate": "100000"},
    "password": {"memory_kib": "19456", "iterations": "2"},
}
GET = head_block("/users.v1.UserService/GetUser")
WATCH = head_block("/users.v1.UserService/WatchUser")
TOGETHER = 100
WATCHES_EACH = 100  # on one connection: watch.max_per_connection


class Peer(RawPeer):
    """A RawPeer, over TLS when the server has it."""

    def __init__(self, server):
        self.context = server.tls_context() if server.tls else None
        self.is_settled = False
        super().__init__(server)

    def send(self, data):
        if self.context is not None:  # what comes first is the preface
            self.socket = self.context.wrap_socket(self.socket, server_hostname="localhost")
            self.context = None
        super().send(data)

    def _take(self, kind, flags, stream, at, size):
        super()._take(kind, flags, stream, at, size)
        self.is_settled |= kind == SETTINGS and bool(flags & ACK)


def sync_one(stub):
    """One user, ada; a call has then been answered, and the channel is open."""
    list(stub.SyncUsers(iter([users_pb2.User(id="ada", username="ada", email="ada@example.com")]),
                        timeout=PATIENCE_S))


def measure_connections(path, tls, count):
    """Bytes for one idle connection, after its settings, and after a call of GetUser."""
    server = Server(ROOMY, tls=tls, folder=path)
    try:
        server.start()
        stub = server.stub(server.channel(token=None) if tls else
                           grpc.insecure_channel(server.address))
        sync_one(stub)
        base = memory_bytes(server.process)
        peers = []
        for _ in range(count):
            peers.append(Peer(server))
            idle = (memory_bytes(server.process) - base) / count
        body = message(users_pb2.GetUserRequest(id="ada").SerializeToString())
        for peer in peers:
            peer.send(peer.request(GET, body))
            peer.read_until(lambda peer=peer: 0 in peer.ended)
        used = (memory_bytes(server.process) - base) / count
        for peer in peers:
            peer.socket.close()
        server.stop()
    finally:
        server.remove()
    return base, idle, used


def measure_watchers(path, count):
    """Bytes for one watcher, its share of a connection with a hundred of them included."""
    server = Server(ROOMY, folder=path)
    try:
        server.start()
        stub = server.stub(server.channel(token=None))
        sync_one(stub)
        body = message(users_pb2.GetUserRequest(id="ada").SerializeToString())
        base = memory_bytes(server.process)
        peers = [Peer(server) for _ in range(count // WATCHES_EACH)]
        for peer in peers:
            peer.send(b"".join(peer.request(WATCH, body) for _ in range(WATCHES_EACH)))
            peer.read_until(lambda peer=peer: len(peer.data_frames) == WATCHES_EACH)
        each = (memory_bytes(server.process) - base) / (len(peers) * WATCHES_EACH)
        for peer in peers:
            peer.socket.close()
        server.stop()
    finally:
        server.remove()
    return each


def user(number, profile_bytes):
    name = f"user-{number:08d}"
    return users_pb2.User(
        id=name, username=name, email=f"{name}@example.com",
        profile=users_pb2.User.Profile(first_name="x" * profile_bytes) if profile_bytes else None)


def measure_users(path, count, profile_bytes):
    """What users take, of memory while they are made and after a start, and of the disk."""
    server = Server(ROOMY, folder=path)
    found = {}
    try:
        server.start()
        stub = server.stub(server.channel(token=None))
        base = memory_bytes(server.process)
        for first in range(0, count, 50000):  # limits.max_stream_messages
            numbers = range(first, min(first + 50000, count))
            for answer in stub.SyncUsers((user(number, profile_bytes) for number in numbers),
                                         timeout=PATIENCE_S * 10):
                assert answer
        stored = stub.GetUser(users_pb2.GetUserRequest(id=user(0, 0).id), timeout=PATIENCE_S)
        samples = scrape(server)
        assert value(samples, "userd_users") == count
        found["message"] = stored.ByteSize()
        found["memory"] = (memory_bytes(server.process) - base) / count
        found["store"] = value(samples, "userd_store_bytes") / count
        found["log"] = (value(samples, "userd_wal_written_bytes_total") /
                        value(samples, "userd_wal_records_total"))
        found["per_sync"] = (value(samples, "userd_wal_records_total") /
                             value(samples, "userd_wal_frames_total"))
        found["snapshot"] = int(snapshot(server)["bytes"]) / count
        before = value(scrape(server), "userd_wal_written_bytes_total")
        for number in range(100):  # one after the other: each has a write of its own
            stub.UpdateUser(users_pb2.UpdateUserRequest(
                id=user(number, 0).id, user=users_pb2.User(roles=["changed"])), timeout=PATIENCE_S)
        time.sleep(0.05)  # the mark that follows silence
        found["alone"] = (value(scrape(server), "userd_wal_written_bytes_total") - before) / 100
        server.stop()
        server.start()
        server.wait_for(r"\bready\b")
        found["again"] = (memory_bytes(server.process) - base) / count
        server.stop()
    finally:
        server.remove()
    return found


def measure_changes(path, count):
    """CPU microseconds for one change: alone, a hundred at once, and with a password to hash."""
    server = Server(ROOMY, folder=path)
    found = {}
    try:
        server.start()
        stub = server.stub(server.channel(token=None))
        sync_one(stub)
        request = users_pb2.UpdateUserRequest(id="ada", user=users_pb2.User(roles=["changed"]))

        def measure(name, number, change):
            before = cpu_seconds(server.process)
            change(number)
            found[name] = (cpu_seconds(server.process) - before) / number * 1e6

        def change_alone(number):
            for _ in range(number):
                stub.UpdateUser(request, timeout=PATIENCE_S)

        def change_together(number):
            for _ in range(number // TOGETHER):
                for future in [stub.UpdateUser.future(request, timeout=PATIENCE_S)
                               for _ in range(TOGETHER)]:
                    future.result()

        def make_users(number):
            for index in range(number):
                stub.CreateUser(users_pb2.CreateUserRequest(
                    username=f"user-{index}", email=f"user-{index}@example.com",
                    password="correct horse battery"), timeout=PATIENCE_S)

        measure("alone", count, change_alone)
        measure("together", count * 4, change_together)
        measure("password", 50, make_users)
        server.stop()
    finally:
        server.remove()
    return found


def main():
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    users = int(sys.argv[2]) if len(sys.argv) > 2 else 100000
    print(machine())
    with folder() as path:
        for tls in (True, False):
            (path / f"c{tls}").mkdir()
            base, idle, used = measure_connections(path / f"c{tls}", tls, connections)
            print(f"{'TLS' if tls else 'plain'}: base {base / MIB:.1f} MiB; {connections:,} idle "
                  f"connections {idle / KIB:.1f} KiB each, after a call {used / KIB:.1f} KiB")
        (path / "w").mkdir()
        each = measure_watchers(path / "w", connections)
        print(f"{connections:,} watchers, {WATCHES_EACH} on a TLS connection: {each / KIB:.1f} KiB each")
        for profile_bytes in (0, 200):
            (path / f"u{profile_bytes}").mkdir()
            found = measure_users(path / f"u{profile_bytes}", users, profile_bytes)
            print(f"{users:,} users, messages of {found['message']} bytes: memory "
                  f"{found['memory']:.0f} bytes each (tables {found['store']:.0f}, after a start "
                  f"{found['again']:.0f}); log {found['log']:.0f} with {found['per_sync']:.0f} "
                  f"to a write, {found['alone']:.0f} for a change alone; "
                  f"snapshot {found['snapshot']:.0f}")
        (path / "x").mkdir()
        found = measure_changes(path / "x", 2000)
        print(f"CPU for one UpdateUser: {found['alone']:.0f} µs alone, {found['together']:.0f} µs with "
              f"{TOGETHER} at once; for one password {found['password'] / 1000:.0f} ms")


if __name__ == "__main__":
    main()
