#!/usr/bin/python3
"""The servers that userd is measured against (bench/peers): the same users, the same answers, the same refusals; and
they leave nothing behind."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import types

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench"))

import bench_peers  # noqa: E402
from h2_by_hand import Peer as H2Peer, get_user  # noqa: E402
from userd_harness import PATIENCE_S, ROOT, Server, finish, run_main, run_one, sign_token  # noqa: E402

import grpc  # noqa: E402
from google.protobuf import json_format  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

USERBENCH = os.environ.get("USERBENCH", str(ROOT / "build/userbench"))
USERS = 2500
SOME = (0, 1234, USERS - 1)
GET = "/users.v1.UserService/GetUser"
CREATE = "/users.v1.UserService/CreateUser"
AT_ONCE = 300  # calls: more than a server asks for ahead


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


class Caller:
    """Calls over one channel, whose answers are the bytes that came."""

    def __init__(self, address, ca, token):
        credentials = grpc.ssl_channel_credentials(ca.read_bytes())
        self.channel = grpc.secure_channel(address, credentials, [("grpc.use_local_subchannel_pool", 1)])
        grpc.channel_ready_future(self.channel).result(timeout=PATIENCE_S)
        self.metadata = () if token is None else (("authorization", f"Bearer {token}"),)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def call(self, method, request):
        return self.channel.unary_unary(method)(request.SerializeToString(), metadata=self.metadata,
                                                timeout=PATIENCE_S)

    def get(self, user_id):
        return self.call(GET, users_pb2.GetUserRequest(id=user_id))

    def get_many(self, ids):
        """All of them at once."""
        method = self.channel.unary_unary(GET)
        calls = [method.future(users_pb2.GetUserRequest(id=one).SerializeToString(), metadata=self.metadata,
                               timeout=PATIENCE_S) for one in ids]
        return [call.result() for call in calls]

    def create(self, **fields):
        return users_pb2.CreateUserResponse.FromString(
            self.call(CREATE, users_pb2.CreateUserRequest(**fields))).user


class Bench:
    """userd with the users of `userbench data`, and what the others are started with."""

    def __init__(self, folder):
        self.folder = folder
        self.server = Server(folder=folder / "userd")
        subprocess.run([USERBENCH, "data", "--dir", str(self.server.data), "--users", str(USERS)], check=True,
                       stdout=subprocess.DEVNULL)
        self.token = self.server.token()
        self.answers = {}

    def ask_userd(self):
        self.server.start()
        with Caller(self.server.address, self.server.ca, self.token) as caller:
            for index in SOME:
                self.answers[index] = caller.get(bench_peers.user_id(index))
        self.server.stop()

    def start(self, peer):
        files = self.server.certificates
        return peer.start(self.folder / peer.name, files.cert, files.key, files.ca, self.token, USERS,
                          min(os.sched_getaffinity(0)))


def test_formula(bench):
    """bench_peers.py knows what userd answers, byte for byte."""
    for index in SOME:
        frame = bench_peers.answer_body(index)
        assert frame[5:] == bench.answers[index], index
        assert json_format.MessageToDict(users_pb2.GetUserResponse.FromString(frame[5:]).user,
                                         preserving_proto_field_name=True) == {
            name: str(value) if isinstance(value, int) else value
            for name, value in bench_peers.user_fields(index).items()}


def check_grpc(bench, running):
    with Caller(running.address, bench.server.ca, bench.token) as caller:
        for index in SOME:
            assert caller.get(bench_peers.user_id(index)) == bench.answers[index], index
        ids = [bench_peers.user_id(index) for index in range(AT_ONCE)]
        answers = [users_pb2.GetUserResponse.FromString(data) for data in caller.get_many(ids)]
        assert [answer.user.id for answer in answers] == ids
        for wrong, code in ((bench_peers.user_id(USERS), "NOT_FOUND"), ("", "INVALID_ARGUMENT")):
            assert code_of(lambda: caller.get(wrong)) == grpc.StatusCode[code], wrong
        made = caller.create(username="New.Name", email="new@example.com", password="correct horse battery")
        assert (made.username, made.email) == ("New.Name", "new@example.com") and made.etag
        assert users_pb2.GetUserResponse.FromString(caller.get(made.id)).user == made
        assert code_of(lambda: caller.create(username="new.name", email="other@example.com",
                                             password="correct horse battery")) == grpc.StatusCode.ALREADY_EXISTS
        assert code_of(lambda: caller.create(username="other")) == grpc.StatusCode.INVALID_ARGUMENT
    for token in refused_tokens(bench):
        with Caller(running.address, bench.server.ca, token) as caller:
            assert code_of(lambda: caller.get(bench_peers.user_id(0))) == grpc.StatusCode.UNAUTHENTICATED, token


def refused_tokens(bench):
    secret = bench.server.secret
    return [None, sign_token(b"another secret"), sign_token(secret, ttl_s=-1), bench.token[:-2]]


def check_rest(bench, running):
    host, port = running.address.split(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=PATIENCE_S,
                                             context=ssl.create_default_context(cafile=str(bench.server.ca)))

    def ask(method, path, body=None, token=bench.token):
        connection.request(method, path, body, {} if token is None else {"authorization": f"Bearer {token}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    with contextlib.closing(connection):
        for index in SOME:
            assert ask("GET", f"/users/{bench_peers.user_id(index)}") == (
                200, {"user": bench_peers.user_fields(index)}), index
        assert ask("GET", f"/users/{bench_peers.user_id(USERS)}")[0] == 404
        for token in refused_tokens(bench):
            assert ask("GET", f"/users/{bench_peers.user_id(0)}", token=token)[0] == 401, token
        wanted = {"username": "New.Name", "email": "new@example.com", "password": "correct horse battery"}
        status, made = ask("POST", "/users", json.dumps(wanted))
        assert status == 201 and made["user"]["username"] == "New.Name", made
        assert ask("GET", f"/users/{made['user']['id']}") == (200, made)
        assert ask("POST", "/users", json.dumps(wanted))[0] == 409
        assert ask("POST", "/users", "{")[0] == 400


def check_h2(bench, running):
    """Any POST gets as much as a GetUser of the usual size gets from userd."""
    host, port = running.address.split(":")
    server = types.SimpleNamespace(host=host, port=int(port), tls_context=bench.server.tls_context,
                                   token=lambda: bench.token)
    with H2Peer(server) as peer:
        peer.request(get_user(bench_peers.user_id(0)))
        answer = peer.answer()
    assert answer[":status"] == "200", answer.fields
    assert answer.data == bench_peers.usual_answer(USERS), answer.data
    assert abs(len(answer.data) - len(bench_peers.answer_body(USERS // 2))) <= 2, len(answer.data)


CHECKS = {"grpc": check_grpc, "rest": check_rest, "h2": check_h2}


def check_peer(bench, peer):
    core = min(os.sched_getaffinity(0))
    with bench.start(peer) as running:
        assert running.process.pid == running.pid and running.version, running.version
        tasks = list(pathlib.Path(f"/proc/{running.pid}/task").iterdir())
        for task in tasks:
            assert os.sched_getaffinity(int(task.name)) == {core}, f"{task} of {len(tasks)}"
        CHECKS[peer.protocol](bench, running)
        assert running.cpu_ns() > 0 and running.memory_bytes() > 0
        host, port = running.address.split(":")
    assert not pathlib.Path(f"/proc/{running.pid}").exists()
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0, "somebody listens still"
    running.stop()
    print(f"counts: {peer.name}: {running.version}, {len(tasks)} threads")


def test_foreign_token(bench):
    """What no server would accept is not measured."""
    files = bench.server.certificates
    peer = bench_peers.all()[0]
    try:
        peer.start(bench.folder / "foreign", files.cert, files.key, files.ca, sign_token(b"another"), 1, None)
    except bench_peers.PeerFailed as error:
        assert "not signed" in str(error), error
    else:
        raise AssertionError("it was started")


def test_failed_start(bench):
    """Whoever cannot start says so, and what it wrote; and is gone."""
    files = bench.server.certificates
    for peer in bench_peers.all():
        if peer.available() is not None:
            continue
        wrong = bench.folder / "no.pem"
        wrong.write_text("this is no certificate")
        try:
            peer.start(bench.folder / "failed", wrong, files.key, files.ca, bench.token, 1, None,
                       secret=files.secret)
        except bench_peers.PeerFailed as error:
            assert peer.name in str(error), error
        else:
            raise AssertionError(f"{peer.name} was started")


def main():
    with tempfile.TemporaryDirectory(prefix="userd-test-") as folder:
        bench = Bench(pathlib.Path(folder))
        try:
            run_one("userd answers", bench.ask_userd)
            run_one("test_formula", test_formula, bench)
            run_one("test_foreign_token", test_foreign_token, bench)
            run_one("test_failed_start", test_failed_start, bench)
            for peer in bench_peers.all():
                reason = peer.available()
                if reason is None:
                    run_one(peer.name, check_peer, bench, peer)
                else:
                    print(f"SKIPPED {peer.name}: {reason}")
        finally:
            bench.server.remove()
            shutil.rmtree(bench.folder / "userd", ignore_errors=True)
    finish()


if __name__ == "__main__":
    run_main(main)
