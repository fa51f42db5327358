"""Drives tests/client/client_driver.c, a program on the public client library: options and commands go in, what
became of each call comes out.

    with Driver(target="dns:///users.test:50051", ca=..., token=...) as driver:
        assert driver.call("get", id="shared")["code"] == "OK"
        load = driver.load(rate=500, id="shared")
        ...
        load.stop()
        assert not load.failures()
"""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from userd_harness import PATIENCE_S, REPORTS, ROOT, USERD  # noqa: E402

PROGRAM = pathlib.Path(USERD).parent / "client-driver"
HOSTS = ROOT / "tests/integration/lib/own_hosts.sh"
END_S = 2 * PATIENCE_S  # for all calls of a load


class Driver:
    """One process with one client. `hosts`: a file that is its /etc/hosts. `servers`: name of a user -> the
    address of the only server that has it. Options are those of the program, with _ for -; `service_config` is a
    dict."""

    def __init__(self, hosts=None, folder=None, servers=None, **options):
        self.servers = servers or {}
        config = options.pop("service_config", None)
        if config is not None:
            path = pathlib.Path(folder) / f"service_config{id(self)}.json"
            path.write_text(json.dumps(config))
            options["service_config_file"] = path
        command = [str(HOSTS), str(hosts)] if hosts else []
        command.append(str(PROGRAM))
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.changed = threading.Condition()
        self.lines = []  # everything that was told, in order
        self.errors = []
        self.is_over = False
        self.tag = 0
        self.readers = [threading.Thread(target=self._read, daemon=True),
                        threading.Thread(target=self._read_errors, daemon=True)]
        for reader in self.readers:
            reader.start()
        self.ready = self.wait("ready")

    def _read(self):
        for line in self.process.stdout:
            parsed = json.loads(line)
            # Of a success the library may leave it out; the answer tells it too.
            if parsed.get("backend") == "" and parsed.get("username") in self.servers:
                parsed["backend"] = self.servers[parsed["username"]]
            with self.changed:
                self.lines.append(parsed)
                self.changed.notify_all()
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors.append(line)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.quit()
        else:
            self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def quit(self):
        """Ends the process, which must end clean."""
        self.tell("quit")
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the driver does not end") from None
        for reader in self.readers:
            reader.join()
        text = "".join(self.errors)
        assert self.process.returncode == 0 and not REPORTS.search(text), (self.process.returncode, text)

    def tell(self, command, **words):
        line = " ".join([command, *(f"{name}={value}" for name, value in words.items())])
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def place(self):
        """Where the next line will stand."""
        with self.changed:
            return len(self.lines)

    def find(self, since=0, **wanted):
        with self.changed:
            return [line for line in self.lines[since:]
                    if all(line.get(name) == value for name, value in wanted.items())]

    def wait(self, event, since=0, patience_s=PATIENCE_S, **wanted):
        """The first line of this kind from `since` on."""
        end = time.monotonic() + patience_s
        with self.changed:
            while True:
                for line in self.lines[since:]:
                    if line["event"] == event and all(line.get(name) == value
                                                      for name, value in wanted.items()):
                        return line
                since = len(self.lines)
                if self.is_over or not self.changed.wait(end - time.monotonic()):
                    raise AssertionError(f"the driver does not tell {event} {wanted}: "
                                         f"{self.lines[-3:]} {''.join(self.errors)}")

    def begin(self, command, **words):
        """Begins a call; its tag."""
        self.tag += 1
        self.tell(command, tag=self.tag, **words)
        return self.tag

    def end(self, tag):
        """What became of a call."""
        return self.wait("call", tag=tag, patience_s=END_S)

    def call(self, command, **words):
        return self.end(self.begin(command, **words))

    def stats(self):
        since = self.place()
        self.tell("stats")
        return self.wait("stats", since)

    def backends(self):
        """Address -> statistics."""
        return {one["address"]: one for one in self.stats()["backends"]}

    def wait_for_backends(self, condition, what):
        """Until condition(backends) holds; returns them."""
        end = time.monotonic() + PATIENCE_S
        while True:
            backends = self.backends()
            if condition(backends):
                return backends
            assert time.monotonic() < end, f"{what}: {backends}"
            time.sleep(0.02)

    def wait_ready(self, count):
        self.tell("connect")
        return self.wait_for_backends(
            lambda all_: sum(one["state"] == "READY" and one["healthy"] for one in all_.values()) == count,
            f"not {count} backends are ready")

    def load(self, **words):
        return Load(self, words)


class Load:
    """Calls without a pause, one load at a time."""

    def __init__(self, driver, words):
        self.driver = driver
        self.since = driver.place()
        driver.tell("load", **words)

    def calls(self, **wanted):
        return [line for line in self.driver.find(self.since, event="call", **wanted) if "tag" not in line]

    def wait_for_calls(self, count, **wanted):
        """Until so many more have ended from now on."""
        driver = self.driver
        place = driver.place()
        end = time.monotonic() + PATIENCE_S
        while len(driver.find(place, event="call", **wanted)) < count:
            assert time.monotonic() < end, f"calls do not go on: {driver.stats()}"
            time.sleep(0.01)

    def wait(self):
        """Until all have ended; what came of them."""
        return self.driver.wait("load", self.since, END_S)

    def stop(self):
        self.driver.tell("stop")
        return self.wait()

    def failures(self, **wanted):
        return [line for line in self.calls(**wanted) if line["code"] != "OK" or "wrong" in line]
