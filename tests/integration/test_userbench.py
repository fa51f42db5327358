#!/usr/bin/python3
"""The load generator, from outside: what it counts is what the server saw, its JSON has the promised
shape, and whatever goes wrong ends it with a message that says what."""

import json
import os
import pathlib
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_harness import PATIENCE_S, ROOT, Server, run  # noqa: E402

USERBENCH = os.environ.get("USERBENCH", str(ROOT / "build/userbench"))

# The calls of one load generator must not meet limits made for many clients.
SETTINGS = {
    "limits": {"max_connections_per_ip": "10000", "max_handshakes_per_ip": "10000", "handshake_rate": "0"},
    "http2": {"max_concurrent_streams": "1000", "control_burst": "100000", "control_rate": "100000"},
}


def bench(*words, code=0, **keywords):
    done = subprocess.run([USERBENCH, *map(str, words)], text=True, capture_output=True, timeout=PATIENCE_S,
                          check=False, **keywords)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done


def refusal(*words):
    """What the program says when it ends with an error."""
    done = bench(*words, code=1)
    assert done.stdout == "" and done.stderr.startswith("userbench: "), done
    return done.stderr


def at(server):
    return ["--target", server.address, "--ca", server.ca]


def unused_port():
    """One that nobody listens on, as long as the socket is held."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held, held.getsockname()[1]


# ---- handshakes


def handshakes(server, *words):
    return json.loads(bench("handshakes", *at(server), *words).stdout)


def test_handshakes_are_counted(server):
    found = handshakes(server, "--connections", 40)
    assert found["count"] == 40 and found["failures"] == 0 and found["causes"] == [], found
    assert found["offered_per_s"] is None and found["client_cpu_s"] > 0, found
    latency = found["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["max"], found


def test_handshakes_run_at_once(server):
    found = handshakes(server, "--connections", 60, "--in-flight", 20, "--sleep")
    assert found["count"] == 60 and found["failures"] == 0, found


def test_handshakes_are_offered_at_a_rate(server):
    found = handshakes(server, "--connections", 50, "--rate", 100, "--sleep")
    assert found["count"] == 50 and found["offered_per_s"] == 100, found
    assert found["seconds"] >= 0.49, found  # the last of them is due then


def test_handshakes_that_fail(server):
    held, port = unused_port()
    with held:
        said = refusal("handshakes", "--target", f"127.0.0.1:{port}", "--ca", server.ca, "--connections", 2)
    assert "no handshake succeeded" in said and "Connection refused" in said, said
    other = pathlib.Path(server.folder) / "other-ca.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", "/dev/null", "-subj", "/CN=other", "-out", other], check=True,
                   stderr=subprocess.DEVNULL)
    said = refusal("handshakes", "--target", server.address, "--ca", other, "--connections", 1)
    assert "TLS failed" in said, said


def test_handshakes_are_told_how(server):
    assert "--ca is missing" in refusal("handshakes", "--target", server.address)
    assert "--target is missing" in refusal("handshakes", "--ca", server.ca)
    assert "HOST:PORT" in refusal("handshakes", "--target", "here", "--ca", server.ca)
    assert "no option --fast" in refusal("handshakes", *at(server), "--fast")
    assert "is no number" in refusal("handshakes", *at(server), "--rate", "-1")
    assert "value is missing" in refusal("handshakes", *at(server), "--rate")
    assert "cannot be read" in refusal("handshakes", "--target", server.address, "--ca", "/nowhere")


if __name__ == "__main__":
    run(globals(), lambda: Server(SETTINGS))
