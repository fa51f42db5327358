#!/usr/bin/python3
"""The power goes, again and again, under load; then what was acknowledged must be there.

userd's folder lies on ext4, on a disk with a volatile write cache whose power can be cut between
any two requests (lib/power_disk.py, which also says why a copy of an image would prove less). A
round:

1. One of the loads of lib/loads.py runs; after a random time the power goes. Writes that were not
   flushed survive in part: none, all, the first ones, or an arbitrary choice of sectors.
2. userd sees a disk that fails. It must end by itself with exit code 74 and acknowledge nothing
   more; or it is killed at the same moment, as a real cut would do.
3. The power is back: ext4 replays its journal from what the disk kept, userd starts on that and is
   judged with lib/ledger.py. The next round goes on from there.

With wal.sync = always every change survives whose answer came at any time, for nothing was answered
before it was flushed. With wal.sync = interval a change may be gone when its answer came less than
an interval before the cut; also then the survivors are a beginning of the whole, without holes, and
no etag that was given out is given out again.

The tests of the disk itself show that it loses what was not flushed, and only that.

    CUTS=n        so many cuts in place of 16 (`make soak-power-cut N=n`)
    TEST_SEED=n   repeats a run as far as the machine allows; the seed is printed
"""

import contextlib
import mmap
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import block_disk  # noqa: E402
import loads  # noqa: E402
from block_disk import MIB, Ext4  # noqa: E402
from ledger import Ledger  # noqa: E402
from power_disk import PowerDisk  # noqa: E402
from userd_harness import SLOW, Counts, Server, finish, run_main, run_one  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

CUTS = int(os.environ.get("CUTS", "16"))
CUTS_OF_A_STORE = 4
USERS_MAX = 4000
DISK_SIZE = 192 * MIB
# A round ends early when less than this is free: a full disk is the matter of test_bad_disk.py. The
# log may take a segment more, prepare the next one, and begin another after the cut.
FREE_MIN = 64 * MIB
CUT_WITHIN_S = 0.6 * SLOW
EXIT_IO = 74
INTERVAL_MS = 50
# A sync may be under way when a change is answered, and the machine may be busy: the interval is
# the promise, this is what it may be late by.
INTERVAL_LATE_S = 0.4 * SLOW

# Stores that change segments and take snapshots all the time, and one where nothing but the interval
# makes a sync due, so long that there is something older than it.
BUSY = {"segment_size": "1MiB", "snapshot_every": "96KiB", "snapshot_rate": "0"}
# Its disk has room for few segments.
QUIET = {"segment_size": "16MiB", "snapshot_every": "0", "min_free_segments": "0"}
STORES = (("always", BUSY, 1), ("interval", QUIET, 3), ("always", QUIET, 1), ("interval", BUSY, 1))


class Total:
    cuts = 0
    acknowledged = 0
    lost = 0
    ghosts = 0
    taken = 0  # acknowledged by wal.sync = interval within the last interval, and gone
    unflushed = 0  # sectors that were at stake
    kept = 0  # of them survived
    ended_by_itself = 0
    snapshots = {"started": 0, "done": 0}


class Store:
    """A server, its ledger, and the disk under it."""

    def __init__(self, sync, settings, times, chance):
        self.sync = sync
        self.is_quiet = settings is QUIET
        self.times = times
        self.chance = chance
        self.users = 0
        self.resources = contextlib.ExitStack()
        folder = pathlib.Path(tempfile.mkdtemp(prefix="userd-test-"))
        self.resources.callback(shutil.rmtree, folder, ignore_errors=True)
        self.power = PowerDisk(folder / "image", DISK_SIZE)
        self.resources.callback(self.power.close)
        self.disk = Ext4(folder, image=self.power.image)
        self.disk.make()
        self.resources.enter_context(self.disk)
        self.ledger = Ledger(folder / "ledger")
        self.resources.callback(self.ledger.close)
        self.server = Server({"store": {"data_dir": self.disk.folder / "data"},
                              "wal": {**settings, "sync": sync,
                                      "sync_interval_ms": INTERVAL_MS}}, folder=folder)
        self.resources.callback(self.server.remove)

    def close(self):
        Total.acknowledged += self.ledger.acknowledged
        for step in Total.snapshots:
            Total.snapshots[step] += len(re.findall(rf"\bsnapshot_{step}\b",
                                                    "".join(self.server.whole_log)))
        if Counts.failed:
            print("---- the last lines of the server's log")
            print("".join(self.server.whole_log[-80:]))
            shutil.copy(self.ledger.path, pathlib.Path(tempfile.gettempdir()) / "power-cut.ledger")
        self.resources.close()

    def says_what_may_be_lost(self):
        """The trailer of every answer to a change, of calls and of streams, and of no other."""
        expected = f"interval={INTERVAL_MS}ms" if self.sync == "interval" else None
        with self.server.channel() as channel:
            stub = self.server.stub(channel)
            number = self.ledger.send("trailer", how="create")
            request = loads.create_request("trailer", number)
            answer, call = stub.CreateUser.with_call(request)
            self.ledger.ack("trailer", number, answer.user)
            number = self.ledger.send("trailer")
            user = loads.user_of("trailer", number, "update", answer.user.id)
            stream = stub.SyncUsers(iter([user]))
            self.ledger.ack("trailer", number, next(stream))
            read = stub.GetUser.with_call(users_pb2.GetUserRequest(id=user.id))[1]
            found = [dict(one.trailing_metadata()).get("users-durability")
                     for one in (call, stream, read)]
        assert found == [expected, expected, None], found

    def wait_for_cut(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and shutil.disk_usage(self.disk.folder).free > FREE_MIN:
            time.sleep(min(0.02, max(0, end - time.monotonic())))

    def cut(self, shape, number):
        chance = self.chance
        with loads.Load(self.server, self.ledger, shape, number,
                        died=(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN)):
            self.wait_for_cut(chance.random() * CUT_WITHIN_S * self.times)
            if not self.is_quiet and chance.random() < 0.5:
                self.server.take_snapshot()
                time.sleep(chance.random() * 0.05)  # a snapshot takes some ten ms here
            cut_at = time.monotonic()
            result = self.power.cut(chance.random())
            self.die()
        Total.cuts += 1
        Total.unflushed += result["unflushed"]
        Total.kept += result["kept"]
        self.come_back(cut_at)

    def die(self):
        """The load keeps writing, so the server notices soon."""
        if self.chance.random() < 0.5:
            self.server.kill()
            return
        status = self.server.wait_for_end()
        assert status == EXIT_IO, f"exit code {status}:\n{self.server.log()}"
        Total.ended_by_itself += 1

    def come_back(self, cut_at):
        self.disk.unmount()
        self.power.power_on()
        self.disk.mount()
        self.server.start()
        acked_before = (cut_at - INTERVAL_MS / 1000 - INTERVAL_LATE_S
                        if self.sync == "interval" else None)
        verdict = loads.judge(self.server, self.ledger, self.chance, acked_before)
        Total.lost += len(verdict.lost) + len(verdict.holes)
        Total.ghosts += len(verdict.ghosts)
        Total.taken += verdict.taken
        verdict.check()
        self.users = verdict.users

    def end_clean(self):
        """After an orderly end a cut takes nothing at all, whatever wal.sync is."""
        self.server.stop()
        self.power.cut("none of what an orderly end left unflushed")
        self.come_back(time.monotonic() + 1e6)
        self.server.stop()


def run_store(first, kind, chance):
    """Returns the number of the next cut."""
    store = Store(*kind, chance)
    sync = store.sync
    number = first
    try:
        store.server.start()
        run_one(f"what wal.sync = {sync} may lose is in a trailer", store.says_what_may_be_lost)
        while number < min(first + CUTS_OF_A_STORE, CUTS + 1):
            shape = list(loads.SHAPES)[number % len(loads.SHAPES)]
            name = f"cut {number} under {shape} load, {'quiet' if store.is_quiet else 'busy'} log"
            run_one(f"{name}, wal.sync = {sync}", store.cut, shape, number)
            number += 1
            if Counts.failed or store.users > USERS_MAX:
                break
        if not Counts.failed:
            run_one(f"a cut after an orderly end, wal.sync = {sync}", store.end_clean)
    finally:
        store.close()
    return number


# ---- the disk itself

def on_own_disk(function):
    """Gives a new disk, mounted, and a block of one letter to write."""
    with tempfile.TemporaryDirectory(prefix="userd-test-") as name:
        folder = pathlib.Path(name)
        power = PowerDisk(folder / "image", 16 * MIB)
        try:
            disk = Ext4(folder, image=power.image)
            disk.make()
            with disk, mmap.mmap(-1, 4096) as block:
                block[:] = b"a" * len(block)
                function(power, disk, block)
                disk.unmount()
        finally:
            power.close()


def open_zeroed(disk, blocks):
    """A file of zeros on the disk, O_DIRECT, as segments of the log are."""
    file = os.open(disk.folder / "file", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    with mmap.mmap(-1, blocks * 4096) as zeros:
        os.pwritev(file, [zeros], 0)
    os.fsync(file)
    folder = os.open(disk.folder, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return file


def survivors(power, disk, file):
    """Which blocks are written after the power was gone."""
    os.close(file)
    disk.unmount()
    power.power_on()
    disk.mount()
    content = (disk.folder / "file").read_bytes()
    return [content[at:at + 4096] == b"a" * 4096 for at in range(0, len(content), 4096)]


def flushed_survives(power, disk, block):
    """20 blocks with fdatasync, 40 without: the 20 are there, for every seed; of the 40 with some
    seeds all, with others none."""
    kept = set()
    for seed in range(12):
        file = open_zeroed(disk, 60)
        for at in range(20):
            os.pwritev(file, [block], at * 4096)
            os.fdatasync(file)
        for at in range(20, 60):
            os.pwritev(file, [block], at * 4096)
        power.cut(seed)
        found = survivors(power, disk, file)
        assert all(found[:20]), found
        kept.add(sum(found[20:]))
        (disk.folder / "file").unlink()
    assert {0, 40} <= kept and len(kept) > 2, kept


def nothing_after_cut(power, disk, block):
    """Without power nothing is written, and nothing claims to be."""
    file = open_zeroed(disk, 2)
    power.cut(0)
    for _ in range(2):
        try:
            os.pwritev(file, [block], 0)
            os.fdatasync(file)
        except OSError:
            continue
        raise AssertionError("a write succeeded without power")
    assert survivors(power, disk, file) == [False, False]


def main():
    missing = block_disk.why_not("root", "tools", "fuse", "mounts")
    if missing is not None:
        block_disk.announce_skip("power cuts", missing)
        print("counts: power cuts 0: SKIPPED")
        finish()
    seed = os.environ.get("TEST_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    block_disk.own_mounts()
    for function in (flushed_survives, nothing_after_cut):
        run_one(f"the disk: {function.__name__}", on_own_disk, function)
    next_cut = 1
    stores = 0
    while next_cut <= CUTS and not Counts.failed:
        next_cut = run_store(next_cut, STORES[stores % len(STORES)], chance)
        stores += 1
    print(f"counts: power cuts {Total.cuts}: acknowledged {Total.acknowledged}, lost {Total.lost}, "
          f"ghosts {Total.ghosts}")
    print(f"{Total.unflushed} sectors were not flushed, {Total.kept} of them survived; userd ended "
          f"by itself {Total.ended_by_itself} times; wal.sync = interval lost {Total.taken} changes "
          f"of its last interval, as it says; snapshots {Total.snapshots}")
    finish()


if __name__ == "__main__":
    run_main(main)
