#!/usr/bin/python3
"""kill -9 at random moments, against a ledger of what was acknowledged.

Several threads create, update and delete users, each its own, one call at a time, and write down
what they are about to send and what was answered. After every kill the server is started again and
judged:

- every acknowledged change is there, in the newest acknowledged form,
- or in the form of the one call that was under way when the server died, complete,
- a create that was under way can be repeated with its request_id and leads to one user,
- and there are no more and no fewer users than that explains.

TEST_SEED=n repeats a run as far as the machine allows; the seed is printed.
"""

import os
import random
import re
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_harness import PATIENCE_S, Counts, Server, finish, run_one  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

ROUNDS = 20
ROUNDS_RIGHT_AFTER = 10
THREADS = 6
ACKS_MAX = 150  # in one round, before the kill
PASSWORD = "correct horse battery"
GONE = None  # the state of a deleted user


class Died(Exception):
    """The server went away under a call."""


class Writer:
    """The users of one thread, and what the server said about them."""

    def __init__(self, number, seed):
        self.number = number
        self.random = random.Random(f"{seed}/{number}")
        self.acknowledged = {}  # id -> User, or GONE
        self.pending = None  # the request under way
        self.created = 0

    def alive(self):
        return [one for one in self.acknowledged.values() if one is not GONE]

    # ---- one change

    def step(self, stub):
        alive = self.alive()
        choice = self.random.random()
        if len(alive) < 3 or choice < 0.3:
            self.create(stub)
        elif choice < 0.85:
            self.update(stub, self.random.choice(alive))
        else:
            self.delete(stub, self.random.choice(alive))

    def create(self, stub):
        self.created += 1
        name = f"w{self.number}-{self.created}"
        self._send(stub, users_pb2.CreateUserRequest(
            username=name, email=f"{name}@example.com", password=PASSWORD, request_id=name))

    def update(self, stub, user):
        # Up to 4 KiB each, so that the log runs through several segments.
        roles = [f"role-{self.random.getrandbits(200):050x}"
                 for _ in range(self.random.randrange(64))]
        request = users_pb2.UpdateUserRequest(id=user.id)
        request.user.profile.last_name = f"change {self.random.getrandbits(64):x}"
        request.user.roles.extend(roles)
        request.update_mask.paths.extend(["profile.last_name", "roles"])
        self._send(stub, request)

    def delete(self, stub, user):
        self._send(stub, users_pb2.DeleteUserRequest(id=user.id))

    def _send(self, stub, request):
        self.pending = request
        try:
            if isinstance(request, users_pb2.CreateUserRequest):
                user = stub.CreateUser(request, timeout=PATIENCE_S).user
                assert user.username == request.username
                self.acknowledged[user.id] = user
            elif isinstance(request, users_pb2.UpdateUserRequest):
                user = stub.UpdateUser(request, timeout=PATIENCE_S).user
                assert self._is_result(request, user)
                self.acknowledged[user.id] = user
            else:
                assert stub.DeleteUser(request, timeout=PATIENCE_S).success
                self.acknowledged[request.id] = GONE
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise Died from None
            raise
        self.pending = None

    @staticmethod
    def _is_result(request, user):
        return (user.profile.last_name == request.user.profile.last_name
                and list(user.roles) == list(request.user.roles))

    # ---- judging

    def judge(self, stub):
        """Compares every user with the ledger; what was under way is settled and acknowledged."""
        pending, self.pending = self.pending, None
        for user_id, expected in self.acknowledged.items():
            found = self._get(stub, user_id)
            if found == expected:
                continue
            assert pending is not None and getattr(pending, "id", None) == user_id, (
                f"{user_id}: found\n{found}\ninstead of\n{expected}")
            if isinstance(pending, users_pb2.DeleteUserRequest):
                assert found is GONE, found
            else:
                assert found is not GONE and self._is_result(pending, found), found
                assert found.username == expected.username, found
                assert found.etag != expected.etag, found
            self.acknowledged[user_id] = found
        if isinstance(pending, users_pb2.CreateUserRequest):
            self._send(stub, pending)  # the same request_id: no ALREADY_EXISTS, whatever was stored

    @staticmethod
    def _get(stub, user_id):
        try:
            return stub.GetUser(users_pb2.GetUserRequest(id=user_id), timeout=PATIENCE_S).user
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
            return GONE


class Ledger:
    """All writers, and the count of users that they explain."""

    def __init__(self, seed):
        self.writers = [Writer(number, seed) for number in range(THREADS)]

    def check_count(self, server):
        """The server says how many users it recovered; so do we, give or take what was under way."""
        found = re.search(r"\brecovered\b.*\busers=(\d+)", server.log())
        alive = sum(len(writer.alive()) for writer in self.writers)
        pending = [writer.pending for writer in self.writers]
        creates = sum(isinstance(one, users_pb2.CreateUserRequest) for one in pending)
        deletes = sum(isinstance(one, users_pb2.DeleteUserRequest) for one in pending)
        assert found, "the server did not say how many users it has:\n" + server.log()
        assert alive - deletes <= int(found.group(1)) <= alive + creates, (
            f"{found.group(1)} users, {alive} acknowledged, {creates} creates and {deletes} deletes "
            "under way")

    def judge(self, server):
        with server.channel() as channel:
            for writer in self.writers:
                writer.judge(server.stub(channel))

    def restart_and_judge(self, server):
        server.start()
        self.check_count(server)
        self.judge(server)


def write_until_killed(server, ledger, chance):
    """Lets the writers run and kills the server at a random moment."""
    acks_until_kill = chance.randrange(ACKS_MAX)
    delay_s = chance.random() * 0.005
    acks = threading.Semaphore(0)
    problems = []

    def work(writer, channel):
        stub = server.stub(channel)
        try:
            while True:
                writer.step(stub)
                acks.release()
        except Died:
            pass
        except Exception as problem:  # pylint: disable=broad-except
            problems.append(problem)
            acks.release(ACKS_MAX)

    channels = [server.channel() for _ in ledger.writers]
    threads = [threading.Thread(target=work, args=pair)
               for pair in zip(ledger.writers, channels)]
    for thread in threads:
        thread.start()
    for _ in range(acks_until_kill):
        if not acks.acquire(timeout=PATIENCE_S):
            problems.append("the writers are stuck")
            break
    killer = threading.Timer(delay_s, server.process.kill)
    killer.start()
    for thread in threads:
        thread.join()
    killer.join()
    server.kill()
    for channel in channels:
        channel.close()
    assert not problems, problems


def crash_round(server, ledger, chance):
    write_until_killed(server, ledger, chance)
    ledger.restart_and_judge(server)


def kill_right_after(server, ledger, chance):
    """One change; the moment its answer is there, kill -9. It must have survived."""
    writer = chance.choice(ledger.writers)
    with server.channel() as channel:
        writer.step(server.stub(channel))
        server.kill()
    ledger.restart_and_judge(server)


def ends_clean(server, ledger, _):
    """An orderly end and another start change nothing either."""
    server.stop()
    ledger.restart_and_judge(server)
    server.stop()


def main():
    seed = os.environ.get("TEST_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    ledger = Ledger(seed)
    server = Server()
    try:
        server.start()
        rounds = [(f"kill -9 at a random moment, round {number}", crash_round)
                  for number in range(1, ROUNDS + 1)]
        rounds += [(f"kill -9 right after an answer, round {number}", kill_right_after)
                   for number in range(1, ROUNDS_RIGHT_AFTER + 1)]
        rounds += [("an orderly end after all that", ends_clean)]
        for name, function in rounds:
            run_one(name, function, server, ledger, chance)
            if Counts.failed:
                break  # the ledger is no longer right, so the next rounds would say nothing
        created = sum(writer.created for writer in ledger.writers)
        segments = len(list(server.data.glob("wal-*.log")))
        print(f"{created} users created, {segments} segments of the log")
        if Counts.failed:
            print(server.log())
    finally:
        server.remove()
    finish()


if __name__ == "__main__":
    main()
