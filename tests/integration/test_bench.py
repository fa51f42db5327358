#!/usr/bin/python3
"""The benchmarks themselves: that they run, tell everything, judge rightly and leave nothing behind.
How fast anything is is no test."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import bench_report  # noqa: E402
import bench_svg  # noqa: E402
import bench_targets  # noqa: E402
from userd_harness import SLOW, finish, run_main, run_one  # noqa: E402

BENCH = ROOT / "bench/bench.py"
PATIENCE_S = 240 * SLOW


class FOLDERS:
    """Removed at the end."""

    made = []

    @classmethod
    def new(cls):
        cls.made.append(tempfile.mkdtemp(prefix="userd-bench-"))
        return cls.made[-1]


def bench(*words, status=0):
    """Runs it with tiny times; returns the folder's results and what it printed."""
    out = FOLDERS.new()
    done = subprocess.run([sys.executable, str(BENCH), "--quick", "--scale", "0.1", "--out", out, *words],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=PATIENCE_S, check=False)
    assert done.returncode == status, done.stdout
    return pathlib.Path(out), done.stdout


def members(session):
    """Processes of a session, but for those that have ended."""
    found = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(session)], text=True,
                           stdout=subprocess.PIPE, check=False)
    return [line.split()[0] for line in found.stdout.splitlines() if not line.split()[1].startswith("Z")]


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def test_sections_run_and_tell():
    folder, text = bench("--only", "handshakes,updates,commit")
    results = results_of(folder)
    assert results["failures"] == {}, results["failures"]
    assert results["handshakes"]["us"] > 0
    assert results["updates"]["1x1"]["latency_us"]["max"] > 0
    assert results["commit"]["one"]["bare"]["p50"] > 0
    assert results["about"]["machine"] and results["about"]["commit"], results["about"]
    assert "full TLS handshake" in text and re.search(r"\| (PASS|MISS) \|", text), text


def test_report_is_one_file():
    folder, _ = bench("--only", "handshakes")
    page = (folder / "report.html").read_text()
    assert not re.search(r"(src|href)\s*=|@import|url\(", page)
    assert page.count("<table>") == page.count("</table>") > 0
    assert "full TLS handshake" in (folder / "report.md").read_text()


def test_unknown_section_is_named():
    _, text = bench("--only", "nothing", status=os.EX_USAGE)
    assert "no section nothing" in text, text


def test_failed_section_leaves_the_others():
    """Without a generator sections fail, each with its reason, and the report is there."""
    os.environ["USERBENCH"], before = "/bin/false", os.environ.get("USERBENCH")
    try:
        folder, text = bench("--only", "commit,handshakes", status=1)
    finally:
        os.environ.pop("USERBENCH")
        if before is not None:
            os.environ["USERBENCH"] = before
    assert re.search(r"^commit .*FAILED", text, re.MULTILINE), text
    assert "the common server:" in text, text
    assert set(results_of(folder)["failures"]) == {"commit", "handshakes"}
    assert "handshakes failed" in (folder / "report.md").read_text()


def test_sigterm_leaves_nothing():
    process = subprocess.Popen([sys.executable, str(BENCH), "--quick", "--only", "shares", "--out",
                                FOLDERS.new()], start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = time.monotonic() + PATIENCE_S
    count = 0
    while count < 2 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
        count = len(members(process.pid))
    assert count >= 2, "it started nothing"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    while members(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not members(process.pid)


def test_verdicts():
    rows = {row["name"]: row for row in bench_targets.judge(
        {"handshakes": {"us": 199.9}, "sync": {"per_s": 99999}, "commit": {"ratio": 1.5}})}
    assert rows["full TLS handshake, CPU"]["verdict"] == "PASS"
    assert rows["durable SyncUsers"]["verdict"] == "MISS"
    assert rows["p50 of a durable UpdateUser, of a bare write and fdatasync"]["verdict"] == "PASS"
    assert rows["idle TLS connection"]["verdict"] == "not measured"
    quick = bench_targets.judge({}, quick=True)
    assert {row["verdict"] for row in quick} == {bench_targets.NOT_IN_QUICK}
    assert {row["verdict"] for row in bench_targets.judge({}, failures={"x": "y"})} == {"failed"}


def test_ratio_of_nothing_is_nothing():
    assert bench_targets.ratio({"a": 1, "b": 0}, ("a",), ("b",)) is None
    assert bench_targets.ratio({"a": 1}, ("a",), ("b",)) is None
    assert bench_targets.ratio({"a": 1, "b": 4}, ("a",), ("b",)) == 0.25


def test_numbers_in_digits_that_say_something():
    assert [bench_targets.number(value) for value in (1234567, 123.4, 12.34, 1.234, 0.0123, None)] == [
        "1,234,567", "123", "12.3", "1.23", "0.012", ""]


def test_plots_of_little():
    assert bench_svg.bars("none", [], "µs") == ""
    assert bench_svg.lines("none", {"a": [(0, 1)]}, ("x", "y")) == ""
    assert "&lt;b&gt;" in bench_svg.bars("one", [("<b>", 1), ("c", 1000)], "µs")
    assert "polyline" in bench_svg.lines("two", {"a": [(1, 1), (2, 5)]}, ("x", "y"), log_y=True)


def test_record_replaces_what_stands_between_the_marks():
    document = pathlib.Path(FOLDERS.new()) / "PERFORMANCE.md"
    document.write_text("before\n" + bench_report.MARKS[0] + "\nold\n" + bench_report.MARKS[1] + "\nafter\n")
    bench_report.DOCUMENT, kept = document, bench_report.DOCUMENT
    try:
        results = {"about": {"machine": "machine: one", "commit": "c0ffee", "quick": False, "seconds": 1,
                             "date": "2020-01-01", "version": []}, "failures": {},
                   "targets": bench_targets.judge({"handshakes": {"us": 1}})}
        bench_report.record(results)
        first = document.read_text()
        bench_report.record(results)
    finally:
        bench_report.DOCUMENT = kept
    assert first == document.read_text()
    assert "old" not in first and first.startswith("before\n") and first.endswith("\nafter\n"), first
    assert "c0ffee" in first and "| PASS |" in first, first


def test_record_is_run_by_its_path():
    """As `make bench-record` does."""
    done = subprocess.run([ROOT / "bench/bench_report.py"], text=True, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and "make bench-record" in done.stderr, done


def main():
    for name, function in list(globals().items()):
        if name.startswith("test_"):
            run_one(name, function)
    for folder in FOLDERS.made:
        shutil.rmtree(folder, ignore_errors=True)
    finish()


if __name__ == "__main__":
    run_main(main)
