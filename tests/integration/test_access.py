#!/usr/bin/python3
"""Who may call what, and how much: the rules of [policy] and the limits of [rate] as clients meet
them."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import DEADLINE_S, PASSWORD, create, expect, failure, get  # noqa: E402
from userd_harness import PATIENCE_S, Server, error_details, run  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

USERS = "/users.v1.UserService/"
HEALTH = "/grpc.health.v1.Health/Check"
DENIED = grpc.StatusCode.PERMISSION_DENIED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

POLICY = {
    f"allow {USERS}GetUser": "role:viewer, scope:users.read, sub:billing",
    f"allow {USERS}ListUsers": "authenticated",
    f"allow {USERS}*": "role:admin",
    f"deny {USERS}*": "sub:mallory",
    f"deny {USERS}DeleteUser": "role:intern",
}


def make_server():
    return Server({"policy": POLICY})


def stub(server, **claims):
    """The users as seen by a caller with such a token."""
    return server.stub(server.channel(token=server.token(**claims)))


def call_raw(channel, path):
    """An empty request to any path."""
    return channel.unary_unary(path)(b"", timeout=DEADLINE_S)


def ask(user_id):
    return users_pb2.GetUserRequest(id=user_id)


def expect_denied(error):
    details = expect(error, DENIED, "Permission denied")
    assert details["ErrorInfo"]["reason"] == "PERMISSION_DENIED", details
    assert "ResourceInfo" not in details, details


# ---- the policy


def test_roles(server):
    user = create(server)  # by an admin
    viewer = stub(server, roles=["viewer"])
    assert viewer.GetUser(ask(user.id), timeout=DEADLINE_S).user.id == user.id
    for call, request in (
            (viewer.CreateUser, users_pb2.CreateUserRequest(username="x", email="x@example.com",
                                                            password=PASSWORD)),
            (viewer.UpdateUser, users_pb2.UpdateUserRequest(id=user.id)),
            (viewer.DeleteUser, users_pb2.DeleteUserRequest(id=user.id))):
        expect_denied(failure(call, request, timeout=DEADLINE_S))
    assert get(server, user.id) == user
    expect_denied(failure(stub(server, roles=[]).GetUser, ask(user.id), timeout=DEADLINE_S))
    expect_denied(failure(stub(server, roles=["Viewer"]).GetUser, ask(user.id),
                          timeout=DEADLINE_S))
    mixed = stub(server, roles=["x", "viewer", "y"])
    assert mixed.GetUser(ask(user.id), timeout=DEADLINE_S).user.id == user.id


def test_scopes(server):
    user = create(server)
    for claims in ({"scope": "users.list users.read"}, {"scp": ["users.read"]}):
        reader = stub(server, roles=[], **claims)
        assert reader.GetUser(ask(user.id), timeout=DEADLINE_S).user.id == user.id
    other = stub(server, roles=["users.read"], scope="viewer users.readers")
    expect_denied(failure(other.GetUser, ask(user.id), timeout=DEADLINE_S))


def test_subjects(server):
    user = create(server)
    billing = stub(server, sub="billing", roles=[])
    assert billing.GetUser(ask(user.id), timeout=DEADLINE_S).user.id == user.id
    expect_denied(failure(stub(server, sub="billing2", roles=[]).GetUser, ask(user.id),
                          timeout=DEADLINE_S))


def test_authenticated(server):
    anybody = stub(server, sub="anybody", roles=[])
    assert anybody.ListUsers(users_pb2.ListUsersRequest(page_size=1), timeout=DEADLINE_S)
    error = failure(server.stub(server.channel(token=None)).ListUsers,
                    users_pb2.ListUsersRequest(), timeout=DEADLINE_S)
    expect(error, grpc.StatusCode.UNAUTHENTICATED, "No authentication token provided")


def test_deny_wins(server):
    user = create(server)
    mallory = stub(server, sub="mallory", roles=["admin", "viewer"])
    expect_denied(failure(mallory.GetUser, ask(user.id), timeout=DEADLINE_S))
    expect_denied(failure(mallory.ListUsers, users_pb2.ListUsersRequest(), timeout=DEADLINE_S))
    intern = stub(server, roles=["admin", "intern"])
    assert intern.GetUser(ask(user.id), timeout=DEADLINE_S).user.id == user.id
    expect_denied(failure(intern.DeleteUser, users_pb2.DeleteUserRequest(id=user.id),
                          timeout=DEADLINE_S))
    assert get(server, user.id) == user


def test_denied_before_not_found(server):
    for user_id in ("nobody-has-this-id", ""):
        expect_denied(failure(stub(server, roles=[]).GetUser, ask(user_id), timeout=DEADLINE_S))
    error = failure(stub(server, roles=["viewer"]).GetUser, ask("nobody"), timeout=DEADLINE_S)
    expect(error, grpc.StatusCode.NOT_FOUND, "User nobody not found")


def test_streams_are_denied_at_once(server):
    user = create(server)
    viewer = stub(server, roles=["viewer"])
    watch = viewer.WatchUser(ask(user.id), timeout=DEADLINE_S)
    expect_denied(failure(next, watch))
    expect_denied(failure(list, viewer.SyncUsers(iter([user]), timeout=DEADLINE_S)))
    expect_denied(failure(list, viewer.BatchCreateUsers(iter([]), timeout=DEADLINE_S)))


def test_unknown_methods(server):
    admin = server.channel(token=server.token(roles=["admin"]))
    viewer = server.channel(token=server.token(roles=["viewer"]))
    error = failure(call_raw, admin, USERS + "Nothing")
    expect(error, grpc.StatusCode.UNIMPLEMENTED, domain="grpc")
    expect_denied(failure(call_raw, viewer, USERS + "Nothing"))
    for channel in (admin, viewer):
        expect_denied(failure(call_raw, channel, "/other.v1.Service/Do"))


def test_paths_are_judged_as_they_are(server):
    viewer = server.channel(token=server.token(roles=["viewer"]))
    for path in ("/users.v1.UserService/getuser", "/users.v1.UserService//GetUser",
                 "//users.v1.UserService/GetUser", "/users.v1.UserService/GetUser/",
                 "/users.v1.UserService/%47etUser", "/users.v1.UserService/*",
                 "/x/users.v1.UserService/GetUser", "/users.v1.UserService/GetUser?x",
                 "/users.v1.userservice/GetUser"):
        expect_denied(failure(call_raw, viewer, path))
    # What has not the form of a path is refused before anybody is asked (P2).
    error = failure(call_raw, viewer, "users.v1.UserService/GetUser")
    assert error.code() == grpc.StatusCode.INTERNAL, error  # the stream is reset
    for path in ("/*", "/GetUser"):
        expect(failure(call_raw, viewer, path), grpc.StatusCode.UNIMPLEMENTED, domain="grpc")


def test_health_is_open_to_all(server):
    assert call_raw(server.channel(token=None), HEALTH) == b"\x08\x01"


def test_refusals_are_logged(server):
    channel = server.channel(token=server.token(sub="mallory", roles=["admin"]))
    deadline = time.monotonic() + PATIENCE_S
    line = None
    while line is None and time.monotonic() < deadline:  # a second without room for lines may pass
        expect_denied(failure(server.stub(channel).GetUser, ask("x"), timeout=DEADLINE_S))
        line = next((line for line in server.lines if "subject=mallory" in line), None)
    assert line is not None, server.log()
    for part in (" warn access_denied ", f"method={USERS}GetUser", "certificate=",
                 'rule="deny /users.v1.UserService/*"', "peer=", "left_out="):
        assert part in line, line


def test_health_can_be_closed(_):
    settings = {"policy": {"allow /grpc.health.v1.Health/Check": "role:probe",
                           **POLICY}, "auth": {"anonymous_health": "false"}}
    with Server.running(settings) as server:
        probe = server.channel(token=server.token(roles=["probe"]))
        assert call_raw(probe, HEALTH) == b"\x08\x01"
        expect_denied(failure(call_raw, server.channel(), HEALTH))
        expect(failure(call_raw, server.channel(token=None), HEALTH),
               grpc.StatusCode.UNAUTHENTICATED)


# ---- the limits


def expect_exhausted(error, limit):
    """RetryInfo and the pushback say the same, to the millisecond above. Returns it."""
    details = expect(error, EXHAUSTED, "Rate limit exceeded")
    assert details["ErrorInfo"]["reason"] == "RATE_LIMIT_EXCEEDED", details
    assert details["ErrorInfo"]["metadata"]["limit"] == limit, details
    pushback = dict(error.trailing_metadata())["grpc-retry-pushback-ms"]
    assert pushback.isdigit() and int(pushback) > 0, pushback
    return int(pushback)


def calls_until_refused(call, most=500):
    """How many calls succeed, and the error of the next."""
    for count in range(most):
        try:
            call()
        except grpc.RpcError as error:
            return count, error
    raise AssertionError(f"{most} calls were not refused")


def test_rate_of_an_identity(_):
    with Server.running({"rate": {"identity_per_s": 2, "identity_burst": 6}}) as server:
        alice = stub(server, sub="alice")
        count, error = calls_until_refused(
            lambda: alice.ListUsers(users_pb2.ListUsersRequest(), timeout=DEADLINE_S))
        assert count >= 6, count
        assert expect_exhausted(error, "rate.identity_per_s") <= 500
        bob = stub(server, sub="bob")
        assert bob.ListUsers(users_pb2.ListUsersRequest(), timeout=DEADLINE_S) is not None
        health = server.channel(token=server.token(sub="alice"))
        for _ in range(50):
            assert call_raw(health, HEALTH) == b"\x08\x01"
        # Another connection and another token of the same subject do not help; time does.
        again = stub(server, sub="alice", roles=["viewer"])
        calls_until_refused(
            lambda: again.ListUsers(users_pb2.ListUsersRequest(), timeout=DEADLINE_S))
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                again.ListUsers(users_pb2.ListUsersRequest(), timeout=DEADLINE_S)
                break
            except grpc.RpcError as error:
                assert time.monotonic() < deadline
                time.sleep(expect_exhausted(error, "rate.identity_per_s") / 1000)


def test_rate_of_changes(_):
    settings = {"rate": {"write_identity_per_s": 1, "write_identity_burst": 4}}
    with Server.running(settings) as server:
        users = (users_pb2.User(id=f"id{n}", username=f"user{n}", email=f"user{n}@example.com")
                 for n in range(1000))
        error = failure(list, stub(server).SyncUsers(users, timeout=DEADLINE_S))
        expect_exhausted(error, "rate.write_identity_per_s")
        _, details = error_details(error)
        stored = stub(server).ListUsers(users_pb2.ListUsersRequest(), timeout=DEADLINE_S)
        index = int(details["ErrorInfo"]["metadata"]["index"])
        assert stored.total_count == index, (stored.total_count, details)
        assert 4 <= index < 1000, index
        # Streams and single calls have one limit; reads go on.
        _, error = calls_until_refused(lambda: create(server))
        expect_exhausted(error, "rate.write_identity_per_s")
        for _ in range(20):
            stub(server).ListUsers(users_pb2.ListUsersRequest(), timeout=DEADLINE_S)


def test_rate_of_an_address(_):
    with Server.running({"rate": {"address_per_s": 1, "address_burst": 5}}) as server:
        channel = server.channel(token=None)
        count = 0
        error = failure(call_raw, channel, USERS + "GetUser")
        while error.code() == grpc.StatusCode.UNAUTHENTICATED and count < 500:
            count += 1
            error = failure(call_raw, channel, USERS + "GetUser")
        assert count >= 5, count
        expect_exhausted(error, "rate.address_per_s")
        for _ in range(50):
            assert call_raw(channel, HEALTH) == b"\x08\x01"
        # A good token does not help: nobody looks at it.
        _, error = calls_until_refused(lambda: stub(server, sub="alice").ListUsers(
            users_pb2.ListUsersRequest(), timeout=DEADLINE_S))
        expect_exhausted(error, "rate.address_per_s")


if __name__ == "__main__":
    run(globals(), make_server)
