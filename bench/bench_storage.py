"""What the disk is part of: durable changes, starts, snapshots."""

import statistics
import time

from bench_cost import best_of
from bench_load import Phases, load, method_of, phase_of
from bench_rig import (cpu_seconds, folder, log_counts, log_fields, make_server, measure,
                       memory_bytes, pin, snapshot)
from metrics_reader import scrape

MANY_USERS = 1000000
SNAPSHOT_RATE = 20000
SNAPSHOT_CONNECTIONS = 4
CHANGES = 20000
BUSY_FACTOR = 2  # on a quiet machine the median of bare writes is a quarter above the tenth percentile


def sync(bench):
    """SyncUsers, all of them changes of users there are: durable items a second."""
    rows = []
    for _ in range(bench.rounds):
        before = cpu_seconds(bench.server.process)
        result = load(bench.client_core, bench.server.address, bench.ca, bench.token_file,
                      users=bench.users, connections=2, streams=2, mix="SyncUsers=1", items=1000,
                      window=400, seconds=bench.seconds(3))
        method = method_of(result, "SyncUsers")
        rows.append({"per_s": phase_of(result)["per_s"], "count": method["count"],
                     "us": (cpu_seconds(bench.server.process) - before) / method["count"] * 1e6,
                     "latency_us": method["latency_us"]})
    samples = scrape(bench.server)
    return {**best_of(rows), "group_commit": histogram(samples, "userd_wal_sync_records"),
            "all_per_s": [row["per_s"] for row in rows]}


def histogram(samples, name):
    """Counts by upper bound, of a histogram of /metrics."""
    rows = sorted((float(dict(labels)["le"]), count) for (sample, labels), count in samples.items()
                  if sample == name + "_bucket")
    counts = []
    before = 0
    for upper, count in rows:
        counts.append([upper, count - before])
        before = count
    return [[str(upper), count] for upper, count in counts if count > 0]


def updates(bench):
    """UpdateUser one at a time and many at a time."""
    found = {}
    for connections, streams in ((1, 1), (10, 10)):
        result = load(bench.client_core, bench.server.address, bench.ca, bench.token_file,
                      users=bench.users, connections=connections, streams=streams,
                      mix="UpdateUser=1", seconds=bench.seconds(2))
        found[f"{connections}x{streams}"] = {
            "per_s": phase_of(result)["per_s"],
            "latency_us": method_of(result, "UpdateUser")["latency_us"]}
    return found


def commit_run(bench, **options):
    """`userbench commit` on a server of its own: its rows, and records and frames that the log got."""
    with folder() as path:
        server = make_server(path / "one", 1000)
        try:
            before = log_counts(server)
            server.start()
            pin(server)
            rows = measure(server, "commit", dir=path, users=1000, server_core=server.core, **options)
            server.stop()
            counts = [now - then for now, then in zip(log_counts(server), before)]
        finally:
            server.remove()
    return {kind: {key: float(value) for key, value in row.items() if key != "kind"}
            for kind, row in rows.items()}, counts


def commit(bench):
    """One UpdateUser at a time against a bare 4 KiB O_DIRECT write and fdatasync by the client, in
    turns; then 100 at a time: how many changes one sync carries."""
    rounds, calls = (6, 100) if bench.quick else (20, 200)
    one, _ = commit_run(bench, rounds=rounds, calls=calls)
    many, (records, frames) = commit_run(bench, rounds=rounds, calls=5 * calls, in_flight=100)
    return {"one": one, "many": many, "ratio": one["update"]["p50"] / one["bare"]["p50"],
            "changes_per_sync": records / frames,
            "is_busy": one["bare"]["p50"] > BUSY_FACTOR * one["bare"]["p10"]}


def start(server):
    began = time.monotonic()
    server.start()
    seconds = time.monotonic() - began
    found = log_fields(server, "recovered")
    return {"seconds": seconds, "cpu_s": cpu_seconds(server.process),
            "memory_bytes": memory_bytes(server.process), "records": int(found["records"]),
            "per_s": int(found["records"]) / max(int(found["ms"]), 1) * 1000}


def starts(server, count):
    """Starts it so often, and leaves it running: the medians."""
    found = []
    for _ in range(count):
        if server.is_running():
            server.stop()
        found.append(start(server))
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def recovery(bench):
    """Starts with a million users: on the log alone, then on a snapshot and what came after it. Then,
    on the same server, what a snapshot costs others."""
    with folder() as path:
        server = make_server(path / "full", MANY_USERS, {"wal": {"snapshot_every": "0"}})
        try:
            from_log = starts(server, bench.rounds)
            snapshot(server)
            measure(server, "commit", users=1000, rounds=1, calls=CHANGES, in_flight=100)
            from_snapshot = starts(server, bench.rounds)
            pin(server)
            beside = snapshots(bench, server, path)
            server.stop()
        finally:
            server.remove()
    return {"users": MANY_USERS, "log": from_log, "snapshot": from_snapshot, "beside": beside}


def snapshots(bench, server, path):
    """GetUser at a fixed rate, with a snapshot and without, in turns of equal length."""
    took = []
    with Phases(server.client_core, server.address, server.ca, path / "full" / "token",
                users=MANY_USERS, connections=SNAPSHOT_CONNECTIONS, rate=SNAPSHOT_RATE) as phases:
        time.sleep(1)
        for _ in range(bench.rounds):
            phases.begin("snapshot")
            began = time.monotonic()
            snapshot(server)
            took.append(time.monotonic() - began)
            phases.begin("alone")
            time.sleep(took[-1])
        found = phases.end()
    rows = {name: {"latency_us": phase["methods"]["GetUser"]["latency_us"],
                   "maxima_us": phase["methods"]["GetUser"]["maxima_us"],
                   "excluded": phase["excluded"]} for name, phase in found.items()}
    return {"rate": SNAPSHOT_RATE, "seconds": statistics.median(took), "rows": rows,
            "p99_more_us": rows["snapshot"]["latency_us"]["p99"] - rows["alone"]["latency_us"]["p99"],
            "max_more_us": statistics.median(rows["snapshot"]["maxima_us"]) -
            statistics.median(rows["alone"]["maxima_us"])}
