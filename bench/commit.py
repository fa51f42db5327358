#!/usr/bin/python3
"""What a durable change costs: `make bench-commit`.

    bench/commit.py [ROUNDS [CALLS]]     (20 blocks of 200)

First one call at a time over one TLS connection, blocks in turns: UpdateUser, GetUser (what a call
costs without the disk), and a bare 4 KiB write past the page cache with fdatasync on the same file
system (what the disk costs without userd). Then 100 calls at a time: how many changes one sync of
the log carries. Microseconds; figures of one run may be compared with each other, and with nothing
else.
"""

import sys

from bench_rig import folder, log_counts, machine, make_server, measure, pin, verdict

USERS = 1000
# On a quiet machine the median of bare writes is a quarter above the tenth percentile.
BUSY_FACTOR = 2
KINDS = {"bare_server": "bare write and fdatasync, server's core",
         "bare": "bare write and fdatasync, client's core",
         "get": "GetUser", "update": "UpdateUser"}


def show(rows):
    print(f"| {'':39} | {'count':>7} | {'p10':>8} | {'p50':>8} | {'p99':>8} | {'calls/s':>8} |")
    print(f"|{'-' * 41}|{'-' * 9}|{'-' * 10}|{'-' * 10}|{'-' * 10}|{'-' * 10}|")
    for kind, name in KINDS.items():
        if kind in rows:
            row = rows[kind]
            rate = row["per_s"] if row["per_s"] != "0" else ""
            print(f"| {name:39} | {row['count']:>7} | {row['p10']:>8} | {row['p50']:>8} "
                  f"| {row['p99']:>8} | {rate:>8} |")
    print()


def run(path, **options):
    """Returns userbench's rows, and how many records and frames the log got."""
    server = make_server(path, USERS)
    before = log_counts(server)
    try:
        server.start()
        pin(server)
        print(f"server on core {server.core}, client on core {server.client_core}\n")
        rows = measure(server, "commit", dir=path, users=USERS, server_core=server.core, **options)
        server.stop()
        return rows, [now - then for now, then in zip(log_counts(server), before)]
    finally:
        server.remove()


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    calls = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    print(machine())
    print("\none at a time, microseconds\n")
    with folder() as path:
        single, _ = run(path, rounds=rounds, calls=calls)
    show(single)
    for kind in ("bare_server", "bare"):
        if float(single[kind]["p50"]) > BUSY_FACTOR * float(single[kind]["p10"]):
            sys.exit("the machine is too busy: many bare writes take far longer than others")
    print("100 at a time, microseconds\n")
    with folder() as path:
        many, (records, frames) = run(path, rounds=rounds, calls=10 * calls, in_flight=100)
    show(many)
    near, bare, get, update = (float(single[kind]["p50"]) for kind in KINDS)
    print(f"UpdateUser takes {update - get:.0f} us more than GetUser: {(update - get) / near:.2f} "
          f"bare writes; it is {update / bare:.2f} of those from the client's core")
    verdict("p50 of UpdateUser against a bare write and sync", update / near, "", 1.5)
    verdict("changes per write and sync at 100 in flight", records / frames, "", 20,
            at_most=False)


if __name__ == "__main__":
    main()
