#!/usr/bin/python3
"""What it costs the others that somebody reads /metrics each second: `make bench-scrape`.

    bench/scrape.py [USERS [ROUNDS]]     (100,000 users, 5 rounds)

As bench/snapshot.py: GetUser at a fixed rate, whose latency counts from the moment it was due, and as
a closed loop of one call at a time; each through phases with and without a reader, in turns and
equally long. Microseconds; the difference is what counts. A reader asks once a second, like
Prometheus in a hurry and like the status page.
"""

import os
import sys
import threading
import time

from bench_rig import client, folder, machine, make_server, pin, result, verdict
from metrics_reader import fetch, scrape, value  # bench_rig knows where it is
from snapshot import BUSY_US, CONNECTIONS, NAMES, RATE, WARM_S, begin

LOADS = (
    (f"GetUser, {RATE} a second", {"rate": RATE}),
    ("GetUser, one at a time", {"in_flight": 1}),
)
PHASE_S = 6
PERIOD_S = 1


class Reader:
    """Scrapes once a second, in a thread, while it is wanted."""

    def __init__(self, server):
        self.server = server
        self.times_s = []
        self.rendered_s = []
        self.is_over = threading.Event()

    def run(self):
        # It comes after the load generator, whose delay would be taken for the server's.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        due = time.monotonic()
        while not self.is_over.wait(max(0, due - time.monotonic())):
            due += PERIOD_S
            began = time.monotonic()
            text = fetch(self.server)[1]
            self.times_s.append(time.monotonic() - began)
            line = next(line for line in text.splitlines()
                        if line.startswith("userd_metrics_render_seconds "))
            if float(line.split()[1]) > 0:  # of the scrape before
                self.rendered_s.append(float(line.split()[1]))

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


def run(server, users, rounds, options):
    """Returns the percentiles by phase, and what the readers saw."""
    load = client(server, "channel", users=users, connections=CONNECTIONS, **options)
    rendered = []
    took = []
    time.sleep(WARM_S)
    for _ in range(rounds):
        begin(load, "scraped")
        with Reader(server) as reader:
            time.sleep(PHASE_S)
        rendered += reader.rendered_s
        took += reader.times_s
        begin(load, "alone")
        time.sleep(PHASE_S)
    rows = {row["phase"]: row for row in result(load) if row["kind"] == "get"}
    if float(rows["alone"]["p99"]) > BUSY_US:
        sys.exit("the machine is too busy: calls are late without a reader too")
    return rows, rendered, took


def show(rows):
    """Prints the phases beside each other; returns how much more the p99 is."""
    print(f"| {'get':8} | {'alone':>10} | {'scraped':>10} | {'more':>10} |")
    print(f"|{'-' * 10}|{'-' * 12}|{'-' * 12}|{'-' * 12}|")
    more = {name: float(rows["scraped"][name]) - float(rows["alone"][name]) for name in NAMES}
    for name in NAMES:
        print(f"| {name:8} | {float(rows['alone'][name]):>10.0f} "
              f"| {float(rows['scraped'][name]):>10.0f} | {more[name]:>10.0f} |")
    print(f"{rows['alone']['count']} and {rows['scraped']['count']} calls\n", flush=True)
    return more["p99"]


def main():
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 100000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    print(machine())
    results = []
    rendered = []
    with folder() as path:
        server = make_server(path, users, {"wal": {"snapshot_every": "0"}})
        try:
            server.start()
            pin(server, at_once=True)
            for name, options in LOADS:
                rows, times, took = run(server, users, rounds, options)
                rendered += times
                print(f"\n{name}; a scrape each second, {len(took)} in all, answered in "
                      f"{sorted(took)[len(took) // 2] * 1000:.1f} ms typically\n")
                results.append((name, show(rows)))
            size = len(fetch(server)[1])
            assert value(scrape(server), "userd_users") == users
            server.stop()
        finally:
            server.remove()
    rendered.sort()
    print(f"{size} bytes, written in {rendered[0] * 1e6:.0f} us at best, "
          f"{rendered[len(rendered) // 2] * 1e6:.0f} us typically, {rendered[-1] * 1e6:.0f} us at most")
    verdict("writing the answer", rendered[len(rendered) // 2] * 1e6, " us", 200)
    for name, p99 in results:
        verdict(f"{name}: p99 more with a reader", p99, " us", 200)


if __name__ == "__main__":
    main()
