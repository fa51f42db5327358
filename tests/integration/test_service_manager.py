#!/usr/bin/python3
"""What userd tells the service manager that started it, and that a manager who does not listen is no
harm to anybody."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from manager import Manager, pass_sockets, run_all  # noqa: E402
from userd_calls import create, get  # noqa: E402
from userd_harness import PATIENCE_S, Server, run_main  # noqa: E402

EXIT_CONFIG, EXIT_IN_USE = 78, 75
MICRO = 1000000


class Pair:
    """A server and its manager."""

    def __init__(self, settings=None, abstract=False):
        self.server = Server(settings)
        name = f"@userd-test-{os.getpid()}-{id(self)}" if abstract else self.server.folder / "notify"
        self.manager = Manager(name)
        self.server.environment = dict(self.manager.environment)

    def __enter__(self):
        self.manager.listen()
        return self.server, self.manager

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.server.is_running():
                self.server.stop()
        finally:
            self.manager.close()
            self.server.remove()


def now_us():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def change(server, old, new):
    text = server.config.read_text()
    assert old in text, text
    server.config.write_text(text.replace(old, new))


# ---- the start


def check_start(server, manager):
    server.start()
    first = manager.wait_for("STATUS=replaying")
    assert not any("READY" in message for message in manager.messages), manager.messages
    assert int(first["EXTEND_TIMEOUT_USEC"]) >= 10 * MICRO, first
    ready = manager.wait_for("READY=1")
    assert re.fullmatch(r"serving \d+ users?, 0 connections", ready["STATUS"]), ready
    # Who waited for it gets in.
    with server.channel() as channel:
        assert channel is not None
    assert "ready" in server.log()


def test_ready_comes_after_the_recovery_and_once_the_port_is_open():
    with Pair() as (server, manager):
        check_start(server, manager)
        create(server)
        server.shared_channel.close()
        del server.shared_channel
        server.stop()
        manager.wait_for("STOPPING=1")
        manager.messages.clear()
        check_start(server, manager)


def test_an_abstract_socket_is_as_good():
    with Pair(abstract=True) as (server, manager):
        check_start(server, manager)


def test_a_start_that_fails_says_why():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "%s:%d" % taken.getsockname()
        with Pair({"server": {"listen": address}}) as (server, manager):
            server.spawn()
            assert server.wait_for_end() == EXIT_CONFIG
            failed = manager.wait_for("ERRNO=22")
            assert failed["STATUS"].startswith(f"failed: server.listen: cannot listen on {address}"), failed
            assert not any("READY" in message for message in manager.messages), manager.messages


def test_bad_places_to_tell_are_named_and_passed_over():
    for address in ("relative/path", "@", "/" + "x" * 200):
        server = Server()
        server.environment = {"NOTIFY_SOCKET": address}
        try:
            server.start()
            server.wait_for(r"\bservice_manager_unknown\b.*NOTIFY_SOCKET")
            server.stop()
        finally:
            server.remove()


# ---- while it serves


def test_the_status_is_alive():
    with Pair() as (server, manager):
        server.environment["WATCHDOG_USEC"] = str(MICRO // 2)  # it is made anew as often
        server.start()
        manager.wait_for("READY=1")
        create(server)
        manager.wait_for_status(re.compile(r"^serving 1 user, 1 connection$"))
        create(server)
        manager.wait_for_status(re.compile(r"^serving 2 users, 1 connection$"))
        server.shared_channel.close()
        manager.wait_for_status(re.compile(r"^serving 2 users, 0 connections$"))


def test_signs_of_life_come_when_they_are_asked_for():
    with Pair() as (server, manager):
        server.environment["WATCHDOG_USEC"] = str(MICRO)
        server.start()
        manager.wait_for("READY=1")
        for _ in range(3):
            manager.wait_for("WATCHDOG=1")
        # They come from the loop: one that stands still gives none.
        server.pause()
        time.sleep(0.1)
        while not manager.queue.empty():
            manager.next()
        time.sleep(2)
        assert manager.queue.empty()
        server.process.send_signal(signal.SIGCONT)
        manager.wait_for("WATCHDOG=1")


def test_signs_of_life_name_their_process():
    with Pair() as (server, manager):
        pass_sockets(server, (), WATCHDOG_USEC=str(MICRO), WATCHDOG_PID="", LISTEN_FDS="0")
        server.start()
        manager.wait_for("WATCHDOG=1")
        server.stop()
        server.environment["WATCHDOG_PID"] = "1"  # somebody else is watched
        manager.messages.clear()
        server.start()
        manager.wait_for("READY=1")
        create(server)
        manager.wait_for_status(re.compile("^serving 1 user,"))
        server.shared_channel.close()
        assert not any("WATCHDOG" in message for message in manager.messages), manager.messages


# ---- reload


def test_a_reload_has_a_beginning_and_an_end():
    with Pair() as (server, manager):
        server.start()
        manager.wait_for("READY=1")
        for _ in range(2):
            asked_us = now_us()
            server.process.send_signal(signal.SIGHUP)
            begun = manager.wait_for("RELOADING=1")
            assert "READY" not in begun and "STATUS" not in begun, begun
            assert asked_us <= int(begun["MONOTONIC_USEC"]) <= now_us(), (asked_us, begun)
            assert "RELOADING" not in manager.wait_for("READY=1")


def test_a_refused_reload_ends_too_and_says_why():
    with Pair() as (server, manager):
        server.environment["WATCHDOG_USEC"] = str(MICRO // 2)
        server.start()
        manager.wait_for("READY=1")
        change(server, "drain_delay_s = 0", "drain_delay_s = never")
        server.process.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        refused = manager.wait_for("READY=1")["STATUS"]
        assert re.match(r"serving 0 users, 0 connections; the last reload was refused: .*drain_delay_s",
                        refused), refused
        # The note stays until a reload is not refused.
        create(server)
        manager.wait_for_status(re.compile("^serving 1 user, .*refused: .*drain_delay_s"))
        change(server, "drain_delay_s = never", "drain_delay_s = 0")
        server.process.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        assert "refused" not in manager.wait_for("READY=1")["STATUS"]
        server.shared_channel.close()


# ---- the end


def test_the_end_is_told_with_the_time_it_may_take():
    with Pair({"server": {"drain_delay_s": "2", "drain_grace_s": "7"}}) as (server, manager):
        server.start()
        manager.wait_for("READY=1")
        server.process.send_signal(signal.SIGTERM)
        stopping = manager.wait_for("STOPPING=1")
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) >= 9 * MICRO, stopping
        assert stopping["STATUS"] == "about to drain: still serving 0 connections", stopping
        manager.wait_for_status(re.compile("^draining: 0 connections left$"))
        assert server.wait_for_end() == 0


# ---- managers that do not listen


def fill(address):
    """Sends to a socket that nobody reads until it takes no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            while True:
                sender.sendto(b"STATUS=of somebody else", address)
        except BlockingIOError:
            pass


def test_a_manager_that_does_not_read_holds_nobody_up():
    pair = Pair()
    server, manager = pair.server, pair.manager
    fill(manager.address)
    try:
        server.start()
        server.wait_for(r"\bready\b")
        user = create(server)
        for _ in range(3):
            lines = len(server.lines)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for(r"\breloaded\b", lines)
            assert get(server, user.id) == user
        server.shared_channel.close()
        # What it missed is told once it listens, as it is now.
        manager.listen()
        manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
        server.stop()
    finally:
        manager.close()
        server.remove()


def test_a_manager_that_is_gone_is_told_when_it_is_back():
    pair = Pair()
    server, manager = pair.server, pair.manager
    manager.close()
    try:
        server.start()
        server.wait_for(r"\bservice_manager_deaf\b")
        create(server)
        server.shared_channel.close()
        with Manager(manager.address) as back:
            back.wait_for("READY=1")
            server.stop()
    finally:
        server.remove()


# ---- process 1


def child_of(process):
    """Waits for the one child of a process."""
    path = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        children = path.read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError("it has no child")


def can_be_process_1():
    return subprocess.run(["unshare", "--pid", "--fork", "true"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0


def test_process_1_ends_on_signals():
    if not can_be_process_1():
        print("SKIPPED: this system lets nobody make a process 1")
        return
    first = Server()
    try:
        first.start()
        second = Server(folder=first.folder)  # on the same data
        second.wrapper = ["unshare", "--pid", "--fork"]
        # It waits for the data, and has not begun to listen to signals.
        second.spawn()
        second.wait_for(r"\bstarting\b.* pid=1\b")
        os.kill(child_of(second.process), signal.SIGTERM)
        assert second.wait_for_end() == 128 + signal.SIGTERM, second.log()
        assert "start_failed" not in second.log(), second.log()
        first.stop()
        # It serves.
        second.start()
        second.wait_for(r"\bready\b")
        os.kill(child_of(second.process), signal.SIGTERM)
        assert second.wait_for_end() == 0, second.log()
    finally:
        first.remove()


if __name__ == "__main__":
    run_main(lambda: run_all(globals()))
