#!/usr/bin/python3
"""userwal on data directories that a real server wrote: whole ones, and damaged ones.

A server makes one directory, with creates, updates and deletes over several starts; each test
damages a copy of it in its own way. What userwal says about it must be what userd does with it.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import PASSWORD, create, get, stub_of, update  # noqa: E402
from userd_harness import (PATIENCE_S, REPORTS, USERD, Server, ServerFailed,  # noqa: E402
                           finish, run_one)

from users.v1 import users_pb2  # noqa: E402

USERWAL = os.environ.get("USERWAL", str(pathlib.Path(USERD).parent / "userwal"))
BLOCK = 4096
ACCIDENTS = 30
KILLS = 12
# AddressSanitizer reserves more than there is.
MEMORY_KIB = "unlimited" if "asan" in USERD else str(48 * 1024)
WHOLE, USAGE, DAMAGED, IO, IN_USE = 0, 64, 65, 74, 75
COMMANDS = ("stat", "verify", "dump", "truncate", "snapshot", "restore", "export", "import")
PHC = re.compile(r"\$argon2")


class Result:
    def __init__(self, process):
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def of_kind(self, kind):
        return [line for line in self.lines() if line.get("kind") == kind]

    def __str__(self):
        return f"exit {self.code}\n{self.out[-3000:]}\n{self.err[-3000:]}"


def userwal(*arguments, code=None, stdin=""):
    process = subprocess.run([USERWAL, *map(str, arguments)], input=stdin, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S,
                             check=False)
    result = Result(process)
    assert not REPORTS.search(result.err), result
    if code is not None:
        assert result.code == code, f"{arguments}: wanted {code}: {result}"
    return result


# ---- the directory, and what a server knows of it


class Original:
    """The data directory that all tests copy, and the users in it."""

    def __init__(self, settings=None):
        self.server = Server(settings)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="userwal-test-"))
        self.copies = 0
        self.history = []  # (LSN, id, User or None): every change, in order

    def note(self, user_id, user):
        self.history.append((len(self.history) + 1, user_id, user))

    def make(self):
        users = []
        for round_number in range(3):
            self.server.start()
            if hasattr(self.server, "shared_channel"):
                del self.server.shared_channel
            for _ in range(12):
                users.append(create(self.server, request_id=f"request-{len(users)}"))
                self.note(users[-1].id, users[-1])
            for number in range(round_number, len(users), 3):
                if users[number] is not None:
                    changed = users_pb2.User(profile=users_pb2.User.Profile(
                        last_name=f"Zoë {round_number}"), roles=[f"role{round_number}"])
                    users[number] = update(self.server, users[number].id, changed,
                                           "profile.last_name", "roles")
                    self.note(users[number].id, users[number])
            gone = users[round_number * 12]
            stub_of(self.server).DeleteUser(users_pb2.DeleteUserRequest(id=gone.id))
            self.note(gone.id, None)
            users[round_number * 12] = None
            self.server.shared_channel.close()
            if round_number == 2:
                self.server.kill()
            else:
                self.server.stop()
        return self

    def users_before(self, lsn):
        """What there was before that record: id -> User."""
        users = {}
        for number, user_id, user in self.history:
            if number >= lsn:
                break
            if user is None:
                del users[user_id]
            else:
                users[user_id] = user
        return users

    @property
    def next_lsn(self):
        return len(self.history) + 1

    def copy(self, of=None):
        folder = self.path("copy")
        shutil.copytree(of or self.server.data, folder)
        return folder

    def path(self, name):
        self.copies += 1
        return self.work / f"{self.copies}-{name}"

    def remove(self):
        self.server.remove()
        shutil.rmtree(self.work, ignore_errors=True)


def users_of(original, data):
    """Starts a real server on the directory: id -> User, in the order of ListUsers."""
    with serving(original, data) as server:
        found = {}
        token = ""
        while True:
            reply = stub_of(server).ListUsers(
                users_pb2.ListUsersRequest(page_size=1000, page_token=token))
            found.update((user.id, user) for user in reply.users)
            token = reply.next_page_token
            if not token:
                return found


@contextlib.contextmanager
def serving(original, data):
    server = Server({"store": {"data_dir": data}}, folder=tempfile.mkdtemp(dir=original.work))
    try:
        server.start()
        yield server
        server.shared_channel.close()
        server.stop()
    finally:
        server.remove()


def refuses_to_start(original, data):
    server = Server({"store": {"data_dir": data}}, folder=tempfile.mkdtemp(dir=original.work))
    try:
        server.start()
    except ServerFailed:
        return server.process.returncode == DAMAGED
    finally:
        server.remove()
    return False


def state_of(folder, with_lock=False):
    """Names, contents and times of all files; LOCK names who held it last."""
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_mode,
                        hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(folder.iterdir()) if with_lock or path.name != "LOCK"}


def segments(folder):
    return sorted(folder.glob("wal-*.log"))


def frames(path):
    """The frames of a segment, in order, by userwal itself."""
    return [line for line in userwal("dump", path).lines() if line["kind"] == "frame"]


def record_frames(path):
    return [frame for frame in frames(path) if frame["records"] > 0]


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x20]))


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def damage_middle(folder):
    """Flips a bit of a frame that others follow. Returns segment, offset, LSN."""
    path = segments(folder)[-1]
    frame = record_frames(path)[4]
    flip(path, frame["offset"] + 100)
    return path, frame["offset"], frame["first_lsn"]


# ---- reading


def test_help(original):
    """Every command has help, and wrong command lines are told apart from all else."""
    assert "usage:" in userwal("--help", code=0).out
    for command in COMMANDS:
        for arguments in ((command, "--help"), ("help", command)):
            text = userwal(*arguments, code=0).out
            assert f"usage: userwal {command}" in text and len(text) > 300, text
    for arguments in ((), ("frobnicate", "x"), ("stat",), ("stat", "a", "b"), ("restore", "x"),
                      ("stat", original.server.data, "--skip-bad"), ("--frobnicate",),
                      ("dump", original.server.data, "--from", "x"),
                      ("dump", original.server.data, "--from", "0"),
                      ("truncate", original.server.data, "--accept-loss-from", "12x")):
        userwal(*arguments, code=USAGE)
    for command in ("stat", "verify", "dump", "export", "truncate", "snapshot"):
        missing = userwal(command, original.work / "nowhere", code=IO)
        assert "No such file" in missing.err, missing
    assert not (original.work / "nowhere").exists()


def test_whole_directory(original):
    """A directory that a killed server left is whole, and all commands agree on what is in it."""
    folder = original.copy()
    expected = original.users_before(original.next_lsn)
    assert userwal("verify", folder, code=WHOLE).out.startswith("userd would start")
    start, = userwal("verify", "--json", folder, code=WHOLE).of_kind("start")
    assert start["would_start"] and start["users"] == len(expected), start

    stat, = userwal("stat", "--json", folder, code=WHOLE).lines()
    assert stat["users"] == len(expected) and stat["records"] == len(original.history), stat
    deletes = sum(1 for _, _, user in original.history if user is None)
    assert stat["records_by_type"] == {"PUT": len(original.history) - deletes, "DELETE": deletes,
                                       "COUNTERS": 0, "other": 0}, stat
    assert (stat["first_lsn"], stat["last_lsn"]) == (1, len(original.history)), stat
    assert not stat["is_clean"] and re.fullmatch(r"[0-9a-f-]{36}", stat["store_uuid"]), stat
    assert len([file for file in stat["files"] if file["kind"] == "segment"]) == 3, stat
    assert "users      %d\n" % len(expected) in userwal("stat", folder, code=WHOLE).out

    dump = userwal("dump", folder, code=WHOLE)
    records = dump.of_kind("record")
    assert [record["lsn"] for record in records] == list(range(1, original.next_lsn))
    for record, (lsn, user_id, user) in zip(records, original.history):
        assert record["user"]["id"] == user_id and record["in_chain"], record
        assert record["type"] == ("DELETE" if user is None else "PUT"), record
        if user is not None:
            assert_same_user(record["user"], user)
    some = userwal("dump", folder, "--from", 5, "--to", "0x7", code=WHOLE).of_kind("record")
    assert [record["lsn"] for record in some] == [5, 6, 7], some

    exported = userwal("export", folder, code=WHOLE).lines()
    assert [user["id"] for user in exported] == list(expected), "not in the order of creation"
    for user in exported:
        assert_same_user(user, expected[user["id"]])
    found = users_of(original, folder)
    assert list(found) == list(expected) and found == expected


def assert_same_user(shown, user):
    from google.protobuf import json_format

    assert json_format.ParseDict(shown, users_pb2.User()) == user, (shown, user)


def test_reading_changes_nothing(original):
    """stat, verify, dump, export, and all dry runs leave every file as it was."""
    for damage in (lambda folder: None, damage_middle):
        folder = original.copy()
        damage(folder)
        before = state_of(folder, with_lock=True)
        for command in ("stat", "verify", "dump", "export", "truncate"):
            userwal(command, folder)
            userwal(command, "--json", folder)
        refused = userwal("truncate", folder)
        place = re.search(r"--accept-loss-from (\d+)", refused.err)
        if place:
            userwal("truncate", folder, "--dry-run", "--accept-loss-from", place[1], code=0)
        userwal("snapshot", folder, "--dry-run")
        assert state_of(folder, with_lock=True) == before


def test_passwords_stay_hidden(original):
    """Neither a password nor its hash is in any output, unless the hash was asked for."""
    folder = original.copy()
    damaged = original.copy()
    damage_middle(damaged)
    for path in (folder, damaged):
        for arguments in (("stat",), ("verify",), ("dump",), ("export",), ("truncate",),
                          ("snapshot", "--dry-run")):
            for form in ((), ("--json",)):
                shown = userwal(*arguments, *form, path)
                assert not PHC.search(shown.out + shown.err), arguments
                assert PASSWORD not in shown.out + shown.err, arguments
    hidden = userwal("dump", folder).of_kind("record")
    assert {record.get("password_hash") for record in hidden} == {"***", None}
    shown = userwal("dump", folder, "--with-password-hashes").of_kind("record")
    hashes = {record["password_hash"] for record in shown if "password_hash" in record}
    content = b"".join(path.read_bytes() for path in segments(folder))
    assert len(hashes) == 36 and all(value.startswith("$argon2id$") for value in hashes), hashes
    assert all(value.encode() in content for value in hashes)
    assert PASSWORD.encode() not in content
    exported = userwal("export", "--with-passwords", folder).lines()
    assert {user["password_hash"] for user in exported} <= hashes
    assert all(user["request_id"].startswith("request-") for user in exported)
    assert all("request_id" not in user for user in userwal("export", folder).lines())


def test_running_server(original):
    """Reading goes on beside a server, with a warning; everything else refuses with its pid."""
    folder = original.copy()
    expected = original.users_before(original.next_lsn)
    with serving(original, folder) as server:
        get(server, next(iter(expected)))
        pid = str(server.process.pid)
        for command in ("stat", "verify", "dump", "export"):
            beside = userwal(command, folder, code=WHOLE)
            assert "warning" in beside.err and pid in beside.err, beside
        assert len(userwal("export", folder).lines()) == len(expected)
        for arguments in (("truncate", folder, "--accept-loss-from", "5"), ("snapshot", folder),
                          ("import", folder)):
            refused = userwal(*arguments, code=IN_USE)
            assert pid in refused.err, refused
        create(server)
    assert "warning" not in userwal("verify", folder, code=WHOLE).err


# ---- damage


def test_torn_tail(original):
    """What a crash leaves is no damage: it is said what the start will cut, and it does."""
    folder = original.copy()
    path = segments(folder)[-1]
    end = frames(path)[-1]
    at = end["offset"] + end["size"]
    overwrite(path, at, os.urandom(BLOCK * 2))
    verify = userwal("verify", "--json", folder, code=WHOLE)
    note, = verify.of_kind("note")
    start, = verify.of_kind("start")
    assert note["file"] == path.name and note["offset"] == at, note
    assert start["would_start"] and start["torn_bytes"] == 2 * BLOCK and start["notices"], start
    nothing = userwal("truncate", folder, code=0)
    assert "nothing to cut" in nothing.err, nothing
    userwal("truncate", folder, "--accept-loss-from", original.next_lsn, code=USAGE)
    assert users_of(original, folder) == original.users_before(original.next_lsn)
    assert "leftovers  1" in userwal("stat", folder, code=WHOLE).out


def check_truncate(original, folder, lsn, files=()):
    """Damage at that record: each command says so, only that LSN is accepted, and then all is well."""
    before = state_of(folder)
    assert userwal("stat", folder, code=DAMAGED).out
    userwal("export", folder, code=DAMAGED)
    verify = userwal("verify", "--json", folder, code=DAMAGED)
    start, = verify.of_kind("start")
    assert not start["would_start"] and start["problem"], verify
    assert refuses_to_start(original, folder)
    told = userwal("truncate", folder, code=DAMAGED)
    assert f"--accept-loss-from {lsn}" in told.err, told
    for wrong in (lsn - 1, lsn + 1):
        if wrong > 0:
            refused = userwal("truncate", folder, "--accept-loss-from", wrong, code=USAGE)
            assert f"--accept-loss-from {lsn}" in refused.err, refused
    userwal("truncate", folder, "--accept-loss-from", lsn, "--dry-run", code=0)
    assert state_of(folder) == before
    loss, = userwal("truncate", "--json", folder, code=DAMAGED).of_kind("loss")
    assert loss["from"] == lsn, loss
    done = userwal("truncate", folder, "--accept-loss-from", lsn, code=0)
    assert "done" in done.out, done
    for name in files:
        assert list(folder.glob(name)), (name, sorted(folder.iterdir()))
    userwal("verify", folder, code=WHOLE)
    expected = original.users_before(lsn)
    assert [user["id"] for user in userwal("export", folder, code=WHOLE).lines()] == list(expected)
    assert users_of(original, folder) == expected
    return verify, loss


def test_damage_in_the_middle(original):
    """A flipped bit that whole frames follow: rule (c), with file, offset and what is lost."""
    folder = original.copy()
    path, offset, lsn = damage_middle(folder)
    whole = path.read_bytes()
    dump = userwal("dump", folder, code=DAMAGED)
    behind = [record for record in dump.of_kind("record") if not record["in_chain"]]
    assert behind[-1]["lsn"] == original.next_lsn - 1 and dump.of_kind("damage"), behind[:1]
    verify, loss = check_truncate(original, folder, lsn, ["*.torn"])
    damage, = verify.of_kind("damage")
    assert (damage["file"], damage["offset"], damage["rule"]) == (path.name, offset, "c"), damage
    assert (damage["first_lsn"], damage["last_lsn"]) == (lsn, original.next_lsn - 1), damage
    assert loss["to"] == original.next_lsn - 1 and loss["readable"] == len(behind), loss
    changed = {user_id for number, user_id, _ in original.history if number > lsn}
    assert {user["id"] for user in loss["users"]} == changed, loss
    kept, = folder.glob("*.torn")
    assert whole[offset:].startswith(kept.read_bytes())
    assert len(kept.read_bytes()) >= BLOCK * len(behind)


def test_etags_are_not_given_again(original):
    """After a cut no user gets an etag that a lost change had."""
    folder = original.copy()
    _, _, lsn = damage_middle(folder)
    lost = {user.etag for number, _, user in original.history if number >= lsn and user}
    userwal("truncate", folder, "--accept-loss-from", lsn, code=0)
    with serving(original, folder) as server:
        given = {create(server).etag for _ in range(len(lost) + 5)}
    assert not given & lost, given & lost


def test_damage_in_an_older_segment(original):
    """A flipped bit in a segment that others follow: rule (a); the later ones are kept aside."""
    folder = original.copy()
    path = segments(folder)[1]
    frame = record_frames(path)[3]
    flip(path, frame["offset"] + 20)
    verify, _ = check_truncate(original, folder, frame["first_lsn"], ["wal-*.torn"])
    assert "a" in {damage["rule"] for damage in verify.of_kind("damage")}, verify
    assert len(list(folder.glob("*.torn"))) == 2


def test_lost_mark(original):
    """A mark of an older segment is gone: damage, but no record is lost, and no cut begins there."""
    folder = original.copy()
    marks = [frame for frame in frames(segments(folder)[0]) if "mark" in frame]
    overwrite(segments(folder)[0], marks[-2]["offset"], bytes(BLOCK))
    damage, = userwal("verify", "--json", folder, code=DAMAGED).of_kind("damage")
    assert damage["to_do"].startswith("nothing") and "first_lsn" not in damage, damage
    assert "nothing to cut" in userwal("truncate", folder, code=0).err
    _, _, lsn = damage_middle(folder)
    told = userwal("truncate", folder, code=DAMAGED)
    assert f"--accept-loss-from {lsn}" in told.err, told
    userwal("truncate", folder, "--accept-loss-from", lsn, code=0)
    assert users_of(original, folder) == original.users_before(lsn)


def test_missing_segment(original):
    """A segment that is gone: everything from its first record on."""
    folder = original.copy()
    path = segments(folder)[1]
    lsn = record_frames(path)[0]["first_lsn"]
    path.unlink()
    verify, loss = check_truncate(original, folder, lsn)
    damage, = verify.of_kind("damage")
    assert damage["rule"] == "a" and damage["first_lsn"] == lsn, damage
    assert 0 < loss["readable"] < loss["to"] - loss["from"] + 1, loss


def test_damaged_segment_header(original):
    """Both copies of a header gone."""
    folder = original.copy()
    path = segments(folder)[-1]
    lsn = record_frames(path)[0]["first_lsn"]
    overwrite(path, 0, bytes(BLOCK))
    verify, _ = check_truncate(original, folder, lsn, ["*.torn"])
    assert "header" in {damage["rule"] for damage in verify.of_kind("damage")}, verify


def test_lost_end(original):
    """The end of the log is gone, and only CONTROL knows of it: rule (b)."""
    folder = original.copy()
    users_of(original, folder)  # a start and an end, so that CONTROL knows all
    path = [path for path in segments(folder) if record_frames(path)][-1]
    frame = record_frames(path)[-2]
    for later in segments(folder):
        if later > path:
            later.unlink()
    overwrite(path, frame["offset"], bytes(64 * 1024))
    verify, loss = check_truncate(original, folder, frame["first_lsn"])
    damage, = verify.of_kind("damage")
    assert damage["rule"] == "b", damage
    assert (loss["to"], loss["readable"]) == (original.next_lsn - 1, 0), loss


def test_lost_control(original):
    """Neither CONTROL is whole: nobody knows of a loss, and nobody vouches for the end."""
    folder = original.copy()
    overwrite(folder / "CONTROL.a", 24, b"\xff" * 8)
    (folder / "CONTROL.b").unlink()
    verify, loss = check_truncate(original, folder, original.next_lsn)
    assert {damage["rule"] for damage in verify.of_kind("damage")} == {"control"}, verify
    assert (loss["to"], loss["readable"], loss["users"]) == (0, 0, []), loss


def test_nothing_left(original):
    """Without the first segment and without a snapshot nothing is cut: a backup is needed."""
    folder = original.copy()
    segments(folder)[0].unlink()
    userwal("verify", folder, code=DAMAGED)
    before = state_of(folder)
    refused = userwal("truncate", folder, "--accept-loss-from", 1, code=DAMAGED)
    assert "backup" in refused.err and state_of(folder) == before, refused


def damage_anywhere(folder, source):
    """One to three accidents, at places where something is written."""
    for _ in range(source.choice((1, 1, 2, 3))):
        path = source.choice([path for path in sorted(folder.iterdir())
                              if path.name.startswith(("wal-", "snap-", "CONTROL"))])
        size = path.stat().st_size
        if size == 0:
            continue
        offset = source.randrange(min(size, 64 * 1024))
        accident = source.randrange(9)
        if accident == 0:
            path.unlink()
        elif accident == 1:
            os.truncate(path, offset)
        elif accident == 2:
            overwrite(path, offset // BLOCK * BLOCK, bytes(BLOCK * source.choice((1, 2, 8))))
        elif accident == 3:
            overwrite(path, offset // 512 * 512, source.randbytes(512))
        else:
            flip(path, offset)


def is_serious(damage):
    return damage["rule"] != "snapshot" and not damage["to_do"].startswith("nothing")


def check_accident(original, folder):
    """Whatever happened: findings and start agree, and what is cut leaves a directory that starts."""
    verify = userwal("verify", "--json", folder)
    start, = verify.of_kind("start")
    serious = [damage for damage in verify.of_kind("damage") if is_serious(damage)]
    assert verify.code == (DAMAGED if verify.of_kind("damage") else WHOLE), verify
    assert start["would_start"] == (not serious), verify
    for command in ("stat", "dump", "export"):
        assert userwal(command, folder).code in (WHOLE, DAMAGED), command
    told = userwal("truncate", folder, code=WHOLE if start["would_start"] else DAMAGED)
    place = re.search(r"--accept-loss-from (\d+)", told.err)
    assert place or start["would_start"] or "backup" in told.err, told
    if place:
        userwal("truncate", folder, "--accept-loss-from", place[1], code=0)
        verify = userwal("verify", "--json", folder)
        start, = verify.of_kind("start")
        assert start["would_start"], verify
        assert not [damage for damage in verify.of_kind("damage") if is_serious(damage)], verify
        expected = original.users_before(int(place[1]))
        assert {user["id"] for user in userwal("export", folder, code=0).lines()} == set(expected)


def test_accidents(original):
    """Random damage to a directory with snapshots. TEST_SEED=n repeats it."""
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 32)))
    source = random.Random(seed)
    base = original.copy()
    userwal("snapshot", base, code=0)
    for number in range(ACCIDENTS):
        folder = original.copy(of=base)
        damage_anywhere(folder, source)
        try:
            check_accident(original, folder)
        except AssertionError:
            print(f"TEST_SEED={seed}: accident {number}")
            raise
        shutil.rmtree(folder)


def test_interval(original):
    """A directory of sync = interval: told apart, cut as it has to be, and read the same."""
    lazy = Original({"wal": {"segment_size": "1MiB", "sync": "interval"}})
    try:
        lazy.make()
        folder = lazy.copy()
        stat, = userwal("stat", "--json", folder, code=WHOLE).lines()
        assert {file["sync"] for file in stat["files"] if file["kind"] == "segment"} == {
            "interval"}, stat
        assert {user["id"] for user in userwal("export", folder, code=0).lines()} == set(
            lazy.users_before(lazy.next_lsn))
        path = segments(folder)[0]
        frame = record_frames(path)[5]
        flip(path, frame["offset"] + 70)
        check_truncate(lazy, folder, frame["first_lsn"], ["*.torn"])
    finally:
        lazy.remove()


# ---- snapshots


def test_snapshot_and_restore(original):
    """A snapshot is a whole backup: the directory made from it has the same users."""
    folder = original.copy()
    expected = original.users_before(original.next_lsn)
    backup = original.path("backup")
    done, = userwal("snapshot", "--json", folder, "--to", backup, code=0).lines()
    assert done["users"] == len(expected) and done["is_done"], done
    snapshot, = folder.glob("snap-*.snap")
    assert snapshot.read_bytes() == backup.read_bytes()
    userwal("verify", folder, code=WHOLE)
    assert f"{len(expected)} users" in userwal("verify", backup, code=WHOLE).out
    userwal("snapshot", folder, "--to", backup, code=USAGE)  # never written over
    assert "up to date" in userwal("snapshot", folder, code=0).err

    target = original.path("restored")
    userwal("restore", backup, target, "--dry-run", code=0)
    assert not target.exists()
    userwal("restore", backup, target, code=0)
    userwal("verify", target, code=WHOLE)
    for options in ((), ("--with-passwords",)):
        exports = [userwal("export", *options, place, code=0).out
                   for place in (original.server.data, folder, backup, target)]
        assert len(set(exports)) == 1, "the exports differ"
    userwal("restore", backup, target, code=USAGE)  # nor is a directory
    assert users_of(original, target) == expected
    with serving(original, target) as server:
        etags = {user.etag for _, _, user in original.history if user}
        assert create(server).etag not in etags
    records = userwal("dump", backup, code=WHOLE).of_kind("record")
    assert {record["user"]["id"] for record in records if record["type"] == "PUT"} == set(expected)


def test_damaged_snapshot(original):
    """A damaged snapshot: an older one or the log stands in for it; a damaged backup is refused."""
    folder = original.copy()
    backup = original.path("backup")
    userwal("snapshot", folder, "--to", backup, code=0)
    snapshot, = folder.glob("snap-*.snap")
    for path in (snapshot, backup):
        flip(path, BLOCK + 200)
    verify = userwal("verify", "--json", folder, code=DAMAGED)
    damage, = verify.of_kind("damage")
    start, = verify.of_kind("start")
    assert damage["rule"] == "snapshot" and damage["file"] == snapshot.name, damage
    assert start["would_start"] and start["snapshot_lsn"] == 0 and start["notices"], start
    userwal("verify", backup, code=DAMAGED)
    userwal("export", backup, code=DAMAGED)
    target = original.path("restored")
    userwal("restore", backup, target, code=DAMAGED)
    assert not target.exists()
    assert users_of(original, folder) == original.users_before(original.next_lsn)


def test_log_lost_behind_a_snapshot(original):
    """All segments gone but a snapshot whole: the cut comes right behind the snapshot."""
    folder = original.copy()
    userwal("snapshot", folder, code=0)
    for path in segments(folder):
        path.unlink()
    verify, loss = check_truncate(original, folder, original.next_lsn)
    assert "base" in {damage["rule"] for damage in verify.of_kind("damage")}, verify
    assert loss["readable"] == 0, loss


# ---- export and import


def test_import_gives_the_same_users(original):
    """What was exported with passwords and imported again is the same, but for etags."""
    exported = userwal("export", "--with-passwords", original.server.data, code=0).out
    for source in ("stdin", "file"):
        target = original.path("imported")
        if source == "file":
            file = original.path("users.jsonl")
            file.write_text(exported)
            userwal("import", target, file, code=0)
        else:
            userwal("import", target, "--dry-run", code=0, stdin=exported)
            assert not target.exists()
            userwal("import", target, code=0, stdin=exported)
        userwal("verify", target, code=WHOLE)
        again = userwal("export", "--with-passwords", target, code=0).lines()
        before = [json.loads(line) for line in exported.splitlines()]
        for user in before + again:
            user.pop("etag")
        assert again == before
        assert sorted(path.name for path in target.iterdir()
                      if path.name.startswith("import")) == []
    found = users_of(original, target)
    assert list(found) == [user["id"] for user in before]
    userwal("import", target, code=USAGE, stdin=exported)  # never over what is there


def line(number, **changes):
    return {"id": f"u{number}", "username": f"name{number}", "email": f"n{number}@example.com",
            **changes}


def test_bad_lines(original):
    """Each rule of the server holds for an import; a bad line is named and leaves nothing behind."""
    good = line(1)
    phc = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
    bad = {
        "{": "JSON",
        "[]": "object",
        json.dumps(line(2, username="")): "username",
        json.dumps(line(2, email="nobody")): "email",
        json.dumps(line(2, username="NAME1")): "username: is taken",
        json.dumps(line(2, email="name1@example.com", username="n1@example.com")): "taken",
        json.dumps(line(1, username="x", email="x@example.com")): "id: is taken",
        json.dumps(line(2, id="a b")): "id",
        json.dumps(line(2, status="USER_STATUS_DELETED")): "status",
        json.dumps(line(2, status=9)): "status",
        json.dumps(line(2, roles="admin")): "roles",
        json.dumps(line(2, roles=["x"] * 65)): "roles",
        json.dumps(line(2, profile={"first_name": "x" * 400})): "profile.first_name",
        json.dumps(line(2, password_hash=PASSWORD)): "password_hash",
        json.dumps(line(2, password_hash=phc + "$")): "password_hash",
        json.dumps(line(2, request_id="a b")): "request_id",
        json.dumps(line(2, created_at="99999999999999")): "created_at",
        json.dumps(line(2, created_at="1")): "created_at",
        json.dumps(line(2, color="red")): "field",
        '{"username":"a","username":"b","email":"c@d.e"}': "twice",
        json.dumps(line(2, username="a\0b")): "U+0000",
    }
    first = json.dumps({**good, "created_at": "1700000000000", "password_hash": phc,
                        "request_id": "r1"})
    for text, words in bad.items():
        target = original.path("imported")
        result = userwal("import", target, code=DAMAGED, stdin=f"{first}\n\n{text}\n")
        assert "line 3" in result.err and words in result.err, (text, result)
        assert PASSWORD not in result.err + result.out
        assert [path.name for path in target.iterdir() if path.name != "LOCK"] == [], text
        userwal("import", target, code=0, stdin=first)  # it can be repeated there
    target = original.path("imported")
    lines = [first, *bad, json.dumps(line(3))]
    result = userwal("import", "--json", "--skip-bad", target, code=0, stdin="\n".join(lines))
    assert [one["line"] for one in result.of_kind("bad_line")] == list(range(2, 2 + len(bad)))
    done, = result.of_kind("result")
    assert (done["imported"], done["bad_lines"]) == (2, len(bad)), done
    found = users_of(original, target)
    assert list(found) == ["u1", "u3"] and found["u1"].created_at == 1700000000000, found


def test_large_import(original):
    """Many users, through several segments' worth of frames, in any field."""
    target = original.path("imported")
    count = 20000
    text = "".join(json.dumps(line(number, roles=["r"] * (number % 5), profile={"last_name": "é"}))
                   + "\n" for number in range(count))
    userwal("import", target, code=0, stdin=text)
    exported = userwal("export", target, code=0).lines()
    assert [user["id"] for user in exported] == [f"u{number}" for number in range(count)]
    with subprocess.Popen([USERWAL, "export", str(target)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()  # who reads has enough
        error = process.stderr.read()
        assert process.wait(PATIENCE_S) == 141 and error == b"", (process.returncode, error)


def test_killed_import(original):
    """An import that was killed leaves nothing that userd would serve, nor begin a new store in."""
    target = original.path("imported")
    with subprocess.Popen([USERWAL, "import", str(target)], stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL) as process:
        for number in range(5000):
            process.stdin.write(json.dumps(line(number)).encode() + b"\n")
        process.stdin.flush()
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    assert not list(target.glob("wal-*"))
    assert refuses_to_start(original, target)
    userwal("import", target, code=USAGE)


def kill_at_random(arguments, source, longest_s):
    """Runs userwal and kills it at some moment."""
    with subprocess.Popen([USERWAL, *map(str, arguments)], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(source.uniform(0, longest_s))
        process.kill()
        process.wait(PATIENCE_S)


def took_s(*arguments):
    start = time.monotonic()
    userwal(*arguments, code=0)
    return time.monotonic() - start


def started_with(folder):
    """None when userd would refuse, else the number of users."""
    start, = userwal("verify", "--json", folder).of_kind("start")
    return start["users"] if start["would_start"] else None


def test_killed_restore(original):
    """A restore that was killed: whole, refused, or not begun; never a directory with fewer users."""
    source = random.Random()
    folder = original.copy()
    backup = original.path("backup")
    userwal("snapshot", folder, "--to", backup, code=0)
    users = len(original.users_before(original.next_lsn))
    longest_s = took_s("restore", backup, original.path("restored"))
    for _ in range(KILLS):
        target = original.path("restored")
        kill_at_random(("restore", backup, target), source, longest_s)
        names = {path.name for path in target.iterdir()} if target.exists() else set()
        # A single CONTROL may be one of which nothing was written yet.
        if not names <= {"LOCK", "CONTROL.a"}:
            assert started_with(target) in (None, users), names
        shutil.rmtree(target, ignore_errors=True)


def test_killed_truncate(original):
    """A truncate that was killed can be repeated, or is done; and no etag is given twice."""
    source = random.Random()
    base = original.copy()
    _, _, lsn = damage_middle(base)
    longest_s = took_s("truncate", original.copy(of=base), "--accept-loss-from", lsn)
    expected = set(original.users_before(lsn))
    for _ in range(KILLS):
        folder = original.copy(of=base)
        kill_at_random(("truncate", folder, "--accept-loss-from", lsn), source, longest_s)
        if started_with(folder) is None:
            userwal("truncate", folder, "--accept-loss-from", lsn, code=0)
        start, = userwal("verify", "--json", folder, code=WHOLE).of_kind("start")
        assert start["may_have_lost"], start
        assert {user["id"] for user in userwal("export", folder, code=0).lines()} == expected
        shutil.rmtree(folder)


# ---- the surroundings


def test_loss_is_told_first(original):
    """When what would be lost cannot be written, nothing is cut."""
    folder = original.copy()
    _, _, lsn = damage_middle(folder)
    before = state_of(folder)
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = subprocess.run([USERWAL, "truncate", folder, "--accept-loss-from", str(lsn)],
                                 stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == IO and "nothing was changed" in process.stderr, process
    assert state_of(folder) == before


def test_where_a_copy_may_go(original):
    """A copy that cannot be made is refused before anything is done; a link to a backup is one."""
    folder = original.copy()
    before = state_of(folder)
    taken = original.path("taken")
    taken.write_text("mine")
    interrupted = original.path("backup")
    interrupted.with_name(interrupted.name + ".tmp").write_text("mine")
    dangling = original.path("dangling")
    dangling.symlink_to("/nowhere")
    for target, code in ((taken, USAGE), (interrupted, USAGE), (dangling, USAGE),
                         (f"{original.work}/", USAGE), (original.work / "no" / "where", IO)):
        for form in ((), ("--dry-run",)):
            userwal("snapshot", folder, "--to", target, *form, code=code)
    assert state_of(folder) == before and taken.read_text() == "mine"
    backup = original.path("backup")
    userwal("snapshot", folder, "--to", backup, code=0)
    link = original.path("link")
    link.symlink_to(backup)
    assert userwal("export", link, code=0).out == userwal("export", folder, code=0).out
    assert backup.stat().st_mode & 0o777 == 0o600


def test_foreign_directory(original):
    """In a directory of another user nothing is made that this one could not open."""
    if os.geteuid() != 0:
        return  # nobody else can give a directory away
    folder = original.copy()
    empty = original.path("empty")
    empty.mkdir()
    for path in (folder, empty):
        os.chown(path, 65534, 65534)
    before = state_of(folder, with_lock=True)
    for arguments in (("snapshot", folder), ("truncate", folder, "--accept-loss-from", 1),
                      ("import", empty), ("restore", segments(folder)[0], empty)):
        refused = userwal(*arguments, code=USAGE)
        assert "belongs to user 65534" in refused.err or arguments[0] == "restore", refused
    assert state_of(folder, with_lock=True) == before and not list(empty.iterdir())
    userwal("verify", folder, code=WHOLE)


def test_odd_lines(original):
    """Bytes that no editor writes: each bad line is told by its number, and none takes much memory."""
    lines = (b"\0\0", b'{"username":"a\0b","email":"a@b.c"}', b'{"username":"\xff"}',
             b'{"username":"' + b"x" * (1 << 20) + b'"}', b"[" * 100000,
             b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"\\u001b[31m":1}', b'{"created_at":1e400}',
             b'{"username":"ok","email":"o@b.c"} x', b"x" * (64 << 20))
    target = original.path("imported")
    good = json.dumps(line(1)).encode()
    process = subprocess.run(["/bin/sh", "-c", 'ulimit -v "$0" && exec "$@"', MEMORY_KIB, USERWAL,
                              "import", "--skip-bad", str(target)],
                             input=b"\n".join((*lines, good)), stderr=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, check=False)
    assert process.returncode == 0 and b"\x1b" not in process.stderr, process
    numbers = re.findall(rb"line (\d+)", process.stderr)
    assert [int(number) for number in numbers] == list(range(1, len(lines) + 1)), process.stderr
    assert [user["id"] for user in userwal("export", target, code=0).lines()] == ["u1"]
    modes = {path.stat().st_mode & 0o777 for path in target.iterdir()}
    assert modes == {0o600} and target.stat().st_mode & 0o777 == 0o700, modes


def main():
    original = Original()
    only = os.environ.get("TEST")
    try:
        original.make()
        for name, function in list(globals().items()):
            if name.startswith("test_") and callable(function) and only in (None, name):
                run_one(name, function, original)
    finally:
        original.remove()
    finish()


if __name__ == "__main__":
    main()
