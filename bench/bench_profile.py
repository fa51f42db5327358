"""Where the server's time goes: samples of perf by library, and within userd by our folders."""

import re
import subprocess
import time

from bench_load import command

USERD_PARTS = ("core", "http2", "service", "client")
TOP = 25
SAMPLES_PER_S = 999


def folders_of_functions(program):
    """By name of a function: the folder of its source."""
    done = subprocess.run(["nm", "--defined-only", "--line-numbers", program], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    found = {}
    for line in done.stdout.splitlines():
        words = line.split(None, 3)
        if len(words) == 4:
            place = re.search(r"src/(core|http2|service|client)/", words[3])
            if place:
                found[words[2]] = place.group(1)
            elif "wolf" in words[3]:
                found[words[2]] = "wolfSSL"
    return found


def part_of(library, symbol, folders):
    if library.startswith("[kernel") or library.startswith("[") or symbol.startswith("[k]"):
        return "kernel"
    if library == "userd":
        folder = folders.get(symbol)
        return f"userd {folder}" if folder in USERD_PARTS else "wolfSSL" if folder is None or folder == "wolfSSL" else folder
    return re.sub(r"\.so.*|-2\.31.*", "", library)


def record(bench, streams, path):
    load = subprocess.Popen(command(bench.client_core, bench.server.address, bench.ca,
                                    bench.token_file, users=bench.users, connections=10,
                                    streams=streams, seconds=bench.seconds(3) + 1),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_PER_S), "-p",
                        str(bench.server.process.pid), "-o", str(path), "--", "sleep",
                        str(bench.seconds(3))], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, text=True)
    finally:
        load.wait()


def report(path, folders):
    done = subprocess.run(["perf", "report", "-q", "--stdio", "-i", str(path), "--sort", "dso,symbol",
                           "-F", "overhead,dso,symbol", "-g", "none", "--percent-limit", "0"],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    parts, functions = {}, []
    for line in done.stdout.splitlines():
        found = re.match(r"\s*([\d.]+)%\s+(\S+)\s+\[(.)\]\s+(\S+)", line)
        if not found:
            continue
        share, library, mode, symbol = float(found.group(1)), *found.groups()[1:]
        part = "kernel" if mode == "k" else part_of(library, symbol.split(".")[0], folders)
        parts[part] = parts.get(part, 0) + share
        functions.append((share, part, symbol))
    functions.sort(reverse=True)
    return {"parts": dict(sorted(parts.items(), key=lambda item: -item[1])),
            "functions": functions[:TOP]}


def profile(bench):
    if subprocess.run(["sh", "-c", "command -v perf"], stdout=subprocess.DEVNULL, check=False).returncode:
        return {"missing": "perf is not installed (scripts/deps.sh bench)"}
    folders = folders_of_functions(str(bench.program))
    found = {}
    for streams in (10, 100):
        path = bench.path / "perf.data"
        try:
            record(bench, streams, path)
        except subprocess.CalledProcessError as error:
            return {"missing": "perf may not record here: " + error.stderr.strip()[-200:]}
        found[f"10x{streams}"] = report(path, folders)
        path.unlink()
    return {"rows": found}
