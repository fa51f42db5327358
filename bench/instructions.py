#!/usr/bin/python3
"""Instructions of user space for each call, by valgrind's callgrind: `make bench-instructions`.

    bench/instructions.py [--check | --record] [--only NAME] [--profile NAME]

userd itself, over loopback and TLS, is run twice for each row, with few calls and with more: what it
executed more, divided by how many calls more, is what a call costs, start and end and handshakes left
out. Unlike times this hardly depends on what else the machine does, nor on how fast it is.

--check compares with bench/instructions.txt and fails when a row is more than 3 % above it; when one is
more than 3 % below, it says so, for that should be recorded. A row that is above is measured again, for
batches depend a little on time. --record writes the table. Another compiler or another version of a
library executes other instructions: then nothing is compared, and that is said. --profile prints the
functions that a row spends its instructions in.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys

from bench_load import load
from bench_rig import ROOT, folder, make_server
from userd_harness import run_main

TABLE = ROOT / "bench/instructions.txt"
USERS = 10000
TOLERANCE = 0.03
TRIES = 3
PATIENCE_S = 120
PACKAGES = ("gcc-12", "libc6", "libnghttp2-14", "libprotobuf-c1", "valgrind")

# Name, the load, few calls and more. `calls` of a stream are its items.
ROWS = (
    ("GetUser, 1 under way", {"streams": 1}, (300, 1300)),
    ("GetUser, 10 under way", {"streams": 10}, (1000, 6000)),
    ("GetUser, 100 under way", {"streams": 100}, (2000, 12000)),
    ("GetUser, 10 under way, token literal", {"streams": 10, "literal_token": True}, (1000, 6000)),
    ("GetUser, 10 under way, no TLS", {"streams": 10, "plain": True}, (1000, 6000)),
    ("UpdateUser, 1 under way", {"streams": 1, "mix": "UpdateUser=1"}, (200, 1200)),
    ("ListUsers of 50, 1 under way", {"streams": 1, "mix": "ListUsers=1", "page_size": 50}, (100, 600)),
    ("SyncUsers, an item", {"streams": 1, "mix": "SyncUsers=1", "items": 1000, "window": 100}, (2, 12)),
)


def executed(calls, options, profile=None):
    """Instructions of a whole run of the server with so many calls."""
    options = dict(options)
    is_plain = options.pop("plain", False)
    with folder() as path:
        counts = path / "callgrind.out"
        server = make_server(path / "userd", USERS, tls=not is_plain)
        server.wrapper = ["valgrind", "--quiet", "--tool=callgrind",
                          f"--callgrind-out-file={counts}"]
        try:
            server.start()
            server.wait_for(r"\bready\b")
            load(server.client_core, server.address, None if is_plain else server.ca,
                 path / "userd" / "token", users=USERS, connections=1, call_limit=calls, **options)
            server.process.send_signal(signal.SIGTERM)
            status = server.process.wait(PATIENCE_S)
        finally:
            server.remove()
        if status != 0:
            sys.exit(f"userd ended with {status} under callgrind:\n{server.log()}")
        total = re.search(r"^(?:summary|totals): (\d+)", counts.read_text(errors="replace"), re.MULTILINE)
        if profile:
            subprocess.run(["callgrind_annotate", "--threshold=90", str(counts)], check=True)
    return int(total.group(1))


def measure(options, counts):
    few, more = (executed(count, options) for count in counts)
    return round((more - few) / (counts[1] - counts[0]) / options.get("items", 1))


def versions():
    """Of what the instructions depend on."""
    done = subprocess.run(["dpkg-query", "-W", "-f=${Package} ${Version}\n", *PACKAGES], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    flags = (ROOT / "build/release/flags").read_text().split()
    kept = [word for word in flags if re.match(r"-(O|m|f(?!stack-c)|D_FORT)", word)]
    return done.stdout.splitlines() + ["flags " + " ".join(sorted(set(kept))), f"machine {os.uname().machine}"]


def read_table():
    """(versions, row -> instructions)"""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    rows = {}
    for line in lines:
        found = re.match(r"(.+?)  +(\d+)$", line)
        if found:
            rows[found.group(1)] = int(found.group(2))
    return [line[2:] for line in lines if line.startswith("% ")], rows


def write_table(rows):
    lines = ["# Instructions of user space for each call (bench/instructions.py). Written by",
             "# `make bench-instructions-record`; `make check` fails when one grows by more than 3 %.",
             "#", *(f"% {line}" for line in versions()), ""]
    lines += [f"{name:<40} {count:>7}" for name, count in rows.items()]
    TABLE.write_text("\n".join(lines) + "\n")


def differences(old, new):
    return [f"    there {line}" for line in old if line not in new] + [
        f"    here  {line}" for line in new if line not in old]


def check(name, options, counts, known):
    """Measures a row, again while it is above what is known; returns it and what is to be said."""
    found = measure(options, counts)
    for _ in range(TRIES - 1):
        if known is None or found <= known * (1 + TOLERANCE):
            break
        found = min(found, measure(options, counts))
    if known is None:
        return found, "not in the table: make bench-instructions-record"
    if found > known * (1 + TOLERANCE):
        return found, "FAILED: dearer than the table allows"
    if found < known * (1 - TOLERANCE):
        return found, "cheaper: make bench-instructions-record"
    return found, ""


def read_arguments():
    parser = argparse.ArgumentParser(description="Counts instructions per call.")
    parser.add_argument("--check", action="store_true", help="compare with the table")
    parser.add_argument("--record", action="store_true", help="write the table")
    parser.add_argument("--only", default="", help="rows with this in their name")
    parser.add_argument("--profile", default="", help="the functions of the row with this in its name")
    return parser.parse_args()


def main():
    arguments = read_arguments()
    wanted = [row for row in ROWS if (arguments.only or arguments.profile) in row[0]]
    if arguments.profile:
        executed(wanted[0][2][1], wanted[0][1], profile=True)
        sys.exit(0)
    there, table = read_table()
    here = versions()
    is_comparable = there == here
    if not is_comparable and not arguments.record:
        print("the table was made with other versions, so nothing is compared:")
        print("\n".join(differences(there, here)))
    found, failed = {}, False
    for name, options, counts in wanted:
        known = table.get(name)
        if arguments.check and is_comparable:
            found[name], note = check(name, options, counts, known)
            failed |= note.startswith("FAILED") or known is None
        else:
            found[name], note = measure(options, counts), ""
        change = f"{found[name] / known - 1:+7.1%}" if known and is_comparable else ""
        print(f"{name:<40} {found[name]:>7} {change} {note}", flush=True)
    if arguments.record:
        write_table({**{name: count for name, count in table.items() if arguments.only}, **found})
        print(f"recorded in {pathlib.Path(TABLE).relative_to(ROOT)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    run_main(main)
