#!/usr/bin/python3
"""What a running snapshot costs the others: `make bench-snapshot`.

    bench/snapshot.py [USERS [ROUNDS]]     (1,000,000 users, 3 rounds)

Server and client stand on cores of their own. GetUser comes at a fixed rate, whether or not the
calls before it were answered, and its latency counts from the moment it was due: a server that
stands still makes every call late that falls due meanwhile. Then the same with changes beside it,
and as a closed loop of one call at a time. Each load runs through phases with and without a
snapshot, in turns and equally long. Microseconds; the difference is what counts.
"""

import statistics
import sys
import time

from bench_rig import client, folder, machine, make_server, pin, result, snapshot, verdict

RATE = 20000
LOADS = (
    (f"GetUser, {RATE} a second", {"rate": RATE}),
    (f"GetUser, {RATE} a second; UpdateUser, 1000 a second", {"rate": RATE, "updates": 1000}),
    ("GetUser, one at a time", {"in_flight": 1}),
)
CONNECTIONS = 4
WARM_S = 2
NAMES = ("p50", "p99", "p99.9", "max")
BUSY_US = 5000  # p99 without a snapshot


def begin(load, phase):
    load.stdin.write(phase + "\n")
    load.stdin.flush()


def run(server, users, rounds, options):
    """Returns the percentiles by phase and kind, and how long snapshots took."""
    load = client(server, "channel", users=users, connections=CONNECTIONS, **options)
    time.sleep(WARM_S)
    took = 0.0
    for _ in range(rounds):
        begin(load, "snapshot")
        began = time.monotonic()
        snapshot(server)
        took = time.monotonic() - began
        begin(load, "alone")
        time.sleep(took)
    rows = {(row["phase"], row["kind"]): row for row in result(load)}
    if float(rows[("alone", "get")]["p99"]) > BUSY_US:
        sys.exit("the machine is too busy: calls are late without a snapshot too")
    return rows, took


def show(rows, kind):
    """Prints one kind of call; returns the differences."""
    alone, beside = rows[("alone", kind)], rows[("snapshot", kind)]
    print(f"| {kind:8} | {'alone':>10} | {'snapshot':>10} | {'more':>10} |")
    print(f"|{'-' * 10}|{'-' * 12}|{'-' * 12}|{'-' * 12}|")
    more = {name: float(beside[name]) - float(alone[name]) for name in NAMES}
    for name in NAMES:
        print(f"| {name:8} | {float(alone[name]):>10.0f} | {float(beside[name]):>10.0f} "
              f"| {more[name]:>10.0f} |")
    print(f"{alone['count']} and {beside['count']} calls\n", flush=True)
    return more


def show_maxima(rows):
    """The maximum of each phase; returns how much more a typical one with a snapshot is."""
    typical = {}
    for phase in ("alone", "snapshot"):
        row = rows[(phase, "get_maxima")]
        maxima = [int(text) for text in row["us"].split(",")]
        typical[phase] = statistics.median(maxima)
        print(f"{phase}: maximum of each phase {maxima}; {row['excluded']} calls left out, since "
              "userbench was held up itself")
    print(flush=True)
    return typical["snapshot"] - typical["alone"]


def main():
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(machine())
    results = []
    with folder() as path:
        server = make_server(path, users, {"wal": {"snapshot_every": "0"}})
        try:
            server.start()
            pin(server, at_once=True)
            for name, options in LOADS:
                rows, took = run(server, users, rounds, options)
                print(f"\n{name}; {rounds} snapshots of {users} users, {took:.1f} s each\n")
                more = show(rows, "get")
                results.append((name, more["p99"], show_maxima(rows)))
                if ("alone", "update") in rows:
                    show(rows, "update")
            server.stop()
        finally:
            server.remove()
    for name, p99, maximum in results:
        verdict(f"{name}: p99 more with a snapshot", p99, " us", 1000)
        verdict(f"{name}: maximum more, medians of the phases", maximum, " us", 5000)


if __name__ == "__main__":
    main()
