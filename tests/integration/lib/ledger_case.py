"""A server with a ledger of what it acknowledged, for tests of what a disk may do to it."""

import contextlib
import pathlib
import random
import re
import tempfile
import time

import grpc
import loads
from ledger import Ledger
from userd_harness import PATIENCE_S, SLOW, Server

# Nothing but what a test asks for may make snapshots.
WAL = {"segment_size": "1MiB", "max_pending_bytes": "512KiB", "snapshot_every": "0",
       "snapshot_rate": "0"}


class Case:
    """One server with its ledger, in a folder or on a disk."""

    def __init__(self, folder, data=None, **wal):
        self.folder = pathlib.Path(folder)
        self.chance = random.Random(str(folder))
        self.server = Server({"store": {"data_dir": data or self.folder / "data"},
                              "wal": {**WAL, **wal}}, folder=folder)
        self.data = pathlib.Path(data or self.folder / "data")
        self.ledger = Ledger(self.folder / "ledger")
        self.loads = 0

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, problem, *_):
        if problem is not None:
            print("---- the last lines of the server's log")
            print("".join(self.server.whole_log[-40:]))
        self.server.remove()
        self.ledger.close()

    def next_number(self):
        self.loads += 1
        return self.loads

    def load(self, shape, died=(grpc.StatusCode.UNAVAILABLE,)):
        return loads.Load(self.server, self.ledger, shape, self.next_number(), died)

    def fill(self, shape="mixed", seconds=0.4):
        """Some users, and some changes of them."""
        with self.load(shape):
            time.sleep(seconds * SLOW)

    def judge(self, is_writable=True):
        verdict = loads.judge(self.server, self.ledger, self.chance, is_writable=is_writable)
        verdict.check()
        assert verdict.users > 0
        return verdict

    def segments(self):
        return sorted(self.data.glob("wal-*.log"))

    def snapshots(self):
        return sorted(self.data.glob("snap-*.snap"))

    def snapshot(self):
        """Takes one and waits until it is done."""
        done = len(re.findall(r"\bsnapshot_done\b", self.server.log()))
        self.server.take_snapshot()
        end = time.monotonic() + PATIENCE_S
        while len(re.findall(r"\bsnapshot_done\b", self.server.log())) == done:
            assert time.monotonic() < end, "no snapshot:\n" + self.server.log()
            time.sleep(0.005)


@contextlib.contextmanager
def folder_of_test():
    with tempfile.TemporaryDirectory(prefix="userd-test-") as name:
        yield pathlib.Path(name)


@contextlib.contextmanager
def case_in_folder(**wal):
    with folder_of_test() as folder, Case(folder, **wal) as case:
        yield case
