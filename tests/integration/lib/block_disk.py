"""ext4 on disks of our own: loop devices over files, mounted where nobody else sees it.

The test gets a mount namespace of its own, and a loop device is told to go with its last user as
soon as it is mounted. So everything goes away when the test ends, whatever ends it.

`why_not()` says what is missing here; a test that needs such a disk then says loudly that it is
skipped, and proves the reason (`skip()`).
"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from power_disk import LIBC
from userd_harness import PATIENCE_S, run_one

CLONE_NEWNS = 0x00020000
MS_REC_PRIVATE = 16384 | (1 << 18)
FIBMAP = 1
PUNCH_HOLE_KEEP_SIZE = 2 | 1
MIB = 1 << 20
BLOCK = 4096
# Tools of the system may not be on the path of who is no administrator.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def command(*words):
    """What it prints; OSError with what it complains about."""
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True,
                          text=True, env={**os.environ, "PATH": PATH, "LC_ALL": "C"})
    if done.returncode != 0:
        raise OSError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout.strip()


def own_mounts():
    """What this process mounts from now on, only it and its children see."""
    if LIBC.unshare(CLONE_NEWNS) != 0 or LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None) != 0:
        raise OSError("unshare(CLONE_NEWNS): " + os.strerror(ctypes.get_errno()))


# ---- skipping

def _check_root():
    if os.geteuid() != 0:
        raise OSError("it needs root")


def _check_tools():
    for tool in ("losetup", "mkfs.ext4", "mount", "umount"):
        if shutil.which(tool, path=PATH) is None:
            raise OSError(f"it needs {tool}")


def _check_fuse():
    os.close(os.open("/dev/fuse", os.O_RDWR))


def _check_mounts():
    """In a process of its own, since it is not to be undone."""
    done = subprocess.run([sys.executable, os.path.abspath(__file__)], check=False,
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError("it needs mount namespaces, loop devices and ext4: "
                      + done.stderr.strip().rpartition("\n")[2])


CHECKS = {"root": _check_root, "tools": _check_tools, "fuse": _check_fuse, "mounts": _check_mounts}


def why_not(*wants):
    """(name of the check, what is missing), or None when all is there."""
    for name in wants:
        try:
            CHECKS[name]()
        except OSError as problem:
            return name, str(problem)
    return None


def _is_still_missing(name):
    """A skip is honest only when what is said to be missing is missing."""
    try:
        CHECKS[name]()
    except OSError:
        return
    raise AssertionError(f"{name} is there after all")


def _refuse_to_skip(what):
    raise AssertionError(f"{what}: USERD_NO_SKIP is set")


def announce_skip(what, missing):
    """USERD_NO_SKIP in the environment makes it a failure: for machines that can."""
    name, problem = missing
    print(f"SKIPPED SKIPPED SKIPPED: {what}: {problem}", flush=True)
    run_one(f"the reason to skip is real: {problem}", _is_still_missing, name)
    if os.environ.get("USERD_NO_SKIP"):
        run_one("nothing may be skipped here", _refuse_to_skip, what)


# ---- disks

class Ext4:
    """ext4 on a loop device over an image, mounted at folder/"disk" for the time of a block. With
    an image that exists the file system is what is in there already.

    `request_kib` is the largest request that the loop device passes on. Its driver (Linux 6.18)
    takes a short write of the image for a whole one: it acknowledges, and syncs, what was never
    written. That is not what is tested here, so a request must be so small that it is done as a
    whole or not at all.
    """

    journal_mib = 4
    request_kib = 512  # less than what power_disk.py takes at once

    def __init__(self, folder, size=0, image=None, options="nodiscard,noatime"):
        self.folder = pathlib.Path(folder) / "disk"
        self.image = image
        self.options = options
        self.is_mounted = False
        self.folder.mkdir(exist_ok=True)
        if image is None:
            self.image = pathlib.Path(folder) / "image"
            with open(self.image, "wb") as file:
                file.truncate(size)
            self.make()

    def make(self):
        """A new file system in the image. No discards: the image keeps its blocks."""
        with Loop(self.image, self.request_kib) as device:
            command("mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-m", "0",
                    "-J", f"size={self.journal_mib}", "-E",
                    "nodiscard,lazy_itable_init=0,lazy_journal_init=0", device)

    def mount(self):
        with Loop(self.image, self.request_kib) as device:
            command("mount", "-t", "ext4", "-o", self.options, device, self.folder)
        self.is_mounted = True
        return self

    def unmount(self):
        """Not at once after a process was killed: its ring keeps files open some milliseconds."""
        end = time.monotonic() + PATIENCE_S
        while self.is_mounted:
            try:
                command("umount", self.folder)
                self.is_mounted = False
            except OSError as problem:
                if "busy" not in str(problem) or time.monotonic() > end:
                    raise
                time.sleep(0.005)

    def give_back_zeros(self, path):
        """Those blocks of a file that are zeros lose their place in the image. Nothing may write
        meanwhile."""
        with open(path, "rb") as file, open(self.image, "r+b", buffering=0) as image:
            for at in range(path.stat().st_size // BLOCK):
                number, = struct.unpack("i", fcntl.ioctl(file, FIBMAP, struct.pack("i", at)))
                start = number * BLOCK
                if start == 0 or os.pread(image.fileno(), BLOCK, start) != bytes(BLOCK):
                    continue
                if LIBC.fallocate(image.fileno(), PUNCH_HOLE_KEEP_SIZE, ctypes.c_long(start),
                                  ctypes.c_long(BLOCK)) != 0:
                    raise OSError("fallocate: " + os.strerror(ctypes.get_errno()))

    def __enter__(self):
        return self.mount()

    def __exit__(self, *_):
        if self.is_mounted:
            LIBC.umount2(str(self.folder).encode(), 2)  # MNT_DETACH: whatever still uses it
            self.is_mounted = False


@contextlib.contextmanager
def tmpfs(folder, size):
    folder.mkdir()
    command("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        LIBC.umount2(str(folder).encode(), 2)


class Loop:
    """A loop device for the time of a block. What is mounted then holds it, and frees it."""

    def __init__(self, image, request_kib):
        self.image = image
        self.request_kib = request_kib
        self.device = None

    def __enter__(self):
        self.device = command("losetup", "--find", "--show", self.image)
        queue = pathlib.Path("/sys/block") / pathlib.Path(self.device).name / "queue"
        (queue / "max_sectors_kb").write_text(str(self.request_kib), encoding="ascii")
        return self.device

    def __exit__(self, *_):
        command("losetup", "--detach", self.device)


def main():
    own_mounts()
    with tempfile.TemporaryDirectory(prefix="userd-test-") as folder:
        with Ext4(folder, 16 * MIB) as disk:
            disk.unmount()


if __name__ == "__main__":
    main()
