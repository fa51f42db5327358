#!/usr/bin/python3
"""What a call costs the client library, against what it costs the server: `make bench-client`.

    bench/client.py [SECONDS]     (5 seconds a row)

GetUser over TLS with a token, so many at once over so many connections, userd on one core and
userbench on another. userbench waits in the kernel for answers, as a program does that has nothing
else to do, and puts its requests together by hand: what is left is the library's. The times are what
the kernel charged to either process, divided by the calls.
"""

import sys
import time

from bench_rig import client, cpu_seconds, folder, machine, make_server, pin, result, verdict

USERS = 1000
ROWS = ((1, 1), (10, 100), (10, 1000))  # connections, calls under way on all of them
GOAL = 1.5
GOAL_ROW = (10, 100)
WARM_S = 1


def measure(server, seconds, connections, calls):
    """Returns calls per second and the CPU time per call of server and client."""
    load = client(server, "channel", users=USERS, connections=connections,
                  in_flight=calls, sleep=True)
    time.sleep(WARM_S)
    before = time.monotonic(), cpu_seconds(server.process), cpu_seconds(load)
    load.stdin.write("counted\n")
    load.stdin.flush()
    time.sleep(seconds)
    after = time.monotonic(), cpu_seconds(server.process), cpu_seconds(load)
    rows = result(load)
    count = sum(int(row.get("count", 0)) + int(row.get("excluded", 0)) for row in rows)
    wall, served, asked = (now - then for now, then in zip(after, before))
    return count / wall, served / count, asked / count


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(machine())
    ratios = {}
    with folder() as path:
        server = make_server(path, USERS, tls=True)
        try:
            server.start()
            pin(server)
            print("\n| conns x m | calls/s | server us | client us | ratio |")
            print("|-----------|---------|-----------|-----------|-------|")
            for connections, calls in ROWS:
                rate, served, asked = measure(server, seconds, connections, calls)
                ratios[connections, calls] = asked / served
                print(f"| {connections:3} x {calls // connections:<3} | {rate:7.0f} "
                      f"| {served * 1e6:9.2f} | {asked * 1e6:9.2f} | {asked / served:5.2f} |",
                      flush=True)
            server.stop()
        finally:
            server.remove()
    print()
    verdict("CPU of the client per call, of the server's at 10 x 10", ratios[GOAL_ROW], "", GOAL)


if __name__ == "__main__":
    main()
