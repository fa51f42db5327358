#!/usr/bin/python3
"""A stand-in for a service manager: it listens to what userd tells, and passes sockets to it.

    manager = Manager(folder)
    server.environment = manager.environment
    server.start()
    manager.wait_for("READY=1")

As a program it becomes another one, with sockets in the places where a service manager puts them:

    lib/manager.py DESCRIPTOR[,DESCRIPTOR]... COMMAND [ARGUMENT]...

sets LISTEN_PID to itself, and WATCHDOG_PID where that is empty. LISTEN_FDS is set unless it is already.
"""

import fcntl
import os
import pathlib
import queue
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from userd_harness import PATIENCE_S, finish, run_one  # noqa: E402

FIRST_FD = 3
SAFE_FD = 40  # and those after it are nobody's


class Manager:
    """The socket NOTIFY_SOCKET, and what comes through it, datagram by datagram."""

    def __init__(self, address):
        self.address = str(address)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address.replace("@", "\0", 1))
        self.environment = {"NOTIFY_SOCKET": self.address}
        self.messages = []  # each a dictionary
        self.queue = queue.Queue()
        self.thread = None

    def listen(self):
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        return self

    def _read(self):
        while True:
            data = self.socket.recv(65536)
            if data == b"end":
                break
            self.queue.put(dict(line.split("=", 1) for line in data.decode().splitlines()))

    def next(self):
        message = self.queue.get(timeout=PATIENCE_S)
        self.messages.append(message)
        return message

    def wait_for(self, *fields):
        """Passes over messages until one has all of them: NAME=value, or NAME for any value."""
        while True:
            message = self.next()
            if all(field in message if "=" not in field else
                   message.get(field.split("=", 1)[0]) == field.split("=", 1)[1] for field in fields):
                return message

    def wait_for_status(self, pattern):
        """The match of the first status that has it."""
        while True:
            found = pattern.search(self.next().get("STATUS", ""))
            if found:
                return found

    def close(self):
        if self.thread is not None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"end", self.address.replace("@", "\0", 1))
            self.thread.join()
        self.socket.close()
        if self.address.startswith("/"):
            pathlib.Path(self.address).unlink()

    def __enter__(self):
        return self.listen()

    def __exit__(self, *_):
        self.close()


def pass_sockets(server, sockets, names=None, **environment):
    """From its next start on the server gets these sockets. `names` None passes none."""
    server.passed = tuple(fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, SAFE_FD) for one in sockets)
    server.wrapper = [sys.executable, os.path.abspath(__file__), ",".join(map(str, server.passed))]
    server.environment.update(environment)
    if names is not None:
        server.environment["LISTEN_FDNAMES"] = names


def listening_socket(address=("127.0.0.1", 0), backlog=1024, family=socket.AF_INET):
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    listening.listen(backlog)
    return listening


def run_all(names):
    """Runs every test_* function of a module, each of which makes its own servers. TEST=part in the
    environment runs the tests with this in their names."""
    for name, function in list(names.items()):
        if name.startswith("test_") and callable(function) and os.environ.get("TEST", "") in name:
            run_one(name, function)
    finish()


def main():
    descriptors = [int(word) for word in sys.argv[1].split(",") if word]
    for place, descriptor in enumerate(descriptors, FIRST_FD):
        os.dup2(descriptor, place, inheritable=True)
        os.close(descriptor)
    os.environ.setdefault("LISTEN_FDS", str(len(descriptors)))
    os.environ.setdefault("LISTEN_PID", str(os.getpid()))
    if os.environ.get("WATCHDOG_PID") == "":
        os.environ["WATCHDOG_PID"] = str(os.getpid())
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
