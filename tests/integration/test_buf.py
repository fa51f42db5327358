#!/usr/bin/python3
"""`buf curl`, the Connect project's client, runs all eight methods over TLS from the proto file."""

import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_harness import PATIENCE_S, ROOT, Server, run  # noqa: E402

BUF = pathlib.Path(os.environ.get("NODE_PATH", str(ROOT / "build/node_modules"))) / ".bin/buf"


# JSON of CreateUserResponse.error needs to know the messages inside; no package of Debian has them.
DETAILS = """
syntax = "proto3";
package google.rpc;
message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
message BadRequest {
  message FieldViolation { string field = 1; string description = 2; }
  repeated FieldViolation field_violations = 1;
}
"""


def start_buf(server, method, *requests, headers=()):
    details = server.folder / "details"
    details.mkdir(exist_ok=True)
    (details / "details.proto").write_text(DETAILS)
    command = [str(BUF), "curl", "--schema", str(ROOT / "proto"), "--schema", str(details),
               "--protocol", "grpc",
               "--cacert", str(server.ca), "--data", "@-"]
    for header in (f"authorization: Bearer {server.token()}", *headers):
        command += ["--header", header]
    command.append(f"https://localhost:{server.port}/users.v1.UserService/{method}")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "HOME": str(server.folder)})
    process.stdin.write("\n".join(json.dumps(request) for request in requests))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process):
    """The replies, and the error as buf tells it (None = OK)."""
    output, problems = process.communicate(timeout=PATIENCE_S)
    decoder = json.JSONDecoder()
    replies = []
    output = output.strip()
    while output:
        reply, end = decoder.raw_decode(output)
        replies.append(reply)
        output = output[end:].strip()
    if process.returncode == 0:
        return replies, None
    return replies, json.loads(problems)


def call(server, method, *requests, **keywords):
    return finish(start_buf(server, method, *requests, **keywords))


def one(server, method, request):
    replies, error = call(server, method, request)
    assert error is None and len(replies) == 1, (replies, error)
    return replies[0]


def test_unary_methods(server):
    user = one(server, "CreateUser", {"username": "buf", "email": "buf@example.com",
                                      "password": "correct horse battery"})["user"]
    assert one(server, "GetUser", {"id": user["id"]})["user"] == user
    changed = one(server, "UpdateUser", {
        "id": user["id"], "user": {"profile": {"firstName": "Buf"}},
        "updateMask": "profile.firstName"})["user"]
    assert changed["profile"] == {"firstName": "Buf"}
    page = one(server, "ListUsers", {"filter": 'username = "BUF"'})
    assert page == {"users": [changed], "totalCount": 1}
    assert one(server, "DeleteUser", {"id": user["id"]}) == {"success": True}


def test_errors_have_details(server):
    replies, error = call(server, "GetUser", {"id": "nobody"})
    assert replies == [] and error["code"] == "not_found", error
    assert error["message"] == "User nobody not found"
    assert [detail["type"] for detail in error["details"]] == [
        "google.rpc.ErrorInfo", "google.rpc.ResourceInfo"], error


def test_streams(server):
    replies, error = call(server, "BatchCreateUsers", *[
        {"username": f"many{i}", "email": f"many{i}@example.com", "password": "correct horse"}
        for i in range(5)])
    assert error is None
    assert [reply["user"]["username"] for reply in replies] == [f"many{i}" for i in range(5)]
    users, error = call(server, "SyncUsers", *[
        {"id": f"synced-{i}", "username": f"synced{i}", "email": f"synced{i}@example.com"}
        for i in range(5)])
    assert error is None and [user["id"] for user in users] == [f"synced-{i}" for i in range(5)]
    replies, error = call(server, "BatchCreateUsers", {"username": "fine", "email": "fine@example.com",
                                                       "password": "correct horse"},
                          {"username": "MANY0", "email": "x@example.com", "password": "correct horse"})
    assert len(replies) == 1 and error["code"] == "already_exists", (replies, error)
    replies, error = call(server, "BatchCreateUsers", {"username": "MANY0"},
                          headers=["users-continue-on-error: true"])
    assert error is None and replies[0]["error"]["code"] == 3, replies


def test_watch(server):
    call(server, "SyncUsers", {"id": "watched", "username": "watched", "email": "w@example.com"})
    watching = start_buf(server, "WatchUser", {"id": "watched"})
    assert watching.stdout.readline().strip() == "{"  # the present state is on its way
    one(server, "DeleteUser", {"id": "watched"})
    rest = watching.stdout.read()
    assert watching.wait(PATIENCE_S) == 0, watching.stderr.read()
    watching.stderr.close()
    assert '"status": "USER_STATUS_DELETED"' in rest, rest


if __name__ == "__main__":
    run(globals(), Server)
