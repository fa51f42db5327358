#!/usr/bin/python3
"""The interoperability cases of gRPC, driven by C-core (grpcio).

    interop_test.py --target HOST:PORT [--ca FILE] [CASE]...

runs them against any server of grpc.testing.TestService: in clear text, or over TLS with --ca. The
names and what is expected are those of doc/interop-test-descriptions.md in grpc/grpc.

grpcio compresses by call, not by message. So of the two cases with compressed requests it does the
compressed half; the probe that mixes both kinds is in interop_raw.py.
"""

import argparse
import os
import pathlib
import queue
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import interop_harness  # noqa: E402,F401 (makes grpc.testing importable)
from userd_harness import PATIENCE_S, SLOW, finish, run_one  # noqa: E402

import grpc  # noqa: E402
from grpc.testing import empty_pb2, messages_pb2, test_pb2_grpc  # noqa: E402

LARGE_REQUEST = 271828
LARGE_REPLY = 314159
STREAM_REQUESTS = (27182, 8, 1828, 45904)
STREAM_REPLIES = (31415, 9, 2653, 58979)
DEADLINE_S = 60 * SLOW
WHITESPACE_AND_UNICODE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \U0001F608\t\n"
INITIAL = "x-grpc-test-echo-initial"
TRAILING = "x-grpc-test-echo-trailing-bin"


class Target:
    """Where the server is, and one channel for all cases that need no other."""

    def __init__(self, address, ca=None):
        self.address = address
        self.ca = ca
        self.channels = 0
        self.shared = self.channel()
        self.stub = test_pb2_grpc.TestServiceStub(self.shared)

    def channel(self, *options):
        """A channel with a connection of its own, connected."""
        self.channels += 1
        own = [("grpc.use_local_subchannel_pool", 1), ("userd.number", self.channels), *options]
        if self.ca is None:
            channel = grpc.insecure_channel(self.address, options=own)
        else:
            credentials = grpc.ssl_channel_credentials(pathlib.Path(self.ca).read_bytes())
            channel = grpc.secure_channel(self.address, credentials, options=own)
        # C-core 1.51 now and then takes a connection under way for a failed one, and tries again
        # for who waits (grpc/grpc#35064).
        grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
        return channel

    def close(self):
        self.shared.close()


class Requests:
    """Requests of a stream, sent when the test says so."""

    def __init__(self):
        self.waiting = queue.Queue()

    def send(self, request):
        self.waiting.put(request)

    def end(self):
        self.waiting.put(None)

    def __iter__(self):
        return iter(self.waiting.get, None)


def payload(size):
    return messages_pb2.Payload(body=bytes(size))


def simple(request_size=LARGE_REQUEST, response_size=LARGE_REPLY, **fields):
    return messages_pb2.SimpleRequest(response_size=response_size, payload=payload(request_size),
                                      **fields)


def bool_value(value):
    return messages_pb2.BoolValue(value=value)


def output_request(*sizes, request_size=0, compressed=(), interval_us=0):
    request = messages_pb2.StreamingOutputCallRequest(payload=payload(request_size))
    for index, size in enumerate(sizes):
        parameters = request.response_parameters.add(size=size, interval_us=interval_us)
        if index < len(compressed):
            parameters.compressed.value = compressed[index]
    return request


def expect_payload(reply, size):
    assert reply.payload.type == messages_pb2.COMPRESSABLE
    assert reply.payload.body == bytes(size), (len(reply.payload.body), size)


def expect_sizes(replies, sizes):
    found = [len(reply.payload.body) for reply in replies]
    assert found == list(sizes), (found, sizes)


def failure(call, code, details=None):
    """Runs what must end with that status."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        if details is not None:
            assert error.details() == details, error.details()
        return error
    raise AssertionError("the call succeeded")


# ---- the cases of the description


def case_empty_unary(target):
    assert target.stub.EmptyCall(empty_pb2.Empty(), timeout=DEADLINE_S) == empty_pb2.Empty()


def case_large_unary(target):
    expect_payload(target.stub.UnaryCall(simple(), timeout=DEADLINE_S), LARGE_REPLY)


def case_cacheable_unary_without_a_proxy(target):
    reply = target.stub.CacheableUnaryCall(simple(), timeout=DEADLINE_S)
    expect_payload(reply, LARGE_REPLY)


def input_request(size, **fields):
    return messages_pb2.StreamingInputCallRequest(payload=payload(size), **fields)


def case_client_streaming(target):
    reply = target.stub.StreamingInputCall((input_request(size) for size in STREAM_REQUESTS),
                                           timeout=DEADLINE_S)
    assert reply.aggregated_payload_size == 74922, reply


def case_server_streaming(target):
    replies = list(target.stub.StreamingOutputCall(output_request(*STREAM_REPLIES),
                                                   timeout=DEADLINE_S))
    expect_sizes(replies, STREAM_REPLIES)


def case_ping_pong(target):
    requests = Requests()
    call = target.stub.FullDuplexCall(iter(requests), timeout=DEADLINE_S)
    for request_size, reply_size in zip(STREAM_REQUESTS, STREAM_REPLIES):
        requests.send(output_request(reply_size, request_size=request_size))
        expect_payload(next(call), reply_size)
    requests.end()
    assert list(call) == []
    assert call.code() == grpc.StatusCode.OK


def case_empty_stream(target):
    call = target.stub.FullDuplexCall(iter(()), timeout=DEADLINE_S)
    assert list(call) == []
    assert call.code() == grpc.StatusCode.OK


def case_custom_metadata_unary(target):
    metadata = ((INITIAL, "test_initial_metadata_value"), (TRAILING, b"\xab\xab\xab"))
    reply, call = target.stub.UnaryCall.with_call(simple(), metadata=metadata, timeout=DEADLINE_S)
    expect_payload(reply, LARGE_REPLY)
    assert (INITIAL, "test_initial_metadata_value") in call.initial_metadata()
    assert (TRAILING, b"\xab\xab\xab") in call.trailing_metadata()


def case_custom_metadata_full_duplex(target):
    metadata = ((INITIAL, "test_initial_metadata_value"), (TRAILING, b"\xab\xab\xab"))
    call = target.stub.FullDuplexCall(
        iter([output_request(LARGE_REPLY, request_size=LARGE_REQUEST)]), metadata=metadata,
        timeout=DEADLINE_S)
    expect_sizes(list(call), [LARGE_REPLY])
    assert (INITIAL, "test_initial_metadata_value") in call.initial_metadata()
    assert (TRAILING, b"\xab\xab\xab") in call.trailing_metadata()


def case_status_code_and_message(target):
    status = messages_pb2.EchoStatus(code=2, message="test status message")
    failure(lambda: target.stub.UnaryCall(messages_pb2.SimpleRequest(response_status=status),
                                          timeout=DEADLINE_S),
            grpc.StatusCode.UNKNOWN, "test status message")
    request = messages_pb2.StreamingOutputCallRequest(response_status=status)
    failure(lambda: list(target.stub.FullDuplexCall(iter([request]), timeout=DEADLINE_S)),
            grpc.StatusCode.UNKNOWN, "test status message")


def case_special_status_message(target):
    status = messages_pb2.EchoStatus(code=2, message=WHITESPACE_AND_UNICODE)
    failure(lambda: target.stub.UnaryCall(messages_pb2.SimpleRequest(response_status=status),
                                          timeout=DEADLINE_S),
            grpc.StatusCode.UNKNOWN, WHITESPACE_AND_UNICODE)


def case_unimplemented_method(target):
    failure(lambda: target.stub.UnimplementedCall(empty_pb2.Empty(), timeout=DEADLINE_S),
            grpc.StatusCode.UNIMPLEMENTED)


def case_unimplemented_service(target):
    stub = test_pb2_grpc.UnimplementedServiceStub(target.shared)
    failure(lambda: stub.UnimplementedCall(empty_pb2.Empty(), timeout=DEADLINE_S),
            grpc.StatusCode.UNIMPLEMENTED)


def case_cancel_after_begin(target):
    call = target.stub.StreamingInputCall.future(iter(Requests()), timeout=DEADLINE_S)
    call.cancel()
    assert call.cancelled()
    assert call.code() == grpc.StatusCode.CANCELLED


def case_cancel_after_first_response(target):
    requests = Requests()
    call = target.stub.FullDuplexCall(iter(requests), timeout=DEADLINE_S)
    requests.send(output_request(31415, request_size=27182))
    expect_payload(next(call), 31415)
    call.cancel()
    failure(lambda: next(call), grpc.StatusCode.CANCELLED)
    requests.end()


def case_timeout_on_sleeping_server(target):
    requests = Requests()
    call = target.stub.FullDuplexCall(iter(requests), timeout=0.001)
    requests.send(output_request(request_size=27182))
    failure(lambda: next(call), grpc.StatusCode.DEADLINE_EXCEEDED)
    requests.end()


def case_client_compressed_unary(target):
    gzip = {"compression": grpc.Compression.Gzip, "timeout": DEADLINE_S}
    request = simple(expect_compressed=bool_value(True))
    failure(lambda: target.stub.UnaryCall(request, timeout=DEADLINE_S),
            grpc.StatusCode.INVALID_ARGUMENT)
    expect_payload(target.stub.UnaryCall(request, **gzip), LARGE_REPLY)
    request = simple(expect_compressed=bool_value(False))
    expect_payload(target.stub.UnaryCall(request, timeout=DEADLINE_S), LARGE_REPLY)


def case_client_compressed_streaming(target):
    probe = input_request(27182, expect_compressed=bool_value(True))
    failure(lambda: target.stub.StreamingInputCall(iter([probe]), timeout=DEADLINE_S),
            grpc.StatusCode.INVALID_ARGUMENT)
    both = [probe, input_request(45904, expect_compressed=bool_value(True))]
    reply = target.stub.StreamingInputCall(iter(both), compression=grpc.Compression.Gzip,
                                           timeout=DEADLINE_S)
    assert reply.aggregated_payload_size == 73086, reply


def case_server_compressed_unary(target):
    for compressed in (True, False):
        request = simple(response_compressed=bool_value(compressed))
        expect_payload(target.stub.UnaryCall(request, timeout=DEADLINE_S), LARGE_REPLY)


def case_server_compressed_streaming(target):
    for compressed in ((True, False), (False, True)):
        request = output_request(31415, 92653, compressed=compressed)
        replies = list(target.stub.StreamingOutputCall(request, timeout=DEADLINE_S))
        expect_sizes(replies, (31415, 92653))


# ---- what the description does not ask for


def case_half_duplex(target):
    requests = Requests()
    call = target.stub.HalfDuplexCall(iter(requests), timeout=DEADLINE_S)
    for request_size, reply_size in zip(STREAM_REQUESTS, STREAM_REPLIES):
        requests.send(output_request(reply_size, 1, request_size=request_size))
    requests.end()
    expect_sizes(list(call), [size for reply in STREAM_REPLIES for size in (reply, 1)])


def case_intervals_between_replies(target):
    started = time.monotonic()
    request = output_request(10, 20, 30, interval_us=20000)
    expect_sizes(list(target.stub.StreamingOutputCall(request, timeout=DEADLINE_S)), (10, 20, 30))
    assert time.monotonic() - started >= 0.06, "the intervals were not kept"


def case_deadline_between_replies(target):
    """The first replies come, then the deadline, which the server keeps too."""
    request = output_request(10, 10)
    request.response_parameters.add(size=10, interval_us=30 * 1000 * 1000)
    call = target.stub.StreamingOutputCall(request, timeout=2 * SLOW)
    expect_payload(next(call), 10)
    expect_payload(next(call), 10)
    failure(lambda: next(call), grpc.StatusCode.DEADLINE_EXCEEDED)


def case_every_status_code(target):
    for code in grpc.StatusCode:
        if code != grpc.StatusCode.OK:
            status = messages_pb2.EchoStatus(code=code.value[0], message=code.name)
            request = messages_pb2.SimpleRequest(response_status=status)
            failure(lambda request=request: target.stub.UnaryCall(request, timeout=DEADLINE_S),
                    code, code.name)


def case_status_after_replies(target):
    requests = [output_request(5), messages_pb2.StreamingOutputCallRequest(
        response_status=messages_pb2.EchoStatus(code=9, message="enough"))]
    call = target.stub.FullDuplexCall(iter(requests), timeout=DEADLINE_S)
    expect_payload(next(call), 5)
    failure(lambda: next(call), grpc.StatusCode.FAILED_PRECONDITION, "enough")


def case_binary_metadata(target):
    """Several values, any bytes, in order; names that only look alike are not echoed."""
    values = [b"", b"\x00", bytes(range(256)), b"a,b", "☺".encode()]
    metadata = [(TRAILING, value) for value in values] + [("x-other-bin", b"\x00\xff")]
    _, call = target.stub.UnaryCall.with_call(simple(1, 1), metadata=metadata, timeout=DEADLINE_S)
    echoed = [value for name, value in call.trailing_metadata() if name == TRAILING]
    assert echoed == values, echoed
    assert "x-other-bin" not in dict(call.trailing_metadata())


def case_message_size_limit(target):
    limit = 4 * 1024 * 1024
    request = simple(0, 1)
    request.payload.body = bytes(limit - request.ByteSize() - 8)
    request.payload.body += bytes(limit - request.ByteSize())
    assert request.ByteSize() == limit
    with target.channel(("grpc.max_send_message_length", -1)) as channel:
        stub = test_pb2_grpc.TestServiceStub(channel)
        expect_payload(stub.UnaryCall(request, timeout=DEADLINE_S), 1)
        request.payload.body += b"\0"
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            failure(lambda compression=compression: stub.UnaryCall(
                request, compression=compression, timeout=DEADLINE_S),
                grpc.StatusCode.RESOURCE_EXHAUSTED)


def case_many_streams_at_once(target):
    """Fifty bidirectional calls on one connection, interleaved."""
    calls = []
    for _ in range(50):
        requests = Requests()
        calls.append((requests, target.stub.FullDuplexCall(iter(requests), timeout=DEADLINE_S)))
    for size in STREAM_REPLIES:
        for requests, _ in calls:
            requests.send(output_request(size, request_size=100))
        for _, call in calls:
            expect_payload(next(call), size)
    for requests, call in calls:
        requests.end()
        assert list(call) == []


def case_large_reply_does_not_delay_a_small_one(target):
    """A reader that stops reading one call still gets the others of the same connection."""
    stalled = target.stub.StreamingOutputCall(output_request(*[1000000] * 20), timeout=DEADLINE_S)
    for _ in range(20):
        expect_payload(target.stub.UnaryCall(simple(10, 10), timeout=DEADLINE_S), 10)
    expect_sizes(list(stalled), [1000000] * 20)


# ---- soaks


def case_rpc_soak(target, count=1000):
    """One channel, many calls, of which none fails."""
    slowest = 0.0
    for _ in range(count):
        started = time.monotonic()
        expect_payload(target.stub.UnaryCall(simple(), timeout=DEADLINE_S), LARGE_REPLY)
        slowest = max(slowest, time.monotonic() - started)
    print(f"       rpc_soak: {count} calls, the slowest {slowest * 1000:.0f} ms")


def case_channel_soak(target, count=100):
    """A new connection for each call."""
    for _ in range(count):
        with target.channel() as channel:
            stub = test_pb2_grpc.TestServiceStub(channel)
            expect_payload(stub.UnaryCall(simple(), timeout=DEADLINE_S), LARGE_REPLY)


def case_cancel_soak(target, count=1000):
    """Calls cancelled in all their moments, and the connection serves on."""
    for number in range(count):
        requests = Requests()
        call = target.stub.FullDuplexCall(iter(requests), timeout=DEADLINE_S)
        if number % 3 > 0:
            requests.send(output_request(31415, request_size=27182))
        if number % 3 > 1:
            next(call)
        call.cancel()
        requests.end()
    case_large_unary(target)


def concurrent_large_unary(target, count):
    """So many large calls open at once on one connection."""
    calls = [target.stub.UnaryCall.future(simple(), timeout=DEADLINE_S * 3) for _ in range(count)]
    for call in calls:
        expect_payload(call.result(), LARGE_REPLY)


def cases():
    return {name[len("case_"):]: function for name, function in globals().items()
            if name.startswith("case_")}


def run_cases(target, prefix="", only=()):
    for name, function in cases().items():
        if not only or name in only:
            run_one(prefix + name, function, target)


def main():
    parser = argparse.ArgumentParser(description="interoperability cases by grpcio")
    parser.add_argument("--target", required=True, help="host:port")
    parser.add_argument("--ca", help="CA certificate, PEM; without it clear text is spoken")
    parser.add_argument("case", nargs="*", help="all of them without a name")
    arguments = parser.parse_args()
    unknown = set(arguments.case) - set(cases())
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    target = Target(arguments.target, arguments.ca)
    run_cases(target, only=arguments.case)
    target.close()
    finish()


if __name__ == "__main__":
    main()
