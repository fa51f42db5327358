"""Latency: at shares of the saturation, beside other work, and when more is offered than goes."""

import contextlib
import http.client
import signal
import subprocess
import sys
import threading
import time

from bench_cost import saturation
from bench_load import LoadFailed, Phases, load, method_of, phase_of, words_of
from bench_rig import USERBENCH, log_lines, memory_bytes, SNAPSHOT_DONE
from metrics_reader import fetch

CONNECTIONS = 10
SHARES = (0.1, 0.5, 0.8)
CURVE = (0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
OUTSTANDING = 1000
STALL_US = 200
HANDSHAKES_PER_S = 1000
SCAN_FILTER = 'profile.last_name = "nobody has this name" OR roles:nothing'


def stalls(bench):
    """What the host takes from each core: a loop that does nothing but look at the clock, and the
    times that it could not. No server can answer while its core stands still."""
    program = (
        "import os, sys, time\n"
        "os.sched_setaffinity(0, {int(sys.argv[1])})\n"
        "now = time.perf_counter_ns(); end = now + int(float(sys.argv[2]) * 1e9); gaps = []\n"
        "while now < end:\n"
        "    before, now = now, time.perf_counter_ns()\n"
        f"    if now - before > {STALL_US * 1000}: gaps.append((now - before) / 1000)\n"
        "print(len(gaps), sum(gaps), max(gaps, default=0))\n")
    seconds = bench.seconds(3)
    loops = {core: subprocess.Popen([sys.executable, "-c", program, str(core), str(seconds)], text=True,
                                    stdout=subprocess.PIPE)
             for core in (bench.server_core, bench.client_core)}
    found = {}
    for core, loop in loops.items():
        count, total, longest = map(float, loop.communicate()[0].split())
        found[str(core)] = {"per_s": count / seconds, "share": total / 1e6 / seconds,
                            "longest_us": longest}
    return found


def at_rate(bench, address, rate, seconds=None, **options):
    return load(bench.client_core, address, bench.ca, bench.token_file, users=bench.users,
                connections=CONNECTIONS, rate=max(1, round(rate)), warm_up=0.3,
                seconds=seconds or bench.seconds(3), **options)


def summary(result, name="GetUser"):
    phase = phase_of(result)
    method = phase["methods"].get(name)
    if method is None or phase["excluded"] > method["count"] / 2:
        raise LoadFailed("the machine is too busy: other programs had the core of the load while "
                         f"{phase['excluded']} calls were under way")
    return {"per_s": phase["per_s"], "excluded": phase["excluded"], "count": method["count"],
            "latency_us": method["latency_us"], "histogram": method["histogram"],
            "statuses": method["statuses"]}


def best(rows):
    """Of several runs the one with the least p99: what else the machine does only adds."""
    return min(rows, key=lambda row: row["latency_us"]["p99"])


def shares(bench):
    """GetUser at shares of userd's saturation."""
    peak = saturation(bench)
    found = {}
    for share in SHARES if bench.quick else CURVE:
        repeats = 2 * bench.rounds if share in SHARES else 1
        rows = [summary(at_rate(bench, bench.server.address, peak * share, seconds=bench.seconds(2)))
                for _ in range(repeats)]
        found[f"{share:.2f}"] = {**best(rows), "offered_per_s": peak * share,
                                 "p99_us": [row["latency_us"]["p99"] for row in rows]}
    return {"saturation_per_s": peak, "saturation_latency_us": bench.facts["saturation_latency_us"],
            "rows": found}


def against_grpc_cpp(bench):
    """userd and libgrpc++ at the same rates: half of userd's saturation, half of libgrpc++'s own."""
    missing = {}
    found = {}
    with bench.started_peers(("grpc",), missing, names=("grpc-cpp-async",)) as started:
        for peer in started:
            own = load(bench.client_core, peer.address, bench.ca, bench.token_file,
                       users=bench.users, connections=CONNECTIONS, streams=10,
                       seconds=bench.seconds(2))
            own = phase_of(own)["per_s"]
            for name, rate in (("half of userd's", saturation(bench) / 2), ("half of its own", own / 2)):
                ours = best([summary(at_rate(bench, bench.server.address, rate))
                             for _ in range(bench.rounds)])
                theirs = best([summary(at_rate(bench, peer.address, rate, seconds=bench.seconds(2),
                                               outstanding=OUTSTANDING, tolerate=True))
                               for _ in range(1 if rate > own else bench.rounds)])
                found[name] = {"rate": rate, "userd": ours, "grpc-cpp-async": theirs,
                               "ratio": ours["latency_us"]["p99"] / theirs["latency_us"]["p99"]}
    return {"rows": found, "missing": missing}


# ---- beside other work


@contextlib.contextmanager
def beside(words):
    """Another program on the client's core while the block runs."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def other_load(bench, **options):
    words = ["taskset", "-c", str(bench.client_core), USERBENCH, "load", "--target",
             bench.server.address]
    return words + words_of({"ca": bench.ca, "token_file": bench.token_file, "users": bench.users,
                             "sleep": True, "seconds": 60, **options})


@contextlib.contextmanager
def scraping(bench):
    """/metrics once a second."""
    over = threading.Event()

    def scrape():
        while not over.wait(1):
            with contextlib.suppress(OSError, http.client.HTTPException):
                fetch(bench.server)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def snapshotting(bench):
    """One snapshot after the other."""
    over = threading.Event()

    def ask():
        while not over.is_set():
            done = len(log_lines(bench.server, SNAPSHOT_DONE))
            bench.server.process.send_signal(signal.SIGUSR1)
            while not over.wait(0.05) and len(log_lines(bench.server, SNAPSHOT_DONE)) == done:
                pass

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def kinds(bench):
    """What the load runs beside, by name: a context."""
    handshakes = ["taskset", "-c", str(bench.client_core), USERBENCH, "handshakes", "--target",
                  bench.server.address] + words_of({"ca": bench.ca, "rate": HANDSHAKES_PER_S,
                                                    "sleep": True, "seconds": 60})
    return {
        "a snapshot": lambda: snapshotting(bench),
        "a filter over all users": lambda: beside(other_load(
            bench, connections=1, streams=1, mix="ListUsers=1", filter=SCAN_FILTER)),
        f"{HANDSHAKES_PER_S:,} handshakes/s": lambda: beside(handshakes),
        "an import (SyncUsers)": lambda: beside(other_load(
            bench, connections=1, streams=1, mix="SyncUsers=1", items=1000, window=50)),
        "a scrape each second": lambda: scraping(bench),
    }


def pressure(bench):
    """GetUser at half of the saturation, alone and beside each of these, in turns."""
    rate = saturation(bench) / 2
    phase_s = bench.seconds(3)
    with Phases(bench.client_core, bench.server.address, bench.ca, bench.token_file,
                users=bench.users, connections=CONNECTIONS, rate=round(rate)) as phases:
        time.sleep(0.3)
        for name, around in kinds(bench).items():
            phases.begin("alone")
            time.sleep(phase_s / 2)
            with around():
                phases.begin(name)
                time.sleep(phase_s)
        found = phases.end()
    return {"rate": rate, "rows": {
        name: {"per_s": phase["per_s"], "excluded": phase["excluded"],
               "latency_us": phase["methods"]["GetUser"]["latency_us"]}
        for name, phase in found.items()}}


# ---- more than goes


def overload_of(bench, name, mix):
    """What is answered well of what is offered: the peak, at 70 % of it, at 2 and 10 times it. One
    shape of clients in all: at most so many calls out, and what is due beyond them is left out."""
    shape = {"mix": mix, "outstanding": OUTSTANDING, "skip": True, "tolerate": True}
    closed = load(bench.client_core, bench.server.address, bench.ca, bench.token_file,
                  users=bench.users, connections=CONNECTIONS, mix=mix, tolerate=True,
                  streams=10, seconds=bench.seconds(2))
    peak = method_of(closed, name)["statuses"].get("OK", 0) / phase_of(closed)["seconds"]
    rows = {}
    for label, factor in (("1", 1.0), ("0.7", 0.7), ("2", 2.0), ("10", 10.0)):
        before = memory_bytes(bench.server.process)
        result = at_rate(bench, bench.server.address, peak * factor, **shape)
        row = summary(result, name)
        ok = row["statuses"].get("OK", 0)
        rows[label] = {**row, "offered_per_s": peak * factor, "skipped": result["skipped"],
                       "goodput_per_s": ok / phase_of(result)["seconds"],
                       "unfinished": result["unfinished"], "memory_before": before,
                       "memory_after": memory_bytes(bench.server.process)}
        rows[label].pop("histogram")
    peak = max(peak, *(row["goodput_per_s"] for row in rows.values()))
    return {"peak_per_s": peak, "rows": rows,
            "goodput": rows["10"]["goodput_per_s"] / peak,
            "p99": rows["10"]["latency_us"]["p99"] / rows["0.7"]["latency_us"]["p99"],
            "memory": rows["10"]["memory_after"] / rows["10"]["memory_before"]}


def overload(bench):
    return {"GetUser": overload_of(bench, "GetUser", "GetUser=1"),
            "CreateUser": overload_of(bench, "CreateUser", "CreateUser=1")}
