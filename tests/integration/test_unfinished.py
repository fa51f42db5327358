#!/usr/bin/python3
"""What one connection may keep here of requests that are not complete, and what does not count: streams
of changes that wait because the server has paused them."""

import os
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from h2_by_hand import ENHANCE_YOUR_CALM, Peer, message  # noqa: E402
from hyperframe import frame as frames  # noqa: E402
from userd_calls import DEADLINE_S, PASSWORD  # noqa: E402
from userd_harness import Server, run  # noqa: E402

from users.v1 import users_pb2  # noqa: E402

STREAMS = 100
BAD_ITEMS = 60
OVERFLOW = "limits.max_buffered_per_connection"
RESOURCE_EXHAUSTED = 8
INTERNAL = 13
PART = 8000
DECLARED = 61440
LIMIT = 512 * 1024
CALL = 6144  # what a call without a message counts for


def one_stream(stub, number, ends):
    """A user that takes time to make, and 60 KiB behind it, which have to wait until that is done."""
    requests = [users_pb2.CreateUserRequest(username=f"paused{number}",
                                            email=f"paused{number}@example.com", password=PASSWORD)]
    requests += [users_pb2.CreateUserRequest(password="x" * 1025)] * BAD_ITEMS
    try:
        replies = list(stub.BatchCreateUsers(iter(requests), timeout=4 * DEADLINE_S,
                                             metadata=(("users-continue-on-error", "true"),)))
        ends[number] = [reply.error.code for reply in replies]
    except Exception as error:  # pylint: disable=broad-except
        ends[number] = error


def test_a_hundred_paused_streams_on_one_connection(server):
    channel = server.channel()
    stub = server.stub(channel)
    ends = [None] * STREAMS
    threads = [threading.Thread(target=one_stream, args=(stub, number, ends), daemon=True)
               for number in range(STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [0] + [3] * BAD_ITEMS
    assert ends == [expected] * STREAMS, [end for end in ends if end != expected][:3]
    channel.close()


def half(peer, stream, size=PART):
    peer.send(peer.headers(stream, peer.head()),
              peer.data(stream, struct.pack(">BI", 0, DECLARED) + bytes(size)))


def test_half_messages_are_refused_beyond_the_limit(server):
    fit = LIMIT // (PART + CALL)
    with Peer(server) as peer:
        for stream in range(1, 2 * fit, 2):
            half(peer, stream)
        half(peer, 2 * fit + 1)
        peer.answer(2 * fit + 1).expect(200, RESOURCE_EXHAUSTED, OVERFLOW)
        assert sorted(peer.answers) == [0, 2 * fit + 1], peer.answers
        # The others go on, and what they give back others may have.
        rest = DECLARED - PART
        peer.send(*(peer.data(1, bytes(min(rest - at, 16000)), at + 16000 >= rest)
                    for at in range(0, rest, 16000)))
        peer.answer(1).expect(200, RESOURCE_EXHAUSTED, OVERFLOW)
        half(peer, 2 * fit + 3, 100)
        peer.expect_alive(2 * fit + 5)
        assert sorted(peer.answers) == [0, 1, 2 * fit + 1, 2 * fit + 5], peer.answers


def test_a_first_byte_counts_as_a_call(server):
    fit = LIMIT // (1 + CALL)
    with Peer(server) as peer:
        for stream in range(1, 2 * fit + 2, 2):
            half(peer, stream, 1)
        peer.answer(2 * fit + 1).expect(200, RESOURCE_EXHAUSTED, OVERFLOW)
        assert sorted(peer.answers) == [0, 2 * fit + 1], peer.answers


def test_one_call_alone_may_have_the_largest_message(server):
    with Peer(server) as peer:
        body = message(bytes(65536))
        peer.send(peer.headers(1, peer.head()),
                  *(peer.data(1, body[at:at + 16000], at + 16000 >= len(body))
                    for at in range(0, len(body), 16000)))
        peer.answer(1).expect(200, INTERNAL, "Malformed")


def test_heads_over_the_limit_end_the_connection(server):
    with Peer(server) as peer:
        fields = peer.head() + [(f"x-{i}", "v" * 900) for i in range(20)]
        stream = 1
        while not peer.closed:
            assert stream < 400, "heads over the limit are answered without end"
            block = peer.encoder.encode(fields)
            peer.send(frames.HeadersFrame(stream, data=block[:16000], flags=[]),
                      frames.ContinuationFrame(stream, data=block[16000:], flags=["END_HEADERS"]))
            try:
                peer.answer(stream).expect(200, RESOURCE_EXHAUSTED, "http2.max_header_list")
            except AssertionError:
                assert peer.closed
            stream += 2
        peer.expect_end(ENHANCE_YOUR_CALM)
        assert stream > 60, stream


if __name__ == "__main__":
    run(globals(), lambda: Server({"password": {"memory_kib": "65536", "iterations": "1"},
                                   "limits": {"max_stream_inflight": "1"}}))
