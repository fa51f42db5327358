#!/usr/bin/python3
"""Seeded bugs: builds userd's parts with one deliberate mistake each, and asks the tests to notice.

    tests/mutants/run.py [NAME...]        all of them, or those whose names contain one of the words

The mistakes stand in table.py: a source file, the exact text that is replaced, and the tests that
must fail with it. A text that is not found exactly once is a failure too: the table is stale. Only
the one file is compiled; its object goes before the library on the linker's line, and so takes the
place of the right one. First every test named runs as it was built, and must pass.

USERD_BUILD in the environment is the folder of objects and archives. The file `commands` in it, which
the Makefile writes, says how to compile and link.
"""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from table import MUTANTS  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["USERD_BUILD"])
WORK = BUILD / "mutants"
COMPILE, LINK, LIBS = (BUILD / "commands").read_text().splitlines()
LIMIT_S = 60  # for one test program; a mutant that hangs is noticed too


class Stale(Exception):
    """The table does not fit the sources any more."""


def run_shell(command, cwd=ROOT):
    done = subprocess.run(command, shell=True, cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise Stale(f"cannot be built:\n{done.stdout[-2000:]}")


def compile_mutant(mutant, folder):
    """The object with the mistake in it."""
    source = (ROOT / mutant.file).read_text()
    if source.count(mutant.old) != 1:
        raise Stale(f"{mutant.file} has its text {source.count(mutant.old)} times, not once")
    mutated = folder / pathlib.Path(mutant.file).name
    mutated.write_text(source.replace(mutant.old, mutant.new))
    target = mutated.with_suffix(".o")
    run_shell(f"{COMPILE} -c {mutated} -o {target}")
    return target


def link(test, mutated, folder):
    """The test program with the mistake in it."""
    program = folder / test.program.replace("/", "-")
    run_shell(f"{LINK} -o {program} {mutated} "
              f"{BUILD}/obj/tests/{test.program}.o -Wl,--start-group {BUILD}/libtest.a "
              f"{BUILD}/libuserd.a -Wl,--end-group {LIBS}")
    return program


def fails(program, arguments):
    """Whether the test notices: it ends with an error, by a signal, or not at all."""
    try:
        done = subprocess.run([str(program), *arguments], cwd=ROOT, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def judge(mutant):
    """The name of the first test that notices; None when none does; or the text of a problem."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=WORK))
    try:
        mutated = compile_mutant(mutant, folder)
        for test in mutant.tests:
            if fails(link(test, mutated, folder), test.arguments):
                return test.program, None
    except Stale as problem:
        return None, str(problem)
    finally:
        shutil.rmtree(folder)
    return None, "NOT CAUGHT"


def passes(test):
    """Without a mistake; otherwise it would prove nothing with one."""
    return not fails(BUILD / "tests" / test.program, test.arguments)


def main():
    words = sys.argv[1:]
    mutants = [one for one in MUTANTS if not words or any(word in one.name for word in words)]
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    started = time.monotonic()
    failed = caught = 0
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    width = max((len(one.name) for one in mutants), default=0)
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for test, does_pass in zip(tests, pool.map(passes, tests)):
            if not does_pass:
                print(f"FAILED: {test.program} does not even pass without a mistake")
                failed += 1
        for mutant, (caught_by, problem) in zip(mutants, pool.map(judge, mutants)):
            print(f"{mutant.name:<{width}}  {mutant.file:<28} "
                  f"{'caught by ' + caught_by if caught_by else 'FAILED: ' + problem}", flush=True)
            caught += caught_by is not None
            failed += caught_by is None
    print(f"counts: mutants {len(mutants)}, caught {caught}, "
          f"{time.monotonic() - started:.0f} s")
    print(f"{caught} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
