#!/usr/bin/python3
"""The C-core client over TLS: what users of the API see, call by call."""

import concurrent.futures
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import (DEADLINE_S, PASSWORD, create, expect, failure, get, stub_of,  # noqa: E402
                         update)
from userd_harness import Server, run, sign_token  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


# ---- the way of a user


def test_create_returns_the_whole_user(server):
    before_ms = int(time.time() * 1000)
    user = create(server, username="Ada", email="Ada@Example.com")
    assert UUID7.match(user.id), user.id
    assert (user.username, user.email) == ("Ada", "Ada@Example.com")
    assert user.status == users_pb2.USER_STATUS_ACTIVE
    assert list(user.roles) == []
    assert before_ms - 1 <= user.created_at <= int(time.time() * 1000) + 1
    assert user.updated_at >= user.created_at
    assert user.etag
    assert get(server, user.id) == user


def test_password_is_nowhere_in_the_clear(server):
    secret = "a very remarkable password 4711"
    user = create(server, password=secret)
    assert secret.encode() not in user.SerializeToString()
    assert secret not in server.log()
    for path in server.data.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    stored = b"".join(path.read_bytes() for path in server.data.rglob("*") if path.is_file())
    assert b"$argon2id$" in stored


def test_update_with_a_mask_changes_those_fields_alone(server):
    user = create(server)
    new = users_pb2.User(email=f"new-{user.email}", username="ignored",
                         profile=users_pb2.User.Profile(first_name="Grace", last_name="ignored"))
    changed = update(server, user.id, new, "email", "profile.first_name")
    assert changed.email == new.email
    assert changed.username == user.username
    assert (changed.profile.first_name, changed.profile.last_name) == ("Grace", "")
    assert changed.etag != user.etag
    assert changed.created_at == user.created_at
    assert changed.updated_at >= user.updated_at
    assert get(server, user.id) == changed


def test_update_without_a_mask_takes_what_is_set(server):
    user = create(server)
    changed = update(server, user.id, users_pb2.User(id="x", created_at=1, updated_at=1,
                                                     roles=["a", "b"],
                                                     status=users_pb2.USER_STATUS_SUSPENDED))
    assert (changed.id, changed.created_at) == (user.id, user.created_at)
    assert (changed.username, changed.email) == (user.username, user.email)
    assert list(changed.roles) == ["a", "b"]
    assert changed.status == users_pb2.USER_STATUS_SUSPENDED


def test_update_with_star_replaces_everything(server):
    user = create(server)
    update(server, user.id, users_pb2.User(profile=users_pb2.User.Profile(first_name="Grace"),
                                           roles=["a"]))
    changed = update(server, user.id,
                     users_pb2.User(username=user.username, email=user.email,
                                    status=users_pb2.USER_STATUS_INACTIVE), "*")
    assert list(changed.roles) == []
    assert changed.profile.first_name == ""
    assert changed.status == users_pb2.USER_STATUS_INACTIVE
    assert (changed.id, changed.created_at) == (user.id, user.created_at)


def test_update_with_the_present_etag_passes(server):
    user = create(server)
    changed = update(server, user.id, users_pb2.User(etag=user.etag, roles=["x"]), "roles")
    assert list(changed.roles) == ["x"]


def test_delete_ends_a_user_and_frees_its_names(server):
    user = create(server)
    reply = stub_of(server).DeleteUser(users_pb2.DeleteUserRequest(id=user.id), timeout=DEADLINE_S)
    assert reply.success
    error = failure(get, server, user.id)
    expect(error, grpc.StatusCode.NOT_FOUND, f"User {user.id} not found")
    again = create(server, username=user.username, email=user.email)
    assert again.id != user.id


def test_same_request_id_gets_the_first_answer(server):
    request = users_pb2.CreateUserRequest(username="once", email="once@example.com",
                                          password=PASSWORD, request_id="req-1")
    first = stub_of(server).CreateUser(request, timeout=DEADLINE_S)
    second = stub_of(server).CreateUser(request, timeout=DEADLINE_S)
    assert first == second


# ---- errors: status, text, details


def test_get_without_id(server):
    error = failure(get, server, "")
    details = expect(error, grpc.StatusCode.INVALID_ARGUMENT)
    assert "id" in details["BadRequest"]


def test_get_unknown(server):
    error = failure(get, server, "no-such-user")
    details = expect(error, grpc.StatusCode.NOT_FOUND, "User no-such-user not found")
    assert "no-such-user" in details["ErrorInfo"]["metadata"].values()
    assert details["ResourceInfo"]["name"].endswith("no-such-user"), details


def test_text_beyond_ascii_survives(server):
    error = failure(get, server, "ä%\n\t☃")
    expect(error, grpc.StatusCode.NOT_FOUND, "User ä%\n\t☃ not found")


def test_create_with_fields_missing_names_them_all(server):
    for given in ({}, {"username": "half"}, {"email": "half@example.com", "password": PASSWORD}):
        error = failure(stub_of(server).CreateUser, users_pb2.CreateUserRequest(**given),
                        timeout=DEADLINE_S)
        details = expect(error, grpc.StatusCode.INVALID_ARGUMENT, "Missing required fields")
        missing = {"username", "email", "password"} - set(given)
        assert set(details["BadRequest"]) == missing, details


def test_create_with_bad_fields_names_them_all(server):
    error = failure(stub_of(server).CreateUser,
                    users_pb2.CreateUserRequest(username="bad\x01name", email="no address",
                                                password="short"), timeout=DEADLINE_S)
    details = expect(error, grpc.StatusCode.INVALID_ARGUMENT)
    assert set(details["BadRequest"]) == {"username", "email", "password"}, details


def test_create_of_taken_names(server):
    user = create(server, username="Taken", email="taken@example.com")
    for changes in ({"username": "tAKEN"}, {"email": "TAKEN@example.COM"},
                    {"username": "Taken", "email": "taken@example.com"}):
        error = failure(create, server, **changes)
        details = expect(error, grpc.StatusCode.ALREADY_EXISTS, "User already exists")
        assert "ResourceInfo" in details
        assert user.id not in str(details), "tells a stranger's id"


def test_update_errors(server):
    user = create(server)
    other = create(server)
    error = failure(update, server, "nobody", users_pb2.User(email="a@example.com"), "email")
    expect(error, grpc.StatusCode.NOT_FOUND, "User nobody not found")
    error = failure(update, server, "", users_pb2.User(email="a@example.com"), "email")
    expect(error, grpc.StatusCode.INVALID_ARGUMENT)
    for path in ("shoe_size", "profile.age", "roles.0", ""):
        error = failure(update, server, user.id, users_pb2.User(), path)
        details = expect(error, grpc.StatusCode.INVALID_ARGUMENT)
        assert "BadRequest" in details, path
    error = failure(update, server, user.id, users_pb2.User(email=other.email.upper()), "email")
    expect(error, grpc.StatusCode.ALREADY_EXISTS, "User already exists")
    error = failure(update, server, user.id, users_pb2.User(username=other.username), "username")
    expect(error, grpc.StatusCode.ALREADY_EXISTS, "User already exists")
    for status in (users_pb2.USER_STATUS_UNSPECIFIED, users_pb2.USER_STATUS_DELETED, 77):
        error = failure(update, server, user.id, users_pb2.User(status=status), "status")
        expect(error, grpc.StatusCode.INVALID_ARGUMENT)
    assert get(server, user.id) == user


def test_stale_etags(server):
    user = create(server)
    newer = update(server, user.id, users_pb2.User(roles=["x"]), "roles")
    error = failure(update, server, user.id, users_pb2.User(etag=user.etag, roles=["y"]), "roles")
    details = expect(error, grpc.StatusCode.ABORTED)
    assert "PreconditionFailure" in details
    delete = stub_of(server).DeleteUser
    error = failure(delete, users_pb2.DeleteUserRequest(id=user.id, etag=user.etag),
                    timeout=DEADLINE_S)
    expect(error, grpc.StatusCode.ABORTED)
    assert get(server, user.id) == newer
    assert delete(users_pb2.DeleteUserRequest(id=user.id, etag=newer.etag),
                  timeout=DEADLINE_S).success


def test_delete_errors(server):
    delete = stub_of(server).DeleteUser
    error = failure(delete, users_pb2.DeleteUserRequest(id="nobody"), timeout=DEADLINE_S)
    expect(error, grpc.StatusCode.NOT_FOUND, "User nobody not found")
    error = failure(delete, users_pb2.DeleteUserRequest(), timeout=DEADLINE_S)
    expect(error, grpc.StatusCode.INVALID_ARGUMENT)


# ---- who calls


def call_with(server, token):
    with server.channel(token=token) as channel:
        return failure(server.stub(channel).GetUser, users_pb2.GetUserRequest(id="x"),
                       timeout=DEADLINE_S)


def test_no_token(server):
    expect(call_with(server, None), grpc.StatusCode.UNAUTHENTICATED,
           "No authentication token provided")


def test_bad_tokens(server):
    good = server.token()
    bad = {
        "garbage": "garbage",
        "other secret": sign_token(b"x" * 48),
        "expired": server.token(ttl_s=-3600),
        "no expiry": server.token(exp=None),
        "not yet": server.token(nbf=int(time.time()) + 3600),
        "cut": good[:-4],
        "no signature": good.rpartition(".")[0] + ".",
        "alg none": "eyJhbGciOiJub25lIn0." + good.split(".")[1] + ".",
        "too long": good + "A" * 9000,
    }
    for name, token in bad.items():
        error = call_with(server, token)
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED, (name, error)
        expect(error, grpc.StatusCode.UNAUTHENTICATED, "Invalid authentication token")


def test_authentication_comes_before_everything(server):
    with server.channel(token=None) as channel:
        for method in ("GetUser", "Unknown", "ListUsers"):
            call = channel.unary_unary(f"/users.v1.UserService/{method}")
            error = failure(call, b"", timeout=DEADLINE_S)
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED, (method, error)


# ---- the protocol


def test_unknown_methods(server):
    for path in ("/users.v1.UserService/Nothing", "/users.v1.NoService/GetUser",
                 "/users.v1.UserService/getUser", "/users.v1.UserService/GetUser/"):
        error = failure(server_channel(server).unary_unary(path), b"", timeout=DEADLINE_S)
        details = expect(error, grpc.StatusCode.UNIMPLEMENTED, domain="grpc")
        service, _, method = path[1:].rpartition("/")
        metadata = details["ErrorInfo"]["metadata"]
        assert metadata["service"] == service and metadata.get("method", method) == method, metadata


def server_channel(server):
    stub_of(server)
    return server.shared_channel


def test_malformed_message(server):
    call = server_channel(server).unary_unary("/users.v1.UserService/GetUser")
    for message in (b"\x0a\x7fshort", b"\xff", b"\x0a\x02\xc3\x28"):
        error = failure(call, message, timeout=DEADLINE_S)
        assert error.code() == grpc.StatusCode.INTERNAL, (message, error)


def test_unknown_fields_are_accepted(server):
    user = create(server)
    message = users_pb2.GetUserRequest(id=user.id).SerializeToString() + b"\xa2\x06\x03abc"
    call = server_channel(server).unary_unary("/users.v1.UserService/GetUser")
    reply = users_pb2.GetUserResponse.FromString(call(message, timeout=DEADLINE_S))
    assert reply.user == user


def test_message_size_limit(server):
    limit = 64 * 1024
    call = server_channel(server).unary_unary("/users.v1.UserService/GetUser")
    field = b"\x0a" + varint(limit - 4) + b"a" * (limit - 4)
    assert len(field) == limit
    error = failure(call, field, timeout=DEADLINE_S)
    assert error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED, "exactly the limit was refused"
    error = failure(call, field + b"a", timeout=DEADLINE_S)
    expect(error, grpc.StatusCode.RESOURCE_EXHAUSTED, domain=None)
    assert "limits.max_message" in error.details(), error.details()
    error = failure(call, b"a" * (3 * 1024 * 1024), timeout=DEADLINE_S)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
    assert get(server, create(server).id)


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_deadlines_cut_calls_and_leave_the_server_well(server):
    """Deadlines that expire somewhere on the way end their own calls and no others, and a user that
    was reported as created is there."""
    with server.channel() as channel:
        stub = server.stub(channel)
        futures = []
        for number in range(60):
            request = users_pb2.CreateUserRequest(username=f"hasty{number}",
                                                  email=f"hasty{number}@example.com",
                                                  password=PASSWORD)
            futures.append(stub.CreateUser.future(request, timeout=0.0005 * (number % 12)))
        for future in futures:
            try:
                user = future.result().user
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
            else:
                assert get(server, user.id) == user


def test_cancelled_calls(server):
    with server.channel() as channel:
        stub = server.stub(channel)
        for number in range(50):
            request = users_pb2.CreateUserRequest(username=f"fickle{number}",
                                                  email=f"fickle{number}@example.com",
                                                  password=PASSWORD)
            stub.CreateUser.future(request, timeout=DEADLINE_S).cancel()
    assert get(server, create(server).id)


def test_a_hundred_calls_at_once_on_one_channel(server):
    users = [create(server) for _ in range(10)]
    futures = [stub_of(server).GetUser.future(users_pb2.GetUserRequest(id=users[i % 10].id),
                                              timeout=DEADLINE_S) for i in range(100)]
    for i, future in enumerate(futures):
        assert future.result().user == users[i % 10]


def test_more_calls_than_streams_allow(server):
    user = create(server)
    futures = [stub_of(server).GetUser.future(users_pb2.GetUserRequest(id=user.id),
                                              timeout=DEADLINE_S) for _ in range(1000)]
    assert all(future.result().user == user for future in futures)


def test_of_many_who_want_one_name_one_gets_it(server):
    request = users_pb2.CreateUserRequest(username="wanted", email="wanted@example.com",
                                          password=PASSWORD)
    futures = [stub_of(server).CreateUser.future(request, timeout=DEADLINE_S) for _ in range(30)]
    codes = [future.code() for future in futures]
    assert codes.count(grpc.StatusCode.OK) == 1, codes
    assert codes.count(grpc.StatusCode.ALREADY_EXISTS) == 29, codes


def test_many_channels_at_once(server):
    user = create(server)
    barrier = threading.Barrier(10)

    def work(_):
        with server.channel() as channel:
            barrier.wait()
            stub = server.stub(channel)
            return [stub.GetUser(users_pb2.GetUserRequest(id=user.id), timeout=DEADLINE_S).user
                    for _ in range(20)]

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        for replies in pool.map(work, range(10)):
            assert replies == [user] * 20


def test_users_survive_a_restart(server):
    """The last test: it ends the shared connection."""
    users = [create(server) for _ in range(20)]
    users[0] = update(server, users[0].id, users_pb2.User(roles=["kept"]), "roles")
    gone = create(server)
    stub_of(server).DeleteUser(users_pb2.DeleteUserRequest(id=gone.id), timeout=DEADLINE_S)
    server.shared_channel.close()
    del server.shared_channel
    server.stop()
    server.start()
    for user in users:
        assert get(server, user.id) == user
    expect(failure(get, server, gone.id), grpc.StatusCode.NOT_FOUND, f"User {gone.id} not found")
    request = users_pb2.CreateUserRequest(username="once", email="once@example.com",
                                          password=PASSWORD, request_id="req-1")
    again = stub_of(server).CreateUser(request, timeout=DEADLINE_S).user
    assert again.username == "once"
    server.shared_channel.close()


if __name__ == "__main__":
    run(globals(), Server)
