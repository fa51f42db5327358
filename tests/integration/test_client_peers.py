#!/usr/bin/python3
"""The client library on servers of other people: grpcio, grpc-js and libgrpc++ (tests/peers), in clear text and
over TLS."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from client_driver import Driver  # noqa: E402
from cluster import NET, service_config  # noqa: E402
from peers import COMMANDS, Peer, sign_server  # noqa: E402
from userd_harness import PATIENCE_S, REPORTS, SLOW, USERCTL, Certificates, finish, run_main, run_one  # noqa: E402

from google.protobuf import any_pb2  # noqa: E402
from google.rpc import status_pb2  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

NAME = "peer.test"
RATE = 300 // SLOW


def text_field(number, text):
    return bytes([number << 3 | 2, len(text)]) + text.encode()


def failure_details():
    """A google.rpc.Status with an ErrorInfo and a ResourceInfo, by hand: no package brings their messages."""
    info = text_field(1, "PEER_REASON") + text_field(2, "peer.test.domain")
    resource = text_field(1, "peer.v1.Thing") + text_field(2, "the-thing-itself")
    kinds = {"ErrorInfo": info, "ResourceInfo": resource}
    return status_pb2.Status(code=5, message="User missing not found", details=[
        any_pb2.Any(type_url=f"type.googleapis.com/google.rpc.{name}", value=value)
        for name, value in kinds.items()]).SerializeToString()


DETAILS = failure_details()


class Site:
    """A folder with certificates for everybody."""

    def __init__(self, folder):
        self.folder = folder
        self.certificates = Certificates(folder)
        self.pair = sign_server(folder, "peer", [NAME, "127.0.0.1"])
        self.client = sign_server(folder, "client", ["client.test"])
        other = os.path.join(folder, "other")
        self.other = Certificates(other)

    def peer(self, stack, tls, *more, listen=f"{NET}.9:0"):
        options = ["--cert", self.pair[0], "--key", self.pair[1]] if tls else []
        return Peer(stack, listen, *options, *more, details=DETAILS)

    def driver(self, peer, tls, **options):
        options.setdefault("target", peer.address)
        options.setdefault("timeout_ms", 30000 * SLOW)
        if tls:
            options.setdefault("ca", self.certificates.ca)
            options.setdefault("server_name", NAME)
        else:
            options.setdefault("plaintext", 1)
        return Driver(folder=self.folder, **options)

    @contextlib.contextmanager
    def pair_of(self, stack, tls, **options):
        with self.peer(stack, tls) as peer, self.driver(peer, tls, **options) as driver:
            yield peer, driver


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def expect(line, code, cause="ANSWER"):
    assert (line["code"], line["cause"]) == (code, cause), line
    return line


# ---- each with every stack, in clear text and over TLS


def test_unary_calls(site, stack, tls):
    with site.pair_of(stack, tls, token="the-token", user_agent="tests/1.0") as (peer, driver):
        got = expect(driver.call("get", id="somebody"), "OK")
        assert got["username"] == "somebody" and got["email"] == "somebody@example.com", got
        assert got["attempts"] == 1, got
        made = expect(driver.call("create", username="new", email="new@example.com"), "OK")
        assert made["id"] == "id-new" and made["email"] == "new@example.com", made
        expect(driver.call("update", id="x", first_name="y"), "UNIMPLEMENTED")
        expect(driver.call("delete", id="x"), "UNIMPLEMENTED")
        expect(driver.call("list"), "UNIMPLEMENTED")
        assert driver.call("check", service="")["health"] == 1
        seen = driver.call("get", id="field:authorization")
        assert seen["username"] == "Bearer the-token", seen
        seen = driver.call("get", id="field:user-agent")
        assert seen["username"].startswith("tests/1.0 userd-client/"), seen
        seen = driver.call("get", id="field:x-of-ours", field="x-of-ours:some-value")
        assert seen["username"] == "some-value", seen
        message = users_pb2.GetUserRequest(id="raw").SerializeToString()
        raw = driver.begin("raw", path="/users.v1.UserService/GetUser", hex=message.hex())
        assert expect(driver.end(raw), "OK")["replies"] == 1
        reply = users_pb2.GetUserResponse(user=users_pb2.User(
            id="raw", username="raw", email="raw@example.com", status=users_pb2.USER_STATUS_ACTIVE))
        assert driver.wait("message", tag=raw)["size"] == len(reply.SerializeToString())
        backends = driver.backends()
        assert backends[peer.address]["connects"] == 1, backends


def test_errors_with_details(site, stack, tls):
    with site.pair_of(stack, tls) as (peer, driver):
        missing = expect(driver.call("get", id="missing"), "NOT_FOUND")
        assert missing["message"] == "User missing not found", missing
        assert missing["raw_details"] == len(DETAILS), missing
        assert missing["backend"] == peer.address and missing["attempts"] == 1, missing
        for text in ("PEER_REASON", "peer.test.domain", "peer.v1.Thing", "the-thing-itself"):
            assert text in missing["details"], missing
        taken = expect(driver.call("create", username="taken"), "ALREADY_EXISTS")
        assert taken["message"] == "User already exists" and taken["attempts"] == 1, taken
        expect(driver.call("watch", id="missing"), "NOT_FOUND")
        expect(driver.call("raw", path="/users.v1.UserService/NoSuchMethod"), "UNIMPLEMENTED")


def test_deadlines(site, stack, tls):
    with site.pair_of(stack, tls) as (peer, driver):
        late = driver.call("get", id="slow", timeout_ms=300)
        assert late["code"] == "DEADLINE_EXCEEDED", late
        late = driver.call("watch", id="quiet", timeout_ms=300)
        assert late["code"] == "DEADLINE_EXCEEDED", late
        wait_until(lambda: peer.count("cancelled") >= 2, "the server does not see that the calls are over")
        expect(driver.call("get", id="after"), "OK")


def test_cancellation(site, stack, tls):
    with site.pair_of(stack, tls) as (peer, driver):
        slow = driver.begin("get", id="slow")
        watch = driver.begin("watch", id="quiet")
        driver.wait("state", tag=watch)
        wait_until(lambda: peer.count("calls") == 2, "the call does not arrive")
        for tag in (slow, watch):
            driver.tell("cancel", tag=tag)
            expect(driver.end(tag), "CANCELLED", "CANCELLED")
        wait_until(lambda: peer.count("cancelled") == 2, "the server does not see that they were cancelled")
        expect(driver.call("get", id="after"), "OK")
        assert driver.backends()[peer.address]["connects"] == 1


def test_streams(site, stack, tls):
    count = 3000 // SLOW
    with site.pair_of(stack, tls) as (_, driver):
        watch = expect(driver.call("watch", id="states:300:2000", quiet=1), "OK")
        assert watch["states"] == 300, watch
        batch = expect(driver.call("batch", count=count, prefix="b"), "OK")
        assert (batch["replies"], batch["failed"], batch["in_order"]) == (count, 0, 1), batch
        ended = expect(driver.call("batch", count=200, prefix="c", taken_at=50), "ALREADY_EXISTS")
        assert ended["replies"] <= 50 and "PEER_REASON" in ended["details"], ended
        goes_on = driver.begin("batch", count=200, prefix="d", taken_at=50, **{"continue": 1})
        ended = expect(driver.end(goes_on), "OK")
        assert (ended["replies"], ended["failed"]) == (200, 1), ended
        failed = driver.wait("reply", tag=goes_on)
        assert (failed["item"], failed["code"]) == (50, "ALREADY_EXISTS"), failed
        expect(driver.call("sync", count=3, prefix="e"), "UNIMPLEMENTED")


def test_a_paused_stream_waits(site, stack, tls):
    """More than all windows and buffers between hold; a unary call beside it goes on."""
    with site.pair_of(stack, tls) as (_, driver):
        watch = driver.begin("watch", id="states:1000:60000")
        driver.wait("state", tag=watch)
        driver.tell("pause", tag=watch)
        for number in range(20):
            expect(driver.call("get", id=f"beside{number}"), "OK")
        seen = len(driver.find(event="state", tag=watch))
        expect(driver.call("get", id="beside"), "OK")
        assert len(driver.find(event="state", tag=watch)) == seen < 1000, seen
        driver.tell("resume", tag=watch)
        assert expect(driver.end(watch), "OK")["states"] == 1000


def test_large_messages(site, stack, tls):
    with site.pair_of(stack, tls, max_message=4 << 20) as (peer, driver):
        large = expect(driver.call("get", id="size:3000000"), "OK")
        assert large["avatar_size"] == 3000000, large
        refused = driver.call("get", id="size:5000000")
        assert refused["code"] == "RESOURCE_EXHAUSTED", refused
        states = expect(driver.call("watch", id="states:5:2000000", quiet=1), "OK")
        assert states["states"] == 5, states
        expect(driver.call("get", id="after"), "OK")
        assert driver.backends()[peer.address]["connects"] == 1


def test_reads_are_tried_again(site, stack, tls):
    with site.pair_of(stack, tls) as (_, driver):
        got = expect(driver.call("get", id="flaky:2:a"), "OK")
        assert got["attempts"] == 3, got
        stats = driver.stats()
        assert stats["retries"] == 2 and stats["calls"] == 1, stats
        seen = driver.call("get", id="field:grpc-previous-rpc-attempts")
        assert seen["username"] == "", seen


def node_major():
    version = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout
    return int(version.lstrip("v").split(".")[0])


def test_a_server_that_leaves_under_load(site, stack, tls):
    """GOAWAY, and a while without any server: no call is lost, neither read nor write. But C-core's own server, when
    told to stop, ends calls that it has taken and not begun with CANCELLED, which no client may repeat; and grpc-js
    on Node 18 closes the connection behind heads whose answers it has not sent: such a call has the head's `date`."""
    peer = site.peer(stack, tls)
    options = {"wait_for_ready": 1, "timeout_ms": 60000 * SLOW}
    with contextlib.ExitStack() as peers, site.driver(peer, tls, **options) as driver:
        peers.enter_context(peer)
        load = driver.load(rate=RATE, in_flight=16, writes=3, id="somebody", prefix="w")
        for _ in range(2):
            load.wait_for_calls(RATE // 2)
            peer.stop()
            peer = peers.enter_context(site.peer(stack, tls, listen=peer.address))
        load.wait_for_calls(RATE // 2)
        load.stop()
        failures = load.failures()
        if stack == "grpc-js" and node_major() < 20:
            failures = [line for line in failures if not (line["cause"] == "LOST" and line["date"])]
        if stack != "grpc-js":
            failures = [line for line in failures if (line["code"], line["cause"]) != ("CANCELLED", "ANSWER")]
        assert not failures, failures[:3]


def test_a_server_that_dies_under_load(site, stack, tls):
    """No read is lost; a write ends as unknown, once. But grpc-js writes the head of an answer before its message: a
    call that has its head when the server dies is committed (gRFC A6), and ends as a write does. The `date` in that
    head proves that it was there."""
    peer = site.peer(stack, tls)
    options = {"wait_for_ready": 1, "timeout_ms": 60000 * SLOW, "service_config": service_config()}
    with contextlib.ExitStack() as peers, site.driver(peer, tls, **options) as driver:
        peers.enter_context(peer)
        load = driver.load(in_flight=16, writes=3, id="somebody", prefix="w")
        load.wait_for_calls(300)
        peer.process.kill()
        peer.process.wait()
        peer = peers.enter_context(site.peer(stack, tls, listen=peer.address))
        load.wait_for_calls(300)
        load.stop()
        lost = [line for line in load.failures(method="GetUser") if not (stack == "grpc-js" and line["date"])]
        assert not lost, lost[:3]
        for line in load.failures():
            assert (line["code"], line["cause"], line["attempts"]) == ("UNAVAILABLE", "LOST", 1), line


# ---- TLS alone


def check_certificates(site, stack):
    """Who is not who he should be is not talked to, and the message says why."""
    with site.peer(stack, True) as peer:
        for options in ({"ca": site.other.ca}, {"server_name": "somebody.else"}):
            with site.driver(peer, True, **options) as driver:
                refused = expect(driver.call("get", id="x", wait=0), "UNAVAILABLE", "TLS")
                assert len(refused["message"]) > 20, refused
        assert peer.count("calls") == 0
    with site.peer(stack, True, "--client-ca", site.certificates.ca) as peer:
        with site.driver(peer, True, cert=site.client[0], key=site.client[1]) as driver:
            expect(driver.call("get", id="x"), "OK")
        with site.driver(peer, True) as driver:
            refused = driver.call("get", id="x", wait=0)
            assert refused["code"] == "UNAVAILABLE" and refused["cause"] in ("TLS", "CONNECT", "LOST"), refused
        assert peer.count("calls") == 1


def userctl(peer, *arguments, status=0):
    """What it says; it must end with this status."""
    ran = subprocess.run([USERCTL, "--target", peer.address, "--json", *map(str, arguments)], check=False, text=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S)
    assert ran.returncode == status and not REPORTS.search(ran.stderr), (arguments, ran)
    return ran.stdout + ran.stderr


def check_userctl(site, stack):
    """The same library in the hands of people."""
    with site.peer(stack, True, listen="127.0.0.1:0") as peer:
        tls = ("--ca", site.certificates.ca)
        got = json.loads(userctl(peer, *tls, "get", "somebody"))
        assert got["username"] == "somebody", got
        missing = userctl(peer, *tls, "get", "missing", status=5)
        assert "User missing not found" in missing and "the-thing-itself" in missing, missing
        states = userctl(peer, *tls, "watch", "states:3:10").splitlines()
        assert [json.loads(line)["username"] for line in states] == ["state0", "state1", "state2"], states
        assert "deadline" in userctl(peer, *tls, "--deadline", "300ms", "get", "slow", status=4).lower()
        assert "SERVING" in userctl(peer, *tls, "health")
        untrusted = userctl(peer, "--ca", site.other.ca, "--deadline", "5s", "get", "x", status=14)
        assert peer.address in untrusted, untrusted


def main():
    only = os.environ.get("TEST", "")
    stacks = [stack for stack in COMMANDS if stack in os.environ.get("STACK", stack)]
    tests = [value for name, value in globals().items() if name.startswith("test_") and only in name]
    with tempfile.TemporaryDirectory(prefix="userd-peers-") as folder:
        site = Site(folder)
        for stack in stacks:
            for tls in (False, True):
                for test in tests:
                    run_one(f"{test.__name__} {stack}{' over TLS' if tls else ''}", test, site, stack, tls)
            for check in (check_certificates, check_userctl):
                if only in check.__name__:
                    run_one(f"{check.__name__} {stack}", check, site, stack)
    finish()


if __name__ == "__main__":
    run_main(main)
