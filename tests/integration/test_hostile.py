#!/usr/bin/python3
"""Peers that mean harm or know no better: each gets the answer it should, the server stays well, and
a well-behaved connection beside them never notices.
"""

import os
import socket
import ssl
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_harness import PATIENCE_S, SLOW, Server, run  # noqa: E402

import grpc  # noqa: E402
from h2_by_hand import (CANCEL, ENHANCE_YOUR_CALM, PREFACE, PROTOCOL_ERROR,  # noqa: E402
                        REFUSED_STREAM, Answer, Peer, connect, drain, get_user, message,
                        raw_frame, send)
from hyperframe import frame as frames  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

MESSAGE_MAX = 64 * 1024

# Short, so that peers that stall are seen to be dropped without waiting long.
SETTINGS = {
    "limits": {
        "tls_timeout_ms": str(1000 * SLOW),
        "preface_timeout_ms": str(1000 * SLOW),
        "settings_ack_timeout_ms": str(1000 * SLOW),
        "header_timeout_ms": str(1000 * SLOW),
        "body_progress_ms": str(1000 * SLOW),
    },
    "http2": {"max_concurrent_streams": "100"},
}


class HostileServer(Server):
    """The server under attack, with a bystander that calls all the time."""

    def __init__(self):
        super().__init__(SETTINGS)

    def start(self):
        super().start()
        self.bystander = Bystander(self)
        return self

    def stop(self):
        self.bystander.stop()
        super().stop()


class Bystander(threading.Thread):
    """Calls GetUser on one connection until it is stopped; remembers all that was not right."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.complaints = []
        self.calls = 0
        self.channel = server.channel()
        self.stub = server.stub(self.channel)
        self.user = self.stub.CreateUser(users_pb2.CreateUserRequest(
            username="bystander", email="bystander@example.com",
            password="correct horse battery"), timeout=PATIENCE_S).user
        self.channel.subscribe(self._on_state)
        self.ending = threading.Event()
        self.start()

    def _on_state(self, state):
        if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.CONNECTING):
            self.complaints.append(f"the connection became {state}")

    def call(self):
        request = users_pb2.GetUserRequest(id=self.user.id)
        assert self.stub.GetUser(request, timeout=PATIENCE_S).user == self.user
        self.calls += 1

    def run(self):
        while not self.ending.is_set():
            try:
                self.call()
            except Exception as problem:  # pylint: disable=broad-except
                self.complaints.append(repr(problem))

    def stop(self):
        self.ending.set()
        self.join()
        self.channel.close()


# ---- before HTTP/2


def test_garbage_instead_of_tls(server):
    for garbage in (b"\x00" * 4096, b"\xff" * 4096, os.urandom(65536), b"\x16\x03\x01\xff\xff" + b"a" * 70000,
                    PREFACE, b"SSH-2.0-OpenSSH_9.2\r\n"):
        with connect(server) as raw:
            send(raw, garbage)
            assert len(drain(raw)) < 100, "more than an alert"


def test_plain_http1(server):
    with connect(server) as raw:
        send(raw, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/1.1 200" not in drain(raw)


def test_clients_without_h2_in_alpn(server):
    for alpn in ((), ("http/1.1",), ("h3", "spdy/3")):
        with connect(server) as raw:
            try:
                with server.tls_context(alpn).wrap_socket(raw, server_hostname="localhost") as tls:
                    send(tls, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert drain(tls) == b"", alpn
            except (ssl.SSLError, ConnectionError):
                pass  # refused in the handshake


def test_old_tls_versions(server):
    context = server.tls_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(server) as raw:
        try:
            context.wrap_socket(raw, server_hostname="localhost")
        except (ssl.SSLError, ConnectionError):
            return
    raise AssertionError("TLS 1.2 was accepted, and tls.min_version is 1.3")


def test_probes_that_connect_and_close(server):
    for _ in range(50):
        connect(server).close()
    for _ in range(20):
        with connect(server) as raw:
            send(raw, b"\x16\x03\x01\x02\x00\x01")


def test_silence_before_tls(server):
    with connect(server) as silent, connect(server) as half:
        send(half, b"\x16\x03\x01\x02\x00\x01\x00")
        drain(silent)
        drain(half)


def test_silence_before_and_inside_the_preface(server):
    with Peer(server, greet=False) as silent, Peer(server, greet=False) as half:
        half.send_raw(PREFACE[:10])
        silent.expect_end()
        half.expect_end()


def test_a_preface_without_settings(server):
    with Peer(server, greet=False) as peer:
        peer.send_raw(PREFACE)
        peer.expect_end()


def test_a_wrong_preface(server):
    with Peer(server, greet=False) as peer:
        peer.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        peer.expect_end()


def test_settings_that_are_never_acknowledged(server):
    with Peer(server) as peer:
        peer.acknowledges = False
        peer.expect_end(0x4)


# ---- heads


def test_a_good_call_by_hand(server):
    with Peer(server) as peer:
        peer.request(get_user("nobody"))
        answer = peer.answer().expect(200, 5, "User nobody not found")
        assert answer["content-type"].startswith("application/grpc")
        assert answer.data == b""
        peer.request(get_user(server.bystander.user.id), 3)
        answer = peer.answer(3).expect(200, 0)
        reply = users_pb2.GetUserResponse.FromString(answer.data[5:])
        assert reply.user == server.bystander.user


def test_content_types(server):
    with Peer(server) as peer:
        stream = 1
        for bad in ("text/plain", "application/json", "application/grpcfoo", "application/grpc-web",
                    "application/gRPX", ""):
            peer.request(get_user("x"), stream, content_type=bad)
            answer = peer.answer(stream)
            assert answer[":status"] == "415", (bad, answer.fields)
            assert answer["grpc-status"] is not None
            stream += 2
        peer.request(get_user("x"), stream, drop=("content-type",))
        assert peer.answer(stream)[":status"] == "415"
        for good in ("application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"):
            stream += 2
            peer.request(get_user("nobody"), stream, content_type=good)
            peer.answer(stream).expect(200, 5)


def test_other_http_methods(server):
    with Peer(server) as peer:
        for stream, method in enumerate(("GET", "PUT", "DELETE", "HEAD", "post"), 1):
            stream = stream * 2 - 1
            peer.request(get_user("x"), stream, **{":method": method})
            answer = peer.answer(stream)
            assert answer[":status"] == "405", (method, answer.fields)
            assert answer["grpc-status"] == "13", answer.fields
            assert answer["allow"] == "POST", answer.fields


def test_malformed_timeouts(server):
    with Peer(server) as peer:
        stream = 1
        for bad in ("", "1", "S", "1x", "123456789S", "-1S", "1.5S", "1 S", "+1S", "1SS", "0x1S"):
            peer.request(get_user("x"), stream, grpc_timeout=bad)
            peer.answer(stream).expect(400, 13, "malformed grpc-timeout")
            stream += 2
        peer.request(get_user("nobody"), stream, grpc_timeout="99999999H")
        peer.answer(stream).expect(200, 5)
        peer.request(get_user("nobody"), stream + 2, grpc_timeout="0S")
        peer.answer(stream + 2).expect(200, 4)


def test_te(server):
    with Peer(server) as peer:
        peer.request(get_user("nobody"), drop=("te",))
        peer.answer().expect(200, 5)
        peer.request(get_user("nobody"), 3, te="gzip")
        assert peer.answer(3).reset == PROTOCOL_ERROR
        peer.expect_alive(5)


def test_heads_that_http2_forbids(server):
    with Peer(server) as peer:
        heads = [
            peer.head(connection="keep-alive"),
            peer.head(transfer_encoding="chunked"),
            peer.head() + [("UPPER", "case")],
            peer.head() + [(":authority", "late")],
            peer.head(drop=(":path",)),
            peer.head(drop=(":method",)),
            [(":status", "200")] + peer.head(),
            peer.head() + [("bad", "line\r\nbreak")],
            peer.head() + [("bad", "nul\0")],
        ]
        for number, fields in enumerate(heads):
            stream = number * 2 + 1
            peer.request(get_user("x"), stream, fields)
            assert peer.answer(stream).reset == PROTOCOL_ERROR, fields
        peer.expect_alive(2 * len(heads) + 1)


def test_hosts(server):
    with Peer(server) as peer:
        peer.request(get_user("x"), 1, peer.head() + [("host", "a"), ("host", "b")])
        answer = peer.answer(1)  # nghttp2 calls it malformed before it comes to the 400 of gRPC
        assert answer.reset == PROTOCOL_ERROR or answer[":status"] == "400", answer.fields
        peer.request(get_user("nobody"), 3, peer.head(drop=(":authority",)) + [("host", "a")])
        peer.answer(3).expect(200, 5)


def test_paths(server):
    with Peer(server) as peer:
        stream = 1
        for path in ("/users.v1.UserService/Nothing", "/users.v1.UserService/", "/", "//", "/x",
                     "/users.v1.UserService/GetUser/", "/users.v1.UserService/GetUser?x",
                     "/users.v1.UserService%2fGetUser", "/USERS.V1.USERSERVICE/GETUSER",
                     "/./users.v1.UserService/GetUser", "/" + "a" * 4000):
            peer.request(get_user("x"), stream, path=path)
            peer.answer(stream).expect(200, 12)
            stream += 2
        # nghttp2 itself may refuse a path without its slash; it must not reach a handler either way.
        peer.request(get_user("nobody"), stream, path="users.v1.UserService/GetUser")
        answer = peer.answer(stream)
        assert answer.reset == PROTOCOL_ERROR or answer["grpc-status"] == "12", answer.fields


def test_binary_metadata(server):
    with Peer(server) as peer:
        stream = 1
        for good in ("", "YQ", "YQ==", "YQ,Yg==", "AAEC/+8="):
            peer.request(get_user("nobody"), stream, some_bin=good)
            peer.answer(stream).expect(200, 5)
            stream += 2
        for bad in ("!", "YQ=", "Y", "Y=Q=", "YQ==x"):
            peer.request(get_user("nobody"), stream, some_bin=bad)
            peer.answer(stream).expect(400, 13)
            stream += 2


def test_unknown_compression(server):
    with Peer(server) as peer:
        peer.request(get_user("x"), grpc_encoding="snappy")
        answer = peer.answer().expect(200, 12)
        accepted = answer["grpc-accept-encoding"]
        assert accepted and "snappy" not in accepted, answer.fields
        peer.expect_alive(3)


def test_head_lists_over_the_limits(server):
    with Peer(server) as peer:
        # Over the soft limit of 16 KiB: this call is answered, the connection stays.
        fields = peer.head() + [(f"x-{i}", "v" * 900) for i in range(20)]
        block = peer.encoder.encode(fields)
        peer.send(frames.HeadersFrame(1, data=block[:16384], flags=[]),
                  frames.ContinuationFrame(1, data=block[16384:], flags=["END_HEADERS"]),
                  peer.data(1, get_user("x"), True))
        peer.answer(1).expect(200, 8)
        peer.expect_alive(3)
    with Peer(server) as peer:
        # Over the hard limit of 32 KiB, small on the wire: one field, repeated by its index.
        peer.send(peer.headers(1, peer.head() + [("x-bomb", "v" * 4000)] * 20))
        peer.expect_end()
    with Peer(server) as peer:
        peer.send(peer.headers(1, peer.head() + [("x", "y")] * 200))
        peer.expect_end()


def test_a_continuation_flood(server):
    with Peer(server) as peer:
        peer.send(frames.HeadersFrame(1, data=peer.encoder.encode(peer.head()), flags=[]))
        for _ in range(200):
            peer.send(frames.ContinuationFrame(1, data=b"", flags=[]))
        peer.expect_end()


def test_a_head_that_never_ends(server):
    with Peer(server) as peer:
        peer.send(frames.HeadersFrame(1, data=peer.encoder.encode(peer.head()), flags=[]))
        peer.expect_end()


def test_broken_hpack(server):
    with Peer(server) as peer:
        peer.send(frames.HeadersFrame(1, data=b"\xff" * 30, flags=["END_HEADERS"]))
        peer.expect_end(0x9)


# ---- messages


def test_message_cut_everywhere(server):
    body = get_user("nobody")
    with Peer(server) as peer:
        peer.send(peer.headers(1, peer.head()))
        for byte in body:
            peer.send(peer.data(1, bytes([byte])))
        peer.send(peer.data(1, b"", True))
        peer.answer(1).expect(200, 5)
        peer.send(peer.headers(3, peer.head()), peer.data(3, body[:3], padding=20),
                  peer.data(3, b"", padding=255), peer.data(3, body[3:], True, padding=7))
        peer.answer(3).expect(200, 5)


def test_half_a_message(server):
    with Peer(server) as peer:
        for number, cut in enumerate((1, 4, 5, len(get_user("nobody")) - 1)):
            peer.request(get_user("nobody")[:cut], number * 2 + 1)
            peer.answer(number * 2 + 1).expect(200, 13)
        peer.expect_alive(9)


def test_no_message_and_two(server):
    with Peer(server) as peer:
        peer.request(b"", 1)
        peer.answer(1).expect(200, 12)
        peer.send(peer.headers(3, peer.head(), True))
        peer.answer(3).expect(200, 12)
        peer.request(get_user("x") * 2, 5)
        peer.answer(5).expect(200, 12)
        peer.expect_alive(7)


def test_bad_flags(server):
    with Peer(server) as peer:
        for number, flag in enumerate((2, 3, 128, 255)):
            peer.request(message(b"x", flag), number * 2 + 1)
            peer.answer(number * 2 + 1).expect(200, 13)
        peer.request(message(b"x", 1), 9)
        peer.answer(9).expect(200, 13)
        peer.request(message(b"x", 1), 11, grpc_encoding="identity")
        peer.answer(11).expect(200, 13)
        peer.expect_alive(13)


def test_bad_protobuf(server):
    bodies = (b"\x0a\x7fabc", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0b", b"\x0a\x02\xc3\x28",
              b"\x0f", b"\x00")
    with Peer(server) as peer:
        for number, body in enumerate(bodies):
            peer.request(message(body), number * 2 + 1)
            peer.answer(number * 2 + 1).expect(200, 13)
        peer.expect_alive(2 * len(bodies) + 1)


def test_message_over_the_limit(server):
    with Peer(server) as peer:
        # Answered on the declared size alone: the message itself never comes.
        for stream, size in ((1, MESSAGE_MAX + 1), (3, 2**31), (5, 2**32 - 1)):
            peer.send(peer.headers(stream, peer.head()), peer.data(stream, struct.pack(">BI", 0, size)))
            peer.answer(stream).expect(200, 8)
        peer.expect_alive(7)


def test_a_body_that_stops(server):
    with Peer(server) as peer:
        peer.send(peer.headers(1, peer.head()), peer.data(1, get_user("nobody")[:6]))
        answer = peer.answer(1)
        assert answer.reset == CANCEL or answer["grpc-status"] == "4", (answer.reset, answer.fields)
        peer.expect_alive(3)


def test_a_deadline_that_passes_before_the_message(server):
    """The server's own timer: the request never becomes complete."""
    with Peer(server) as peer:
        peer.send(peer.headers(1, peer.head(grpc_timeout="20m")))
        answer = peer.answer(1)
        assert answer.reset == CANCEL or answer["grpc-status"] == "4", (answer.reset, answer.fields)
        peer.expect_alive(3)


def test_a_reader_without_window(server):
    """The answer waits for the window, and comes when it opens."""
    with Peer(server, settings={4: 0}) as peer:
        peer.request(get_user(server.bystander.user.id))
        peer.send(frames.PingFrame(0, opaque_data=b"12345678"))
        while peer.pongs == 0:
            assert peer._take()
        assert peer.answers.get(1, Answer()).data == b""
        peer.send(frames.WindowUpdateFrame(1, window_increment=10))
        peer.send(frames.WindowUpdateFrame(1, window_increment=10000))
        answer = peer.answer(1).expect(200, 0)
        assert users_pb2.GetUserResponse.FromString(answer.data[5:]).user == server.bystander.user


# ---- floods


def test_rapid_reset(server):
    with Peer(server) as peer:
        for stream in range(1, 4001, 2):
            peer.send(peer.headers(stream, peer.head()),
                      frames.RstStreamFrame(stream, error_code=CANCEL))
        peer.expect_end(ENHANCE_YOUR_CALM)


def test_resets_that_we_are_made_to_send(server):
    with Peer(server) as peer:
        for stream in range(1, 4001, 2):
            peer.send(peer.headers(stream, peer.head()),
                      frames.WindowUpdateFrame(stream, window_increment=2**31 - 1))
        peer.expect_end(ENHANCE_YOUR_CALM)


def test_resets_of_streams_never_opened(server):
    """C-core sends one when a deadline passes before the call's head was written: it does no harm
    to the other calls, and is counted like every reset."""
    with Peer(server) as peer:
        peer.send(peer.headers(1, peer.head()))
        reset = frames.RstStreamFrame(3, error_code=CANCEL).serialize()
        for cut in range(1, len(reset)):
            peer.send_raw(reset[:cut])
            peer.send_raw(reset[cut:])
        peer.send(peer.data(1, get_user("nobody"), True))
        peer.answer(1).expect(200, 5)
        peer.expect_alive(5)
        peer.send_raw(frames.RstStreamFrame(1001, error_code=CANCEL).serialize() * 2000)
        peer.expect_end(ENHANCE_YOUR_CALM)


def test_ping_flood(server):
    with Peer(server) as peer:
        peer.send_raw(frames.PingFrame(0, opaque_data=b"flooding").serialize() * 5000)
        peer.expect_end(ENHANCE_YOUR_CALM)


def test_settings_flood(server):
    with Peer(server) as peer:
        peer.send_raw(frames.SettingsFrame(0, settings={4: 65535}).serialize() * 5000)
        peer.expect_end(ENHANCE_YOUR_CALM)


def test_priority_flood(server):
    with Peer(server) as peer:
        peer.send_raw(frames.PriorityFrame(1, depends_on=0, stream_weight=1).serialize() * 5000)
        peer.expect_end(ENHANCE_YOUR_CALM)


def test_empty_data_flood(server):
    with Peer(server) as peer:
        peer.send(peer.headers(1, peer.head()))
        peer.send_raw(peer.data(1, b"").serialize() * 2000)
        peer.expect_end(ENHANCE_YOUR_CALM)


def test_more_streams_than_allowed(server):
    """A peer that cannot know the limit yet has its excess calls refused, no more."""
    with Peer(server) as peer:
        peer.acknowledges = False
        for stream in range(1, 221, 2):
            peer.send(peer.headers(stream, peer.head()))
        assert peer.answer(219).reset == REFUSED_STREAM
        peer.send(frames.SettingsFrame(0, flags=["ACK"]), peer.data(1, get_user("nobody"), True))
        peer.answer(1).expect(200, 5)
    with Peer(server) as peer:
        # One that has acknowledged it may lose the connection.
        peer.send(frames.PingFrame(0, opaque_data=b"12345678"))
        while peer.pongs == 0:
            assert peer._take()
        for stream in range(1, 221, 2):
            peer.send(peer.headers(stream, peer.head()))
        peer.send(frames.PingFrame(0, opaque_data=b"12345678"))
        while peer.pongs < 2 and peer._take():
            pass
        refused = peer.answers.get(219)
        assert peer.goaway is not None or refused.reset == REFUSED_STREAM


def test_frames_where_they_may_not_be(server):
    bad = {
        "DATA on stream 0": raw_frame(0, 0, 0, b"x"),
        "DATA on an idle stream": raw_frame(0, 0, 101, b"x"),
        "padding larger than DATA": raw_frame(0, 8, 1, b"\xffx"),
        "HEADERS on stream 0": raw_frame(1, 4, 0, b"\x82"),
        "HEADERS on an even stream": raw_frame(1, 4, 2, b"\x82"),
        "RST_STREAM on stream 0": raw_frame(3, 0, 0, bytes(4)),
        "RST_STREAM on an even stream": raw_frame(3, 0, 8, bytes(4)),
        "RST_STREAM of five bytes": raw_frame(3, 0, 1, bytes(5)),
        "SETTINGS of five bytes": raw_frame(4, 0, 0, bytes(5)),
        "SETTINGS ACK with content": raw_frame(4, 1, 0, bytes(6)),
        "SETTINGS of a huge window": raw_frame(4, 0, 0, b"\x00\x04\xff\xff\xff\xff"),
        "PUSH_PROMISE from a client": raw_frame(5, 4, 1, bytes(4)),
        "PING of seven bytes": raw_frame(6, 0, 0, bytes(7)),
        "PING on a stream": raw_frame(6, 0, 1, bytes(8)),
        "GOAWAY on a stream": raw_frame(7, 0, 1, bytes(8)),
        "WINDOW_UPDATE beyond the end": raw_frame(8, 0, 0, b"\x7f\xff\xff\xff"),
        "CONTINUATION of nothing": raw_frame(9, 4, 1, b"\x82"),
        "a frame of 16 MiB": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(20000),
    }
    for name, data in bad.items():
        with Peer(server) as peer:
            peer.send_raw(data)
            peer.expect_end()
            assert peer.goaway is not None and peer.goaway.error_code != 0, name


def test_unknown_frames_are_ignored(server):
    with Peer(server) as peer:
        peer.send_raw(raw_frame(0xFA, 0xFF, 0, b"grease") + raw_frame(0xFB, 0, 1, b""))
        peer.expect_alive(1)


def test_clients_that_vanish(server):
    """Connections that break with calls on them, some in the middle of a hash or a commit."""
    for number in range(30):
        peer = Peer(server)
        request = users_pb2.CreateUserRequest(username=f"ghost{number}",
                                              email=f"ghost{number}@example.com",
                                              password="correct horse battery")
        peer.request(message(request.SerializeToString()), path="/users.v1.UserService/CreateUser")
        if number % 2:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.close()


# ---- afterwards


def test_the_bystander_noticed_nothing(server):
    before = server.bystander.calls
    server.bystander.call()
    assert server.bystander.complaints == []
    assert server.bystander.calls > before > 0


def test_every_descriptor_is_given_back(server):
    """Only the bystander's connection is left, once the last of the others has been closed."""
    def count():
        return sum(link.startswith("socket:") for link in (
            os.readlink(f"/proc/{server.process.pid}/fd/{fd}")
            for fd in os.listdir(f"/proc/{server.process.pid}/fd")))

    last = None
    for _ in range(20000):
        try:
            last = count()
        except FileNotFoundError:
            continue  # one was closed meanwhile
        if last <= 3:  # two listeners and the bystander
            return
        server.bystander.call()
    raise AssertionError(f"{last} sockets are open")


if __name__ == "__main__":
    run(globals(), HostileServer)
