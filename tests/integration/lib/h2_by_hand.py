"""HTTP/2 spoken by hand: frames as they are, in whatever order, by a peer that minds no rule unless
a test wants it to. Made with hyperframe and hpack.
"""

import socket
import ssl
import struct

import hpack
from hyperframe import frame as frames
from userd_harness import PATIENCE_S
from users.v1 import users_pb2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET_USER = "/users.v1.UserService/GetUser"

PROTOCOL_ERROR = 0x1
REFUSED_STREAM = 0x7
CANCEL = 0x8
ENHANCE_YOUR_CALM = 0xB


class Answer:
    """What came back on one stream, or on the whole connection."""

    def __init__(self):
        self.fields = []  # of the head and the trailers
        self.data = b""
        self.reset = None
        self.ended = False

    def __getitem__(self, name):
        values = [value for key, value in self.fields if key == name]
        assert len(values) <= 1, self.fields
        return values[0] if values else None

    def expect(self, http, status, text=None):
        assert self.ended, "the answer has no end"
        assert self[":status"] == str(http), self.fields
        assert self["grpc-status"] == str(status), self.fields
        if text is not None:
            assert text in (self["grpc-message"] or ""), self.fields
        return self


class Peer:
    """One connection, spoken by hand."""

    def __init__(self, server, greet=True, alpn=("h2",), settings=None):
        raw = socket.create_connection((server.host, server.port), timeout=PATIENCE_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server = server
        self.socket = server.tls_context(alpn).wrap_socket(raw, server_hostname="localhost")
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.received = b""
        self.answers = {}
        self.goaway = None
        self.closed = False
        self.block = b""
        self.pongs = 0
        self.acknowledges = greet
        if greet:
            self.send_raw(PREFACE)
            self.send(frames.SettingsFrame(0, settings=settings or {}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    # ---- out

    def send_raw(self, data):
        """Sends bytes. The server may have closed already; what it answered is still to be read."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, ssl.SSLError):
            pass

    def send(self, *some):
        self.send_raw(b"".join(one.serialize() for one in some))

    def head(self, path=GET_USER, drop=(), **changes):
        fields = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "localhost",
                  "te": "trailers", "content-type": "application/grpc",
                  "authorization": "Bearer " + self.server.token()}
        fields.update({name.replace("_", "-"): value for name, value in changes.items()})
        return [item for item in fields.items() if item[0] not in drop]

    def headers(self, stream, fields, ends=False):
        flags = ["END_HEADERS"] + (["END_STREAM"] if ends else [])
        return frames.HeadersFrame(stream, data=self.encoder.encode(fields), flags=flags)

    @staticmethod
    def data(stream, data, ends=False, padding=None):
        flags = (["END_STREAM"] if ends else []) + (["PADDED"] if padding is not None else [])
        return frames.DataFrame(stream, data=data, flags=flags, pad_length=padding or 0)

    def request(self, body, stream=1, fields=None, **head):
        """A whole request in one DATA frame."""
        self.send(self.headers(stream, fields or self.head(**head)), self.data(stream, body, True))

    # ---- in

    def _take(self):
        """Reads until one more frame was handled. False when the connection has ended."""
        while True:
            if len(self.received) >= 9:
                size = int.from_bytes(self.received[:3], "big")
                if len(self.received) >= 9 + size:
                    one, _ = frames.Frame.parse_frame_header(memoryview(self.received[:9]))
                    one.parse_body(memoryview(self.received[9:9 + size]))
                    self.received = self.received[9 + size:]
                    self._handle(one)
                    return True
            try:
                more = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                self.closed = True
                return False
            self.received += more

    def _handle(self, one):
        answer = self.answers.setdefault(one.stream_id, Answer())
        if isinstance(one, frames.SettingsFrame):
            if "ACK" not in one.flags and self.acknowledges:
                self.send(frames.SettingsFrame(0, flags=["ACK"]))
        elif isinstance(one, (frames.HeadersFrame, frames.ContinuationFrame)):
            self.block += one.data
            if "END_HEADERS" in one.flags:
                answer.fields += self.decoder.decode(self.block)
                self.block = b""
        elif isinstance(one, frames.DataFrame):
            answer.data += one.data
        elif isinstance(one, frames.RstStreamFrame):
            answer.reset = one.error_code
        elif isinstance(one, frames.GoAwayFrame):
            self.goaway = one
        elif isinstance(one, frames.PingFrame) and "ACK" in one.flags:
            self.pongs += 1
        if "END_STREAM" in one.flags:
            answer.ended = True

    def answer(self, stream=1):
        """Reads until the stream has ended or was reset."""
        while True:
            answer = self.answers.get(stream)
            if answer and (answer.ended or answer.reset is not None):
                return answer
            assert self._take(), f"the connection ended before the answer: {self.goaway}"

    def expect_end(self, error=None):
        """Reads until the server has closed; with `error`, after a GOAWAY that says so."""
        while self._take():
            pass
        if error is not None:
            assert self.goaway is not None, "no GOAWAY"
            assert self.goaway.error_code == error, self.goaway

    def expect_alive(self, stream):
        """The connection serves on: the next request is answered."""
        self.request(get_user("nobody"), stream)
        self.answer(stream).expect(200, 5)


def message(data, flag=0):
    return struct.pack(">BI", flag, len(data)) + data


def get_user(user_id):
    return message(users_pb2.GetUserRequest(id=user_id).SerializeToString())


def connect(server):
    return socket.create_connection((server.host, server.port), timeout=PATIENCE_S)


def drain(raw):
    """All that comes until the peer closes, however it does."""
    received = b""
    try:
        while True:
            more = raw.recv(65536)
            if not more:
                return received
            received += more
    except (ConnectionError, ssl.SSLError):
        return received


def send(raw, data):
    try:
        raw.sendall(data)
    except ConnectionError:
        pass


def raw_frame(kind, flags, stream, payload):
    return (len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload)
