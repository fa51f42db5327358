#!/usr/bin/python3
"""Disks that are full, and disks that fail.

- Full: changes are refused with RESOURCE_EXHAUSTED, reads go on, and room is noticed by itself.
- Failing, from the kernel: ext4 on a loop image in a tmpfs that is full, and a disk of ours that
  answers EIO to writes, flushes or reads (lib/power_disk.py). No acknowledgement afterwards, what
  was under way is told that nobody knows, exit code 74; and the next start has all that was
  acknowledged, and nothing of what was refused.

Every test ends with a judgement of what the server has then, with lib/ledger.py. All need disks of
their own, and are skipped, loudly, where nobody may make any.

TEST=part runs the tests with this in their names.
"""

import contextlib
import errno
import os
import pathlib
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import block_disk  # noqa: E402
import loads  # noqa: E402
from block_disk import BLOCK, MIB, Ext4  # noqa: E402
from ledger_case import Case, folder_of_test  # noqa: E402
from power_disk import PowerDisk  # noqa: E402
from userd_calls import expect, failure  # noqa: E402
from userd_harness import PATIENCE_S, SLOW, finish, run_main, run_one  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

EXIT_IO = 74
CHANGES_MAX = 20000  # more than what fits into two segments


# ---- a full disk

class Ballast:
    """Files that leave no room at all."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "ballast"

    def fill(self):
        with open(self.path, "ab", buffering=0) as file:
            for size in (MIB, 64 * 1024, BLOCK):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
            os.fsync(file.fileno())

    def make_room(self, size):
        os.truncate(self.path, self.path.stat().st_size - size)

    def remove(self):
        self.path.unlink()


@contextlib.contextmanager
def case_on_small_disk():
    with folder_of_test() as folder, Ext4(folder, 48 * MIB) as disk:
        with Case(folder, data=disk.folder / "data") as case:
            yield case, Ballast(disk.folder)


def write_until_full(case):
    """Single calls until one is refused; returns how."""
    case.judge(is_writable=False)
    with case.server.channel() as channel:
        writer = loads.Writer(case.ledger, f"full-{case.next_number()}",
                              case.server.stub(channel), case.ledger.alive())
        for _ in range(CHANGES_MAX):
            try:
                writer.single()
            except grpc.RpcError as error:
                return error
    raise AssertionError(f"{CHANGES_MAX} changes found room on a full disk")


def check_full(case, error):
    details = expect(error, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert details["ErrorInfo"]["reason"] == "DISK_FULL", details
    assert "RetryInfo" in details, details
    assert re.search(r"space|full|disk", error.details(), re.IGNORECASE), error.details()
    case.server.wait_for(r"\blog_degraded\b")  # written before the answer, perhaps read after it
    with case.server.channel() as channel:
        stub = case.server.stub(channel)
        requests = iter([users_pb2.CreateUserRequest(
            username="nobody", email="nobody@example.com", password=loads.PASSWORD)])
        of_stream = failure(list, stub.BatchCreateUsers(requests, timeout=PATIENCE_S))
        expect(of_stream, grpc.StatusCode.RESOURCE_EXHAUSTED)
    case.judge(is_writable=False)  # reads go on


def wait_for_room(case):
    """Changes are taken again, without any help."""
    case.server.wait_for(r"\blog_writable\b")
    case.fill()
    case.judge()


def test_full_disk_refuses_changes_and_recovers():
    with case_on_small_disk() as (case, ballast):
        case.fill()
        ballast.fill()
        check_full(case, write_until_full(case))
        ballast.remove()
        wait_for_room(case)
        case.server.kill()
        case.server.start()
        case.judge()


def test_start_on_full_disk():
    with case_on_small_disk() as (case, ballast):
        case.fill()
        ballast.fill()
        write_until_full(case)
        case.server.kill()
        ballast.fill()
        case.server.start()
        check_full(case, write_until_full(case))
        ballast.remove()
        wait_for_room(case)
        case.server.stop()
        case.server.start()
        case.judge()


def test_full_disk_ends_clean():
    with case_on_small_disk() as (case, ballast):
        case.fill()
        ballast.fill()
        write_until_full(case)
        case.server.stop()
        case.server.start()
        case.judge()


def test_snapshot_without_room():
    with case_on_small_disk() as (case, ballast):
        case.fill("sync", 0.8)
        ballast.fill()
        case.judge()
        for room in (0, 256 * 1024):  # none at all, and enough for its first half
            ballast.make_room(room)
            lines = len(case.server.lines)
            case.server.take_snapshot()
            problem = case.server.wait_for(r"\bsnapshot_failed\b.*", lines).group(0)
            assert re.search(r"space", problem), problem
            assert not list(case.data.glob("snap*")), list(case.data.iterdir())
            case.judge()
        ballast.remove()
        case.snapshot()
        assert len(case.snapshots()) == 1
        case.fill()
        case.server.kill()
        case.server.start()
        case.judge()


# ---- a failing disk

def fail_under_load(case, break_disk):
    """Breaks the disk under load. Nothing may be acknowledged that was sent after a first call was
    told; the server must end. Returns the statuses that were told."""
    with case.load("mixed", died=(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN)) as load:
        time.sleep(0.2 * SLOW)
        break_disk()
        status = case.server.wait_for_end()
    log = case.server.log()
    assert status == EXIT_IO, f"exit code {status}:\n{log}"
    assert re.search(r"\blog_failed\b", log), log
    for _, code, text in load.refusals:
        assert code != grpc.StatusCode.UNKNOWN or text == "commit outcome unknown", text
    late = case.ledger.acked_of_sent_after(min(at for at, _, _ in load.refusals))
    assert not late, f"acknowledged after the failure: {late}"
    return [code for _, code, _ in load.refusals]


def fail_and_restart(case, break_disk, repair):
    codes = fail_under_load(case, break_disk)
    repair()
    case.server.start()
    case.judge()
    case.fill()
    case.server.kill()
    case.server.start()
    case.judge()
    return codes


@contextlib.contextmanager
def case_on_thin_disk(options):
    """A disk of 128 MiB in a tmpfs that has fewer, and a ballast for that."""
    with folder_of_test() as folder, block_disk.tmpfs(folder / "below", 80 * MIB) as below:
        image = below / "image"
        with open(image, "wb") as file:
            file.truncate(128 * MIB)
        disk = Ext4(folder, image=image, options=options)
        disk.journal_mib = 16
        disk.request_kib = 4  # a page of the tmpfs
        disk.make()
        with disk, Case(folder, data=disk.folder / "data") as case:
            yield case, disk, Ballast(below)


def test_thin_disk():
    """There is room, says ext4; there is none, says the disk, and the write fails with ENOSPC."""
    with case_on_thin_disk("nodiscard,noatime") as (case, disk, ballast):
        case.fill()
        # What the kernel has in its cache must not be what finds no room: its journal would fail.
        block_disk.command("sync", "--file-system", disk.folder)
        ballast.fill()
        check_full(case, write_until_full(case))
        ballast.remove()
        wait_for_room(case)
        case.server.kill()
        case.server.start()
        case.judge()


def give_back_all_zeros(_, disk):
    block_disk.command("fallocate", "--dig-holes", disk.image)


def give_back_zeros_of_log(case, disk):
    for path in (*case.segments(), *case.data.glob("spare.tmp")):
        disk.give_back_zeros(path)


def fail_commit_on_thin_disk(options, give_back_zeros):
    """The disk finds blocks of zeros and gives them back (thin provisioning does), so that commits
    into a prepared segment need room again, and there is none. Returns userd's cause."""
    with case_on_thin_disk(options) as (case, disk, ballast):
        case.fill()

        def break_disk():
            # Nothing may write while zeros are looked for.
            case.server.pause()
            block_disk.command("sync", "--file-system", disk.folder)
            give_back_zeros(case, disk)
            ballast.fill()
            case.server.process.send_signal(signal.SIGCONT)

        def repair():
            ballast.remove()
            disk.unmount()
            disk.mount()

        codes = fail_and_restart(case, break_disk, repair)
        assert grpc.StatusCode.UNKNOWN in codes, codes
        return re.search(r"\blog_failed\b.*", "".join(case.server.whole_log)).group(0)


def test_thin_disk_fails_commit():
    """Written around the cache: the write fails, and says why. The journal keeps its blocks: where
    it found no room, at the sync of a new segment's name say, ext4 would stop it and say EIO."""
    cause = fail_commit_on_thin_disk("nodiscard,noatime", give_back_zeros_of_log)
    assert os.strerror(errno.ENOSPC) in cause, cause


def test_fsync_gate():
    """With data=journal ext4 takes every write into its cache, and it is at the sync that it learns
    of the disk: the cache then shows what the disk never got. It may pass on what the disk said."""
    cause = fail_commit_on_thin_disk("nodiscard,noatime,data=journal", give_back_all_zeros)
    assert any(os.strerror(error) in cause
               for error in (errno.EIO, errno.EROFS, errno.ENOSPC)), cause


@contextlib.contextmanager
def case_on_power_disk(**wal):
    with folder_of_test() as folder, contextlib.closing(
            PowerDisk(folder / "image", 64 * MIB)) as power:
        disk = Ext4(folder, image=power.image)
        disk.make()
        with disk, Case(folder, data=disk.folder / "data", **wal) as case:
            yield case, power, disk


def fail_requests(kind, **wal):
    with case_on_power_disk(**wal) as (case, power, disk):
        case.fill()

        def repair():
            # What a failed flush covered is gone, whatever the page cache still shows.
            disk.unmount()
            power.power_on()
            disk.mount()

        return fail_and_restart(case, lambda: power.fail(kind), repair)


def test_flush_fails():
    codes = fail_requests("flush")
    assert grpc.StatusCode.UNKNOWN in codes, codes


def test_flush_fails_between_intervals():
    """wal.sync = interval: what was answered since the last sync may go, and nothing else."""
    with case_on_power_disk(sync="interval", sync_interval_ms="20") as (case, power, disk):
        case.fill()
        time.sleep(0.5 * SLOW)
        settled_at = time.monotonic()
        fail_under_load(case, lambda: power.fail("flush"))
        disk.unmount()
        power.power_on()
        disk.mount()
        case.server.start()
        loads.judge(case.server, case.ledger, case.chance, acked_before=settled_at).check()


def test_write_fails():
    codes = fail_requests("write")
    assert grpc.StatusCode.UNKNOWN in codes, codes


def test_read_fails_at_start():
    with case_on_power_disk() as (case, power, disk):
        case.fill()
        case.server.kill()
        disk.unmount()
        disk.mount()
        power.fail("read")
        case.server.spawn()
        status = case.server.wait_for_end()
        assert status == EXIT_IO, f"exit code {status}:\n{case.server.log()}"
        power.fail(None)
        disk.unmount()
        disk.mount()
        case.server.start()
        case.judge()


WANTS = ("root", "tools", "mounts")
ON_A_LOOP = (
    test_full_disk_refuses_changes_and_recovers,
    test_start_on_full_disk,
    test_full_disk_ends_clean,
    test_snapshot_without_room,
    test_thin_disk,
    test_thin_disk_fails_commit,
    test_fsync_gate,
)
ON_A_POWER_DISK = (
    test_flush_fails,
    test_flush_fails_between_intervals,
    test_write_fails,
    test_read_fails_at_start,
)


def main():
    ran = skipped = 0
    for tests in (ON_A_LOOP, ON_A_POWER_DISK):
        missing = block_disk.why_not(*WANTS, *(["fuse"] if tests is ON_A_POWER_DISK else []))
        if missing is not None:
            block_disk.announce_skip(", ".join(test.__name__ for test in tests), missing)
            skipped += len(tests)
            continue
        if ran == 0:
            block_disk.own_mounts()
        for function in tests:
            if os.environ.get("TEST", "") in function.__name__:
                run_one(function.__name__, function)
                ran += 1
    print(f"counts: bad disks: {ran} tests run, {skipped} skipped")
    finish()


if __name__ == "__main__":
    run_main(main)
