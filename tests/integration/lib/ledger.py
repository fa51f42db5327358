"""What was sent to a server and what it acknowledged, in a file of our own, and the verdict on what
is found after a crash.

Every user has a key, its username, and one writer at a time. The changes of a key are numbered from
1 on, and the number makes the content: content(key, number, how) says how the user looks after it.
A line is written before a change is sent and another when its answer has come, so the file alone
tells, for each key, the newest change acknowledged, `a`, and the newest one sent, `s`. After a
crash the user must look exactly as after one change of a..s:

- an older state, or nothing where there should be something: an acknowledged change was **lost**,
- a user whom nobody sent, or not with this content: a **ghost**.

One more thing holds even where acknowledged changes may be lost (a power cut with wal.sync =
interval), since the log keeps the order in which changes came: what survives has no **holes**. A
change that was acknowledged before another one was even sent survives if that one does.

Lines of the file: ["send", key, number, kind, how, time], ["ack", key, number, time, fields],
["refuse", key, number] for a change that certainly was not made, and ["found", key, number, fields]
for what a judgement settled. Times are of the monotonic clock.
"""

import json
import os
import random
import threading
import time

PUT = "put"
GONE = "gone"
ALWAYS = float("-inf")

# What the server adds to the content of a user, and must not change by itself.
SERVER_FIELDS = ("id", "etag", "created_at", "updated_at")


def content(key, number, how):
    """E-mail, last name, roles. `how`: "create" can only set the first, "update" and "sync" all."""
    if how == "create":
        return f"{key}-{number}@example.com", "", []
    chance = random.Random(f"{key}/{number}")
    # Up to 4 KiB each, so that the log runs through several segments.
    roles = [f"role-{chance.getrandbits(200):050x}" for _ in range(chance.choice((0, 1, 4, 60)))]
    return f"{key}-{number}@example.com", f"change {number}", roles


def number_of(user):
    """The number of the change that a user says to be the result of; -1 when it says none."""
    number = user.email.rpartition("@")[0].rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def fields_of_server(user):
    return None if user is None else [getattr(user, field) for field in SERVER_FIELDS]


class Verdict:
    """What a judgement found. `taken` counts the losses that were allowed."""

    def __init__(self):
        self.lost = []
        self.ghosts = []
        self.holes = []
        self.taken = 0
        self.users = 0

    def check(self):
        problems = [f"{kind}: {line}" for kind in ("lost", "ghosts", "holes")
                    for line in getattr(self, kind)]
        assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:20])


class Change:
    """One change of a key, and what became of it."""

    def __init__(self, number, kind, how, sent_at):
        self.number = number
        self.kind = kind  # PUT or GONE
        self.how = how
        self.sent_at = sent_at
        self.acked_at = None
        self.fields = None  # of SERVER_FIELDS, once known

    def explains(self, key, user):
        """Whether the user may be the result of this change."""
        if user is None or self.kind == GONE:
            return user is None and self.kind == GONE
        return ((user.email, user.profile.last_name, list(user.roles))
                == content(key, self.number, self.how)
                and (self.how != "sync" or self.fields is not None or user.id == key)
                and self.fields in (None, fields_of_server(user)))


class Key:
    """What the file says about one key: the state that was settled last, and all changes since."""

    def __init__(self, name):
        self.name = name
        nothing = Change(0, GONE, "create", ALWAYS)
        nothing.acked_at = ALWAYS
        self.changes = [nothing]
        self.etags = {}  # etag -> number of the change that it was given for

    @property
    def base(self):
        return self.changes[0]

    def read(self, line):
        if line[0] == "send":
            self.changes.append(Change(*line[2:]))
            return
        change = next(one for one in reversed(self.changes) if one.number == line[2])
        if line[0] == "refuse":
            self.changes.remove(change)
            return
        change.fields = line[-1]
        change.acked_at = line[3] if line[0] == "ack" else ALWAYS
        if line[0] == "found":
            self.changes = [change]
        if change.fields is not None:
            other = self.etags.setdefault(change.fields[1], change.number)
            assert other == change.number, (
                f"{self.name}: changes {other} and {change.number} have one etag")

    def newest_acked(self, before=None):
        """Position of the newest change that was acknowledged, before a moment or at all."""
        return max(at for at, one in enumerate(self.changes) if one.acked_at is not None
                   and (before is None or one.acked_at < before or at == 0))

    def first_explained(self, user):
        """Position of the first change that explains the user, who was judged to be explained: there
        are several when nothing is found of one that was made and deleted."""
        return next(at for at, one in enumerate(self.changes) if one.explains(self.name, user))

    def judge(self, user, acked_before, verdict):
        """The position of the change that explains the user; None after a problem was noted."""
        at = next((at for at in reversed(range(len(self.changes)))
                   if self.changes[at].explains(self.name, user)), None)
        least = self.newest_acked(acked_before)
        newest = self.newest_acked()
        told = (f"{self.name}: change {self.changes[newest].number} was acknowledged, "
                f"{self.changes[-1].number} sent, found is "
                + ("nothing" if user is None else f"{number_of(user)} ({user.email} {user.etag})"))
        if at is not None and at >= least:
            verdict.taken += max(newest - at, 0)
            return at
        if user is None or number_of(user) < self.changes[least].number:
            verdict.lost.append(told)
        else:
            verdict.ghosts.append(told)
        return None


class Ledger:
    """Writers call number(), send() and ack(), from any thread; the judge reads the file."""

    def __init__(self, path):
        self.path = path
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        self.reader = open(path, encoding="utf-8")  # pylint: disable=consider-using-with
        self.lock = threading.Lock()
        self.acknowledged = 0
        self.numbers = {}  # key -> of its newest change
        self.keys = {}  # what was read so far

    def close(self):
        self.reader.close()
        os.close(self.file)

    def _write(self, *line):
        # One write(2) each: nothing waits in a buffer of ours.
        with self.lock:
            os.write(self.file, (json.dumps(line) + "\n").encode())

    def send(self, key, kind=PUT, how="update"):
        """A change is about to be sent; returns its number."""
        with self.lock:
            number = self.numbers[key] = self.numbers.get(key, 0) + 1
        self._write("send", key, number, kind, how, time.monotonic())
        return number

    def ack(self, key, number, user=None):
        """Its answer has come."""
        self._write("ack", key, number, time.monotonic(), fields_of_server(user))
        with self.lock:
            self.acknowledged += 1

    def refuse(self, key, number):
        """Its answer has come, and says that certainly nothing was done."""
        self._write("refuse", key, number)

    # ---- judging

    def _read(self):
        with self.lock:
            for text in iter(self.reader.readline, ""):
                line = json.loads(text)
                self.keys.setdefault(line[1], Key(line[1])).read(line)
        return self.keys

    def judge(self, users, acked_before=None):
        """Compares all users that the server has with the file; nothing may be under way. With
        `acked_before` only what was acknowledged before that time must have survived. What is found
        is the settled state afterwards."""
        verdict = Verdict()
        keys = self._read()
        by_name = {}
        for user in users:
            verdict.users += 1
            if user.username in by_name or user.username not in keys:
                verdict.ghosts.append(f"nobody sent {user.id} {user.username} {user.email}, "
                                      "or it is there twice")
            by_name[user.username] = user
        found = {}
        for name, key in keys.items():
            at = key.judge(by_name.get(name), acked_before, verdict)
            if at is not None:
                found[name] = at
        self._look_for_holes(found, by_name, verdict)
        for name, at in found.items():
            if len(keys[name].changes) > 1:
                self._write("found", name, keys[name].changes[at].number,
                            fields_of_server(by_name.get(name)))
        self._read()
        return verdict

    def _look_for_holes(self, found, by_name, verdict):
        """What is missing is the least that can be, and so is what is there: that somebody is not
        there need not be because his deletion is, when his creation is missing too."""
        last = max((key.changes[key.first_explained(by_name.get(name))].sent_at
                    for name, key in ((name, self.keys[name]) for name in found)),
                   default=ALWAYS)
        for name, at in found.items():
            for later in self.keys[name].changes[at + 1:]:
                if later.acked_at is not None and later.acked_at < last:
                    verdict.holes.append(
                        f"{name}: change {later.number} is not there, but one that was sent "
                        f"{last - later.acked_at:.6f} s after its answer had come")

    def acked_of_sent_after(self, moment):
        """Changes that were sent after a moment, and acknowledged."""
        return [f"{name}: change {change.number}" for name, key in self._read().items()
                for change in key.changes
                if change.acked_at is not None and change.sent_at > moment]

    def alive(self):
        """After a judgement: the users there are, key -> id."""
        return {name: key.base.fields[0] for name, key in self.keys.items()
                if key.base.kind == PUT}

    def pending_creates(self):
        """Before a judgement: key and number of creates that were sent and never answered."""
        return [(name, key.changes[-1].number) for name, key in self._read().items()
                if key.changes[-1].how == "create" and key.changes[-1].kind == PUT
                and key.changes[-1].acked_at is None]
