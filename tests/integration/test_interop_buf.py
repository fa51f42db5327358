#!/usr/bin/python3
"""The interop server and `buf curl` (connect-go), over TLS and in clear text."""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../conformance"))

from interop_harness import ROOT, InteropServer  # noqa: E402
from userd_harness import PATIENCE_S, finish, run_one  # noqa: E402

BUF = ROOT / "build/node_modules/.bin/buf"


class Buf:
    """Runs `buf curl` against one server."""

    def __init__(self, server):
        self.schema = server.folder / "schema.binpb"
        subprocess.run(["protoc", "-I/usr/share/grpc-proto", "--include_imports",
                        f"--descriptor_set_out={self.schema}", "grpc/testing/test.proto"],
                       check=True, stderr=subprocess.DEVNULL)
        self.folder = server.folder
        self.tls = (["--cacert", str(server.ca)] if server.ca else ["--http2-prior-knowledge"])
        self.base = (f"https://localhost:{server.port}" if server.ca else f"http://{server.address}")

    def curl(self, method, *messages, service="TestService", options=()):
        """The replies as JSON, and the exit code, and what it said."""
        ran = subprocess.run(
            [str(BUF), "curl", "--protocol", "grpc", "--schema", str(self.schema), *self.tls,
             *options, "--data", "@-", f"{self.base}/grpc.testing.{service}/{method}"],
            input="\n".join(json.dumps(message) for message in messages), text=True,
            capture_output=True, timeout=PATIENCE_S, check=False,
            env={**os.environ, "HOME": str(self.folder), "BUF_CACHE_DIR": str(self.folder / "cache")})
        return read_all(ran.stdout), ran.returncode, ran.stderr

    def good(self, *arguments, **keywords):
        replies, status, said = self.curl(*arguments, **keywords)
        assert status == 0, said
        return replies


def read_all(text):
    """Every JSON value of a text."""
    found = []
    decoder = json.JSONDecoder()
    text = text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].lstrip()
    return found


def sizes(replies):
    """Of the payloads, which are base64 in JSON: zeros without padding but at the end."""
    return [len(reply["payload"]["body"].rstrip("=")) * 3 // 4 for reply in replies]


def case_empty_call(buf):
    assert buf.good("EmptyCall", {}) == [{}]


def case_unary_call(buf):
    assert sizes(buf.good("UnaryCall", {"responseSize": 314159})) == [314159]


def case_streams(buf):
    wanted = [{"size": size} for size in (31415, 9, 2653, 58979)]
    request = {"responseParameters": wanted}
    assert sizes(buf.good("StreamingOutputCall", request)) == [31415, 9, 2653, 58979]
    each = [{"responseParameters": [one]} for one in wanted]
    assert sizes(buf.good("FullDuplexCall", *each)) == [31415, 9, 2653, 58979]
    assert sizes(buf.good("HalfDuplexCall", *each)) == [31415, 9, 2653, 58979]
    body = {"payload": {"body": "AAAA"}}
    assert buf.good("StreamingInputCall", body, body) == [{"aggregatedPayloadSize": 6}]


def case_errors(buf):
    status = {"responseStatus": {"code": 9, "message": "test ☺ status"}}
    replies, code, said = buf.curl("UnaryCall", status)
    assert replies == [] and code != 0, (replies, code)
    assert "failed_precondition" in said and "test ☺ status" in said, said
    for service in ("TestService", "UnimplementedService"):
        _, code, said = buf.curl("UnimplementedCall", {}, service=service)
        assert code != 0 and "unimplemented" in said, said


def case_metadata(buf):
    options = ["-v", "-H", "x-grpc-test-echo-initial: hello"]
    _, code, said = buf.curl("EmptyCall", {}, options=options)
    assert code == 0 and "X-Grpc-Test-Echo-Initial: hello".lower() in said.lower(), said


def main():
    for tls in (True, False):
        with InteropServer.running(tls) as server:
            buf = Buf(server)
            for name, function in list(globals().items()):
                if name.startswith("case_"):
                    run_one(f"{server.name}: {name[len('case_'):]}", function, buf)
    finish()


if __name__ == "__main__":
    main()
