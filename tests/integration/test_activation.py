#!/usr/bin/python3
"""Sockets that a service manager opened and passes: which port gets which, what is refused, and that
nobody is refused while one server ends and the next begins. And the sockets in the file system that
userd opens itself."""

import contextlib
import os
import re
import socket
import sys
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from manager import listening_socket, pass_sockets, run_all  # noqa: E402
from userd_calls import DEADLINE_S, create, get  # noqa: E402
from userd_harness import PATIENCE_S, Server, run_main  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2, users_pb2_grpc  # noqa: E402

EXIT_CONFIG = 78
SERVING = b"\x08\x01"
RESTARTS = 3


def address_of(one):
    return "%s:%d" % one.getsockname()


@contextlib.contextmanager
def passed(names, *sockets, settings=None):
    """A server that gets these sockets, not started; they are closed at the end."""
    with contextlib.ExitStack() as stack:
        for one in sockets:
            stack.enter_context(one)
        server = Server(settings)
        stack.callback(server.remove)
        pass_sockets(server, sockets, names)
        for descriptor in server.passed:
            stack.callback(os.close, descriptor)
        yield server


def refused(names, *sockets, settings=None, **environment):
    """The cause that a start ends with."""
    with passed(names, *sockets, settings=settings) as server:
        server.environment.update(environment)
        server.spawn()
        assert server.wait_for_end() == EXIT_CONFIG, server.log()
        return re.search(r'\bstart_failed cause="(.*)" exit=78', server.log()).group(1)


def check_port(server, event, address):
    server.wait_for(rf"\b{event} address=\"?{re.escape(address)}\"?( tls=on)? activated=yes")


def check_health(address):
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert call(b"", timeout=DEADLINE_S, wait_for_ready=True) == SERVING


def end(server):
    if hasattr(server, "shared_channel"):
        server.shared_channel.close()
        del server.shared_channel
    server.stop()


# ---- which is which


def test_names_say_which_port_it_is():
    health, calls, admin, more = (listening_socket() for _ in range(4))
    # What the configuration says of these ports is not looked at.
    settings = {"server": {"listen": "127.0.0.1:1"}, "admin": {"listen": "127.0.0.1:1"}}
    with passed("health:grpc:admin:grpc", health, calls, admin, more, settings=settings) as server:
        server.start()
        check_port(server, "listening", address_of(calls))
        check_port(server, "listening", address_of(more))
        check_port(server, "admin_listening", address_of(admin))
        check_port(server, "health_listening", address_of(health))
        user = create(server)
        assert get(server, user.id) == user
        check_health(address_of(health))
        with urllib.request.urlopen(f"http://{address_of(admin)}/readyz", timeout=PATIENCE_S) as reply:
            assert reply.status == 200
        end(server)


def test_ports_without_a_socket_are_opened():
    with passed("health", listening_socket()) as server:
        server.start()
        server.wait_for(r"\blistening address=\S+ tls=on activated=no")
        server.wait_for(r"\badmin_listening address=\S+ activated=no")
        create(server)
        end(server)


def test_without_names_the_address_says_it():
    calls, admin, other = (listening_socket() for _ in range(3))
    settings = {"server": {"listen": address_of(calls)}, "admin": {"listen": address_of(admin)}}
    with passed(None, admin, calls, other, settings=settings) as server:
        server.start()
        check_port(server, "listening", address_of(calls))
        check_port(server, "listening", address_of(other))  # of which nothing says anything
        check_port(server, "admin_listening", address_of(admin))
        create(server)
        end(server)


def test_a_socket_that_does_not_block_is_as_good():
    one = listening_socket()
    one.setblocking(False)
    with passed(None, one) as server:
        server.start()
        create(server)
        end(server)


def test_sockets_of_another_process_are_let_be():
    with passed("nonsense", listening_socket()) as server:
        server.environment["LISTEN_PID"] = "1"
        server.start()
        server.wait_for(r"\blistening address=\S+ tls=on activated=no")
        end(server)


# ---- what is refused


def test_what_cannot_be_used_is_refused():
    cause = refused("http", listening_socket())
    assert re.search(r'no port is called \\?"http\\?".*FileDescriptorName=grpc, admin or health', cause), cause
    cause = refused("grpc:admin", listening_socket())
    assert re.search("has 2 names for 1 sockets: pass one name", cause), cause
    cause = refused("grpc", listening_socket(), LISTEN_FDS="2", LISTEN_FDNAMES="grpc:admin")
    assert re.search(r"passed socket 2 of 2 \(descriptor 4, admin\) is not open", cause), cause
    cause = refused("grpc", socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    assert re.search("is no stream socket .* ListenStream=", cause), cause
    unheard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    unheard.bind(("127.0.0.1", 0))
    assert re.search("does not listen: .* Accept=no", refused("grpc", unheard))
    cause = refused("admin:admin", listening_socket(), listening_socket())
    assert re.search("is the second for admin.listen, which takes one", cause), cause
    cause = refused(None, listening_socket(), listening_socket())
    assert re.search(r"passed socket 2 \(127.* has no name and is at no address", cause), cause
    cause = refused(":".join(["grpc"] * 9), *(listening_socket() for _ in range(9)))
    assert re.search("server.listen: a passed socket: more than 8 addresses", cause), cause


# ---- one server after another


class Knocker:
    """Connects again and again, in a thread."""

    def __init__(self, address):
        self.address = address
        self.count = 0
        self.refused = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over.is_set():
            try:
                socket.create_connection(self.address, timeout=PATIENCE_S).close()
                self.count += 1
            except OSError as error:
                self.refused.append(error)
            time.sleep(0.001)

    def wait(self, count):
        goal = self.count + count
        deadline = time.monotonic() + PATIENCE_S
        while self.count < goal:
            assert not self.refused, self.refused[:3]
            assert time.monotonic() < deadline, self.count
            time.sleep(0.005)

    def end(self):
        self.over.set()
        self.thread.join()


class Caller:
    """Reads a user again and again, in a thread, over one channel that finds its way back."""

    def __init__(self, server, user):
        self.user = user
        self.count = 0
        self.failures = []
        self.over = threading.Event()
        self.channel = server.channel([("grpc.initial_reconnect_backoff_ms", 100),
                                       ("grpc.min_reconnect_backoff_ms", 100),
                                       ("grpc.max_reconnect_backoff_ms", 200)])
        self.stub = server.stub(self.channel)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        request = users_pb2.GetUserRequest(id=self.user.id)
        while not self.over.is_set():
            try:
                reply = self.stub.GetUser(request, timeout=PATIENCE_S, wait_for_ready=True)
                assert reply.user == self.user
                self.count += 1
            except grpc.RpcError as error:
                self.failures.append((error.code(), error.details()))

    wait = Knocker.wait

    @property
    def refused(self):
        return self.failures

    def end(self):
        self.over.set()
        self.thread.join()
        self.channel.close()


def test_a_restart_refuses_nobody():
    one = listening_socket()
    with passed("grpc", one, settings={"limits": {"max_connections_per_ip": "100000"}}) as server:
        server.start()
        user = create(server)
        server.shared_channel.close()
        del server.shared_channel
        caller = Caller(server, user)
        knocker = Knocker(one.getsockname())
        try:
            for _ in range(RESTARTS):
                knocker.wait(20)
                caller.wait(20)
                server.stop()
                knocker.wait(20)  # while no server runs
                server.start()
            caller.wait(20)
        finally:
            knocker.end()
            caller.end()
        print(f"counts: {knocker.count} connections and {caller.count} calls over {RESTARTS} restarts, "
              f"{len(knocker.refused)} and {len(caller.failures)} of them refused")
        assert not knocker.refused, knocker.refused[:3]
        assert not caller.failures, caller.failures[:3]
        server.stop()


def test_a_path_outlives_the_server():
    folder = Server()  # for its folder alone
    path = str(folder.folder / "users.sock")
    one = listening_socket(path, family=socket.AF_UNIX)
    try:
        with passed("grpc", one) as server:
            server.start()
            check_port(server, "listening", f"unix:{path}")
            server.stop()
            # Nobody runs; who connects waits for the next one.
            with socket.socket(socket.AF_UNIX) as waiting:
                waiting.connect(path)
                server.start()
                waiting.sendall(b"no TLS, which ends it\r\n\r\n")
                waiting.settimeout(PATIENCE_S)
                while waiting.recv(4096):
                    pass
            server.stop()
            assert os.path.exists(path)
    finally:
        folder.remove()


# ---- sockets in the file system


def check_calls(channel):
    grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
    stub = users_pb2_grpc.UserServiceStub(channel)
    made = stub.CreateUser(users_pb2.CreateUserRequest(
        username="path", email="path@example.com", password="correct horse battery"),
        timeout=DEADLINE_S).user
    assert stub.GetUser(users_pb2.GetUserRequest(id=made.id), timeout=DEADLINE_S).user == made


def test_unix_targets_over_tls():
    server = Server()
    path = server.folder / "users.sock"
    server.config.write_text(re.sub("(?m)^listen = 127.0.0.1:0$", f"listen = unix:{path}, 127.0.0.1:0",
                                    server.config.read_text(), count=1))
    try:
        server.start()
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(server.ca.read_bytes()),
            grpc.access_token_call_credentials(server.token()))
        options = [("grpc.ssl_target_name_override", "localhost")]
        with grpc.secure_channel(f"unix:{path}", credentials, options) as channel:
            check_calls(channel)
        assert path.is_socket()
        server.stop()
        assert not path.exists()
    finally:
        server.remove()


def test_unix_targets_in_plain_text():
    server = Server({"auth": {"mode": "none", "jwt_secret_file": ""}}, tls=False)
    path = server.folder / "users.sock"
    server.config.write_text(re.sub("(?m)^listen = 127.0.0.1:0$", f"listen = unix:{path}",
                                    server.config.read_text(), count=1))
    try:
        server.start()
        assert server.address == f"unix:{path}"
        with grpc.insecure_channel(f"unix:{path}") as channel:
            check_calls(channel)
        with grpc.insecure_channel(f"unix://{path}") as channel:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
        server.stop()
    finally:
        server.remove()


if __name__ == "__main__":
    run_main(lambda: run_all(globals()))
