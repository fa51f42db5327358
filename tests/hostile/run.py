#!/usr/bin/python3
"""Every attack of attacks.py, one after the other, against a real server, while a well-behaved client
calls GetUser 2,000 times a second: `make test-hostile`.

    tests/hostile/run.py [PART OF A NAME]

Each attack meets a server of its own, so that none finds memory that another one has left behind. The
pool of receive buffers, which is 4 MiB however many clients there are, is in memory by then.

A table says of each how it ended and what it cost:

- after: pieces (frames, records) sent, and seconds, until the server had closed the connection; an
  attack that does not end its connection was "answered", each piece by itself
- CPU: of the server, in the first second, less what the bystander takes; 100 % is one core
- memory: by how much the server's resident memory rose at most
- p99: of the bystander's calls, as a multiple of that in a quiet second before and one after, taken
  together

and PASS when it was cut off within a second or 1,200 pieces, with at most 10 % of a core, 1 MiB, and
twice the latency. Standing still counts from the moment its time, which is a second here, is over.

The server has a core of its own, which it gets at once where that is allowed, and the bystander comes
before the attacker on the other. What a busy machine does to a latency is no fault of the server: an
attack that fails for p99 or CPU alone is made twice more, and the medians of the three are judged. A try
that went as it did because the server had to wait for its core, or the whole machine for its host, does
not count: beside the attack when it failed, in the quiet seconds when it did not. When the tries run out,
those with the shortest waits do.
"""

import itertools
import os
import pathlib
import select
import socket
import ssl
import statistics
import subprocess
import sys
import time

import hpack

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration/lib"))
sys.path.insert(0, str(HERE.parents[1] / "bench"))

from attacks import ATTACKS  # noqa: E402
from bench_rig import client, folder, machine, make_server, memory_bytes, pin, result  # noqa: E402
from h2_by_hand import Peer, connect, message  # noqa: E402
from userd_harness import SLOW, Counts, ServerFailed, finish, run_main  # noqa: E402

RATE = 2000
USERS = 10000
PIECES_MAX = 1200
SECONDS_MAX = 1.0
CPU_MAX = 0.10
MEMORY_MAX = 2**20
P99_MAX = 2.0
TRIES = 3
TRIES_MAX = 12       # with those that do not count
WAIT_MAX_S = 0.006   # for the core, in a second
QUIET_S = 1.0
TIMEOUT_S = 1.0 * SLOW  # of everything that a peer may not do in time
BURST = 4096            # bytes sent before the attacker looks whether it is still wanted
ATTACK_S = 8.0 * SLOW   # then it gives up
PREPARE_S = 2.0         # at most, for the pieces made beforehand
POOL_BYTES = 256 * 16384  # of receive buffers

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


class Author(Peer):
    """Writes what a peer would send, without a connection."""

    def __init__(self, server):  # pylint: disable=super-init-not-called
        self.server = server
        self.encoder = hpack.Encoder()


class Cost:
    """What an attack did."""

    def __init__(self):
        self.pieces = 0
        self.seconds = 0.0
        self.cut = False
        self.cpu = 0.0
        self.memory = 0
        self.p99 = 0.0
        self.waited = 0.0  # for the core, beside the attack
        self.waited_before = 0.0  # and in a quiet second


def cpu_ns(server):
    """Of the main thread, which is the loop."""
    pid = server.process.pid
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])


def waited_ns(server):
    """That the same thread was kept from its core, and all cores from this machine by its host."""
    pid = server.process.pid
    waited = int(pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1])
    stolen = int(pathlib.Path("/proc/stat").read_text().split(maxsplit=9)[8])
    return waited + stolen * 10**9 // os.sysconf("SC_CLK_TCK")


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


def prepare(attack, server):
    """The pieces; the first of them are made now, for that takes more of the bystander's core than an
    attacker would need to send them."""
    pieces = attack.pieces(Author(server))
    end = time.monotonic() + PREPARE_S
    first = []
    for piece in itertools.islice(pieces, min(PIECES_MAX, attack.pieces_max)):
        first.append(piece)
        if time.monotonic() > end:
            break
    return itertools.chain(first, pieces)


def send_all(attack, pieces, line, cost, began):
    """Until the server has had enough, or the attacker."""
    unsent = b""
    for piece in pieces:
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


def attack_once(attack, pieces, server, cost):
    began = time.monotonic()
    with (H2Line(server) if attack.over == "h2" else Line(server, attack.over)) as line:
        line.acknowledges = attack.acknowledges
        if attack.over == "h2" and attack.acknowledges:
            line.look(0.05)  # the server's settings, and their acknowledgement
        send_all(attack, pieces, line, cost, began)
        limit = 1.0 if attack.answered else ATTACK_S
        while not line.closed and time.monotonic() - began < limit:
            if attack.reads:
                line.look(0.02)
            else:
                time.sleep(0.02)
                line.closed = is_unread_end(line)
        cost.cut = line.closed
        cost.seconds = time.monotonic() - began


def fill_pool(server):
    """Has every receive buffer used once."""
    body = message(bytes(60000))
    with Peer(server) as peer:
        for stream in range(1, 2 * (2 * POOL_BYTES // len(body)), 2):
            parts = [body[at:at + 16000] for at in range(0, len(body), 16000)]
            peer.send(peer.headers(stream, peer.head()),
                      *(peer.data(stream, part, part is parts[-1]) for part in parts))
            peer.answer(stream)


class Watch:
    """What the server takes of its core from now on, and how long it waits for it, by the second."""

    def __init__(self, server):
        self.server = server
        self.began = time.monotonic()
        self.cpu = cpu_ns(server)
        self.waited = waited_ns(server)

    def end(self):
        lasted_ns = (time.monotonic() - self.began) * 1e9
        return ((cpu_ns(self.server) - self.cpu) / lasted_ns,
                (waited_ns(self.server) - self.waited) / lasted_ns)


def rest(server, load):
    """A quiet second."""
    tell(load, "quiet")
    watch = Watch(server)
    time.sleep(QUIET_S)
    return watch.end()


def measure(attack, server):
    """Makes the attack once, between two quiet seconds. Returns its Cost."""
    cost = Cost()
    pieces = prepare(attack, server)
    load = client(server, "load", users=USERS, connections=2, rate=RATE)
    time.sleep(0.5)
    before = rest(server, load)
    tell(load, "attack")
    memory = memory_bytes(server.process)
    reset_peak(server)
    watch = Watch(server)
    attack_once(attack, pieces, server, cost)
    time.sleep(max(0.0, watch.began + QUIET_S - time.monotonic()))
    cpu, cost.waited = watch.end()
    cost.memory = max(0, peak_memory(server) - memory)
    after = rest(server, load)
    cost.cpu = max(0.0, cpu - (before[0] + after[0]) / 2)
    cost.waited_before = (before[1] + after[1]) / 2
    p99 = {row["phase"]: float(row["p99"]) for row in result(load) if row["kind"] == "get"}
    cost.p99 = p99["attack"] / p99["quiet"]
    return cost


def tell(load, phase):
    load.stdin.write(phase + "\n")
    load.stdin.flush()


def hard_problems(attack, cost):
    """Those that no busy machine makes."""
    found = []
    patience_s = SECONDS_MAX + TIMEOUT_S
    if not attack.answered and not cost.cut:
        found.append("not cut off")
    elif not attack.answered and cost.pieces > PIECES_MAX and cost.seconds > patience_s:
        found.append("cut off late")
    if cost.memory > MEMORY_MAX:
        found.append("memory")
    return found


def soft_problems(cost):
    """Those that it may."""
    return ["CPU"] * (cost.cpu > CPU_MAX) + ["p99"] * (cost.p99 > P99_MAX)


def counts(cost):
    """Whether no wait of the server explains how the try went."""
    return (cost.waited if soft_problems(cost) else cost.waited_before) <= WAIT_MAX_S


def try_attack(server, attack):
    """Returns the Cost to judge by, what is wrong with it, and how often it was made."""
    server.start()
    pin(server, at_once=True)
    fill_pool(server)
    costs, judged = [], []
    while not judged:
        costs.append(measure(attack, server))
        problems = hard_problems(attack, costs[-1])
        counting = [one for one in costs if counts(one)]
        if problems:
            judged = costs[-1:]
        elif len(counting) == TRIES or (len(counting) == 1 and not soft_problems(counting[0])):
            judged = counting
        elif len(costs) == TRIES_MAX:
            judged = sorted(costs, key=lambda one: one.waited + one.waited_before)[:TRIES]
    cost = costs[-1]
    cost.cpu = statistics.median(one.cpu for one in judged)
    cost.p99 = statistics.median(one.p99 for one in judged)
    cost.memory = max(one.memory for one in costs)
    problems += soft_problems(cost)
    try:
        server.stop()
    except ServerFailed as failure:
        print(failure)
        problems.append("no clean end")
    return cost, problems, len(costs)


def judge(server, attack):
    cost, problems, tries = try_attack(server, attack)
    how = "cut" if cost.cut else "answered"
    print(f"| {attack.name:46} | {how:8} | {cost.pieces:6} | {cost.seconds:5.2f} "
          f"| {100 * cost.cpu:5.1f} | {cost.memory / 1024:6.0f} | {cost.p99:5.2f} "
          f"| {', '.join(problems) or 'PASS':10} |{f' {tries} tries' if tries > 1 else ''}",
          flush=True)
    if problems:
        Counts.failed += 1
    else:
        Counts.passed += 1


def main():
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    print(machine())
    with folder() as path:
        server = make_server(path, USERS, SETTINGS)
        try:
            os.sched_setaffinity(0, {server.client_core})
            os.nice(19)
            print(f"| {'attack':46} | {'end':8} | pieces |     s | CPU % |    KiB |   p99 | verdict    |")
            print(f"|{'-' * 48}|{'-' * 10}|{'-' * 8}|{'-' * 7}|{'-' * 7}|{'-' * 8}|{'-' * 7}|{'-' * 12}|")
            for attack in ATTACKS:
                if only in attack.name:
                    judge(server, attack)
        finally:
            server.remove()
    finish()


if __name__ == "__main__":
    run_main(main)
