"""What the measurements in Python share: data on the real disk, a server on one core, userbench.

Environment: USERBENCH and USERWAL beside what userd_harness.py asks for; without them the plain
build is used.
Everything goes to build/bench, since /tmp may be memory, and is removed afterwards.
"""

import contextlib
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

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/integration/lib"))

from userd_harness import Server  # noqa: E402

USERWAL = os.environ.get("USERWAL", str(ROOT / "build/userwal"))
USERBENCH = os.environ.get("USERBENCH", str(ROOT / "build/userbench"))
CORES = sorted(os.sched_getaffinity(0))
SNAPSHOT_DONE = "snapshot_done"

# The log as in production; the calls of one load generator must not meet limits made for many.
SETTINGS = {
    "wal": {"segment_size": "64MiB", "max_pending_bytes": "16MiB"},
    "limits": {"max_connections_per_ip": "10000", "max_handshakes_per_ip": "10000",
               "handshake_rate": "0"},
    "overload": {"target_ms": "0"},
    "http2": {"max_concurrent_streams": "1000", "control_burst": "100000",
              "control_rate": "100000"},
}


@contextlib.contextmanager
def folder():
    """A folder on the disk of the build, for one measurement."""
    base = ROOT / "build/bench"
    base.mkdir(parents=True, exist_ok=True)
    path = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=base))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def interrupts():
    """By interrupt of a device: how many each core took."""
    lines = pathlib.Path("/proc/interrupts").read_text().splitlines()
    count = len(lines[0].split())
    return {words[0]: [int(word) for word in words[1:count + 1]]
            for words in map(str.split, lines[1:]) if words[0].rstrip(":").isdigit()}


def core_of_most(before, after):
    """The core that took most interrupts of the device that had most of them."""
    grown = [[now - then for now, then in zip(after[name], before[name])]
             for name in after if name in before]
    most = max(grown, key=sum, default=[])
    core = most.index(max(most)) if most else CORES[-1]
    return core if core in CORES else CORES[-1]


def make_server(path, users, settings=None, bare=False, **keywords):
    """A server in this folder that will find so many users in its log. Its core is the one where
    the disk's interrupts go, the client's another one: the wait for a disk then wakes no other
    core, and what the client does delays no interrupt."""
    path.mkdir(parents=True, exist_ok=True)
    whole = {section: dict(keys) for section, keys in SETTINGS.items()}
    for section, keys in (settings or {}).items():
        whole.setdefault(section, {}).update(keys)
    server = Server(whole, folder=path, **keywords)
    token = path / "token"
    token.write_text(server.token())
    before = interrupts()
    subprocess.run([USERBENCH, "data", "--dir", str(server.data), "--users", str(users),
                    *(["--bare"] if bare else [])], check=True, stdout=subprocess.DEVNULL)
    server.core = core_of_most(before, interrupts())
    server.client_core = next((core for core in CORES if core != server.core), server.core)
    return server


def pin(server, at_once=False):
    """The server to its core, all its threads. `at_once`: it runs as soon as it has something to
    do, where that is allowed, whatever had its core."""
    for task in map(int, os.listdir(f"/proc/{server.process.pid}/task")):
        os.sched_setaffinity(task, {server.core})
        if at_once:
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(task, os.SCHED_RR, os.sched_param(1))


def client(server, name, **options):
    """Starts userbench on the client's core, with pipes as input and output."""
    words = [USERBENCH, name, "--target", server.address,
             "--token-file", str(server.folder / "token")]
    if server.tls:
        words += ["--ca", str(server.ca)]
    for key, value in options.items():
        words += ["--" + key.replace("_", "-")] + ([] if value is True else [str(value)])
    return subprocess.Popen(["taskset", "-c", str(server.client_core)] + words, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def result(process):
    """Ends its input, waits for its end, and returns its lines as fields."""
    output, _ = process.communicate()
    if process.returncode != 0:
        sys.exit("userbench could not measure")
    return read_fields(output)


def read_fields(text):
    """One dictionary for each line of key=value."""
    return [dict(re.findall(r"([\w.]+)=\"?([^ \"]*)", line)) for line in text.splitlines()]


def measure(server, name, **options):
    """Runs it to its end. Returns its lines by their `kind`."""
    return {fields["kind"]: fields for fields in result(client(server, name, **options))}


def log_counts(server):
    """Records and frames with records in the log of a server that is stopped. Each such frame was
    one write and one sync."""
    done = subprocess.run([USERWAL, "--json", "stat", str(server.data)], check=True,
                          stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    return found["records"], found["frames"] - found["marks"]


def log_lines(server, event):
    """The lines of this event since the start."""
    return [line for line in list(server.lines) if re.search(rf"\b{event}\b", line)]


def log_fields(server, event):
    """The fields of the last of them, or None."""
    found = log_lines(server, event)
    return read_fields(found[-1])[0] if found else None


def wait_for_log(server, event, count, patience_s=120):
    """Waits for that many of them; returns the last one's fields."""
    end = time.monotonic() + patience_s
    while len(log_lines(server, event)) < count:
        if time.monotonic() > end or not server.is_running():
            raise SystemExit(f"the log says no {event}:\n" + server.log())
        time.sleep(0.01)
    return log_fields(server, event)


def snapshot(server):
    """Has a snapshot taken, to its end."""
    done = len(log_lines(server, SNAPSHOT_DONE))
    server.process.send_signal(signal.SIGUSR1)
    return wait_for_log(server, SNAPSHOT_DONE, done + 1)


def cpu_seconds(process):
    """User and system time of all its threads so far, to the nanosecond."""
    return time.clock_gettime(~process.pid << 3 | 2)


def memory_bytes(process):
    """What it has in memory."""
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    return (f"machine: {model.group(1) if model else 'unknown'}, {len(CORES)} cores, "
            f"Linux {os.uname().release}")


def verdict(name, value, unit, goal, at_most=True):
    """One line for one of the goals."""
    good = value <= goal if at_most else value >= goal
    print(f"{'PASS' if good else 'MISS'} {name}: {value:,.2f}{unit}, "
          f"{'at most' if at_most else 'at least'} {goal:,}{unit}")
