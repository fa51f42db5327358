"""Calls of the users API as the tests make them, with grpcio: short ways to make, read and change a
user, and what a failed call must look like."""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from userd_harness import SLOW, error_details  # noqa: E402

import grpc  # noqa: E402
from google.protobuf import field_mask_pb2  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

DEADLINE_S = 30 * SLOW
PASSWORD = "correct horse battery"

_names = iter(range(1, 1000000))


def stub_of(server):
    """One channel for all tests that need no other."""
    if not hasattr(server, "shared_channel"):
        server.shared_channel = server.channel()
    return server.stub(server.shared_channel)


def create(server, **changes):
    number = next(_names)
    fields = {"username": f"user{number}", "email": f"user{number}@example.com",
              "password": PASSWORD, **changes}
    reply = stub_of(server).CreateUser(users_pb2.CreateUserRequest(**fields), timeout=DEADLINE_S)
    return reply.user


def get(server, user_id):
    return stub_of(server).GetUser(users_pb2.GetUserRequest(id=user_id), timeout=DEADLINE_S).user


def update(server, user_id, user, *paths):
    request = users_pb2.UpdateUserRequest(id=user_id, user=user)
    if paths:
        request.update_mask.CopyFrom(field_mask_pb2.FieldMask(paths=paths))
    return stub_of(server).UpdateUser(request, timeout=DEADLINE_S).user


def failure(call, *arguments, **keywords):
    """The grpc.RpcError that a call must end with."""
    try:
        call(*arguments, **keywords)
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


def expect(error, code, text=None, domain="users.v1"):
    """Checks status and text, and that the details repeat both and carry an ErrorInfo."""
    assert error.code() == code, (error.code(), error.details())
    if text is not None:
        assert error.details() == text, error.details()
    status, details = error_details(error)
    assert status is not None, "no grpc-status-details-bin"
    assert status.code == code.value[0], status
    assert status.message == error.details(), (status.message, error.details())
    info = details["ErrorInfo"]
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+[A-Z0-9]", info["reason"]), info
    if domain is not None:
        assert info["domain"] == domain, info
    return details
