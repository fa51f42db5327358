"""A client that speaks HTTP/2 frame by frame and cheaply, for tests with very many streams: the head
of a request is encoded once, and of answers only the frame heads and statuses are looked at.

Clear text alone. What it sends is right; peers that do wrong live in test_hostile.py.
"""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = 8


def frame(kind, flags, stream_id, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload


def message(payload):
    """One gRPC message."""
    return struct.pack(">BI", 0, len(payload)) + payload


def head_block(path, extra=()):
    """A header block of literals that change no table, good on any connection."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
              ("content-type", "application/grpc"), ("te", "trailers"), *extra]

    def text(value):
        value = value.encode()
        assert len(value) < 127
        return bytes([len(value)]) + value

    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


class RawPeer:
    """One connection. Streams are numbered 0, 1, 2 ... as they were opened."""

    def __init__(self, server, window=65535, patience_s=60):
        self.socket = socket.create_connection((server.host, server.port), timeout=patience_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opened = 0
        self.received = b""
        self.data_bytes = {}  # per stream
        self.data_frames = {}
        self.heads = set()  # of the streams that were answered with HEADERS
        self.ended = set()
        self.reset = {}
        self.goaway = None
        self.greeted = False
        self.order = []  # of the DATA frames: (stream, bytes)
        self.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window)) +
                  frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30)))
        # A peer that is not read for a while must not look like one that never acknowledges SETTINGS.
        self.read_until(lambda: self.greeted)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    @staticmethod
    def number(stream):
        return 2 * stream + 1

    def request(self, block, body, ends=True):
        """The bytes of the next request."""
        number = self.number(self.opened)
        self.opened += 1
        return (frame(HEADERS, END_HEADERS, number, block) +
                frame(DATA, END_STREAM if ends else 0, number, body))

    def cancel(self, stream):
        return frame(RST_STREAM, 0, self.number(stream), struct.pack(">I", CANCEL))

    def give_window(self, stream, size):
        return frame(WINDOW_UPDATE, 0, self.number(stream), struct.pack(">I", size))

    def read(self):
        """Takes what has come; waits when there is nothing."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError(f"the server closed the connection, GOAWAY {self.goaway}")
        self.received += data
        at = 0
        end = len(self.received)
        while end - at >= 9:
            size = int.from_bytes(self.received[at:at + 3], "big")
            if end - at < 9 + size:
                break
            kind, flags, number = struct.unpack_from(">BBI", self.received, at + 3)
            self._take(kind, flags, (number - 1) // 2, at + 9, size)
            at += 9 + size
        self.received = self.received[at:]

    def _take(self, kind, flags, stream, at, size):
        if kind == DATA:
            self.data_bytes[stream] = self.data_bytes.get(stream, 0) + size
            self.data_frames[stream] = self.data_frames.get(stream, 0) + 1
            self.order.append((stream, size))
        elif kind == HEADERS:
            self.heads.add(stream)
        elif kind == RST_STREAM:
            self.reset[stream] = int.from_bytes(self.received[at:at + 4], "big")
        elif kind == SETTINGS and not flags & ACK:
            self.greeted = True
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, self.received[at:at + size]))
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(self.received[at + 4:at + 8], "big")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended.add(stream)

    def read_until(self, condition):
        while not condition():
            self.read()
