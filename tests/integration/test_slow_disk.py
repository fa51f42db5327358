#!/usr/bin/python3
"""A disk that takes its time: the file system under the log is frozen (FIFREEZE), so that writes wait
in the kernel, and thawed again.

When the oldest change has waited for wal.max_pending_ms, further ones are refused at once and say so;
reads go on; what waits is acknowledged when the disk goes on, and nothing of what was refused is there.
Held against a ledger. Needs a disk of its own, and is skipped, loudly, where nobody may make any.

TEST=part runs the tests with this in their names.
"""

import contextlib
import fcntl
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import block_disk  # noqa: E402
import loads  # noqa: E402
from block_disk import MIB, Ext4  # noqa: E402
from ledger_case import Case, folder_of_test  # noqa: E402
from test_admin import ask  # noqa: E402
from userd_calls import expect  # noqa: E402
from userd_harness import PATIENCE_S, SLOW, finish, run_main, run_one  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
MAX_PENDING_MS = 300 * SLOW
REFUSED_MIN = 20  # then it was no accident


@contextlib.contextmanager
def case_on_disk(**wal):
    with folder_of_test() as folder, Ext4(folder, 48 * MIB) as disk:
        with Case(folder, data=disk.folder / "data", **wal) as case:
            yield case, disk


@contextlib.contextmanager
def frozen(disk):
    handle = os.open(disk.folder, os.O_RDONLY)
    fcntl.ioctl(handle, FIFREEZE, 0)
    try:
        yield
    finally:
        fcntl.ioctl(handle, FITHAW, 0)
        os.close(handle)


class Creates:
    """CreateUser calls that wait for nobody, each in the ledger."""

    def __init__(self, case, stub):
        self.case = case
        self.stub = stub
        self.name = f"slow-{case.next_number()}"
        self.made = 0
        self.waiting = []
        self.refused = []  # errors

    def send(self):
        self.made += 1
        key = f"{self.name}-{self.made}"
        number = self.case.ledger.send(key, how="create")
        call = self.stub.CreateUser.future(loads.create_request(key, number), timeout=PATIENCE_S)
        self.waiting.append((key, number, call))

    def settle(self, everything=False):
        """Takes in the answers that are there, or waits for all of them."""
        waiting, self.waiting = self.waiting, []
        for key, number, call in waiting:
            if not everything and not call.done():
                self.waiting.append((key, number, call))
                continue
            try:
                self.case.ledger.ack(key, number, call.result().user)
            except grpc.RpcError as error:
                assert loads.refusal_of(error) is not None, error
                self.case.ledger.refuse(key, number)
                self.refused.append(error)


def check_slow(error):
    details = expect(error, grpc.StatusCode.UNAVAILABLE)
    trailers = dict((item.key, item.value) for item in error.trailing_metadata())
    assert details["ErrorInfo"]["reason"] == "DISK_SLOW", details
    assert "RetryInfo" in details, details
    assert int(trailers["grpc-retry-pushback-ms"]) > 0, trailers


def limit_hits(case, name):
    for line in ask(case.server, "GET", "/metrics")[1].splitlines():
        if line.startswith("userd_limit_hits_total{") and f'"{name}"' in line:
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no metric counts {name}")


def check_reads(case, stub, user):
    assert stub.GetUser(users_pb2.GetUserRequest(id=user.id), timeout=PATIENCE_S).user == user
    assert user in loads.list_users(stub)
    assert ask(case.server, "GET", "/readyz")[0] == 200


def test_changes_are_refused_while_the_disk_is_slow():
    with case_on_disk(max_pending_ms=str(MAX_PENDING_MS)) as (case, disk):
        case.fill()
        case.judge()
        with case.server.channel() as channel:
            stub = case.server.stub(channel)
            user = loads.list_users(stub)[0]
            creates = Creates(case, stub)
            with frozen(disk):
                end = time.monotonic() + PATIENCE_S
                while len(creates.refused) < REFUSED_MIN:
                    assert time.monotonic() < end, (creates.made, creates.refused)
                    creates.send()
                    time.sleep(MAX_PENDING_MS / 10000)
                    creates.settle()
                # All that were not refused still wait: nobody said yes without the disk.
                assert creates.waiting
                assert len(creates.waiting) + len(creates.refused) == creates.made
                for error in creates.refused:
                    check_slow(error)
                check_reads(case, stub, user)
                assert limit_hits(case, "wal.max_pending_ms") >= REFUSED_MIN
                refused = len(creates.refused)
            creates.settle(everything=True)
            assert len(creates.refused) == refused, creates.refused[refused:]
        case.fill()
        case.judge()
        case.server.stop()
        case.server.start()
        case.judge()


def test_changes_wait_for_as_long_as_it_takes():
    """wal.max_pending_ms = 0: none is refused."""
    with case_on_disk(max_pending_ms="0") as (case, disk):
        case.fill()
        with case.server.channel() as channel:
            creates = Creates(case, case.server.stub(channel))
            with frozen(disk):
                end = time.monotonic() + 1.5 * SLOW
                while time.monotonic() < end:
                    creates.send()
                    time.sleep(0.05)
                    creates.settle()
                assert len(creates.waiting) == creates.made
            creates.settle(everything=True)
            assert not creates.refused
        case.judge()


TESTS = (test_changes_are_refused_while_the_disk_is_slow, test_changes_wait_for_as_long_as_it_takes)


def main():
    missing = block_disk.why_not("root", "tools", "mounts")
    if missing is not None:
        block_disk.announce_skip(", ".join(test.__name__ for test in TESTS), missing)
        finish()
    block_disk.own_mounts()
    for function in TESTS:
        if os.environ.get("TEST", "") in function.__name__:
            run_one(function.__name__, function)
    finish()


if __name__ == "__main__":
    run_main(main)
