#!/usr/bin/python3
"""The programs of examples/ against a real server, built and run as their first lines say; and the code of
docs/CLIENT.md, which must compile."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_harness import REPORTS, ROOT, SLOW, Server, run  # noqa: E402

EXAMPLES = ROOT / "examples"
BUILD = pathlib.Path(os.environ.get("USERD_BUILD", ROOT / "build/release")).name
WATCH_S = 3 * SLOW  # long enough to see a change
LIMIT_S = 120 * SLOW
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
SANITIZER = "-fsanitize=address,undefined -fno-sanitize-recover=all" if "asan" in BUILD else ""
PRELUDE = """
#include <userd/client.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
"""


class InstalledServer(Server):
    """A server, and the library installed in its folder."""

    def start(self):
        if not hasattr(self, "prefix"):
            self._install()
        return super().start()

    def _install(self):
        self.prefix = self.folder / "prefix"
        self.token_file = self.folder / "token"
        self.token_file.write_text(self.token())
        variant = [f"PREFIX={self.prefix}"]
        if "asan" in BUILD:
            variant.append("SAN=1")
        if "clang" in BUILD:
            variant.append("CC=clang")
        if "system" in BUILD:
            variant.append("TLS=system")
        self.environment_of_programs = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            "PKG_CONFIG_PATH": str(self.prefix / "lib/pkgconfig"),
            "LD_LIBRARY_PATH": str(self.prefix / "lib"),
            "NODE_PATH": os.environ.get("NODE_PATH") or str(ROOT / "build/node_modules"),
            "PYTHONPATH": os.environ.get("PYTHONPATH") or str(ROOT / "build/gen/python"),
            "CC": "clang" if "clang" in BUILD else "gcc", "CXX": "clang++" if "clang" in BUILD else "g++",
            "CFLAGS": f"-g -O1 {' '.join(WARNINGS)} {SANITIZER}",
            "CXXFLAGS": f"-g -O1 {' '.join(WARNINGS)} {SANITIZER}",
        }
        self.execute("make", "-C", ROOT, "--no-print-directory", "install-library", *variant)

    def execute(self, *command, status=0, cwd=None):
        """A program of ours, which must end so; what it says."""
        ran = subprocess.run([str(word) for word in command], check=False, timeout=LIMIT_S, cwd=cwd, text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env=self.environment_of_programs)
        assert ran.returncode == status, f"{command} ended with {ran.returncode}:\n{ran.stdout}"
        assert not REPORTS.search(ran.stdout), ran.stdout
        return ran.stdout

    def build(self, folder):
        """A copy of one example, made as its reader would make it."""
        copy = self.folder / folder.replace("+", "x")
        shutil.copytree(EXAMPLES / folder, copy)
        self.execute("make", "-C", copy)
        return copy / "users"

    def order(self, *more):
        return f"dns:///localhost:{self.port}", self.ca, self.token_file, *more


def expect_the_guide(said):
    """What the guide's client does, each step with its outcome."""
    for pattern in (r"created: (\S+) ada-\S+ <ada-\S+@example\.com> USER_STATUS_ACTIVE\n",
                    r"got: \S+ ada-\S+ ", r"updated: .*USER_STATUS_INACTIVE",
                    r"as expected.*: NOT_FOUND: User nobody not found",
                    r"as expected.*: INVALID_ARGUMENT: Missing required fields",
                    r"batch: 20 of 20 users created\n", r"watched: .*USER_STATUS_INACTIVE",
                    r"watched: .*roles watched", r"watch ended: CANCELLED",
                    r"sync: 50 of 50 users stored; 2 states watched\n", r"listed: 71 users on 3 pages\n",
                    r"deleted: \S+\n"):
        assert re.search(pattern, said), f"{pattern} is not in:\n{said}"


# ---- the programs


def test_c(server):
    program = server.build("c")
    said = server.execute(program, *server.order(WATCH_S))
    expect_the_guide(said)
    for detail in ("USER_NOT_FOUND", "MISSING_FIELDS", "field password: must not be empty"):
        assert re.search(f"^    .*{detail}$", said, re.MULTILINE), said
    assert re.search(r"backend 127\.0\.0\.1:\d+: \d+ calls, 0 failures, breaker closed\n", said), said
    server.execute(program, status=64)
    nobody = server.execute(program, "localhost:1", server.ca, server.token_file, status=1)
    assert "UNAVAILABLE" in nobody, nobody
    missing = server.execute(program, "localhost:1", "/nonexistent", server.token_file, status=1)
    assert "/nonexistent" in missing, missing


def test_cxx(server):
    said = server.execute(server.build("c++"), *server.order())
    for pattern in (r"created: \S+ grace", r"got: grace", r"watched: grace", r"thrown through a watch: the same",
                    r"deleted: NOT_FOUND: User \S+ not found"):
        assert re.search(pattern, said), said


def test_node(server):
    expect_the_guide(server.execute("node", EXAMPLES / "node/users.js", *server.order(WATCH_S)))
    server.execute("node", EXAMPLES / "node/users.js", status=64)
    refused = server.execute("node", EXAMPLES / "node/users.js", "localhost:1", server.ca, server.token_file, status=1)
    assert "UNAVAILABLE" in refused or "DEADLINE_EXCEEDED" in refused, refused


def test_python(server):
    program = ["/usr/bin/python3", EXAMPLES / "python/users_client.py"]
    expect_the_guide(server.execute(*program, *server.order(WATCH_S)))
    assert "usage" in server.execute(*program, status=1)


# ---- docs/CLIENT.md


def blocks(language):
    text = (ROOT / "docs/CLIENT.md").read_text()
    found = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/CLIENT.md has no {language}"
    return found


def compile_blocks(server, language, compiler, *options):
    flags = [*options, *WARNINGS, "-Wno-unused-function", "-fsyntax-only", f"-I{server.prefix}/include"]
    for number, block in enumerate(blocks(language)):
        file = server.folder / f"block{number}.{'c' if language == 'c' else 'cc'}"
        file.write_text(PRELUDE + block)
        server.execute(compiler, *flags, file)
    return len(blocks(language))


def test_the_code_of_the_recipes_compiles(server):
    compile_blocks(server, "c", server.environment_of_programs["CC"], "-std=c11", "-D_GNU_SOURCE")
    compile_blocks(server, "cpp", server.environment_of_programs["CXX"], "-std=c++17")
    for block in blocks("json"):
        json.loads(block)


if __name__ == "__main__":
    run(globals(), InstalledServer)
