#!/usr/bin/python3
"""The whole of users.v1 from Python, on grpcio.

    python3 users_client.py TARGET CA_FILE TOKEN_FILE [WATCH_SECONDS]
    python3 users_client.py dns:///localhost:50051 run/certs/ca.pem run/certs/token 2

A target of dns:///name:port stands for all addresses of the name; calls go to each in turn. The messages are
made from userd's proto folder once, and found by PYTHONPATH:

    python3 -m grpc_tools.protoc -I proto --python_out=gen --grpc_python_out=gen \\
        users/v1/users.proto google/rpc/status.proto
"""

import json
import os
import pathlib
import sys
import threading
import time

import grpc
from google.protobuf import field_mask_pb2
from google.rpc import status_pb2
from users.v1 import users_pb2, users_pb2_grpc

BATCH = 20
SYNC = 50
TIMEOUT_S = 5
RUN = f"{int(time.time()):x}{os.getpid():x}"  # makes the names of this run unlike those of another

# Reads are safe to repeat; a write is not, unless it carries a request_id.
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [{
        "name": [{"service": "users.v1.UserService", "method": name} for name in ("GetUser", "ListUsers")],
        "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s",
                        "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]},
    }],
}


class TokenFromFile(grpc.AuthMetadataPlugin):
    """Read at each call: the file may be rotated."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def __call__(self, context, callback):
        callback((("authorization", f"Bearer {self.path.read_text().strip()}"),), None)


def connect(target, ca_file, token_file):
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(pathlib.Path(ca_file).read_bytes()),
        grpc.metadata_call_credentials(TokenFromFile(token_file)))
    return grpc.secure_channel(target, credentials, options=[
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 10000)])


def status_name(number):
    """A newer server may send a status that these messages do not know."""
    known = users_pb2.UserStatus.DESCRIPTOR.values_by_number.get(number)
    return known.name if known else str(number)


def show(what, user):
    roles = f", roles {' '.join(user.roles)}" if user.roles else ""
    print(f"{what}: {user.id} {user.username} <{user.email}> {status_name(user.status)}{roles}")


def show_error(what, error):
    print(f"{what}: {error.code().name}: {error.details()}")
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            kinds = [item.type_url.rpartition(".")[2] for item in status_pb2.Status.FromString(value).details]
            print(f"    details: {', '.join(kinds)}")


def show_errors(stub):
    for call, request in ((stub.GetUser, users_pb2.GetUserRequest(id="nobody")),
                          (stub.CreateUser, users_pb2.CreateUserRequest(username="x"))):
        try:
            call(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            show_error("as expected", error)
    try:
        stub.GetUser(users_pb2.GetUserRequest(id="nobody"), timeout=0.001)
    except grpc.RpcError as error:
        show_error("in one millisecond", error)


def create_batch(stub):
    requests = (users_pb2.CreateUserRequest(username=f"batch{i}-{RUN}", email=f"batch{i}-{RUN}@example.com",
                                            password="correct battery") for i in range(BATCH))
    # The generator is asked for the next item when there is room for it.
    replies = stub.BatchCreateUsers(requests, metadata=[("users-continue-on-error", "true")])
    created = sum(reply.HasField("user") for reply in replies)
    print(f"batch: {created} of {BATCH} users created")


def watch_and_sync(stub, user_id, seconds):
    """Watches for some seconds, and syncs users meanwhile."""
    watch = stub.WatchUser(users_pb2.GetUserRequest(id=user_id))
    states = [next(watch)]
    show("watched", states[0])
    threading.Timer(seconds, watch.cancel).start()
    change = users_pb2.UpdateUserRequest(id=user_id, user=users_pb2.User(roles=["watched"]))
    stub.UpdateUser(change, timeout=TIMEOUT_S)
    users = (users_pb2.User(username=f"sync{i}-{RUN}", email=f"sync{i}-{RUN}@example.com")
             for i in range(SYNC))
    stored = len(list(stub.SyncUsers(users)))
    try:
        for user in watch:
            states.append(user)
            show("watched", user)
    except grpc.RpcError as error:
        show_error("watch ended", error)  # CANCELLED, by us
    print(f"sync: {stored} of {SYNC} users stored; {len(states)} states watched")


def list_all(stub):
    request = users_pb2.ListUsersRequest(page_size=25, filter=f'username = "*{RUN}*"')
    pages = users = 0
    while True:
        page = stub.ListUsers(request, timeout=TIMEOUT_S)
        pages += 1
        users += len(page.users)
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    print(f"listed: {users} users on {pages} pages")


def run(stub, seconds):
    name = f"ada-{RUN}"
    user = stub.CreateUser(users_pb2.CreateUserRequest(
        username=name, email=f"{name}@example.com", password="correct horse", request_id=name),
        timeout=TIMEOUT_S).user
    show("created", user)
    show("got", stub.GetUser(users_pb2.GetUserRequest(id=user.id), timeout=TIMEOUT_S).user)
    change = users_pb2.UpdateUserRequest(
        id=user.id, update_mask=field_mask_pb2.FieldMask(paths=["status", "profile.first_name"]),
        user=users_pb2.User(status=users_pb2.USER_STATUS_INACTIVE,
                            profile=users_pb2.User.Profile(first_name="Ada")))
    show("updated", stub.UpdateUser(change, timeout=TIMEOUT_S).user)
    show_errors(stub)
    create_batch(stub)
    watch_and_sync(stub, user.id, seconds)
    list_all(stub)
    stub.DeleteUser(users_pb2.DeleteUserRequest(id=user.id), timeout=TIMEOUT_S)
    print(f"deleted: {user.id}")


def main():
    if len(sys.argv) < 4:
        sys.exit("usage: users_client.py TARGET CA_FILE TOKEN_FILE [WATCH_SECONDS]")
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 60
    try:
        with connect(*sys.argv[1:4]) as channel:
            run(users_pb2_grpc.UserServiceStub(channel), seconds)
    except grpc.RpcError as error:
        sys.exit(f"users: {error.code().name}: {error.details()}")


if __name__ == "__main__":
    main()
