#!/usr/bin/python3
"""report.md and report.html of a run, from its results; and the Result part of docs/PERFORMANCE.md.

    bench/bench_report.py --record     (`make bench-record`)

--record writes the tables of build/bench/results.json into docs/PERFORMANCE.md, between its marks.
"""

import html
import json
import math
import pathlib
import re
import sys

import bench_svg
from bench_targets import get, number, table

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/PERFORMANCE.md"
MARKS = ("<!-- bench: result -->", "<!-- bench: end -->")
KIB = 1024
MIB = 1024 * KIB
PERCENTILES = ("p50", "p99", "p99.9", "max")


def rows_of(head, rows):
    """A table of Markdown, or nothing."""
    rows = list(rows)
    if not rows:
        return []
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + [
        "| " + " | ".join(str(cell) for cell in row) + " |" for row in rows] + [""]


def section(title, text, *tables):
    lines = [line for one in tables for line in one]
    return [f"### {title}", "", *([text, ""] if text else []), *lines] if lines else []


def cost_sections(results):
    median = get(results, "peers", "median") or {}
    ours = get(median, "userd", "us")
    memory = get(results, "peers", "memory_bytes") or {}
    missing = {**(get(results, "peers", "missing") or {}), **(get(results, "nghttpd", "missing") or {})}
    lines = section(
        "GetUser at 10 x 10: userd and others",
        "10 connections, 10 calls under way on each, TLS 1.3, a token that is verified, random ids of "
        "100,000 users; one core for each server. Medians of rounds in turns. REST: 100 connections of "
        "HTTP/1.1, driven by h2load.",
        rows_of(("server", "CPU µs per call", "of userd's", "calls/s", "memory, MiB"), (
            (name, number(row["us"]), f"{row['us'] / ours:.1f} x", number(row["per_s"]),
             number(memory.get(name, 0) / MIB)) for name, row in median.items())))
    nghttpd = get(results, "nghttpd", "median") or {}
    lines += section(
        "The same with h2load, which sends the token as a literal", "",
        rows_of(("server", "CPU µs per request"), ((name, number(us)) for name, us in nghttpd.items())))
    lines += [f"Not measured: {name}: {reason.splitlines()[0]}" for name, reason in missing.items()]
    shapes = get(results, "shapes", "rows") or {}
    lines += [""] * bool(missing) + section(
        "userd in other shapes", "Connections x calls under way on each.",
        rows_of(("load", "CPU µs per call", "calls/s", "calls per receive of the client"), (
            (name, number(row["us"]), number(row["per_s"]), number(row["calls_per_receive"]))
            for name, row in shapes.items())))
    create = get(results, "peers_create", "rows") or {}
    lines += section(
        "CreateUser", "userd hashes the password (cheaply here) and answers when the user is on disk; "
        "the others keep it in memory and hash nothing.",
        rows_of(("server", "CPU µs per call", "calls/s"),
                ((name, number(row["us"]), number(row["per_s"])) for name, row in create.items())))
    handshakes = results.get("handshakes")
    if handshakes:
        lines += [f"A full TLS handshake: {number(handshakes['us'])} µs of the server's CPU.", ""]
    return lines


def latency_sections(results):
    def cells(row):
        return [number(row["latency_us"][name]) for name in PERCENTILES]

    shares = get(results, "shares", "rows") or {}
    stalls = results.get("stalls") or {}
    lines = section(
        "What the machine takes",
        "A loop that only looks at the clock, with nothing else running: how often it stood still for "
        "more than 200 µs. No server answers while its core stands still, so the percentiles below "
        "cannot be better than that.",
        rows_of(("core", "times a second", "share of the time", "longest, µs"), (
            (core, number(row["per_s"]), f"{row['share']:.2%}", number(row["longest_us"]))
            for core, row in stalls.items())))
    lines += section(
        "Latency against offered rate",
        "GetUser at a fixed rate over 10 connections; latency in µs, from when a call was due. Of "
        "several runs the one with the least p99, since what else happens on the machine only adds.",
        rows_of(("share of saturation", "calls/s", *PERCENTILES), (
            (f"{float(share):.0%}", number(row["offered_per_s"]), *cells(row))
            for share, row in shares.items())))
    rivals = get(results, "against_grpc_cpp", "rows") or {}
    lines += section(
        "userd and libgrpc++ at the same rates", "",
        rows_of(("rate", "calls/s", "server", *PERCENTILES), (
            (name, number(row["rate"]), server, *cells(row[server]))
            for name, row in rivals.items() for server in ("userd", "grpc-cpp-async"))))
    pressure = results.get("pressure") or {}
    lines += section(
        "GetUser beside other work",
        f"At {number(pressure.get('rate'))} calls/s, half of the saturation, µs.",
        rows_of(("beside", *PERCENTILES), (
            (name, *cells(row)) for name, row in (pressure.get("rows") or {}).items())))
    overload = results.get("overload") or {}
    lines += section(
        "More than goes",
        "At most 1,000 calls out; what is due beyond them is left out. Goodput is what was answered OK.",
        rows_of(("method", "offered, of the peak", "offered/s", "goodput/s", "p50", "p99", "memory, MiB"), (
            (name, factor, number(row["offered_per_s"]), number(row["goodput_per_s"]),
             number(row["latency_us"]["p50"]), number(row["latency_us"]["p99"]),
             number(row["memory_after"] / MIB))
            for name, one in overload.items() for factor, row in one["rows"].items())))
    return lines


def storage_sections(results):
    lines = []
    commit = results.get("commit")
    if commit:
        lines += section(
            "Durable changes against the bare disk",
            "One at a time over TLS, in turns with a bare 4 KiB O_DIRECT write and fdatasync; µs. Then "
            f"100 at a time: {number(commit['changes_per_sync'])} changes per sync.",
            rows_of(("what", "p10", "p50", "p99"), (
                (name, *(number(commit["one"][kind][key]) for key in ("p10", "p50", "p99")))
                for kind, name in (("bare", "bare write and fdatasync"), ("get", "GetUser"),
                                   ("update", "UpdateUser")))))
    updates = results.get("updates") or {}
    lines += section("UpdateUser", "µs.", rows_of(("load", "calls/s", "p50", "p99"), (
        (name, number(row["per_s"]), number(row["latency_us"]["p50"]), number(row["latency_us"]["p99"]))
        for name, row in updates.items())))
    sync = results.get("sync")
    if sync:
        total = sum(count for _, count in sync["group_commit"]) or 1
        lines += section(
            "SyncUsers",
            f"{number(sync['per_s'])} users a second, {number(sync['us'])} µs of CPU each, all of them "
            "durable before they are echoed. How many changes one sync of the log carried:",
            rows_of(("at most", "share of the syncs"), (
                (upper, f"{count / total:.1%}") for upper, count in sync["group_commit"])))
    recovery = results.get("recovery")
    if recovery:
        lines += section(
            f"Starts with {number(recovery['users'])} users", "",
            rows_of(("from", "records", "ready, s", "CPU, s", "records/s"), (
                (name, number(row["records"]), number(row["seconds"]), number(row["cpu_s"]),
                 number(row["per_s"]))
                for name, row in (("the log alone", recovery["log"]),
                                  ("snapshot and log", recovery["snapshot"])))))
        beside = recovery["beside"]
        lines += section(
            f"A snapshot of {number(recovery['users'])} users beside GetUser at 20,000/s",
            f"Each took {number(beside['seconds'])} s; µs.",
            rows_of(("", *PERCENTILES, "maximum of each phase"), (
                (name, *(number(row["latency_us"][key]) for key in PERCENTILES),
                 ", ".join(number(value) for value in row["maxima_us"]))
                for name, row in beside["rows"].items())))
    return lines


def memory_section(results):
    memory = results.get("memory")
    if not memory:
        return []
    rows = [("idle TLS connection", f"{number(memory['connections']['idle'] / KIB)} KiB"),
            ("the same after a call", f"{number(memory['connections']['used'] / KIB)} KiB"),
            ("idle connection without TLS", f"{number(memory['plain_connections']['idle'] / KIB)} KiB"),
            ("watcher, its share of a connection with 100 included", f"{number(memory['watcher'] / KIB)} KiB")]
    if "stream" in memory:
        rows.append(("open stream", f"{number(memory['stream'] / KIB)} KiB"))
    for name, kind in (("user of 184 bytes", "user"),
                       ("user with a password's hash and a request_id", "user_with_password")):
        rows += [(f"{name}, {int(count):,} of them", f"{number(size)} bytes")
                 for count, size in memory[kind].items()]
    return section("Memory", "Growth of what the process has resident.", rows_of(("of each", "memory"), rows))


def profile_section(results):
    profile = results.get("profile") or {}
    if "missing" in profile:
        return ["### Where the time goes", "", f"Not measured: {profile['missing']}", ""]
    rows = profile.get("rows") or {}
    parts = list(dict.fromkeys(part for one in rows.values() for part in one["parts"]))
    return section(
        "Where the time goes", "Samples of the server's CPU while GetUser saturates it.",
        rows_of(("part", *rows), ((part, *(f"{one['parts'].get(part, 0):.0f} %" for one in rows.values()))
                                  for part in parts
                                  if max(one["parts"].get(part, 0) for one in rows.values()) >= 0.5)))


def tables(results):
    return (cost_sections(results) + profile_section(results) + latency_sections(results)
            + storage_sections(results) + memory_section(results))


def headline(results):
    about = results["about"]
    return (f"{about['date']}, commit {about['commit']}, {about['machine'].removeprefix('machine: ')}; "
            f"{number(about['seconds'])} s{', quick' if about['quick'] else ''}. "
            f"{' '.join(about['version'])}").strip()


def failures(results):
    return [f"**{name} failed:** {reason.splitlines()[0]}" for name, reason in results["failures"].items()]


def markdown(results):
    return "\n".join(["# userd: a run of the benchmarks", "", headline(results), "", *failures(results),
                      *table(results["targets"]), "", *tables(results)]) + "\n"


# ---- the page


def curve(row):
    """A histogram as points of (nines, µs)."""
    points, seen = [], 0
    total = sum(count for _, count in row["histogram"])
    for upper, count in row["histogram"]:
        seen += count
        share = seen / total
        nines = 5 if share >= 1 else min(5, -math.log10(1 - share))
        points.append((nines, max(upper, 1)))
    return points


def plots(results):
    median = get(results, "peers", "median") or {}
    memory = get(results, "peers", "memory_bytes") or {}
    shares = get(results, "shares", "rows") or {}
    rivals = get(results, "against_grpc_cpp", "rows") or {}
    yield "CPU per GetUser, 10 x 10", bench_svg.bars(
        "CPU per call", [(name, row["us"]) for name, row in median.items()], "µs")
    yield "Throughput of one core, 10 x 10", bench_svg.bars(
        "Throughput", [(name, row["per_s"]) for name, row in median.items()], "/s")
    yield "userd in other shapes: calls/s", bench_svg.bars(
        "Shapes", [(name, row["per_s"]) for name, row in (get(results, "shapes", "rows") or {}).items()], "/s")
    yield "Latency against offered rate", bench_svg.lines(
        "Latency against rate",
        {name: [(row["offered_per_s"], row["latency_us"][name]) for row in shares.values()]
         for name in ("p50", "p99", "p99.9")}, ("calls/s", "µs"), log_y=True)
    series = {f"userd at {float(share):.0%}": curve(row) for share, row in shares.items()
              if share in ("0.10", "0.50", "0.80")}
    series |= {f"{server}, {name}": curve(row[server]) for name, row in rivals.items()
               for server in ("userd", "grpc-cpp-async") if name.startswith("half of its")}
    yield "Latency by percentile", bench_svg.lines(
        "Percentiles", series, ("percentile", "µs"), log_y=True,
        x_names=[(0.301, "50 %"), (1, "90 %"), (2, "99 %"), (3, "99.9 %"), (4, "99.99 %"), (5, "max")])
    yield "Memory with 100,000 users, after the load", bench_svg.bars(
        "Memory", [(name, size / MIB) for name, size in memory.items()], "MiB")


STYLE = """body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{border:1px solid #ccc;padding:.2rem .6rem;
text-align:left}th{background:#f3f3f3}td+td{text-align:right}svg{width:100%;max-width:46rem}
.PASS{color:#197d3b}.MISS{color:#c4320a}"""


def page_of(lines):
    """HTML of the little Markdown that this file writes."""
    out, in_table = [], False
    for line in lines:
        if line.startswith("|"):
            cells = [html.escape(cell.strip()) for cell in line.strip("|").split("|")]
            if set(line) <= set("|-"):
                continue
            kind = "td" if in_table else "th"
            if not in_table:
                out.append("<table>")
            in_table = True
            out.append("<tr>" + "".join(f"<{kind}{cell_class(cell)}>{cell}</{kind}>" for cell in cells)
                       + "</tr>")
            continue
        if in_table:
            out.append("</table>")
            in_table = False
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            out.append(f"<h{level}>{html.escape(line.lstrip('# '))}</h{level}>")
        elif line:
            out.append("<p>" + re.sub(r"\*\*(.*?)\*\*", r"<b>\1</b>", html.escape(line)) + "</p>")
    return "\n".join(out + ["</table>"] * in_table)


def cell_class(cell):
    return f' class="{cell}"' if cell in ("PASS", "MISS") else ""


def page(results):
    figures = "".join(f"<h3>{html.escape(title)}</h3>{svg}" for title, svg in plots(results) if svg)
    lines = markdown(results).splitlines()
    split = next((index for index, line in enumerate(lines) if line.startswith("### ")), len(lines))
    return ("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>userd: benchmarks</title>"
            f"<style>{STYLE}</style>{page_of(lines[:split])}{figures}{page_of(lines[split:])}</html>\n")


def write(results, folder):
    (folder / "report.md").write_text(markdown(results))
    (folder / "report.html").write_text(page(results))


def record(results):
    """The Result part of the document, anew."""
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(MARKS[0])
    _, mark, after = rest.partition(MARKS[1])
    if not mark:
        sys.exit(f"{DOCUMENT} has no marks {' and '.join(MARKS)}")
    lines = ["", headline(results), "", *failures(results), *table(results["targets"]), "",
             *tables(results)]
    DOCUMENT.write_text(before + MARKS[0] + "\n".join(lines) + MARKS[1] + after)


def main():
    if sys.argv[1:] != ["--record"]:
        sys.exit(__doc__)
    path = ROOT / "build/bench/results.json"
    if not path.exists():
        sys.exit(f"{path} is not there: make bench")
    record(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
