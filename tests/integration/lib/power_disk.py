"""A block device with a volatile write cache whose power can be cut, and that can fail.

A disk may keep what was written in a cache of its own until it is told to flush. When the power
goes, any part of what was not flushed is lost, sector by sector, in any order. A copy of a loop
device's image cannot show that: its kernel hands every write on at once, so a program that forgets
to sync would look right; and a copy that is read while writes go on is no state that the disk ever
had. So here the disk is a program of ours: a FUSE file system whose only file is the image, below a
loop device, below ext4.

    userd - ext4 - /dev/loopN - the image, a file of this daemon

- A write goes to `live`, which reads see, and to the list of what is not flushed.
- A flush (an fsync of the image, which the loop device makes of a flush) empties that list into
  `stable`.
- The cut happens between two requests, since the daemon takes one after the other: from then on
  every request fails, and `stable` gets an arbitrary part of the list. What an answered flush
  covers is stable, so whatever was acknowledged, whenever its answer was read, must be found later.
- `fail` makes flushes, or writes, fail with EIO. What such a flush covers is dropped from the list:
  the disk has lost it, and a second flush succeeds nevertheless, as real ones do.

The daemon is a process of its own and keeps all in memory. It takes commands, one JSON array a
line, and answers each with a line.
"""

import ctypes
import errno
import json
import os
import random
import select
import struct
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
SECTOR = 512
MS_NOSUID_NODEV = 2 | 4

IN_HEADER = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
OUT_HEADER = struct.Struct("<IiQ")
READ_WRITE_IN = struct.Struct("<QQII")  # handle, offset, size, flags; a write's data from byte 40
ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
GETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT = 3, 14, 15, 16, 17, 18, 20, 25, 26
FORGET, INTERRUPT, DESTROY, BATCH_FORGET = 2, 36, 38, 42
NEVER_ANSWERED = {FORGET, BATCH_FORGET, INTERRUPT}
MAX_WRITE = 1 << 20
INIT_BIG_WRITES, INIT_MAX_PAGES = 1 << 5, 1 << 22
OPEN_DIRECT_IO = 1  # no page cache in between


class Daemon:
    """Answers the kernel, and takes commands from whoever started it."""

    def __init__(self, fuse, size):
        self.fuse = fuse
        self.live = bytearray(size)
        self.stable = bytearray(size)
        self.unflushed = []  # (offset, bytes), in the order they came
        self.is_on = True
        self.failing = None  # "flush" or "write"
        self.counts = {"writes": 0, "flushes": 0, "failed": 0}
        self.requests = {
            INIT: self.init, GETATTR: self.getattr, OPEN: self.open, READ: self.read,
            WRITE: self.write, FSYNC: self.flush, STATFS: self.statfs, RELEASE: self.nothing,
            FLUSH: self.nothing, DESTROY: self.nothing,
        }

    def serve(self):
        both = select.poll()
        both.register(self.fuse, select.POLLIN)
        both.register(0, select.POLLIN)
        while True:
            for fd, _ in both.poll():
                if not (self.answer_kernel() if fd == self.fuse else self.answer_owner()):
                    return

    # ---- the kernel

    def answer_kernel(self):
        try:
            message = os.read(self.fuse, MAX_WRITE + 65536)
        except OSError as error:
            return error.errno != errno.ENODEV  # it was unmounted
        _, code, unique = IN_HEADER.unpack_from(message)[:3]
        if code in NEVER_ANSWERED:
            return True
        try:
            if code not in self.requests:
                raise OSError(errno.ENOSYS, "")
            problem, reply = 0, self.requests[code](message[IN_HEADER.size:])
        except OSError as error:
            problem, reply = error.errno, b""
        try:
            os.write(self.fuse, OUT_HEADER.pack(OUT_HEADER.size + len(reply), -problem, unique)
                     + reply)
        except OSError as error:
            return error.errno == errno.ENOENT  # nobody waits for it any more
        return True

    def check_power(self, kind):
        if not self.is_on or self.failing == kind:
            self.counts["failed"] += 1
            raise OSError(errno.EIO, "")

    @staticmethod
    def init(_):
        return struct.pack("<IIIIHHIIHHIII6I", 7, 31, MAX_WRITE, INIT_BIG_WRITES | INIT_MAX_PAGES,
                           16, 12, MAX_WRITE, 1, MAX_WRITE // 4096, 0, 0, 0, 0, *[0] * 6)[:64]

    def getattr(self, _):
        size = len(self.live)
        return struct.pack("<QII", 3600, 0, 0) + ATTRIBUTES.pack(
            1, size, size // SECTOR, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0)

    @staticmethod
    def open(_):
        return struct.pack("<QII", 1, OPEN_DIRECT_IO, 0)

    @staticmethod
    def statfs(_):
        return struct.pack("<QQQQQIIII6I", 0, 0, 0, 0, 0, 4096, 255, 4096, 0, *[0] * 6)

    @staticmethod
    def nothing(_):
        return b""

    def read(self, body):
        self.check_power("read")
        _, offset, size, _ = READ_WRITE_IN.unpack_from(body)
        return bytes(self.live[offset:offset + size])

    def write(self, body):
        self.check_power("write")
        _, offset, size, _ = READ_WRITE_IN.unpack_from(body)
        data = body[40:40 + size]
        if offset + size > len(self.live):
            raise OSError(errno.ENOSPC, "")
        self.live[offset:offset + size] = data
        self.unflushed.append((offset, data))
        self.counts["writes"] += 1
        return struct.pack("<II", size, 0)

    def flush(self, _):
        try:
            self.check_power("flush")
        except OSError:
            self.unflushed.clear()
            raise
        for offset, data in self.unflushed:
            self.stable[offset:offset + len(data)] = data
        self.unflushed.clear()
        self.counts["flushes"] += 1
        return b""

    # ---- the owner

    def answer_owner(self):
        line = sys.stdin.readline()
        if not line:
            return False
        name, *arguments = json.loads(line)
        reply = {"cut": self.cut, "power_on": self.power_on, "fail": self.fail,
                 "counts": lambda: self.counts}[name](*arguments)
        print(json.dumps(reply), flush=True)
        return True

    def cut(self, seed):
        """Off, now. Says how much was not flushed, and how much of that survived, in sectors."""
        self.is_on = False
        chance = random.Random(seed)
        # None, all, those before a moment, or each sector for itself with some probability.
        kind = chance.choice(["none", "all", "first", "some", "some", "some"])
        share = {"none": 0, "all": 1, "first": 1, "some": chance.random()}[kind]
        whole = chance.randrange(len(self.unflushed) + 1) if kind == "first" else None
        kept = 0
        for offset, data in self.unflushed[:whole]:
            for at in range(0, len(data), SECTOR):
                if share == 1 or chance.random() < share:
                    self.stable[offset + at:offset + at + SECTOR] = data[at:at + SECTOR]
                    kept += 1
        sectors = sum(len(data) // SECTOR for _, data in self.unflushed)
        self.unflushed.clear()
        return {"kind": kind, "unflushed": sectors, "kept": kept, **self.counts}

    def power_on(self):
        self.live[:] = self.stable
        self.unflushed.clear()
        self.is_on = True
        self.failing = None

    def fail(self, kind):
        self.failing = kind


class PowerDisk:
    """The daemon as its owner sees it; `image` is the path to lay a loop device over."""

    def __init__(self, image, size):
        self.image = image
        image.touch()
        self.daemon = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), str(image), str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.daemon.stdout.readline() != "ready\n":
            self.close()
            raise OSError("no FUSE file system could be mounted")

    def _ask(self, *command):
        self.daemon.stdin.write(json.dumps(command) + "\n")
        self.daemon.stdin.flush()
        return json.loads(self.daemon.stdout.readline())

    def cut(self, seed):
        return self._ask("cut", seed)

    def power_on(self):
        self._ask("power_on")

    def fail(self, kind):
        """From now on every "flush", or every "write", fails; None ends that."""
        self._ask("fail", kind)

    def counts(self):
        return self._ask("counts")

    def close(self):
        LIBC.umount2(str(self.image).encode(), 2)  # MNT_DETACH; it may not be mounted at all
        self.daemon.stdin.close()
        self.daemon.wait()
        self.daemon.stdout.close()


def main(path, size):
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=100000,user_id=0,group_id=0,allow_other,max_read={MAX_WRITE}"
    if LIBC.mount(b"power-disk", path.encode(), b"fuse", MS_NOSUID_NODEV, options.encode()) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    daemon = Daemon(fuse, size)
    daemon.answer_kernel()  # INIT comes first
    print("ready", flush=True)
    daemon.serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
