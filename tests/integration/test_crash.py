#!/usr/bin/python3
"""kill -9 at random moments, against a ledger of what was acknowledged.

A round lets one of the loads of lib/loads.py run and kills the server 0 to 500 ms later. Small
segments and frequent snapshots, and in half of the rounds SIGUSR1 at random moments, make sure that
kills hit snapshots, the change of segments and the removal of old ones. Now and then the next
start is killed too. Then the server is started and judged with lib/ledger.py: no acknowledged
change is lost, nobody is there who was not sent, no etag is given twice. The last rounds kill right
behind the answer to a change. wal.sync = interval promises the same, since the kernel outlives the
process.

A store lives for some rounds; then the next begins, with another wal.sync or wal.snapshot_rate.

    SOAK_ROUNDS=n   so many rounds in place of 50 (`make soak-crash N=n`)
    TEST_SEED=n     repeats a run as far as the machine allows; the seed is printed
"""

import os
import random
import re
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import loads  # noqa: E402
from ledger import GONE, PUT, Ledger, number_of  # noqa: E402
from userd_harness import SLOW, Counts, Server, finish, run_main, run_one  # noqa: E402

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "50"))
ROUNDS_OF_A_STORE = 25
ROUNDS_RIGHT_AFTER = 4  # at the end of each store
USERS_MAX = 4000  # in one store, so that a judgement stays quick
KILL_WITHIN_S = 0.5 * SLOW
KILL_AT_START_WITHIN_S = 0.05 * SLOW

SETTINGS = {"segment_size": "1MiB", "max_pending_bytes": "512KiB", "snapshot_every": "96KiB"}
# A snapshot that takes its time is more often hit in the middle, a quick one when it gets its name.
STORES = (("always", "0"), ("interval", "2MiB"), ("always", "2MiB"), ("interval", "0"))


class Total:
    """Over all stores."""

    rounds = 0
    acknowledged = 0
    lost = 0
    ghosts = 0
    events = {name: 0 for name in ("snapshot_started", "snapshot_done", "snapshot_failed",
                                   "recovery_notice")}


class Store:
    """One server with its folder and its ledger."""

    def __init__(self, sync, rate, chance):
        self.chance = chance
        self.server = Server({"wal": {**SETTINGS, "sync": sync, "snapshot_rate": rate}})
        self.ledger = Ledger(self.server.folder / "ledger")
        self.users = 0

    def close(self):
        Total.acknowledged += self.ledger.acknowledged
        for line in self.server.whole_log:
            for name in Total.events:
                Total.events[name] += bool(re.search(rf"\b{name}\b", line))
        if Counts.failed:
            print("---- the last lines of the server's log")
            print("".join(self.server.whole_log[-60:]))
            self.server.owns_folder = False
            print(f"---- everything is left in {self.server.folder}")
        self.ledger.close()
        self.server.remove()

    def start_and_judge(self):
        self.server.start()
        verdict = loads.judge(self.server, self.ledger, self.chance)
        found = re.search(r"\brecovered\b.*\busers=(\d+)", self.server.log())
        Total.lost += len(verdict.lost) + len(verdict.holes)
        Total.ghosts += len(verdict.ghosts)
        verdict.check()
        assert found and int(found.group(1)) == verdict.users, (
            f"{verdict.users} users, but:\n{self.server.log()}")
        self.users = verdict.users

    def kill_a_start(self):
        """A start that is killed before it is over."""
        self.server.spawn()
        time.sleep(self.chance.random() * KILL_AT_START_WITHIN_S)
        self.server.kill()

    # ---- rounds

    def crash(self, shape, number):
        chance = self.chance
        Total.rounds += 1
        kill_at = chance.random() * KILL_WITHIN_S
        moments = [(kill_at, self.server.process.kill)]
        if chance.random() < 0.5:
            # The last one so that the kill finds it under way.
            moments += [(chance.random() * kill_at, self.server.take_snapshot)
                        for _ in range(chance.randrange(3))]
            moments.append((max(0, kill_at - chance.random() * 0.02), self.server.take_snapshot))
        with loads.Load(self.server, self.ledger, shape, number):
            began = time.monotonic()
            for at, action in sorted(moments, key=lambda moment: moment[0]):
                time.sleep(max(0, began + at - time.monotonic()))
                action()
        self.server.kill()
        if chance.random() < 0.25:
            self.kill_a_start()
        self.start_and_judge()

    def kill_right_after(self, number):
        """One change; the moment its answer is there, kill -9."""
        Total.rounds += 1
        with self.server.channel() as channel:
            alive = list(self.ledger.alive().items())
            ours = dict(self.chance.sample(alive, min(1, len(alive))))
            writer = loads.Writer(self.ledger, f"r-{number}", self.server.stub(channel), ours)
            self.chance.choice([
                lambda: writer.create(writer.new_key()),
                lambda: writer.update(next(iter(ours))),
                lambda: writer.delete(next(iter(ours))),
            ][:3 if ours else 1])()
            self.server.kill()
        self.start_and_judge()

    def end_clean(self):
        """An orderly end and another start change nothing either."""
        self.server.stop()
        self.start_and_judge()
        self.server.stop()


def rounds_of_store(first, chance):
    """Names and kinds of the rounds of one store; `first` is the number of the first."""
    last = min(first + ROUNDS_OF_A_STORE, ROUNDS + 1)
    for number in range(first, last):
        shape = list(loads.SHAPES)[number % len(loads.SHAPES)]
        if number < last - ROUNDS_RIGHT_AFTER:
            yield f"round {number}: kill -9 under {shape} load", Store.crash, shape, number
        else:
            yield f"round {number}: kill -9 right after an answer", Store.kill_right_after, number


def run_store(first, sync, rate, chance):
    """Returns the number of the next round."""
    store = Store(sync, rate, chance)
    number = first
    try:
        store.server.start()
        for name, function, *arguments in rounds_of_store(first, chance):
            number += 1
            run_one(f"{name}, sync {sync}, snapshot_rate {rate}", function, store, *arguments)
            if Counts.failed or (store.users > USERS_MAX and function is Store.crash):
                break
        if not Counts.failed:
            run_one(f"an orderly end after round {number - 1}", Store.end_clean, store)
    finally:
        store.close()
    return number


def ledger_finds_faults():
    """The judge itself: each kind of fault is found as what it is, and what is right is let pass."""
    def user(number, how="update", etag="", **changes):
        made = loads.user_of("key", number, how, "id")
        made.etag = etag or f"etag{number}"
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    changes = (("send", user(1, "create"), "create"), ("ack", user(1, "create"), ""),
               ("send", user(2), "update"), ("ack", user(2), ""), ("send", user(3), "update"))
    other_roles = user(2)
    other_roles.roles.append("x")
    cases = (
        ("", 5, user(2)), ("", 5, user(3)), ("", 5, user(3, etag="any")), ("", 1, None),
        ("", 1, user(1, "create")), ("lost", 5, user(1, "create")), ("lost", 5, None),
        ("lost", 2, None), ("ghosts", 5, user(4)), ("ghosts", 3, user(3)),
        ("ghosts", 5, user(2, etag="another")), ("ghosts", 5, other_roles),
        ("ghosts", 5, user(2, created_at=1)), ("ghosts", 0, user(1, "create")),
    )
    for expected, count, found in cases:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger(os.path.join(folder, "ledger"))
            for what, sent, how in changes[:count]:
                if what == "send":
                    assert ledger.send("key", how=how) == number_of(sent)
                else:
                    ledger.ack("key", number_of(sent), sent)
            verdict = ledger.judge([found] if found is not None else [])
            ledger.close()
        kinds = [kind for kind in ("lost", "ghosts", "holes") if getattr(verdict, kind)]
        assert kinds == ([expected] if expected else []), (kinds, expected, count, found)


def ledger_finds_holes():
    """Nothing was promised to survive: but a later change without an earlier one is a hole."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(os.path.join(folder, "ledger"))
        users = []
        for key in ("one", "two"):
            users.append(loads.user_of(key, ledger.send(key, how="create"), "create"))
            ledger.ack(key, 1, users[-1])
        for found, holes in ((users, 0), (users[:1], 0), ([], 0), (users[1:], 1)):
            copy = Ledger(os.path.join(folder, "copy"))
            with open(ledger.path, "rb") as lines:
                os.write(copy.file, lines.read())
            verdict = copy.judge(found, acked_before=0)
            copy.close()
            assert (len(verdict.holes), verdict.taken) == (holes, 2 - len(found)), (found, holes)
            assert not verdict.lost and not verdict.ghosts
        ledger.close()


def ledger_takes_nothing_for_a_deletion():
    """Of a user who was made, deleted and lost there is nothing: that is no sign of the deletion."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(os.path.join(folder, "ledger"))
        other = None
        changes = (("brief", PUT, "create"), ("other", PUT, "create"), ("brief", GONE, "update"))
        for key, kind, how in changes:
            number = ledger.send(key, kind=kind, how=how)
            user = loads.user_of(key, number, how) if kind == PUT else None
            other = user if key == "other" else other
            ledger.ack(key, number, user)
        with open(ledger.path, "rb") as lines:
            text = lines.read()
        for found in ([], [other], [loads.user_of("brief", 1, "create")]):
            copy = Ledger(os.path.join(folder, "copy"))
            os.write(copy.file, text)
            verdict = copy.judge(found, acked_before=0)
            copy.close()
            assert not verdict.holes and not verdict.lost and not verdict.ghosts, (found, verdict.holes)
        ledger.close()


def ledger_finds_etag_twice():
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(os.path.join(folder, "ledger"))
        user = loads.user_of("key", ledger.send("key", how="create"), "create")
        user.etag = "same"
        ledger.ack("key", 1, user)
        ledger.ack("key", ledger.send("key"), user)
        try:
            ledger.judge([user])
        except AssertionError as problem:
            assert "one etag" in str(problem)
        else:
            raise AssertionError("nothing was found")
        finally:
            ledger.close()


def snapshots_were_hit():
    """The rounds are worth something only when snapshots were finished, and cut short."""
    started, done = (Total.events[f"snapshot_{step}"] for step in ("started", "done"))
    assert ROUNDS < 20 or started > done > 0, Total.events


def main():
    seed = os.environ.get("TEST_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    for function in (ledger_finds_faults, ledger_finds_holes, ledger_takes_nothing_for_a_deletion,
                     ledger_finds_etag_twice):
        run_one(f"the judge: {function.__name__}", function)
    next_round = 1
    stores = 0
    while next_round <= ROUNDS and not Counts.failed:
        next_round = run_store(next_round, *STORES[stores % len(STORES)], chance)
        stores += 1
    if not Counts.failed:
        run_one("snapshots were taken, and interrupted", snapshots_were_hit)
    print(f"counts: crash rounds {Total.rounds}: acknowledged {Total.acknowledged}, lost {Total.lost}, "
          f"ghosts {Total.ghosts}")
    print(f"{stores} stores; in the server's log: "
          + ", ".join(f"{name} {count}" for name, count in Total.events.items()))
    finish()


if __name__ == "__main__":
    run_main(main)
