#!/usr/bin/python3
"""Malformed connections in a row, and what is left of them: `make test-hostile`.

    tests/hostile/connections.py [CONNECTIONS [SEED]]      (100,000; 1)

Each is one of: garbage, a true ClientHello that is cut off or has bits flipped, records that no TLS
has, nothing at all, and after a proper handshake a broken preface, random frames or a call cut off;
ended by FIN or by RST, each from an address of its own. Afterwards the server must answer, have no
descriptor more than before, and its resident memory must be back within 1 MiB.
"""

import os
import pathlib
import random
import socket
import ssl
import struct
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration/lib"))

from h2_by_hand import PREFACE, get_user, raw_frame  # noqa: E402
from userd_calls import create, get  # noqa: E402
from userd_harness import PATIENCE_S, SLOW, Server, finish, run_main, run_one  # noqa: E402

WARM = 2000
MEMORY_MAX = 2**20
KEPT_OPEN = 40      # so many are closed only when others have followed
TLS_SHARE = 0.03    # handshakes are what costs time


class Attacker:
    def __init__(self, server, seed):
        self.server = server
        self.random = random.Random(seed)
        self.open = []
        self.context = server.tls_context()
        self.hello = self._client_hello()

    def _client_hello(self):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return outgoing.read()

    # ---- what is sent

    def garbage(self):
        return self.random.randbytes(self.random.randrange(1, 3000))

    def cut_hello(self):
        return self.hello[:self.random.randrange(1, len(self.hello))]

    def flipped_hello(self):
        hello = bytearray(self.hello)
        for _ in range(self.random.randrange(1, 4)):
            hello[self.random.randrange(len(hello))] ^= 1 << self.random.randrange(8)
        return bytes(hello)

    def records(self):
        return b"".join(
            struct.pack(">BHH", self.random.choice((20, 21, 22, 23, 24, 99)), 0x0303, size) +
            self.random.randbytes(size)
            for size in (self.random.randrange(0, 400) for _ in range(self.random.randrange(1, 6))))

    def random_frames(self):
        return PREFACE + raw_frame(4, 0, 0, b"") + b"".join(
            raw_frame(self.random.randrange(12), self.random.randrange(256),
                      self.random.choice((0, 1, 2, 3, 2**31 - 1)),
                      self.random.randbytes(self.random.randrange(60)))
            for _ in range(self.random.randrange(1, 20)))

    def cut_call(self):
        whole = (PREFACE + raw_frame(4, 0, 0, b"") + raw_frame(1, 4, 1, b"\x83\x87\x84") +
                 raw_frame(0, 0, 1, get_user("x")))
        return whole[:self.random.randrange(len(whole))]

    # ---- one connection

    def connect(self):
        raw = socket.socket()
        raw.settimeout(PATIENCE_S)
        raw.bind((f"127.{self.random.randrange(1, 250)}.{self.random.randrange(250)}."
                  f"{self.random.randrange(1, 250)}", 0))
        raw.connect((self.server.host, self.server.port))
        if self.random.random() < 0.5:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return raw

    def attack(self):
        raw = self.connect()
        try:
            if self.random.random() < TLS_SHARE:
                raw = self.context.wrap_socket(raw, server_hostname="localhost")
                raw.sendall(self.random.choice((self.garbage, self.random_frames, self.cut_call))())
            else:
                raw.sendall(self.random.choice((self.garbage, self.cut_hello, self.flipped_hello,
                                                self.records, bytes))())
        except (OSError, ssl.SSLError):
            pass  # the server was quicker
        self.open.append(raw)
        if len(self.open) > KEPT_OPEN:
            self.open.pop(self.random.randrange(len(self.open))).close()

    def close(self):
        while self.open:
            self.open.pop().close()


def sockets_of(server):
    folder = pathlib.Path(f"/proc/{server.process.pid}/fd")
    count = 0
    for name in os.listdir(folder):
        try:
            count += os.readlink(folder / name).startswith("socket:")
        except FileNotFoundError:
            pass
    return count


def memory_of(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settle(server, sockets):
    """Waits until so many descriptors are left."""
    end = time.monotonic() + PATIENCE_S
    while sockets_of(server) > sockets:
        assert time.monotonic() < end, f"{sockets_of(server)} sockets are open, not {sockets}"
        time.sleep(0.02)


def storm(server, count, seed):
    sockets = sockets_of(server)
    attacker = Attacker(server, seed)
    for number in range(WARM + count):
        if number == WARM:
            attacker.close()
            settle(server, sockets)
            before = memory_of(server)
        attacker.attack()
    attacker.close()
    settle(server, sockets)
    grown = memory_of(server) - before
    print(f"counts: malformed connections {count}, seed {seed}: memory {grown / 1024:+.0f} KiB, "
          f"{sockets_of(server) - sockets} descriptors left")
    # A sanitizer keeps what was freed for a while; there its leak check judges, at the end.
    assert grown <= MEMORY_MAX or SLOW > 1, f"{grown} bytes more"


def serve_on(server):
    user = create(server)
    assert get(server, user.id) == user


def run(count, seed):
    # Each is to be let in, and looked at.
    server = Server({"limits": {"tls_timeout_ms": str(5000 * SLOW), "handshake_rate": "0"}})
    try:
        server.start()
        run_one(f"{count} malformed connections", storm, server, count, seed)
        run_one("the server serves on", serve_on, server)
        run_one("the server ends clean", server.stop)
    finally:
        server.remove()
    finish()


def main():
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 100000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 1)


if __name__ == "__main__":
    run_main(main)
