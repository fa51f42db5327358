#!/usr/bin/python3
"""grpc.reflection.v1 and v1alpha as foreign clients use them, which have no proto files: `buf curl`, and
grpcio with a pool of what the server tells. Debian's grpc-proto has the messages of reflection itself."""

import importlib.util
import json
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import DEADLINE_S, PASSWORD, create, expect, failure  # noqa: E402
from userd_harness import PATIENCE_S, ROOT, SLOW, Server, run  # noqa: E402

import grpc  # noqa: E402
import h2.config  # noqa: E402
import h2.connection  # noqa: E402
import h2.events  # noqa: E402
import h2.settings  # noqa: E402
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: E402

BUF = pathlib.Path(os.environ.get("NODE_PATH", str(ROOT / "build/node_modules"))) / ".bin/buf"
CODE = grpc.StatusCode
ON = {"reflection": {"enabled": "true"}}
VERSIONS = ("v1", "v1alpha")
SERVICES = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection", "users.v1.UserService"]


def load(version):
    """The generated package would be a part of `grpc`, which is installed elsewhere; its messages need nothing."""
    name = f"grpc/reflection/{version}/reflection_pb2.py"
    path = next(path for path in (pathlib.Path(folder, name) for folder in sys.path) if path.exists())
    spec = importlib.util.spec_from_file_location(f"reflection_{version}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MESSAGES = {version: load(version) for version in VERSIONS}


def path_of(version):
    return f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"


class Stream:
    """One stream of requests: asked and answered one by one."""

    def __init__(self, channel, version="v1", raw=False):
        self.messages = MESSAGES[version]
        self.requests = queue.Queue()
        method = channel.stream_stream(
            path_of(version),
            request_serializer=bytes if raw else
            self.messages.ServerReflectionRequest.SerializeToString,
            response_deserializer=bytes if raw else
            self.messages.ServerReflectionResponse.FromString)
        self.call = method(iter(self.requests.get, None), timeout=DEADLINE_S)

    def send(self, request):
        self.requests.put(request)
        return next(self.call)

    def ask(self, **fields):
        return self.send(self.messages.ServerReflectionRequest(**fields))

    def files(self, **fields):
        reply = self.ask(**fields)
        assert reply.WhichOneof("message_response") == "file_descriptor_response", reply
        return [descriptor_pb2.FileDescriptorProto.FromString(file)
                for file in reply.file_descriptor_response.file_descriptor_proto]

    def names(self, **fields):
        return [file.name for file in self.files(**fields)]

    def end(self):
        self.requests.put(None)
        assert list(self.call) == [] and self.call.code() == CODE.OK

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.end()
        else:
            self.call.cancel()
            self.requests.put(None)


# ---- the service by itself


def test_services_are_listed_in_order(server):
    with server.channel() as channel:
        for version in VERSIONS:
            with Stream(channel, version) as stream:
                reply = stream.ask(list_services="*", host="here")
                assert [one.name for one in reply.list_services_response.service] == SERVICES
                assert reply.valid_host == "here"
                assert reply.original_request == stream.messages.ServerReflectionRequest(
                    list_services="*", host="here")


def test_both_versions_give_the_same_bytes(server):
    requests = [b"\x3a\x00", b"\x1a\x14users/v1/users.proto", b"\x22\x0dusers.v1.User",
                b"\x22\x06nobody", b"\x32\x0dusers.v1.User", b"\x2a\x05\x0a\x01x\x10\x05"]
    with server.channel() as channel:
        with Stream(channel, "v1", raw=True) as one, Stream(channel, "v1alpha", raw=True) as other:
            for request in requests:
                assert one.send(request) == other.send(request), request


def test_files_come_with_imports_once(server):
    imports = {"google/protobuf/empty.proto", "google/protobuf/field_mask.proto",
               "google/protobuf/any.proto", "google/rpc/status.proto"}
    with server.channel() as channel, Stream(channel) as stream:
        names = stream.names(file_containing_symbol="users.v1.UserService")
        assert names[0] == "users/v1/users.proto" and set(names[1:]) == imports, names
        assert len(names) == 1 + len(imports)
        assert stream.names(file_by_filename="users/v1/users.proto") == names[:1]
        assert stream.names(file_by_filename="google/protobuf/any.proto") == [
            "google/protobuf/any.proto"]


def test_every_name_leads_to_its_file(server):
    """What protobuf's own reader finds in the files, the server finds too."""
    def names_in(message, scope):
        yield f"{scope}.{message.name}"
        for item in (*message.field, *message.oneof_decl, *message.extension):
            yield f"{scope}.{message.name}.{item.name}"
        for inner in message.nested_type:
            yield from names_in(inner, f"{scope}.{message.name}")
        yield from enum_names(message.enum_type, f"{scope}.{message.name}")

    def enum_names(enums, scope):
        for enum in enums:
            yield f"{scope}.{enum.name}"
            for value in enum.value:
                yield f"{scope}.{value.name}"

    def all_names(file):
        for message in file.message_type:
            yield from names_in(message, file.package)
        yield from enum_names(file.enum_type, file.package)
        for service in file.service:
            yield f"{file.package}.{service.name}"
            for method in service.method:
                yield f"{file.package}.{service.name}.{method.name}"

    with server.channel() as channel, Stream(channel) as stream:
        files = {}
        for service in SERVICES:
            for file in stream.files(file_containing_symbol=service):
                files[file.name] = file
        assert len(files) >= 8, sorted(files)
        count = 0
        for file in files.values():
            for name in all_names(file):
                assert stream.names(file_containing_symbol=name)[0] == file.name, name
                count += 1
        assert count > 100, count


def test_what_is_unknown_is_an_answer(server):
    with server.channel() as channel, Stream(channel) as stream:
        messages = stream.messages
        extension = messages.ExtensionRequest(containing_type="users.v1.User", extension_number=7)
        for request, message in (
                ({"file_by_filename": "none.proto"}, "unknown file: none.proto"),
                ({"file_containing_symbol": "users.v1"}, "unknown symbol: users.v1"),
                ({"file_containing_symbol": ".users.v1.User"}, "unknown symbol: .users.v1.User"),
                ({"all_extension_numbers_of_type": "x.Y"}, "unknown type: x.Y"),
                ({"file_containing_extension": extension},
                 "unknown extension 7 of type: users.v1.User")):
            reply = stream.ask(**request)
            assert reply.error_response == messages.ErrorResponse(
                error_code=CODE.NOT_FOUND.value[0], error_message=message), reply
        reply = stream.ask(all_extension_numbers_of_type="users.v1.User")
        assert reply.all_extension_numbers_response == messages.ExtensionNumberResponse(
            base_type_name="users.v1.User"), reply


def test_bad_requests_end_the_stream(server):
    with server.channel() as channel:
        for request, code in ((b"", CODE.INVALID_ARGUMENT), (b"\x0a\x01h", CODE.INVALID_ARGUMENT),
                              (b"\x3a", CODE.INTERNAL), (b"\x3a\x01\xff", CODE.INTERNAL),
                              (b"\x3a\x00" * 10000, CODE.INVALID_ARGUMENT),
                              (b"\x22\xf0\xa2\x04" + b"x" * 70000, CODE.RESOURCE_EXHAUSTED)):
            for version in VERSIONS:
                stream = Stream(channel, version, raw=True)
                assert stream.send(b"\x3a\x00")
                expect(failure(stream.send, request), code, domain=None)
                stream.requests.put(None)


# ---- clients that know nothing


class Stranger:
    """grpcio with nothing but the name of the service."""

    def __init__(self, channel, service, version):
        pool = descriptor_pool.DescriptorPool()
        with Stream(channel, version) as stream:
            files = {file.name: file for file in stream.files(file_containing_symbol=service)}
        while files:  # the pool wants imports first
            for name in [name for name, file in files.items() if not set(file.dependency) & set(files)]:
                pool.Add(files.pop(name))
        self.channel = channel
        self.service = pool.FindServiceByName(service)
        self.factory = message_factory.MessageFactory(pool)

    def call(self, name, **fields):
        method = self.service.methods_by_name[name]
        request = self.factory.GetPrototype(method.input_type)
        make = self.channel.unary_stream if name == "WatchUser" else self.channel.unary_unary
        return make(f"/{self.service.full_name}/{name}",
                    request_serializer=request.SerializeToString,
                    response_deserializer=self.factory.GetPrototype(method.output_type).FromString)(
                        request(**fields), timeout=DEADLINE_S)


def test_grpcio_calls_what_it_was_told(server):
    with server.channel() as channel:
        for version in VERSIONS:
            stranger = Stranger(channel, "users.v1.UserService", version)
            name = f"grpcio-{version}"
            user = stranger.call("CreateUser", username=name, email=f"{name}@example.com",
                                 password=PASSWORD).user
            assert stranger.call("GetUser", id=user.id).user == user
            page = stranger.call("ListUsers", filter=f'username = "{name}"')
            assert list(page.users) == [user] and page.total_count == 1
            watching = stranger.call("WatchUser", id=user.id)
            assert next(watching) == user
            assert stranger.call("DeleteUser", id=user.id).success
            assert [state.status for state in watching] == [
                watching_status(stranger, "USER_STATUS_DELETED")]
            health = Stranger(channel, "grpc.health.v1.Health", version)
            assert health.call("Check").status == 1


def watching_status(stranger, name):
    user = stranger.service.methods_by_name["WatchUser"].output_type
    return user.fields_by_name["status"].enum_type.values_by_name[name].number


def buf(server, *arguments, version=None, token=""):
    """Runs `buf curl` over the base address, or what follows it in the last argument."""
    command = [str(BUF), "curl", "--protocol", "grpc", "--cacert", str(server.ca)]
    if version is not None:
        command += ["--reflect-protocol", f"grpc-{version}"]
    if token is not None:
        command += ["--header", f"authorization: Bearer {token or server.token()}",
                    "--reflect-header", "*"]
    return subprocess.Popen(
        [*command, *arguments[:-1], f"https://localhost:{server.port}{arguments[-1]}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "HOME": str(server.folder)})


def output_of(process):
    output, problems = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, (output, problems)
    return output


def problem_of(process):
    _, problems = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    return problems


def test_buf_lists_services_and_methods(server):
    for version in VERSIONS:
        services = output_of(buf(server, "--list-services", "", version=version))
        assert services.split() == SERVICES, services
        methods = output_of(buf(server, "--list-methods", "", version=version)).split()
        for name in ("GetUser", "CreateUser", "UpdateUser", "DeleteUser", "ListUsers", "WatchUser",
                     "BatchCreateUsers", "SyncUsers"):
            assert f"users.v1.UserService/{name}" in methods, methods
        assert "grpc.health.v1.Health/Check" in methods, methods


def test_buf_calls_what_it_was_told(server):
    user = create(server, username="buffy")
    for version in (None, "v1alpha"):
        def call(method, request, version=version):
            return buf(server, "--data", json.dumps(request), f"/users.v1.UserService/{method}",
                       version=version)

        got = json.loads(output_of(call("GetUser", {"id": user.id})))["user"]
        assert got["username"] == "buffy" and got["status"] == "USER_STATUS_ACTIVE", got
        page = json.loads(output_of(call("ListUsers", {"filter": 'username = "BUFFY"'})))
        assert page == {"users": [got], "totalCount": 1}
        name = f"watched-{version}"
        watched = json.loads(output_of(call("SyncUsers", {
            "username": name, "email": f"{name}@example.com"})))
        watching = call("WatchUser", {"id": watched["id"]})
        assert watching.stdout.readline().strip() == "{"  # the present state is on its way
        output_of(call("DeleteUser", {"id": watched["id"]}))
        assert '"status": "USER_STATUS_DELETED"' in output_of(watching)
        problem = json.loads(problem_of(call("GetUser", {"id": "nobody"})))
        assert problem["code"] == "not_found" and problem["message"] == "User nobody not found"


# ---- who may ask


def test_it_is_off_unless_switched_on(_server):
    with Server.running() as server:
        with server.channel() as channel:
            for version in VERSIONS:
                stream = Stream(channel, version)
                error = failure(stream.ask, list_services="")
                expect(error, CODE.UNIMPLEMENTED,
                       f"unknown service grpc.reflection.{version}.ServerReflection", domain="grpc")
                stream.requests.put(None)
        assert "unknown service grpc.reflection" in problem_of(buf(server, "--list-services", ""))


def test_a_token_is_asked_for(server):
    with server.channel(token=None) as channel:
        for version in VERSIONS:
            stream = Stream(channel, version)
            expect(failure(stream.ask, list_services=""), CODE.UNAUTHENTICATED,
                   "No authentication token provided")
            stream.requests.put(None)
    assert "authenticated" in problem_of(buf(server, "--list-services", "", token=None))


def test_anybody_may_be_let_in(_server):
    settings = {**ON, "auth": {"anonymous_reflection": "true", "anonymous_health": "false"}}
    with Server.running(settings) as server:
        with server.channel(token=None) as channel:
            for version in VERSIONS:
                with Stream(channel, version) as stream:
                    assert stream.names(file_containing_symbol="users.v1.User")
            for path in ("/users.v1.UserService/GetUser", "/grpc.health.v1.Health/Check"):
                error = failure(channel.unary_unary(path), b"", timeout=DEADLINE_S)
                expect(error, CODE.UNAUTHENTICATED)
        assert output_of(buf(server, "--list-services", "", token=None)).split() == SERVICES


def test_policy_judges_it(_server):
    settings = {**ON, "policy": {"allow /users.v1.UserService/*": "authenticated",
                                 "allow /grpc.reflection.v1.ServerReflection/*": "role:developer"}}
    with Server.running(settings) as server:
        with server.channel(token=server.token(roles=["developer"])) as channel:
            with Stream(channel, "v1") as stream:
                assert stream.names(file_containing_symbol="users.v1.User")
            other = Stream(channel, "v1alpha")
            expect(failure(other.ask, list_services=""), CODE.PERMISSION_DENIED)
            other.requests.put(None)
        with server.channel() as channel:
            stream = Stream(channel, "v1")
            expect(failure(stream.ask, list_services=""), CODE.PERMISSION_DENIED)
            stream.requests.put(None)


# ---- limits


def test_requests_on_a_stream_are_limited(_server):
    with Server.running({**ON, "limits": {"max_stream_messages": "50"}}) as server:
        with server.channel() as channel:
            stream = Stream(channel)
            for _ in range(50):
                assert stream.ask(list_services="")
            details = expect(failure(stream.ask, list_services=""), CODE.RESOURCE_EXHAUSTED)
            assert details["ErrorInfo"]["reason"] == "TOO_MANY_MESSAGES", details
            stream.requests.put(None)


class SlowReader:
    """One stream of python3-h2, whose windows for answers are shut until they are opened."""

    REQUEST = b"\x00\x00\x00\x00\x16\x1a\x14users/v1/users.proto"

    def __init__(self, server):
        raw = socket.create_connection((server.host, server.port), timeout=PATIENCE_S)
        self.socket = server.tls_context().wrap_socket(raw, server_hostname="localhost")
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        self.h2.initiate_connection()
        self.body = b""
        self.trailers = None
        self.pongs = 0
        self.h2.send_headers(1, [
            (":method", "POST"), (":scheme", "https"), (":path", path_of("v1")),
            (":authority", "localhost"), ("te", "trailers"), ("content-type", "application/grpc"),
            ("authorization", "Bearer " + server.token())])
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def read(self):
        data = self.socket.recv(65536)
        assert data, "the server closed the connection"
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers = dict(event.headers)
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
        self.flush()

    def exchange(self):
        """Waits until the server has dealt with what was sent, as far as it will."""
        for _ in range(3):
            wanted = self.pongs + 1
            self.h2.ping(b"exchange")
            self.flush()
            while self.pongs < wanted:
                self.read()

    def send_as_many_as_fit(self):
        count = 0
        while self.h2.local_flow_control_window(1) >= len(self.REQUEST):
            self.h2.send_data(1, self.REQUEST)
            count += 1
            if count % 100 == 0:
                self.flush()
        self.flush()
        return count

    def open_window(self):
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        self.h2.increment_flow_control_window(1 << 24)
        self.flush()

    def messages(self):
        found, at = 0, 0
        while at + 5 <= len(self.body):
            at += 5 + int.from_bytes(self.body[at + 1:at + 5], "big")
            found += 1
        assert at == len(self.body), "a message is cut"
        return found


def test_a_slow_reader_gets_all_and_costs_little(_server):
    settings = {**ON, "http2": {"stream_window": "64KiB"},
                "keepalive": {"min_ping_s": "0", "permit_without_calls": "true"},
                "limits": {"max_stream_messages": "100000"}}
    with Server.running(settings) as server:
        reader = SlowReader(server)
        reader.exchange()
        count = reader.send_as_many_as_fit()
        assert count >= 65536 // len(reader.REQUEST) - 1, count
        for _ in range(10):
            reader.exchange()
            more = reader.send_as_many_as_fit()
            count += more
        # Far more were sent than the server answered: their answers would be many megabytes.
        assert count < 2 * 65536 // len(reader.REQUEST), count
        with server.channel() as channel, Stream(channel) as stream:
            assert stream.ask(list_services="")
        reader.open_window()
        reader.h2.end_stream(1)
        reader.flush()
        while reader.trailers is None:
            reader.read()
        assert reader.trailers["grpc-status"] == "0", reader.trailers
        assert reader.messages() == count
        reader.socket.close()


def test_an_open_stream_does_not_hold_up_the_end(_server):
    with Server.running({**ON, "server": {"drain_grace_s": "3600"}}) as server:
        with server.channel() as channel:
            stream = Stream(channel)
            assert stream.ask(list_services="")
            server.process.send_signal(signal.SIGTERM)
            error = failure(next, stream.call)
            expect(error, CODE.UNAVAILABLE, "the server is shutting down")
            stream.requests.put(None)


if __name__ == "__main__":
    run(globals(), lambda: Server(ON))
