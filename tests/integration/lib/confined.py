#!/usr/bin/python3
"""Becomes a program that may call only some of the kernel: any other call kills it.

    lib/confined.py FILE PROGRAM COMMAND [ARGUMENT...]

FILE holds names of system calls, one a line. PROGRAM is started in place of COMMAND, which is its name. Root
becomes the user that containers run as before.
"""

import os
import sys

import seccomp

USER = 65532


def main():
    with open(sys.argv[1], encoding="ascii") as file:
        names = file.read().split()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    allowed = seccomp.SyscallFilter(seccomp.KILL_PROCESS)
    for name in names:
        try:
            allowed.add_rule(seccomp.ALLOW, name)
        except (ValueError, RuntimeError, OSError):
            pass  # not of this machine, or newer than the library: as runtimes do
    arguments = sys.argv[3:]
    allowed.load()
    os.execv(sys.argv[2], arguments)


if __name__ == "__main__":
    main()
