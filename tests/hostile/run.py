#!/usr/bin/python3
"""Every attack of attacks.py, one after the other, against a real server, while a well-behaved client
calls GetUser 2,000 times a second: `make test-hostile`.

    tests/hostile/run.py [PART OF A NAME]

A table says of each how it ended and what it cost:

- after: pieces (frames, records) sent, and seconds, until the server had closed the connection; an
  attack that does not end its connection was "answered", each piece by itself
- CPU: of the server, in the first second, less what the bystander takes; 100 % is one core
- memory: by how much the server's resident memory rose at most
- p99: of the bystander's calls, as a multiple of that in quiet seconds beside it

and PASS when it was cut off within a second or 1,200 pieces, with at most 10 % of a core, 1 MiB, and
twice the latency. Standing still counts from the moment its time, which is a second here, is over.

The server has a core of its own, and the bystander comes before the attacker on the other. What a busy
machine does to a latency is no fault of the server: an attack that fails for p99 or CPU alone is tried
again, twice at most.
"""

import os
import pathlib
import select
import socket
import ssl
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration/lib"))
sys.path.insert(0, str(HERE.parents[1] / "bench"))

from attacks import ATTACKS  # noqa: E402
from bench_rig import client, folder, machine, make_server, memory_bytes, pin, result  # noqa: E402
from h2_by_hand import Peer, connect  # noqa: E402
from userd_harness import SLOW, Counts, finish, run_main, run_one  # noqa: E402

RATE = 2000
USERS = 10000
PIECES_MAX = 1200
SECONDS_MAX = 1.0
CPU_MAX = 0.10
MEMORY_MAX = 2**20
P99_MAX = 2.0
TRIES = 3
QUIET_S = 1.0
TIMEOUT_S = 1.0 * SLOW  # of everything that a peer may not do in time
BURST = 4096            # bytes sent before the attacker looks whether it is still wanted
ATTACK_S = 8.0 * SLOW   # then it gives up

TIMEOUT_MS = str(int(TIMEOUT_S * 1000))
SETTINGS = {
    "limits": {name: TIMEOUT_MS for name in (
        "tls_timeout_ms", "preface_timeout_ms", "settings_ack_timeout_ms", "header_timeout_ms",
        "body_progress_ms", "send_timeout_ms")},
    # The defaults, which bench_rig has raised.
    "http2": {"max_concurrent_streams": "200", "control_burst": "100", "control_rate": "10"},
}


class Line:
    """A connection below HTTP/2: a bare socket, one after the handshake, or openssl's client."""

    def __init__(self, server, over):
        self.closed = False
        self.process = None
        if over == "s_client":
            self.process = subprocess.Popen(
                ["openssl", "s_client", "-connect", server.address, "-alpn", "h2",
                 "-CAfile", str(server.ca)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.2)
            return
        self.socket = connect(server)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if over != "tcp":
            context = server.tls_context(("h2",) if over == "tls" else ())
            try:
                self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
            except (ssl.SSLError, ConnectionError):
                self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
        else:
            self.socket.close()

    def send_raw(self, data):
        try:
            if self.process is not None:
                self.process.stdin.write(data)
                self.process.stdin.flush()
            else:
                self.socket.sendall(data)
        except (OSError, ssl.SSLError):
            self.closed = True

    def look(self, seconds):
        """Reads what is there; waits so long for the end."""
        if self.process is not None:
            try:
                self.process.wait(seconds)
                self.closed = True
            except subprocess.TimeoutExpired:
                pass
            return
        if not self.closed and select.select([self.socket], [], [], seconds)[0]:
            try:
                self.closed = self.socket.recv(65536) == b""
            except (OSError, ssl.SSLError):
                self.closed = True


class H2Line(Peer):
    """The same for a connection with its preface sent."""

    def look(self, seconds):
        if self.closed:
            return
        ready = self.socket.pending() or select.select([self.socket], [], [], seconds)[0]
        while ready and self._take():
            ready = (self.socket.pending() or len(self.received) >= 9 or
                     select.select([self.socket], [], [], 0)[0])

    def send_raw(self, data):
        self.socket.settimeout(ATTACK_S)
        try:
            self.socket.sendall(data)
        except (OSError, ssl.SSLError):
            self.closed = True


class Cost:
    """What an attack did."""

    def __init__(self):
        self.pieces = 0
        self.seconds = 0.0
        self.cut = False
        self.cpu = 0.0
        self.memory = 0


def cpu_ns(server):
    """Of the main thread, which is the loop."""
    pid = server.process.pid
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])


def reset_peak(server):
    pathlib.Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def peak_memory(server):
    for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def is_unread_end(line):
    """Whether a peer that reads nothing has been left: only the kernel can tell it."""
    tcp_info = line.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return tcp_info[0] != 1  # TCP_ESTABLISHED


def send_all(attack, line, cost, began):
    """Until the server has had enough, or the attacker."""
    unsent = b""
    for piece in attack.pieces(line):
        unsent += piece
        cost.pieces += 1
        if len(unsent) < BURST and not attack.answered and cost.pieces % 64 != 0:
            continue
        line.send_raw(unsent)
        unsent = b""
        if attack.reads:
            line.look(0.005 if attack.answered or attack.over == "tcp" else 0.002)
        if line.closed or cost.pieces >= attack.pieces_max or time.monotonic() - began > ATTACK_S:
            return
    line.send_raw(unsent)


def attack_once(attack, server, cost):
    began = time.monotonic()
    with (H2Line(server) if attack.over == "h2" else Line(server, attack.over)) as line:
        if attack.over == "h2" and attack.acknowledges:
            line.look(0.05)  # the server's settings, and their acknowledgement
        send_all(attack, line, cost, began)
        limit = 1.0 if attack.answered else ATTACK_S
        while not line.closed and time.monotonic() - began < limit:
            if attack.reads:
                line.look(0.02)
            else:
                time.sleep(0.02)
                line.closed = is_unread_end(line)
        cost.cut = line.closed
        cost.seconds = time.monotonic() - began


def measure(attack, server, load, name):
    """Returns its Cost. The bystander's load tells the rest afterwards, by this name."""
    cost = Cost()
    tell(load, f"quiet-{name}")
    cpu = cpu_ns(server)
    time.sleep(QUIET_S)
    quiet = cpu_ns(server) - cpu
    tell(load, f"attack-{name}")
    memory = memory_bytes(server.process)
    reset_peak(server)
    cpu, began = cpu_ns(server), time.monotonic()
    attack_once(attack, server, cost)
    time.sleep(max(0.0, began + QUIET_S - time.monotonic()))
    lasted = time.monotonic() - began
    cost.cpu = max(0.0, (cpu_ns(server) - cpu) / 1e9 - quiet / 1e9 / QUIET_S * lasted) / lasted
    cost.memory = max(0, peak_memory(server) - memory)
    tell(load, "between")
    return cost


def tell(load, phase):
    load.stdin.write(phase + "\n")
    load.stdin.flush()


def p99_ratio(rows, name):
    quiet, beside = (float(rows[(f"{kind}-{name}", "get")]["p99"]) for kind in ("quiet", "attack"))
    return beside / quiet


def problems_of(attack, cost, ratio):
    """(problems that no busy machine makes, those that it may)"""
    hard, soft = [], []
    patience_s = SECONDS_MAX + TIMEOUT_S
    if not attack.answered and not cost.cut:
        hard.append("not cut off")
    elif not attack.answered and cost.pieces > PIECES_MAX and cost.seconds > patience_s:
        hard.append("cut off late")
    if cost.memory > MEMORY_MAX:
        hard.append("memory")
    if cost.cpu > CPU_MAX:
        soft.append("CPU")
    if ratio > P99_MAX:
        soft.append("p99")
    return hard, soft


def try_attack(server, attack):
    for number in range(TRIES):
        load = client(server, "load", users=USERS, connections=2, rate=RATE)
        time.sleep(0.5)
        cost = measure(attack, server, load, "it")
        rows = {(row["phase"], row["kind"]): row for row in result(load)}
        ratio = p99_ratio(rows, "it")
        hard, soft = problems_of(attack, cost, ratio)
        if hard or not soft:
            break
    how = "cut" if cost.cut else "answered"
    print(f"| {attack.name:46} | {how:8} | {cost.pieces:6} | {cost.seconds:5.2f} "
          f"| {100 * cost.cpu:5.1f} | {cost.memory / 1024:6.0f} | {ratio:5.2f} "
          f"| {', '.join(hard + soft) or 'PASS':10} |{' try ' + str(number + 1) if number else ''}",
          flush=True)
    if hard + soft:
        Counts.failed += 1
    else:
        Counts.passed += 1


def main():
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    print(machine())
    with folder() as path:
        server = make_server(path, USERS, SETTINGS)
        try:
            server.start()
            pin(server)
            os.sched_setaffinity(0, {server.client_core})
            os.nice(19)
            print(f"| {'attack':46} | {'end':8} | pieces |     s | CPU % |    KiB |   p99 | verdict    |")
            print(f"|{'-' * 48}|{'-' * 10}|{'-' * 8}|{'-' * 7}|{'-' * 7}|{'-' * 8}|{'-' * 7}|{'-' * 12}|")
            for attack in ATTACKS:
                if only in attack.name:
                    try_attack(server, attack)
            run_one("the server ends clean", server.stop)
        finally:
            server.remove()
    finish()


if __name__ == "__main__":
    run_main(main)
