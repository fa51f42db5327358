"""The load of the durability tests: changes of every kind, written to a ledger on both ways.

    single  CreateUser, UpdateUser and DeleteUser, one call at a time, several callers
    batch   BatchCreateUsers: streams of creates, many under way at once
    sync    SyncUsers: streams of new users, with ids of ours and of the server's, and replacements,
            several of one user under way at once
    mixed   all of them side by side
"""

import random
import threading
import time
import zlib

import grpc
from google.protobuf import field_mask_pb2
from ledger import GONE, content
from userd_harness import PATIENCE_S, error_details
from users.v1 import users_pb2

PASSWORD = "correct horse battery"
STREAM_ITEMS = 300  # then the next stream
SHAPES = {
    "single": ("single",) * 5,
    "batch": ("batch",) * 3,
    "sync": ("sync",) * 3,
    "mixed": ("single", "single", "batch", "sync"),
}


def create_request(key, number):
    email = content(key, number, "create")[0]
    return users_pb2.CreateUserRequest(username=key, email=email, password=PASSWORD, request_id=key)


def user_of(key, number, how, user_id=""):
    email, last_name, roles = content(key, number, how)
    user = users_pb2.User(id=user_id, username=key, email=email, roles=roles)
    user.profile.last_name = last_name
    return user


def refusal_of(error):
    """The ErrorInfo of an error that means, says docs/API.md, that nothing was done; or None."""
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        info = error_details(error)[1].get("ErrorInfo")
        if info is not None and info.get("domain") == "users.v1":
            return info
    return None


class Writer:
    """One caller with users of its own: `ours`, key -> id. No two of one ledger have one name."""

    def __init__(self, ledger, name, stub, ours):
        self.ledger = ledger
        self.name = name
        self.stub = stub
        self.ours = ours
        self.is_over = False
        self.random = random.Random(name)
        self.made = 0

    def new_key(self):
        self.made += 1
        return f"{self.name}-{self.made}"

    # ---- single calls

    def single(self):
        choice = self.random.random()
        if len(self.ours) < 3 or choice < 0.3:
            self.create(self.new_key())
        elif choice < 0.85:
            self.update(self.random.choice(list(self.ours)))
        else:
            self.delete(self.random.choice(list(self.ours)))

    def create(self, key):
        number = self.ledger.send(key, how="create")
        answer = self._call(self.stub.CreateUser, create_request(key, number), key, number)
        self.ledger.ack(key, number, answer.user)
        self.ours[key] = answer.user.id

    def update(self, key):
        number = self.ledger.send(key)
        request = users_pb2.UpdateUserRequest(
            id=self.ours[key], user=user_of(key, number, "update"),
            update_mask=field_mask_pb2.FieldMask(paths=["email", "profile.last_name", "roles"]))
        answer = self._call(self.stub.UpdateUser, request, key, number)
        self.ledger.ack(key, number, answer.user)

    def delete(self, key):
        number = self.ledger.send(key, kind=GONE)
        request = users_pb2.DeleteUserRequest(id=self.ours.pop(key))
        assert self._call(self.stub.DeleteUser, request, key, number).success
        self.ledger.ack(key, number)

    def _call(self, method, request, key, number):
        try:
            return method(request, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            if refusal_of(error) is not None:
                self.ledger.refuse(key, number)
            raise

    # ---- streams

    def batch(self):
        def make():
            key = self.new_key()
            return key, (number := self.ledger.send(key, how="create")), create_request(key, number)

        self._stream(self.stub.BatchCreateUsers, make, lambda answer: answer.user)

    def sync(self):
        self._stream(self.stub.SyncUsers, self.make_sync, lambda answer: answer)

    def make_sync(self):
        choice = self.random.random()
        if len(self.ours) < 8 or choice < 0.25:
            key = user_id = self.new_key()
            self.ours[key] = key  # replaced before its answer has come, too
            how = "sync"
        elif choice < 0.3:
            key, user_id, how = self.new_key(), "", "update"
        else:
            key = self.random.choice(list(self.ours))
            user_id = self.ours[key]
            how = "sync" if user_id == key else "update"
        number = self.ledger.send(key, how=how)
        return key, number, user_of(key, number, how, user_id)

    def _stream(self, method, make, user_in):
        under_way = []  # appended by the thread that sends

        def requests():
            for _ in range(STREAM_ITEMS):
                if self.is_over:
                    return
                key, number, request = make()
                under_way.append((key, number))
                yield request

        try:
            for at, answer in enumerate(method(requests(), timeout=PATIENCE_S)):
                key, number = under_way[at]
                self.ledger.ack(key, number, user_in(answer))
        except grpc.RpcError as error:
            refusal = refusal_of(error)
            if refusal is not None:
                for key, number in under_way[int(refusal["metadata"]["index"]):]:
                    self.ledger.refuse(key, number)
            raise


class Load:
    """Threads that write for the time of a block, or until the server dies. `number` is for their
    names. An exception in the block kills the server: nothing else ends its calls for sure."""

    def __init__(self, server, ledger, shape, number, died=(grpc.StatusCode.UNAVAILABLE,)):
        self.server = server
        self.ledger = ledger
        self.died = died
        self.problems = []
        self.refusals = []  # (when, status, text): how each writer ended
        kinds = SHAPES[shape]
        shares = self._shares(kinds)
        self.channels = [server.channel() for _ in kinds]
        self.writers = [Writer(ledger, f"{kind[0]}{at}-{number}", server.stub(channel), shares[at])
                        for at, (kind, channel) in enumerate(zip(kinds, self.channels))]
        self.threads = [threading.Thread(target=self._run, args=pair)
                        for pair in zip(self.writers, kinds)]

    def _shares(self, kinds):
        """Every user that exists gets one writer among those that change users."""
        shares = [{} for _ in kinds]
        takers = [share for kind, share in zip(kinds, shares) if kind != "batch"]
        for key, user_id in self.ledger.alive().items():
            if takers:
                takers[zlib.crc32(key.encode()) % len(takers)][key] = user_id
        return shares

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, exception, *_):
        for writer in self.writers:
            writer.is_over = True
        if exception is not None:
            self.server.process.kill()
        for thread in self.threads:
            thread.join()
        for channel in self.channels:
            channel.close()
        assert exception is not None or not self.problems, "\n".join(self.problems)

    def _run(self, writer, kind):
        try:
            while not writer.is_over:
                getattr(writer, kind)()
        except grpc.RpcError as error:
            self.refusals.append((time.monotonic(), error.code(), error.details()))
            if error.code() not in self.died:
                self.problems.append(f"{writer.name}: {error.code()} {error.details()}")
        except Exception as problem:  # pylint: disable=broad-except
            self.problems.append(f"{writer.name}: {problem!r}")


def list_users(stub):
    """All users, page by page, and that the server counts them right."""
    users = []
    request = users_pb2.ListUsersRequest(page_size=1000)
    while True:
        page = stub.ListUsers(request, timeout=PATIENCE_S)
        users += page.users
        if not page.next_page_token:
            assert page.total_count == len(users), (page.total_count, len(users))
            return users
        request.page_token = page.next_page_token


def judge(server, ledger, chance, acked_before=None, is_writable=True):
    """Holds a server against the ledger. Creates that were under way are then repeated: the same
    request_id leads to the same user, whether it was stored or not."""
    with server.channel() as channel:
        stub = server.stub(channel)
        pending = ledger.pending_creates()
        users = list_users(stub)
        verdict = ledger.judge(users, acked_before)
        ids = {user.username: user.id for user in users}
        for user in chance.sample(users, min(5, len(users))):
            request = users_pb2.GetUserRequest(id=user.id)
            assert stub.GetUser(request, timeout=PATIENCE_S).user == user
        for key, number in chance.sample(pending, min(3 * is_writable, len(pending))):
            _create_again(stub, ledger, key, number, ids)
    return verdict


def _create_again(stub, ledger, key, number, ids):
    if key not in ids:
        number = ledger.send(key, how="create")
    user = stub.CreateUser(create_request(key, number), timeout=PATIENCE_S).user
    if key in ids:
        assert user.id == ids[key], f"{key}: {ids[key]}, and again {user.id}"
    else:
        ledger.ack(key, number, user)
