"""Load generators on the client's core: userbench, and h2load where another's word is wanted.

Each function runs one to its end and returns what it printed, read. A generator that cannot measure
is a LoadFailed with its reason.
"""

import json
import re
import subprocess

from bench_rig import USERBENCH, cpu_seconds

PATIENCE_S = 120


class LoadFailed(Exception):
    """A load that could not be driven."""


def words_of(options):
    """--key value for each; True is a flag, None and False are left out."""
    words = []
    for key, value in options.items():
        if value is not None and value is not False:
            words += ["--" + key.replace("_", "-")] + ([] if value is True else [str(value)])
    return words


def command(core, address, ca, token_file, **options):
    words = ["taskset", "-c", str(core), USERBENCH, "load", "--target", address]
    return words + words_of({"ca": ca, "token_file": token_file, **options})


def load(core, address, ca, token_file, **options):
    """`userbench load` to its end."""
    return run(command(core, address, ca, token_file, **options))


def run(words, patience_s=PATIENCE_S):
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=patience_s, check=False)
    if done.returncode != 0:
        raise LoadFailed(done.stderr.strip() or f"{words[3]} ended with {done.returncode}")
    return json.loads(done.stdout)


class Phases:
    """`userbench load --phases`: begin(name) for each, then end()."""

    def __init__(self, core, address, ca, token_file, **options):
        words = command(core, address, ca, token_file, phases=True, **options)
        self.process = subprocess.Popen(words, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def begin(self, name):
        try:
            self.process.stdin.write(name + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise LoadFailed(self.process.communicate()[1].strip()) from None

    def end(self):
        """By name: the phases."""
        out, problem = self.process.communicate(timeout=PATIENCE_S)
        if self.process.returncode != 0:
            raise LoadFailed(problem.strip())
        return {phase["name"]: phase for phase in json.loads(out)["phases"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def phase_of(result):
    """The one phase of a run without phases."""
    return result["phases"][0]


def method_of(result, name="GetUser"):
    return phase_of(result)["methods"][name]


def count_of(result):
    return sum(method["count"] for method in phase_of(result)["methods"].values())


def cost(process, core, address, ca, token_file, **options):
    """CPU of a server's process for each call, all calls of the run: µs, and the run."""
    before = cpu_seconds(process)
    result = load(core, address, ca, token_file, **options)
    used = cpu_seconds(process) - before
    count = count_of(result)
    return {"us": used / count * 1e6, "count": count, "per_s": phase_of(result)["per_s"],
            "client_us": result["client_cpu_s"] / count * 1e6,
            "calls_per_receive": count / max(1, result["receives"])}


def h2load(process, core, seconds, connections, streams, url, arguments):
    """CPU of a server's process for each request that h2load makes of it."""
    before = cpu_seconds(process)
    done = subprocess.run(["taskset", "-c", str(core), "h2load", "-t", "1", "-c", str(connections),
                           "-m", str(streams), "-D", str(seconds), *arguments, url],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=PATIENCE_S, check=False)
    used = cpu_seconds(process) - before
    found = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, "
                      r"(\d+) failed", done.stdout)
    good = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    if done.returncode != 0 or not found or not good or int(good.group(1)) == 0:
        raise LoadFailed("h2load: " + done.stdout.strip()[-400:])
    count = int(good.group(1))
    if int(found.group(5)) > 0 or any(int(number) > 0 for number in good.groups()[1:]):
        raise LoadFailed("h2load: " + good.group(0) + ", " + found.group(0))
    return {"us": used / count * 1e6, "count": count, "per_s": count / seconds}
