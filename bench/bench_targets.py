"""The targets, and how a run's results stand to them. Pure."""

NOT_IN_QUICK = "not measured in the quick run"


def get(results, *keys):
    """A value deep inside; None when something on the way is not there."""
    for key in keys:
        if not isinstance(results, dict) or key not in results:
            return None
        results = results[key]
    return results


def ratio(results, left, right):
    a, b = get(results, *left), get(results, *right)
    return None if a is None or not b else a / b


def largest(*values):
    return None if None in values else max(values)


def _median(name):
    return ("peers", "median", name, "us")


def _overload(name, key):
    return lambda results: get(results, "overload", name, key)


def _snapshot(key):
    return lambda results: get(results, "recovery", "beside", key)


# What, unit, goal, whether less is better, how it is found in the results.
TARGETS = (
    ("CPU per GetUser, 10 x 10, TLS and token, random ids", "µs", 2.5, True,
     lambda r: get(r, *_median("userd"))),
    ("... of libgrpc++'s, async", "", 0.1, True,
     lambda r: ratio(r, _median("userd"), _median("grpc-cpp-async"))),
    ("... of grpc-js's", "", 1 / 30, True, lambda r: ratio(r, _median("userd"), _median("grpc-js"))),
    ("... with h2load as driver, of nghttpd's for a static POST", "", 0.75, True,
     lambda r: ratio(r, ("nghttpd", "median", "userd"), ("nghttpd", "median", "nghttpd"))),
    ("throughput at 10 x 100 on one core", "/s", 700000, False,
     lambda r: get(r, "shapes", "rows", "10x100", "per_s")),
    ("CPU per call, one request per packet (100 x 1)", "µs", 9, True,
     lambda r: get(r, "shapes", "rows", "100x1", "us")),
    ("p99 at 50 % of saturation, open loop", "µs", 300, True,
     lambda r: get(r, "shares", "rows", "0.50", "latency_us", "p99")),
    ("... of libgrpc++'s at the same rate", "", 0.2, True,
     lambda r: get(r, "against_grpc_cpp", "rows", "half of userd's", "ratio")),
    ("... of libgrpc++'s, at half of what that can", "", 0.2, True,
     lambda r: get(r, "against_grpc_cpp", "rows", "half of its own", "ratio")),
    ("full TLS handshake, CPU", "µs", 200, True, lambda r: get(r, "handshakes", "us")),
    ("idle TLS connection", "KiB", 22, True,
     lambda r: ratio({"a": get(r, "memory", "connections", "idle"), "b": 1024}, ("a",), ("b",))),
    ("a stored user of 184 bytes, 100,000 of them", "B", 400, True,
     lambda r: get(r, "memory", "user", "100000")),
    ("... 1,000,000 of them", "B", 400, True, lambda r: get(r, "memory", "user", "1000000")),
    ("durable SyncUsers", "/s", 100000, False, lambda r: get(r, "sync", "per_s")),
    ("p50 of a durable UpdateUser, of a bare write and fdatasync", "", 1.5, True,
     lambda r: get(r, "commit", "ratio")),
    ("changes per sync at 100 in flight", "", 20, False, lambda r: get(r, "commit", "changes_per_sync")),
    ("overload of 10 x, GetUser: goodput, of the peak", "", 0.9, False, _overload("GetUser", "goodput")),
    ("... p99 of what is admitted, of that at 70 %", "", 3, True, _overload("GetUser", "p99")),
    ("... memory after it, of that before", "", 1.5, True, _overload("GetUser", "memory")),
    ("overload of 10 x, CreateUser: goodput, of the peak", "", 0.9, False,
     _overload("CreateUser", "goodput")),
    ("... p99 of what is admitted, of that at 70 %", "", 3, True, _overload("CreateUser", "p99")),
    ("... memory after it, of that before", "", 1.5, True, _overload("CreateUser", "memory")),
    ("start with 1,000,000 users, snapshot and log", "s", 2, True,
     lambda r: get(r, "recovery", "snapshot", "seconds")),
    ("... records replayed from the log", "/s", 500000, False,
     lambda r: get(r, "recovery", "log", "per_s")),
    ("a snapshot of 1,000,000 users: p99 of GetUser at 20,000/s, more", "µs", 1000, True,
     _snapshot("p99_more_us")),
    ("... its maximum, more", "µs", 5000, True, _snapshot("max_more_us")),
)


def judge(results, quick=False, failures=()):
    """One row for each target: name, unit, goal, whether less is better, value or None, verdict."""
    rows = []
    for name, unit, goal, at_most, find in TARGETS:
        value = find(results)
        if value is None:
            verdict = "failed" if failures else NOT_IN_QUICK if quick else "not measured"
        else:
            verdict = "PASS" if (value <= goal if at_most else value >= goal) else "MISS"
        rows.append({"name": name, "unit": unit, "goal": goal, "at_most": at_most, "value": value,
                     "verdict": verdict})
    return rows


def number(value):
    """In as many digits as say something."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def table(rows):
    """Lines of Markdown."""
    lines = ["| what | target | measured | verdict |", "|---|---|---|---|"]
    for row in rows:
        sign = "≤" if row["at_most"] else "≥"
        unit = f" {row['unit']}" if row["unit"] and row["unit"] != "/s" else row["unit"]
        measured = f"{number(row['value'])}{unit}" if row["value"] is not None else "-"
        lines.append(f"| {row['name']} | {sign} {number(row['goal'])}{unit} | {measured} "
                     f"| {row['verdict']} |")
    return lines
