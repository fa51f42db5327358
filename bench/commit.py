#!/usr/bin/python3
"""What a durable change costs: `make bench-commit`.

    bench/commit.py [ROUNDS [CALLS]]     (20 blocks of 200)

First one call at a time over one TLS connection, blocks in turns: a bare 4 KiB write past the page
cache with fdatasync on the same file system (what the disk costs without userd), UpdateUser, and
GetUser (what a call costs without the disk); these two at two servers, one with server.busy_poll_us
as it is by default, and one that polls. The goal is about what a client sees: its calls against the
same write made by itself, on its own core. From the server's core the write is shown too. Then 100
calls at a time: how many changes one sync of the log carries. Microseconds; figures of one run may
be compared with each other, and with nothing else.
"""

import sys

from bench_rig import folder, log_counts, machine, make_server, measure, pin, verdict

USERS = 1000
POLL_US = 50
# On a quiet machine the median of bare writes is a quarter above the tenth percentile.
BUSY_FACTOR = 2
SETTINGS = {"": "busy_poll_us = 0", "second_": f"busy_poll_us = {POLL_US}"}
KINDS = {"bare_server": "bare write and fdatasync, server's core",
         "bare": "bare write and fdatasync, client's core"}
KINDS |= {prefix + kind: f"{name}, {setting}" for kind, name in
          (("get", "GetUser"), ("update", "UpdateUser")) for prefix, setting in SETTINGS.items()}


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


def make_servers(path):
    """Two that differ in one setting, know the same tokens, and stand on the same core."""
    first = make_server(path / "first", USERS)
    known = first.certificates
    second = make_server(path / "second", USERS, {
        "server": {"busy_poll_us": str(POLL_US)},
        "tls": {"cert_file": known.cert, "key_file": known.key},
        "auth": {"jwt_secret_file": known.secret}})
    second.core = first.core
    return first, second


def run(path, **options):
    """Returns userbench's rows, and how many records and frames each log got."""
    servers = make_servers(path)
    before = [log_counts(server) for server in servers]
    try:
        for server in servers:
            server.start()
            pin(server)
        first, second = servers
        print(f"servers on core {first.core}, client on core {first.client_core}\n")
        rows = measure(first, "commit", dir=path, users=USERS, server_core=first.core,
                       second_target=second.address, **options)
        for server in servers:
            server.stop()
        return rows, [[now - then for now, then in zip(log_counts(server), counts)]
                      for server, counts in zip(servers, before)]
    finally:
        for server in servers:
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
        many, counts = run(path, rounds=rounds, calls=10 * calls, in_flight=100)
    show(many)
    median = {kind: float(row["p50"]) for kind, row in single.items()}
    for prefix, setting in SETTINGS.items():
        update = median[prefix + "update"]
        print(f"{setting}: UpdateUser takes {update - median[prefix + 'get']:.0f} us more than "
              f"GetUser, and {update / median['bare_server']:.2f} of a bare write from the "
              f"server's core")
    for prefix, setting in SETTINGS.items():
        verdict(f"p50 of UpdateUser against a bare write and sync from the client's core, "
                f"{setting}", median[prefix + "update"] / median["bare"], "", 1.5)
    for (records, frames), setting in zip(counts, SETTINGS.values()):
        verdict(f"changes per write and sync at 100 in flight, {setting}", records / frames, "",
                20, at_most=False)


if __name__ == "__main__":
    main()
