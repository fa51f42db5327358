#!/usr/bin/python3
"""How long a start takes with many users: `make bench-recovery`.

    bench/recovery.py [USERS [STARTS]]     (1,000,000 users, 3 starts each)

The users are written by the log itself, as userd would have written them. Then userd starts on the
log alone; takes a snapshot; makes some changes; and starts on snapshot and log. From the exec to
the line that says it listens; the CPU time of the process is that of the whole start. All reads go
past the page cache.
"""

import statistics
import sys
import time

from bench_rig import (cpu_seconds, folder, log_fields, machine, make_server, measure,
                       memory_bytes, snapshot, verdict)

CHANGES = 20000


def start(server):
    began = time.monotonic()
    server.start()
    seconds = time.monotonic() - began
    found = log_fields(server, "recovered")
    return {"seconds": seconds, "cpu": cpu_seconds(server.process),
            "memory": memory_bytes(server.process), "ms": max(int(found["ms"]), 1),
            "records": int(found["records"])}


def start_often(server, count):
    """Starts and stops it so often; returns each measurement, the last one still running."""
    starts = []
    for _ in range(count):
        if server.is_running():
            server.stop()
        starts.append(start(server))
    return starts


def median(starts, name):
    return statistics.median(one[name] for one in starts)


def show(name, starts):
    rate = median(starts, "records") / median(starts, "ms") * 1000
    print(f"| {name:16} | {starts[0]['records']:>9} | {median(starts, 'seconds'):>7.2f} "
          f"| {median(starts, 'ms') / 1000:>7.2f} | {median(starts, 'cpu'):>7.2f} "
          f"| {rate:>9,.0f} | {median(starts, 'memory') / 2**20:>9.0f} |", flush=True)
    return rate


def main():
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(machine())
    print(f"\n{users} users, median of {count} starts; seconds\n")
    print("| start on         | records   | ready   | reading | CPU     | records/s | RSS (MiB) |")
    print("|------------------|-----------|---------|---------|---------|-----------|-----------|")
    with folder() as path:
        server = make_server(path / "empty", 1)
        try:
            empty = start_often(server, count)
            server.stop()
        finally:
            server.remove()
        show("one user", empty)
        server = make_server(path / "full", users, {"wal": {"snapshot_every": "0"}})
        try:
            from_log = start_often(server, count)
            rate = show("the log alone", from_log)
            snapshot(server)
            measure(server, "commit", users=users, rounds=1, calls=CHANGES, in_flight=100)
            from_snapshot = start_often(server, count)
            show("snapshot and log", from_snapshot)
            server.stop()
        finally:
            server.remove()
    per_user = (median(from_snapshot, "memory") - median(empty, "memory")) / users
    print(f"\n{per_user:.0f} bytes of memory per user\n")
    verdict("records replayed from the log per second", rate, "", 500000, at_most=False)
    verdict("ready with snapshot and log", median(from_snapshot, "seconds"), " s", 2)


if __name__ == "__main__":
    main()
