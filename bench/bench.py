#!/usr/bin/python3
"""Everything that is claimed about userd's speed, measured: `make bench`, `make bench-quick`.

    bench/bench.py [--quick] [--only SECTION,...] [--scale X] [--out FOLDER] [--list]

Servers stand on one core, the load on another; peers are measured in turns with userd. Results go to
build/bench: results.json (everything), report.md and report.html (self-contained). At the end the
table of targets is printed. The exit status is 1 when a section failed, whatever was missed.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time
import traceback

import bench_peers
from bench_rig import CORES, ROOT, folder, machine, make_server, memory_bytes, pin

import bench_cost
import bench_latency
import bench_memory
import bench_profile
import bench_report
import bench_storage
import bench_targets
from userd_harness import USERD, run_main

SOME_USERS = 100000

# Name, what runs it, whether the quick run has it, whether it needs the common server.
SECTIONS = (
    ("peers", bench_cost.peers, True, True),
    ("nghttpd", bench_cost.against_nghttpd, True, True),
    ("shapes", bench_cost.shapes, True, True),
    ("handshakes", bench_cost.handshakes, True, True),
    ("stalls", bench_latency.stalls, True, True),
    ("shares", bench_latency.shares, True, True),
    ("against_grpc_cpp", bench_latency.against_grpc_cpp, True, True),
    ("profile", bench_profile.profile, False, True),
    ("sync", bench_storage.sync, True, True),
    ("updates", bench_storage.updates, True, True),
    ("pressure", bench_latency.pressure, True, True),
    ("peers_create", bench_cost.peers_create, False, True),
    ("overload", bench_latency.overload, True, True),
    ("commit", bench_storage.commit, True, False),
    ("memory", bench_memory.memory, True, False),
    ("recovery", bench_storage.recovery, False, False),
)


class Bench:
    """What all sections share."""

    def __init__(self, quick, scale):
        self.quick = quick
        self.scale = scale
        self.rounds = 1 if quick else 3
        self.users = SOME_USERS
        self.facts = {}
        self.program = pathlib.Path(USERD)

    def seconds(self, full):
        return max(0.2, full * self.scale * (0.34 if self.quick else 1))

    @contextlib.contextmanager
    def common_server(self):
        """userd with the users that all peers have."""
        with folder() as path:
            self.path = path
            self.server = make_server(path / "userd", self.users, {"wal": {"snapshot_every": "0"}})
            self.token_file = path / "userd" / "token"
            self.token = self.token_file.read_text()
            self.ca = self.server.ca
            self.server_core, self.client_core = self.server.core, self.server.client_core
            try:
                self.server.start()
                self.server.wait_for(r"\bready\b")
                pin(self.server)
                yield
                self.server.stop()
            finally:
                self.server.remove()

    @contextlib.contextmanager
    def started_peers(self, protocols, missing, names=None):
        """The peers of these protocols that can be started, on the server's core; they idle while
        they are not asked."""
        files = self.server.certificates
        with contextlib.ExitStack() as stack:
            started = []
            for peer in bench_peers.all():
                if peer.protocol not in protocols or (names and peer.name not in names):
                    continue
                reason = peer.available()
                if reason is None:
                    try:
                        started.append(stack.enter_context(peer.start(
                            self.path / peer.name, files.cert, files.key, self.ca, self.token,
                            users=self.users, core=self.server_core, secret=files.secret)))
                    except bench_peers.PeerFailed as problem:
                        reason = str(problem)
                if reason is not None:
                    missing[peer.name] = reason
                    say(f"    {peer.name}: not measured: {reason}")
            yield started

    @staticmethod
    def memory(process):
        return memory_bytes(process)


def say(text):
    print(text, flush=True)


def run_section(bench, name, function, results, failures):
    began = time.monotonic()
    try:
        results[name] = function(bench)
        say(f"{name:18} {time.monotonic() - began:6.1f} s")
    except Exception as problem:  # pylint: disable=broad-except
        failures[name] = str(problem) or type(problem).__name__
        say(f"{name:18} {time.monotonic() - began:6.1f} s FAILED: {failures[name]}")
        (ROOT / "build/bench").mkdir(parents=True, exist_ok=True)
        with open(ROOT / "build/bench/failures.log", "a", encoding="utf-8") as log:
            traceback.print_exc(file=log)


def run_shared(bench, shared, results, failures):
    with bench.common_server():
        for name, function, _, _ in shared:
            if bench.server.is_running():
                run_section(bench, name, function, results, failures)
            else:
                failures[name] = "the server has ended:\n" + bench.server.log()[-2000:]


def run_sections(bench, wanted, results, failures):
    shared = [row for row in wanted if row[3]]
    try:
        if shared:
            run_shared(bench, shared, results, failures)
    except Exception as problem:  # pylint: disable=broad-except
        say(f"the common server: {problem}")
        for name, _, _, _ in shared:
            if name not in results:
                failures.setdefault(name, f"the common server: {problem}")
    for name, function, _, _ in (row for row in wanted if not row[3]):
        run_section(bench, name, function, results, failures)


def commit_id():
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.strip() or "unknown"


def about(bench, seconds):
    version = subprocess.run([USERD, "--version"], text=True, stdout=subprocess.PIPE, check=False)
    return {"machine": machine(), "commit": commit_id(), "quick": bench.quick, "seconds": seconds,
            "date": datetime.date.today().isoformat(), "users": bench.users, "cores": len(CORES),
            "version": version.stdout.splitlines()[:1], "scale": bench.scale}


def read_arguments():
    parser = argparse.ArgumentParser(description="Measures userd, and servers beside it.")
    parser.add_argument("--quick", action="store_true", help="about 90 s")
    parser.add_argument("--only", default="", help="sections, with commas between")
    parser.add_argument("--scale", type=float, default=1, help="of the times that loads take")
    parser.add_argument("--out", default=str(ROOT / "build/bench"), help="folder of the results")
    parser.add_argument("--list", action="store_true", help="names the sections")
    return parser.parse_args()


def chosen(arguments):
    names = [name for name in arguments.only.split(",") if name]
    unknown = set(names) - {row[0] for row in SECTIONS}
    if unknown:
        say(f"no section {', '.join(sorted(unknown))}; --list names them")
        sys.exit(os.EX_USAGE)
    if names:
        return [row for row in SECTIONS if row[0] in names]
    return [row for row in SECTIONS if row[2] or not arguments.quick]


def main():
    arguments = read_arguments()
    if arguments.list:
        say("\n".join(row[0] for row in SECTIONS))
        sys.exit(0)
    wanted = chosen(arguments)
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    bench = Bench(arguments.quick, arguments.scale)
    results, failures = {}, {}
    say(machine())
    if len(CORES) < 2:
        say("one core: server and load share it, and ratios say less")
    run_sections(bench, wanted, results, failures)
    results["about"] = about(bench, time.monotonic() - began)
    results["failures"] = failures
    results["targets"] = bench_targets.judge(results, arguments.quick or bool(arguments.only))
    new = out / "results.json.new"
    new.write_text(json.dumps(results, indent=1))
    os.replace(new, out / "results.json")
    bench_report.write(results, out)
    say("")
    rows = [row for row in results["targets"] if row["value"] is not None or not arguments.only]
    say("\n".join(bench_targets.table(rows)))
    say(f"\n{time.monotonic() - began:.0f} s; {out}/report.html, report.md, results.json")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    run_main(main)
