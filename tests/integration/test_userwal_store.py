#!/usr/bin/python3
"""Which store a directory is of: userwal keeps apart what does not belong together, and what is none.

A restored directory is a new store, and a directory without a log is none at all.
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from test_userwal import (DAMAGED, IN_USE, USAGE, WHOLE, create, finish, line, refuses_to_start,
                          run_one, segments, serving, state_of, stub_of, users_of, userwal)  # noqa: E402

READING = ("stat", "verify", "dump", "export", "truncate")
FRAMES = 3000  # users that take many frames of a snapshot


class Work:
    """A folder for all directories of a test; in the place of test_userwal's Original."""

    def __init__(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="userwal-store-"))
        self.count = 0

    def path(self, name):
        self.count += 1
        return self.work / f"{self.count}-{name}"

    def imported(self, count):
        folder = self.path("imported")
        text = "".join(json.dumps(line(number)) + "\n" for number in range(count))
        userwal("import", folder, code=0, stdin=text)
        return folder

    def backup_of(self, folder):
        backup = self.path("backup")
        done, = userwal("snapshot", "--json", folder, "--to", backup, code=0).lines()
        return backup, done["lsn"]

    def restored(self, backup):
        folder = self.path("restored")
        userwal("restore", backup, folder, code=0)
        return folder

    def grow(self, folder, count):
        with serving(self, folder) as server:
            stub_of(server)
            for _ in range(count):
                create(server)


def uuid_of(folder):
    stat, = userwal("stat", "--json", folder, code=WHOLE).lines()
    return stat["store_uuid"]


def contents_of(snapshot):
    """What a snapshot says, without what it says of itself."""
    return [{name: value for name, value in record.items() if name not in ("file", "epoch")}
            for record in userwal("dump", snapshot, code=WHOLE).of_kind("record")]


def test_restored_is_a_new_store(work):
    """A restored directory has a UUID of its own in all its files, and the same in every record."""
    folder = work.imported(FRAMES)
    backup, lsn = work.backup_of(folder)
    first, second = work.restored(backup), work.restored(backup)
    assert len({uuid_of(place) for place in (folder, first, second)}) == 3
    snapshot = first / f"snap-{lsn:016x}.snap"
    assert snapshot.stat().st_size == backup.stat().st_size > 256 * 1024
    assert contents_of(snapshot) == contents_of(backup)
    userwal("verify", first, code=WHOLE)
    for place in (first, snapshot, work.restored(snapshot)):
        for options in ((), ("--with-passwords",)):
            assert userwal("export", *options, place, code=0).out == userwal(
                "export", *options, folder, code=0).out
    work.grow(first, 2)
    assert len(users_of(work, first)) == FRAMES + 2


def refuses_foreign(work, folder, path):
    """With that file of another store in it the directory is refused; without it all is as it was."""
    expected = state_of(folder)
    copy = work.path("mixed")
    shutil.copytree(folder, copy)
    shutil.copy(path, copy)
    verify = userwal("verify", "--json", copy, code=DAMAGED)
    start, = verify.of_kind("start")
    assert not start["would_start"], verify
    found = [damage for damage in verify.of_kind("damage") if damage["file"] == path.name]
    assert "store" in {damage["rule"] for damage in found}, verify
    assert refuses_to_start(work, copy)
    assert state_of(folder) == expected


def test_files_of_the_ancestor(work):
    """Neither a snapshot nor a segment of the store that a backup is of is taken for a restored one's."""
    ancestor = work.imported(10)
    backup, lsn = work.backup_of(ancestor)
    work.grow(ancestor, 10)
    _, later_lsn = work.backup_of(ancestor)
    assert later_lsn == lsn + 10
    restored = work.restored(backup)
    work.grow(restored, 30)
    users = users_of(work, restored)
    later = ancestor / f"snap-{later_lsn:016x}.snap"
    refuses_foreign(work, restored, later)
    refuses_foreign(work, restored, segments(ancestor)[-1])
    refuses_foreign(work, ancestor, segments(restored)[-1])
    assert users_of(work, restored) == users and len(users) == 40


def test_one_foreign_control(work):
    """One CONTROL file from elsewhere is named as the fault, and nothing else is; without it all is well."""
    folder, other = work.imported(10), work.imported(3)
    for name in ("CONTROL.a", "CONTROL.b"):
        copy = work.path("mixed")
        shutil.copytree(folder, copy)
        shutil.copy(other / name, copy)
        damage, = userwal("verify", "--json", copy, code=DAMAGED).of_kind("damage")
        assert damage["rule"] == "store" and "CONTROL.a and CONTROL.b" in damage["what"], damage
        assert refuses_to_start(work, copy)
        (copy / name).unlink()
        assert len(users_of(work, copy)) == 10


def test_damage_a_snapshot_covers(work):
    """Damage in front of a whole snapshot is told as what it is: nothing is missing."""
    folder = work.imported(10)
    work.backup_of(folder)
    work.grow(folder, 2)
    email = line(1)["email"].encode()
    path = next(one for one in segments(folder) if email in one.read_bytes())
    content = bytearray(path.read_bytes())
    content[content.index(email)] ^= 1
    path.write_bytes(content)
    verify = userwal("verify", "--json", folder)
    start, = verify.of_kind("start")
    assert start["would_start"], verify
    damages = verify.of_kind("damage")
    assert damages and all(one["to_do"].startswith("nothing") for one in damages), verify
    assert len(users_of(work, folder)) == 12


def test_no_data_directory(work):
    """A directory without a log does not look healthy, and nothing is made in it."""
    empty = work.path("empty")
    empty.mkdir()
    other = work.path("other")
    (other / "folder").mkdir(parents=True)
    (other / "userd.ini").write_text("[store]\n")
    (other / "LOCK").write_text("")
    for folder in (empty, other):
        before = state_of_files(folder)
        for arguments in (*((command,) for command in READING), ("snapshot",),
                          ("snapshot", "--dry-run"), ("truncate", "--accept-loss-from", 1)):
            for form in ((), ("--json",)):
                refused = userwal(*arguments, *form, folder, code=DAMAGED)
                assert f"{folder}: no data directory of userd" in refused.err, refused
                assert refused.out == "", refused
        assert state_of_files(folder) == before, "something was made"
    userwal("snapshot", other, "--to", work.path("backup"), code=DAMAGED)
    refused = userwal("restore", empty, work.path("restored"), code=USAGE)
    assert "is no snapshot" in refused.err, refused


def state_of_files(folder):
    return [(path.name, path.stat().st_mtime_ns, path.is_dir() or path.read_bytes())
            for path in sorted(folder.iterdir())]


def test_new_store(work):
    """A store in which nothing was stored yet is one, and whole; so is one that is damaged, or in use."""
    folder = work.path("new")
    work.grow(folder, 0)
    userwal("verify", folder, code=WHOLE)
    assert "nothing to save" in userwal("snapshot", folder, code=USAGE).err
    with serving(work, folder) as server:
        stub_of(server)
        userwal("verify", folder, code=WHOLE)
        userwal("snapshot", folder, code=IN_USE)
    for path in segments(folder):
        path.unlink()
    (folder / "CONTROL.a").unlink()
    assert "no data directory" not in userwal("verify", folder).err


def test_skipped_lines_are_counted(work):
    """An import that leaves out bad lines succeeds, and says at the end how many they were."""
    lines = [json.dumps(line(1)), "{", json.dumps(line(1)), json.dumps(line(2)), "[]"]
    done = userwal("import", "--skip-bad", work.path("imported"), code=0, stdin="\n".join(lines))
    assert done.out == "2 users imported, 3 lines were bad\n", done
    assert done.err.count("userwal: line ") == 3, done


def main():
    work = Work()
    only = os.environ.get("TEST")
    try:
        for name, function in list(globals().items()):
            if name.startswith("test_") and callable(function) and only in (None, name):
                run_one(name, function, work)
    finally:
        shutil.rmtree(work.work, ignore_errors=True)
    finish()


if __name__ == "__main__":
    main()
