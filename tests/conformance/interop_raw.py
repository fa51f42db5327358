"""The cases that no gRPC library can drive, by an HTTP/2 library (python3-h2) and gRPC made by hand:
compression message by message, answers to clients that accept no compression, violations of cardinality,
frames cut anywhere, deadlines kept by the server alone, windows that stay closed.
"""

import gzip
import socket
import ssl
import struct

from interop_harness import QUARANTINE_KIB, InteropServer  # first: it makes grpc.testing importable
from interop_test import bool_value, expect_sizes, input_request, output_request, simple
from userd_harness import PATIENCE_S

import h2.config
import h2.connection
import h2.events
import h2.settings
from grpc.testing import messages_pb2

SERVICE = "/grpc.testing.TestService/"
WINDOW = 1 << 30
CANCEL = 0x8
STREAM_WINDOW = 64 * 1024  # what the server grants a stream
MESSAGE_MAX = 4 * 1024 * 1024


def frame(message, compress=False, flag=None):
    """One gRPC message; `flag` says something else than what is true."""
    if compress:
        message = gzip.compress(message)
    return struct.pack(">BI", compress if flag is None else flag, len(message)) + message


class Answer:
    """What came back on one stream."""

    def __init__(self):
        self.head = {}
        self.trailers = {}
        self.data = bytearray()
        self.reset = None
        self.ended = False

    def is_over(self):
        return self.ended or self.reset is not None

    def status(self):
        """The gRPC status; -1 for a stream that was reset instead."""
        found = self.trailers.get("grpc-status", self.head.get("grpc-status", "-1"))
        return int(found)

    def expect(self, status):
        assert self.status() == status, (status, self.head, self.trailers, self.reset)
        return self

    def messages(self, kind):
        """(was it compressed, the message) of all that came."""
        found = []
        at = 0
        while at < len(self.data):
            flag, size = struct.unpack_from(">BI", self.data, at)
            at += 5 + size
            assert flag in (0, 1) and at <= len(self.data), "a bad message frame"
            body = bytes(self.data[at - size:at])
            if flag:
                assert self.head["grpc-encoding"] == "gzip", self.head
                body = gzip.decompress(body)
            found.append((bool(flag), kind.FromString(body)))
        return found


class Peer:
    """One connection. With a `window` it never opens the windows of its streams by itself."""

    def __init__(self, server, window=None):
        self.server = server
        self.socket = socket.create_connection((server.host, server.port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.ca is not None:
            context = ssl.create_default_context(cafile=str(server.ca))
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False))
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values={
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window or WINDOW})
        self.answers = {}
        self.ended = False
        self.pongs = 0
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW)
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def take(self):
        """Reads once. An end of the connection is told by `ended`."""
        received = self.socket.recv(1 << 18)
        self.ended = not received
        for event in self.h2.receive_data(received):
            self._handle(event)
        self.flush()

    def _handle(self, event):
        answer = self.answers.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ResponseReceived):
            answer.head = dict(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.data += event.data
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code if answer.reset is None else answer.reset
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        elif isinstance(event, h2.events.ConnectionTerminated):
            raise AssertionError(f"the server ended the connection: {event}")

    def open(self, method, **fields):
        """Sends the head of a request; returns the stream's number."""
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, [
            (":method", "POST"), (":scheme", "https" if self.server.ca else "http"),
            (":path", SERVICE + method), (":authority", "localhost"), ("te", "trailers"),
            ("content-type", "application/grpc"),
            *((name.replace("_", "-"), value) for name, value in fields.items())])
        self.flush()
        return stream

    def send(self, stream, data, ends=False, piece=None, pad=None):
        """Sends a body in DATA frames of at most `piece` bytes, and waits for window when need be."""
        while data and not self.answers[stream].is_over():
            room = min(piece or self.h2.max_outbound_frame_size - 256,
                       self.h2.local_flow_control_window(stream) - 256)
            if room <= 0:
                self.flush()
                self.take()
                continue
            self.h2.send_data(stream, data[:room], pad_length=pad)
            data = data[room:]
        if ends and not self.answers[stream].is_over():
            self.h2.end_stream(stream)
        self.flush()

    def answer(self, stream):
        while not self.answers[stream].is_over():
            self.take()
            assert not self.ended, "the connection ended before the answer"
        return self.answers[stream]

    def call(self, method, *frames, piece=None, pad=None, **fields):
        """A whole call: head, messages, end; then the answer."""
        stream = self.open(method, **fields)
        self.send(stream, b"".join(frames), ends=True, piece=piece, pad=pad)
        return self.answer(stream)

    def ping(self):
        """A round trip: what was sent before has been handled."""
        wanted = self.pongs + 1
        self.h2.ping(b"12345678")
        self.flush()
        while self.pongs < wanted:
            self.take()
            assert not self.ended, "the connection ended"


def of(message, **keywords):
    return frame(message.SerializeToString(), **keywords)


def replies(answer):
    return [message for _, message in answer.messages(messages_pb2.StreamingOutputCallResponse)]


EMPTY = frame(b"")


# ---- compression, message by message


def case_client_compressed_unary(server):
    with Peer(server) as peer:
        yes, no = (simple(expect_compressed=bool_value(value)) for value in (True, False))
        peer.call("UnaryCall", of(yes), grpc_encoding="gzip").expect(3)
        peer.call("UnaryCall", of(yes, compress=True), grpc_encoding="gzip").expect(0)
        peer.call("UnaryCall", of(no), grpc_encoding="gzip").expect(0)
        peer.call("UnaryCall", of(no, compress=True), grpc_encoding="gzip").expect(3)


def case_client_compressed_streaming(server):
    with Peer(server) as peer:
        yes = input_request(27182, expect_compressed=bool_value(True))
        no = input_request(45904, expect_compressed=bool_value(False))
        peer.call("StreamingInputCall", of(yes), grpc_encoding="gzip").expect(3)
        answer = peer.call("StreamingInputCall", of(yes, compress=True), of(no),
                           grpc_encoding="gzip").expect(0)
        (_, reply), = answer.messages(messages_pb2.StreamingInputCallResponse)
        assert reply.aggregated_payload_size == 73086, reply


def case_server_compressed_unary(server):
    with Peer(server) as peer:
        for compressed in (True, False):
            request = simple(response_compressed=bool_value(compressed))
            answer = peer.call("UnaryCall", of(request), grpc_accept_encoding="identity,gzip")
            (flag, reply), = answer.expect(0).messages(messages_pb2.SimpleResponse)
            assert flag == compressed
            assert reply.payload.body == bytes(request.response_size)


def case_server_compressed_streaming(server):
    with Peer(server) as peer:
        request = output_request(31415, 92653, compressed=(True, False))
        answer = peer.call("StreamingOutputCall", of(request), grpc_accept_encoding="gzip")
        found = answer.expect(0).messages(messages_pb2.StreamingOutputCallResponse)
        assert [flag for flag, _ in found] == [True, False]
        expect_sizes([reply for _, reply in found], (31415, 92653))


def case_never_compresses_for_who_does_not_accept(server):
    """C5, C6: whatever the request wants, and in whatever encoding it comes itself."""
    with Peer(server) as peer:
        unary = simple(response_compressed=bool_value(True))
        streaming = output_request(31415, 92653, compressed=(True, True))
        for fields in ({}, {"grpc_accept_encoding": "identity"},
                       {"grpc_accept_encoding": "deflate, snappy"}):
            answer = peer.call("UnaryCall", of(unary), **fields).expect(0)
            (flag, _), = answer.messages(messages_pb2.SimpleResponse)
            assert not flag, fields
            assert answer.head.get("grpc-encoding", "identity") == "identity", answer.head
            answer = peer.call("StreamingOutputCall", of(streaming), **fields).expect(0)
            found = answer.messages(messages_pb2.StreamingOutputCallResponse)
            assert [flag for flag, _ in found] == [False, False], fields


def case_skips_compression_that_does_not_shrink(server):
    """C6: one byte of zeros gets longer by gzip."""
    with Peer(server) as peer:
        request = simple(1, 1, response_compressed=bool_value(True))
        answer = peer.call("UnaryCall", of(request), grpc_accept_encoding="gzip").expect(0)
        (flag, _), = answer.messages(messages_pb2.SimpleResponse)
        assert not flag


def case_bad_compression(server):
    with Peer(server) as peer:
        good = simple(10, 10)
        # C1: an unknown encoding, refused with the list of those that are known.
        answer = peer.call("UnaryCall", of(good), grpc_encoding="snappy").expect(12)
        accepted = {**answer.head, **answer.trailers}["grpc-accept-encoding"]
        assert "gzip" in accepted and "snappy" not in accepted, accepted
        # C2: compressed, although no encoding was named.
        peer.call("UnaryCall", of(good, compress=True)).expect(13)
        peer.call("UnaryCall", of(good, compress=True), grpc_encoding="identity").expect(13)
        # C3: not what it says, cut short, and with something behind.
        peer.call("UnaryCall", of(good, flag=1), grpc_encoding="gzip").expect(13)
        packed = gzip.compress(good.SerializeToString())
        peer.call("UnaryCall", frame(packed[:-3], flag=1), grpc_encoding="gzip").expect(13)
        # A bomb: small as it comes, over the limit when it is unpacked.
        bomb = of(simple(MESSAGE_MAX, 1), compress=True)
        assert len(bomb) < 64 * 1024
        peer.call("UnaryCall", bomb, grpc_encoding="gzip").expect(8)
        peer.call("StreamingInputCall", bomb, grpc_encoding="gzip").expect(8)
        # P12: a flag that does not exist.
        peer.call("UnaryCall", of(good, flag=2)).expect(13)
        peer.call("UnaryCall", of(good)).expect(0)


# ---- messages and frames


def case_cardinality(server):
    """P16: one request message, no less and no more; and streams that may be empty are."""
    with Peer(server) as peer:
        for method in ("EmptyCall", "UnaryCall", "StreamingOutputCall"):
            peer.call(method).expect(12)
            peer.call(method, EMPTY, EMPTY).expect(12)
            peer.call(method, EMPTY).expect(0)
        for method in ("StreamingInputCall", "FullDuplexCall", "HalfDuplexCall"):
            peer.call(method).expect(0)
            peer.call(method, EMPTY, EMPTY).expect(0)


def case_frames_cut_anywhere(server):
    with Peer(server) as peer:
        requests = [output_request(size, request_size=size) for size in (31, 0, 9)]
        body = b"".join(of(request) for request in requests)
        for piece in (1, 2, 3, 4, 5, 6, 7, 1000):
            expect_sizes(replies(peer.call("FullDuplexCall", body, piece=piece).expect(0)), (31, 0, 9))
        expect_sizes(replies(peer.call("FullDuplexCall", body, piece=7, pad=200).expect(0)), (31, 0, 9))
        for cut in (1, 4, len(body) - 1):
            peer.call("FullDuplexCall", body[:cut]).expect(13)


def case_malformed_messages(server):
    with Peer(server) as peer:
        for method in ("UnaryCall", "StreamingOutputCall", "StreamingInputCall", "FullDuplexCall",
                       "HalfDuplexCall"):
            peer.call(method, frame(b"\xff\xff")).expect(13)


def case_size_limits_of_streams(server):
    """P15: on the declared length, of each message of a stream by itself."""
    with Peer(server) as peer:
        half = of(input_request(MESSAGE_MAX // 2))
        answer = peer.call("StreamingInputCall", *[half] * 5).expect(0)
        (_, reply), = answer.messages(messages_pb2.StreamingInputCallResponse)
        assert reply.aggregated_payload_size == 5 * (MESSAGE_MAX // 2)
        stream = peer.open("StreamingInputCall")
        peer.send(stream, struct.pack(">BI", 0, MESSAGE_MAX + 1))
        peer.answer(stream).expect(8)


# ---- deadlines


def case_deadlines_kept_by_the_server(server):
    """P7, P8: this client watches no clock."""
    with Peer(server) as peer:
        peer.call("UnaryCall", of(simple(10, 10)), grpc_timeout="0n").expect(4)
        for bad in ("", "5", "5x", "123456789S", "-1S", "1.5S"):
            answer = peer.call("UnaryCall", of(simple(10, 10)), grpc_timeout=bad).expect(13)
            assert answer.head[":status"] == "400", answer.head
        peer.call("UnaryCall", of(simple(10, 10)), grpc_timeout="99999999H").expect(0)
        late = output_request(10)
        late.response_parameters.add(size=10, interval_us=60 * 1000 * 1000)
        for method, ends in (("StreamingOutputCall", True), ("FullDuplexCall", False),
                             ("StreamingInputCall", False), ("UnaryCall", False)):
            stream = peer.open(method, grpc_timeout="200m")
            if method.startswith(("StreamingOutput", "FullDuplex")):
                peer.send(stream, of(late), ends=ends)
            answer = peer.answer(stream)
            assert answer.status() == 4 or answer.reset == CANCEL, (method, answer.trailers)


# ---- flow control


def case_a_reader_that_stops(server):
    """X5: replies that nobody takes are not made; when they are taken, all come."""
    with InteropServer.running(server.ca is not None) as fresh, Peer(fresh, window=1000) as peer:
        peer.call("EmptyCall", EMPTY).expect(0)
        before = fresh.rss_kib()
        streams = []
        for _ in range(20):
            stream = peer.open("StreamingOutputCall")
            peer.send(stream, of(output_request(*[100000] * 20)), ends=True)
            streams.append(stream)
        peer.ping()
        grown = fresh.rss_kib() - before
        print(f"       20 readers that stop, 2 MB for each: {grown} KiB of memory")
        assert grown < 10 * 1024 + QUARANTINE_KIB, f"{grown} KiB"
        for stream in streams:
            peer.h2.increment_flow_control_window(WINDOW, stream)
        peer.flush()
        for stream in streams:
            expect_sizes(replies(peer.answer(stream).expect(0)), [100000] * 20)


def case_a_writer_that_does_not_read(server):
    """X6: requests whose replies nobody takes are not read: the window closes."""
    with Peer(server, window=1000) as peer:
        stream = peer.open("FullDuplexCall")
        request = of(output_request(100000, request_size=10000))
        sent = 0
        while sent < 16 * STREAM_WINDOW:
            if peer.h2.local_flow_control_window(stream) < len(request):
                peer.ping()
                if peer.h2.local_flow_control_window(stream) < len(request):
                    break
            peer.send(stream, request)
            sent += len(request)
        assert sent < 4 * STREAM_WINDOW, f"{sent} bytes were taken"
        count = sent // len(request)
        peer.h2.increment_flow_control_window(WINDOW, stream)
        peer.send(stream, b"", ends=True)
        expect_sizes(replies(peer.answer(stream).expect(0)), [100000] * count)


def case_credit_comes_back(server, count=2000):
    """X7: bodies of calls that fail, are refused or cancelled are given back, all of them."""
    with Peer(server) as peer:
        peer.ping()
        window = peer.h2.outbound_flow_control_window
        body = of(simple(10000, 10))
        for number in range(count):
            kind = number % 4
            if kind == 0:
                peer.call("UnimplementedCall", body).expect(12)
            elif kind == 1:
                peer.call("UnaryCall", of(simple(10000, -1))).expect(3)
            elif kind == 2:
                peer.call("UnaryCall", body, grpc_encoding="snappy").expect(12)
            else:
                stream = peer.open("FullDuplexCall")
                peer.send(stream, body[:5000])
                peer.h2.reset_stream(stream, CANCEL)
                peer.flush()
        peer.ping()
        peer.call("UnaryCall", of(simple())).expect(0)
        peer.ping()
        lost = window - peer.h2.outbound_flow_control_window
        # Credit is returned in lumps of up to half a window.
        assert lost <= 1024 * 1024, f"{lost} bytes of credit were lost"


def case_client_resets_free_everything(server, count=3000):
    """P25: streams cancelled in the middle of replies, and memory is as it was."""
    def round_of_cancels():
        with Peer(server) as peer:
            for _ in range(count):
                stream = peer.open("StreamingOutputCall")
                peer.send(stream, of(output_request(*[50000] * 20, interval_us=1000000)), ends=True)
                peer.h2.reset_stream(stream, CANCEL)
                peer.flush()
            peer.ping()
            peer.call("EmptyCall", EMPTY).expect(0)

    round_of_cancels()
    before = server.rss_kib()
    round_of_cancels()
    grown = server.rss_kib() - before
    print(f"       {count} cancelled streams: {grown} KiB more than before")
    assert grown <= 4096 + QUARANTINE_KIB, f"{grown} KiB"


def cases():
    return {name[len("case_"):]: function for name, function in globals().items()
            if name.startswith("case_")}
