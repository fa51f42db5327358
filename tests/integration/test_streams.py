#!/usr/bin/python3
"""Lists, watches and streams of changes as the C-core client sees them, over TLS."""

import os
import queue
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import (DEADLINE_S, PASSWORD, create, expect, failure, get, stub_of,  # noqa: E402
                         update)
from userd_harness import SLOW, Server, run  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

CONTINUE = (("users-continue-on-error", "true"),)


def list_page(server, **fields):
    return stub_of(server).ListUsers(users_pb2.ListUsersRequest(**fields), timeout=DEADLINE_S)


def walk(server, page_size=100, **fields):
    """All pages of a list."""
    users = []
    token = ""
    while True:
        page = list_page(server, page_size=page_size, page_token=token, **fields)
        users += page.users
        token = page.next_page_token
        if not token:
            return users


def sync(server, users, **keywords):
    return stub_of(server).SyncUsers(iter(users), timeout=DEADLINE_S, **keywords)


def named(prefix, count, **fields):
    return [users_pb2.User(username=f"{prefix}{i}", email=f"{prefix}{i}@example.com", **fields)
            for i in range(count)]


def draft(name, **changes):
    return users_pb2.CreateUserRequest(**{"username": name, "email": f"{name}@example.com",
                                          "password": PASSWORD, **changes})


def batch(server, requests, metadata=()):
    return stub_of(server).BatchCreateUsers(iter(requests), timeout=DEADLINE_S, metadata=metadata)


def drain(stream):
    """What a stream gave, and the error it ended with (None = OK)."""
    items = []
    try:
        for item in stream:
            items.append(item)
    except grpc.RpcError as error:
        return items, error
    return items, None


def usernames(users):
    return [user.username for user in users]


class Slowly:
    """An iterator for requests that are decided on while the stream is open."""

    def __init__(self):
        self.queue = queue.Queue()

    def send(self, item):
        self.queue.put(item)

    def end(self):
        self.queue.put(None)

    def __iter__(self):
        return iter(self.queue.get, None)


# ---- ListUsers


def test_list_gives_users_in_the_order_of_creation(server):
    made = drain(sync(server, named("order", 250)))[0]
    users = walk(server, page_size=60, filter='username = "order*"')
    assert usernames(users) == usernames(made)
    assert users == made


def test_list_counts_what_matches_exactly(server):
    drain(sync(server, named("count", 40, roles=["counted"]) + named("other", 10)))
    page = list_page(server, page_size=7, filter="roles:counted")
    assert page.total_count == 40 and len(page.users) == 7 and page.next_page_token
    whole = list_page(server, page_size=1)
    assert whole.total_count == len(walk(server)), whole.total_count


def test_list_page_sizes(server):
    drain(sync(server, named("sized", 60)))
    assert len(list_page(server).users) == 50
    assert len(list_page(server, page_size=3).users) == 3
    assert len(list_page(server, page_size=100000).users) <= 1000
    error = failure(list_page, server, page_size=-1)
    details = expect(error, grpc.StatusCode.INVALID_ARGUMENT)
    assert "page_size" in details["BadRequest"], details


def test_the_last_page_has_no_token(server):
    drain(sync(server, named("last", 20)))
    page = list_page(server, page_size=10, filter='username = "last*"')
    page = list_page(server, page_size=10, filter='username = "last*"', page_token=page.next_page_token)
    assert len(page.users) == 10 and page.next_page_token == ""


def test_page_tokens_are_good_for_nothing_else(server):
    drain(sync(server, named("token", 20)))
    token = list_page(server, page_size=5, filter='username = "token*"').next_page_token
    wrong = [token[:-1], token + "A", token[1:], "x", "0", "5", "%%%", token.swapcase(), "A" * 4000]
    wrong += [token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1:]
              for i in range(len(token) - 1)]
    for text in wrong:
        error = failure(list_page, server, page_token=text, filter='username = "token*"')
        details = expect(error, grpc.StatusCode.INVALID_ARGUMENT)
        assert "page_token" in details["BadRequest"], details
    for other in ("", 'username = "token1*"', "roles:x"):
        error = failure(list_page, server, page_token=token, filter=other)
        expect(error, grpc.StatusCode.INVALID_ARGUMENT)
    page = list_page(server, page_token=token, page_size=2, filter='username = "token*"')
    assert usernames(page.users) == ["token5", "token6"]  # another page_size is allowed


def test_page_tokens_of_another_server_are_refused(server):
    drain(sync(server, named("foreign", 3)))
    with Server.running() as other:
        drain(sync(other, named("foreign", 3)))
        token = list_page(other, page_size=1).next_page_token
    expect(failure(list_page, server, page_token=token), grpc.StatusCode.INVALID_ARGUMENT)


def test_page_tokens_and_order_survive_a_restart(server):
    with Server.running() as other:
        drain(sync(other, named("stay", 9)))
        page = list_page(other, page_size=4)
        other.kill()
        del other.shared_channel
        other.start()
        rest = list_page(other, page_size=100, page_token=page.next_page_token)
        assert usernames(page.users) + usernames(rest.users) == [f"stay{i}" for i in range(9)]
        key = other.data / "page-token.key"
        assert key.stat().st_mode & 0o777 == 0o600 and key.stat().st_size == 32


def test_filters(server):
    drain(sync(server, [
        users_pb2.User(username="Filter.Anna", email="Anna@filter.example", roles=["admin", "dev"],
                       profile=users_pb2.User.Profile(first_name="Anna", last_name="Ärmel")),
        users_pb2.User(username="filter.ben", email="ben@filter.example", roles=["dev"],
                       status=users_pb2.USER_STATUS_SUSPENDED),
        users_pb2.User(username="filter.cleo", email="cleo@other.example",
                       profile=users_pb2.User.Profile(last_name="Zeh")),
    ]))
    for text, names in [
            ('username = "filter.anna"', ["Filter.Anna"]),
            ('email = "ANNA@FILTER.example"', ["Filter.Anna"]),
            ("filter.example roles:dev", ["Filter.Anna", "filter.ben"]),
            ("filter.example AND NOT roles:admin", ["filter.ben"]),
            ('username = "filter.*" AND status = SUSPENDED', ["filter.ben"]),
            ('username = "filter.*" AND (roles:admin OR profile.last_name = "Zeh")',
             ["Filter.Anna", "filter.cleo"]),
            ('username="filter.*" profile:*', ["Filter.Anna", "filter.cleo"]),
            ('username="filter.*" profile.last_name:ärm', ["Filter.Anna"]),
            ('username="filter.*" created_at > "2020-01-01T00:00:00Z"',
             ["Filter.Anna", "filter.ben", "filter.cleo"]),
            ('username="filter.*" created_at < 5', [])]:
        page = list_page(server, filter=text)
        assert usernames(page.users) == names, (text, usernames(page.users))
        assert page.total_count == len(names), text


def test_the_plan_of_a_list_is_told(server):
    for text, plan in [("", "walk"), ('id = "nobody"', "index"), ('username = "x"', "index"),
                       ('email = "x" roles:y', "index"), ("roles:y", "scan")]:
        call = stub_of(server).ListUsers.with_call(users_pb2.ListUsersRequest(filter=text),
                                                   timeout=DEADLINE_S)[1]
        assert ("users-list-plan", plan) in [tuple(pair) for pair in call.trailing_metadata()], text


def test_bad_filters_say_where(server):
    for text, position in [("nosuch = 5", 0), ("roles:a AND", 11), ('username = "x', 11),
                           ("status = PURPLE", 9), ("(roles:a", 0), ("created_at > yesterday", 13)]:
        error = failure(list_page, server, filter=text)
        details = expect(error, grpc.StatusCode.INVALID_ARGUMENT)
        assert "filter" in details["BadRequest"], details
        assert details["ErrorInfo"]["metadata"]["position"] == str(position), (text, details)
    expect(failure(list_page, server, filter="a " * 600), grpc.StatusCode.INVALID_ARGUMENT)


# ---- WatchUser


def watch(server, user_id, **keywords):
    return stub_of(server).WatchUser(users_pb2.GetUserRequest(id=user_id), **keywords)


def test_watch_tells_the_present_state_and_every_change(server):
    user = create(server)
    stream = watch(server, user.id)
    assert next(stream) == user
    for number in range(20):
        changed = update(server, user.id, users_pb2.User(roles=[f"role{number}"]), "roles")
        assert next(stream) == changed
    stub_of(server).DeleteUser(users_pb2.DeleteUserRequest(id=user.id), timeout=DEADLINE_S)
    last = next(stream)
    assert last.id == user.id and last.status == users_pb2.USER_STATUS_DELETED
    assert drain(stream) == ([], None)
    assert stream.code() == grpc.StatusCode.OK


def test_watch_needs_a_user(server):
    items, error = drain(watch(server, "nobody"))
    assert items == []
    expect(error, grpc.StatusCode.NOT_FOUND, "User nobody not found")
    expect(drain(watch(server, ""))[1], grpc.StatusCode.INVALID_ARGUMENT)


def test_watch_of_a_user_made_anew_is_another(server):
    first = drain(sync(server, [users_pb2.User(id="phoenix", username="phoenix",
                                               email="phoenix@example.com")]))[0][0]
    stream = watch(server, "phoenix")
    assert next(stream) == first
    stub_of(server).DeleteUser(users_pb2.DeleteUserRequest(id="phoenix"), timeout=DEADLINE_S)
    drain(sync(server, [users_pb2.User(id="phoenix", username="ashes", email="a@example.com")]))
    items, error = drain(stream)
    assert error is None and [item.status for item in items] == [users_pb2.USER_STATUS_DELETED]


def test_watch_ends_at_its_deadline_and_when_cancelled(server):
    user = create(server)
    items, error = drain(watch(server, user.id, timeout=0.3))
    assert len(items) == 1 and error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    stream = watch(server, user.id)
    next(stream)
    stream.cancel()
    assert drain(stream)[1].code() == grpc.StatusCode.CANCELLED


def test_watches_are_limited_per_connection(server):
    user = create(server)
    channel = server.channel()
    try:
        streams = [server.stub(channel).WatchUser(users_pb2.GetUserRequest(id=user.id))
                   for _ in range(20)]
        for stream in streams:
            next(stream)
        more = server.stub(channel).WatchUser(users_pb2.GetUserRequest(id=user.id))
        error = drain(more)[1]
        details = expect(error, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert details["ErrorInfo"]["reason"] == "TOO_MANY_WATCHERS", details
        assert "watch.max_per_connection" in error.details(), error.details()
        streams[0].cancel()
        for _ in range(100):  # until the server has heard of it
            more = server.stub(channel).WatchUser(users_pb2.GetUserRequest(id=user.id))
            try:
                next(more)
                break
            except grpc.RpcError:
                time.sleep(0.05)
        else:
            raise AssertionError("the place of a cancelled watch stayed taken")
    finally:
        channel.close()


def test_a_stream_ends_with_its_token(server):
    user = create(server)
    channel = server.channel(token=server.token(ttl_s=2))
    stub = server.stub(channel)
    stream = stub.WatchUser(users_pb2.GetUserRequest(id=user.id), timeout=DEADLINE_S)
    items, error = drain(stream)
    assert len(items) == 1
    expect(error, grpc.StatusCode.UNAUTHENTICATED)
    slowly = Slowly()
    stream = server.stub(server.channel(token=server.token(ttl_s=2))).SyncUsers(
        iter(slowly), timeout=DEADLINE_S)
    expect(drain(stream)[1], grpc.StatusCode.UNAUTHENTICATED)
    slowly.end()
    channel.close()


def test_watches_end_with_the_server(server):
    with Server.running({"server": {"drain_grace_s": "60"}}) as other:
        user = create(other)
        stream = watch(other, user.id)
        next(stream)
        started = time.monotonic()
        other.stop()
        expect(drain(stream)[1], grpc.StatusCode.UNAVAILABLE)
        assert time.monotonic() - started < 30 * SLOW
        other.start()


# ---- BatchCreateUsers


def test_batch_answers_each_in_order(server):
    replies, error = drain(batch(server, [draft(f"batch{i}") for i in range(120)]))
    assert error is None
    assert usernames(reply.user for reply in replies) == [f"batch{i}" for i in range(120)]
    listed = walk(server, filter='username = "batch*"')
    assert listed == [reply.user for reply in replies]
    for reply in replies[:5]:
        assert get(server, reply.user.id) == reply.user


def test_batch_of_nothing(server):
    assert drain(batch(server, [])) == ([], None)


def test_batch_answers_while_the_stream_is_open(server):
    slowly = Slowly()
    stream = batch(server, slowly)
    for name in ("talk1", "talk2", "talk3"):
        slowly.send(draft(name))
        assert next(stream).user.username == name
    slowly.end()
    assert drain(stream) == ([], None)


def test_batch_ends_at_the_first_failing_item(server):
    create(server, username="taken-in-batch")
    requests = [draft("fails0"), draft("fails1"), draft("taken-in-batch", email="other@example.com"),
                draft("fails3"), draft("fails4")]
    replies, error = drain(batch(server, requests))
    assert usernames(reply.user for reply in replies) == ["fails0", "fails1"]
    details = expect(error, grpc.StatusCode.ALREADY_EXISTS, "User already exists")
    assert details["ErrorInfo"]["metadata"]["index"] == "2", details
    assert usernames(walk(server, filter='username = "fails*"')) == ["fails0", "fails1"]
    replies, error = drain(batch(server, [draft("bad0"), draft("bad1", password="short")]))
    details = expect(error, grpc.StatusCode.INVALID_ARGUMENT)
    assert len(replies) == 1 and "password" in details["BadRequest"]
    assert details["ErrorInfo"]["metadata"]["index"] == "1", details


def test_batch_can_go_on_after_errors(server):
    requests = [draft("goes0"), draft("goes0", email="again@example.com"), draft("", email="nobody"),
                draft("goes3")]
    replies, error = drain(batch(server, requests, metadata=CONTINUE))
    assert error is None
    assert [reply.error.code for reply in replies] == [0, 6, 3, 0]
    assert replies[1].error.message == "User already exists"
    assert [reply.HasField("user") for reply in replies] == [True, False, False, True]
    assert [detail.type_url.rpartition(".")[2] for detail in replies[2].error.details]


def test_batch_repeats_request_ids(server):
    requests = [draft(f"again{i}", request_id=f"again-{i}") for i in range(10)]
    first = drain(batch(server, requests))
    assert drain(batch(server, requests)) == first and first[1] is None


def test_a_long_batch_does_not_starve_others(server):
    """The pool of hashes is shared: a single CreateUser beside a batch is not refused."""
    slowly = Slowly()
    done = []
    stream = batch(server, slowly)
    reader = threading.Thread(target=lambda: done.append(drain(stream)))
    reader.start()
    for i in range(400):
        slowly.send(draft(f"flood{i}"))
    for _ in range(20):
        create(server)
    slowly.end()
    reader.join()
    replies, error = done[0]
    assert error is None and len(replies) == 400


def test_streams_have_a_most_of_messages(server):
    with Server.running({"limits": {"max_stream_messages": "10"}}) as other:
        replies, error = drain(sync(other, named("limit", 11)))
        assert len(replies) == 10
        expect(error, grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert "limits.max_stream_messages" in error.details()


# ---- SyncUsers


def test_sync_makes_and_replaces_users(server):
    users = [users_pb2.User(id="sync-1", username="sync1", email="sync1@example.com", roles=["a"],
                            profile=users_pb2.User.Profile(first_name="One")),
             users_pb2.User(username="sync2", email="sync2@example.com",
                            status=users_pb2.USER_STATUS_INACTIVE)]
    (one, two), error = drain(sync(server, users))
    assert error is None
    assert one.id == "sync-1" and one.status == users_pb2.USER_STATUS_ACTIVE and one.created_at > 0
    assert two.id and two.status == users_pb2.USER_STATUS_INACTIVE
    assert get(server, "sync-1") == one
    (again,), error = drain(sync(server, [users_pb2.User(id="sync-1", username="sync1b",
                                                         email="sync1@example.com")]))
    assert error is None and again.created_at == one.created_at and again.etag != one.etag
    assert again.username == "sync1b" and not again.roles and not again.HasField("profile")
    assert get(server, "sync-1") == again


def test_sync_is_sequential(server):
    """Names move from one user to the next within one stream."""
    made = drain(sync(server, [users_pb2.User(id=f"seq{i}", username=f"seq{i}",
                                              email=f"seq{i}@example.com") for i in range(3)]))
    assert made[1] is None
    moved = [users_pb2.User(id=f"seq{i}", username=f"seq{i}-moved" if i == 0 else f"seq{i - 1}",
                            email=f"seq{i}@example.com") for i in range(3)]
    echo, error = drain(sync(server, moved * 3))
    assert error is None, error
    assert usernames(echo) == ["seq0-moved", "seq0", "seq1"] * 3


def test_sync_refuses_what_is_no_user(server):
    for user, field in [(users_pb2.User(username="x", email="nomail"), "email"),
                        (users_pb2.User(id="a b", username="x", email="x@example.com"), "id"),
                        (users_pb2.User(username="x", email="x@example.com", status=4), "status"),
                        (users_pb2.User(username="", email="x@example.com"), "username")]:
        details = expect(drain(sync(server, [user]))[1], grpc.StatusCode.INVALID_ARGUMENT)
        assert any(field in name for name in details["BadRequest"]), details
        assert details["ErrorInfo"]["metadata"]["index"] == "0"


def test_sync_with_an_etag_is_conditional(server):
    (user,), _ = drain(sync(server, [users_pb2.User(username="etagged", email="etagged@example.com")]))
    changed = update(server, user.id, users_pb2.User(roles=["x"]), "roles")
    user.roles.append("y")
    expect(drain(sync(server, [user]))[1], grpc.StatusCode.ABORTED)
    changed.roles.append("y")
    assert drain(sync(server, [changed]))[1] is None


def test_names_fold_beyond_ascii(server):
    create(server, username="Ärger", email="aerger@example.com")
    error = failure(create, server, username="äRGER")
    expect(error, grpc.StatusCode.ALREADY_EXISTS)
    error = failure(create, server, username="ＡＮＮＡ\u202e")
    assert "username" in expect(error, grpc.StatusCode.INVALID_ARGUMENT)["BadRequest"]
    create(server, username="ａｎｎａ-wide")
    expect(failure(create, server, username="anna-wide"), grpc.StatusCode.ALREADY_EXISTS)


def test_everything_is_still_there_after_a_crash(server):
    before = walk(server)
    server.kill()
    del server.shared_channel
    server.start()
    assert walk(server) == before
    first = draft("again0", request_id="again-0")
    reply = stub_of(server).CreateUser(first, timeout=DEADLINE_S)
    assert reply.user in before


# ---- compression


def test_compressed_requests_are_taken(server):
    user = create(server)
    stub = stub_of(server)
    reply = stub.GetUser(users_pb2.GetUserRequest(id=user.id), timeout=DEADLINE_S,
                         compression=grpc.Compression.Gzip)
    assert reply.user == user
    names = [f"zip{i}" for i in range(20)]
    stream = stub.BatchCreateUsers(iter([draft(name) for name in names]), timeout=DEADLINE_S,
                                   compression=grpc.Compression.Gzip)
    assert usernames(reply.user for reply in drain(stream)[0]) == names


def test_replies_are_compressed_when_the_operator_says_so(server):
    with Server.running({"http2": {"compress_replies": "true", "compress_min": "100"}}) as other:
        drain(sync(other, named("zipped", 300)))
        assert len(list_page(other, page_size=300).users) == 300
        call = stub_of(other).ListUsers.with_call(users_pb2.ListUsersRequest(page_size=300),
                                                  timeout=DEADLINE_S)[1]
        assert call.code() == grpc.StatusCode.OK


if __name__ == "__main__":
    run(globals(), lambda: Server({"auth": {"leeway_s": "0"},
                                   "watch": {"max_per_connection": "20"}}))
