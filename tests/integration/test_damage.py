#!/usr/bin/python3
"""A folder that holds something else than what was written, or that somebody else uses.

- Damaged: exit code 65 with file, offset, records, and what to do; nothing is touched. But a torn
  tail, or a damaged snapshot with an older one behind it, are no reason to stay down.
- Started twice: exit code 75 and the pid of the other; a killed one does not stand in the way.

Every test ends with a judgement of what the server has then, with lib/ledger.py.
"""

import hashlib
import os
import re
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from ledger_case import case_in_folder, folder_of_test  # noqa: E402
from userd_harness import Server, finish, run_main, run_one  # noqa: E402

EXIT_DAMAGED = 65
EXIT_LOCKED = 75
BLOCK = 4096


def frames_of(path):
    """(offset, size in the file, first LSN, number of records) of each frame of a segment or a
    snapshot, as the head of wal_format.c describes them."""
    content = path.read_bytes()
    frames = []
    at = BLOCK
    while content[at:at + 4] == b"WFRM":
        payload, count = struct.unpack_from("<II", content, at + 8)
        first_lsn = struct.unpack_from("<Q", content, at + 24)[0]
        size = -(-(64 + payload) // BLOCK) * BLOCK
        frames.append((at, size, first_lsn, count))
        at += size
    return frames


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def content_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.iterdir() if path.name != "LOCK"}


def refused(case, *patterns):
    """The start must be refused, with all of the patterns in the message, and change nothing."""
    before = content_of(case.data)
    case.server.spawn()
    status = case.server.wait_for_end()
    log = case.server.log()
    assert status == EXIT_DAMAGED, f"exit code {status}:\n{log}"
    for pattern in (*patterns, r"userwal verify"):
        assert re.search(pattern, log), f"no {pattern} in:\n{log}"
    assert content_of(case.data) == before, "the refused start changed something"


def test_flipped_byte_refuses():
    """In the middle of the newest segment, and of the oldest: in a header, its checksum, a body."""
    with case_in_folder() as case:
        # In a segment that has just begun the middle would be the end, which may be torn.
        while len(case.segments()) < 3 or len(frames_of(case.segments()[-1])) < 4:
            case.fill("sync")
        case.server.stop()
        for path in (case.segments()[-1], case.segments()[0]):
            frames = frames_of(path)
            at, _, first_lsn, _ = frames[len(frames) // 2]
            for offset in (at + 30, at + 52, at + 64 + 20):
                flip(path, offset)
                refused(case, re.escape(path.name), rf"\b{at}\b", rf"\b{first_lsn}\b")
                flip(path, offset)
        case.server.start()
        case.judge()


def test_missing_segment_refuses():
    with case_in_folder() as case:
        while len(case.segments()) < 3:
            case.fill("sync")
        case.server.kill()
        missing = case.segments()[1]
        away = case.folder / missing.name
        missing.rename(away)
        refused(case, r"wal-[0-9a-f]{16}\.log", r"\b%d\b" % int(missing.name[4:20], 16))
        away.rename(missing)
        case.server.start()
        case.judge()


def test_torn_tail_starts():
    """Garbage behind the last frame, as a torn write leaves it: cut off, kept aside, told."""
    with case_in_folder() as case:
        for size in (1, 700, BLOCK, 3 * BLOCK + 5):
            case.fill(seconds=0.1)
            case.server.kill()
            path = case.segments()[-1]
            frames = frames_of(path)
            end = frames[-1][0] + frames[-1][1] if frames else BLOCK
            with open(path, "r+b") as file:
                file.seek(end)
                file.write(bytes(case.chance.randrange(1, 256) for _ in range(size)))
            torn = len(list(case.data.glob("*.torn")))
            case.server.start()
            case.judge()
            assert len(list(case.data.glob("*.torn"))) == torn + 1
            assert re.search(r"\bwarn\b.*\b(recovery_notice|recovered)\b", case.server.log()), (
                case.server.log())


def test_damaged_snapshot_falls_back():
    """The newest one: the older one and the log are enough. Both: the start is refused."""
    with case_in_folder() as case:
        for _ in range(3):
            case.fill("sync", 0.5)
            case.snapshot()
        case.fill()
        case.server.kill()
        older, newest = case.snapshots()
        frames = frames_of(newest)
        flip(newest, frames[len(frames) // 2][0] + 64 + 20)  # not in what fills up a block
        flip(older, BLOCK + 30)
        refused(case, re.escape(older.name))
        flip(older, BLOCK + 30)
        case.server.start()
        case.server.wait_for(r"\brecovery_notice\b.*" + re.escape(newest.stem))
        case.judge()
        assert newest.with_suffix(".bad").exists(), list(case.data.iterdir())
        case.server.stop()
        case.server.start()
        case.judge()


def test_missing_snapshots_refuse():
    """Without its snapshots the log does not begin at the beginning."""
    with case_in_folder() as case:
        while len(case.snapshots()) < 2 or case.segments()[0].name == f"wal-{1:016x}.log":
            case.fill("sync", 0.5)
            case.snapshot()
        case.server.kill()
        for path in case.snapshots():
            path.rename(case.folder / path.name)
        refused(case, r"\b1\b")
        for path in case.folder.glob("snap-*.snap"):
            path.rename(case.data / path.name)
        case.server.start()
        case.judge()


def test_start_reads_snapshot():
    """What the snapshot holds is not replayed, and its segments go."""
    with case_in_folder() as case:
        while len(case.segments()) < 4:
            case.fill("sync", 0.5)
        for _ in range(2):
            case.snapshot()
            case.fill("sync", 0.2)
        assert len(case.snapshots()) == 2
        assert case.segments()[0].name != f"wal-{1:016x}.log", case.segments()
        newest = int(case.snapshots()[-1].name[5:21], 16)
        case.server.kill()
        case.server.start()
        last = max(first + count - 1 for path in case.segments()
                   for _, _, first, count in frames_of(path))
        found = case.server.wait_for(r"\brecovered\b.*\breplayed=(\d+) snapshot=(\d+)")
        assert [int(one) for one in found.groups()] == [last - newest, newest], (found, last, newest)
        case.judge()


# ---- twice

def test_second_start_is_refused():
    with case_in_folder() as case:
        case.fill()
        with folder_of_test() as folder:
            second = Server({"store": {"data_dir": case.data}}, folder=folder)
            second.spawn()
            status = second.wait_for_end()
        assert status == EXIT_LOCKED, f"exit code {status}:\n{second.log()}"
        assert re.search(rf"\b{case.server.process.pid}\b", second.log()), second.log()
        case.fill()
        case.judge()
        case.server.stop()


def test_start_right_after_kill():
    """The lock outlives a killed process by some milliseconds; the next one waits for it."""
    with case_in_folder() as case:
        for _ in range(8):
            with case.load("mixed"):
                time.sleep(0.05)
                case.server.kill()
                case.server.start()
            case.judge()


def main():
    for name, function in list(globals().items()):
        if name.startswith("test_") and os.environ.get("TEST", "") in name:
            run_one(name, function)
    finish()


if __name__ == "__main__":
    run_main(main)
