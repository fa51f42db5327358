#!/usr/bin/python3
"""The load generator, from outside: what it counts is what the server saw, its JSON has the promised
shape, and whatever goes wrong ends it with a message that says what."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from metrics_reader import scrape, value  # noqa: E402
from peers import COMMANDS, Peer  # noqa: E402
from userd_harness import PATIENCE_S, ROOT, Server, run  # noqa: E402

USERBENCH = os.environ.get("USERBENCH", str(ROOT / "build/userbench"))

USERS = 300
METHODS = ("GetUser", "CreateUser", "UpdateUser", "DeleteUser", "ListUsers", "WatchUser", "BatchCreateUsers",
           "SyncUsers")

# The calls of one load generator must not meet limits made for many clients.
SETTINGS = {
    "limits": {"max_connections_per_ip": "10000", "max_handshakes_per_ip": "10000", "handshake_rate": "0"},
    "http2": {"max_concurrent_streams": "1000", "control_burst": "100000", "control_rate": "100000"},
}


class BenchServer(Server):
    """One that begins with the users that `userbench data` makes."""

    def start(self):
        if not self.data.exists():
            bench("data", "--dir", self.data, "--users", USERS)
        super().start()
        self.token_file = pathlib.Path(self.folder) / "token"
        self.token_file.write_text(self.token() + "\n")
        return self


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


def load_words(server, *words):
    return ["load", *(at(server) if server.tls else ["--target", server.address]), "--token-file",
            server.token_file, "--users", USERS, *words]


def load(server, *words, **keywords):
    return json.loads(bench(*load_words(server, *words), **keywords).stdout)


def methods_of(found):
    """Of a load without phases."""
    assert [phase["name"] for phase in found["phases"]] == ["run"], found
    return found["phases"][0]["methods"]


def handled(server, method, code="OK"):
    return value(scrape(server), "grpc_server_handled_total", grpc_service="users.v1.UserService",
                 grpc_method=method, grpc_code=code, grpc_type=TYPES.get(method, "unary"))


TYPES = {"WatchUser": "server_stream", "BatchCreateUsers": "bidi_stream", "SyncUsers": "bidi_stream"}


def unused_port():
    """One that nobody listens on, as long as the socket is held."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held, held.getsockname()[1]


# ---- load


def check_latency(method):
    latency = method["latency_us"]
    points = [latency[name] for name in ("p50", "p90", "p99", "p99.9", "p99.99", "max")]
    assert points == sorted(points) and points[0] > 0, latency
    assert 0 < sum(number for _, number in method["histogram"]) <= method["count"], method
    uppers = [upper for upper, _ in method["histogram"]]
    assert uppers == sorted(set(uppers)), uppers
    assert max(method["maxima_us"]) == latency["max"], method


def test_json_tells_what_was_promised(server):
    found = load(server, "--connections", 2, "--streams", 3, "--seconds", 0.3, "--warm-up", 0.05)
    assert {"seconds", "offered_per_s", "client_cpu_s", "bytes_sent", "bytes_received", "sends",
            "receives", "phases"} <= set(found), found
    assert 0.3 <= found["seconds"] < PATIENCE_S and found["client_cpu_s"] > 0, found
    phase, = found["phases"]
    assert phase["name"] == "run" and phase["blocks"] == 1 and phase["excluded"] >= 0, phase
    get = phase["methods"]["GetUser"]
    assert get["statuses"] == {"OK": get["count"]} and get["messages"] == get["count"], get
    assert phase["calls"] > 100 and get["count"] >= phase["calls"], phase
    assert found["receives"] <= found["bytes_received"] and found["sends"] <= found["bytes_sent"], found
    check_latency(get)


def test_each_method_is_called_as_often_as_told(_server):
    with BenchServer.running(SETTINGS) as server:  # of its own: some of its users are deleted
        for method in METHODS:
            check_method(server, method)


def check_method(server, method):
    items = 10 if TYPES.get(method) == "bidi_stream" else 1
    code = "Canceled" if method == "WatchUser" else "OK"
    before = handled(server, method, code)
    found = methods_of(load(server, "--mix", f"{method}=1", "--call-limit", 6, "--streams", 2,
                            "--items", 10, "--window", 4))
    assert list(found) == [method], found
    assert found[method]["count"] == 6 * items, found
    assert found[method]["statuses"] == {"OK": 6 * items}, found
    end = time.monotonic() + PATIENCE_S
    while handled(server, method, code) < before + 6 and time.monotonic() < end:
        time.sleep(0.01)
    assert handled(server, method, code) == before + 6, method


def test_mixes_have_their_shares(server):
    found = methods_of(load(server, "--mix", "GetUser=3,UpdateUser=1", "--call-limit", 400, "--streams", 4))
    assert found["GetUser"]["count"] + found["UpdateUser"]["count"] == 400, found
    assert 50 < found["UpdateUser"]["count"] < 150, found


def test_users_are_chosen_in_every_way(server):
    for ids in ("uniform", "zipf", "sequential", "one"):
        found = methods_of(load(server, "--ids", ids, "--call-limit", 100))
        assert found["GetUser"]["statuses"] == {"OK": 100}, (ids, found)


def test_open_loop_keeps_its_rate(server):
    found = load(server, "--rate", 200, "--call-limit", 100, "--connections", 3, "--sleep")
    assert found["offered_per_s"] == 200 and methods_of(found)["GetUser"]["count"] == 100, found
    assert found["seconds"] >= 0.49, found  # the last one is due then


def test_open_loop_counts_from_when_calls_are_due(server):
    """A server that stands still makes all calls late that are due meanwhile."""
    words = [USERBENCH, *map(str, load_words(server, "--rate", 500, "--seconds", 1.5, "--sleep"))]
    with subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        before = handled(server, "GetUser")
        while handled(server, "GetUser") < before + 50:
            assert process.poll() is None, process.stderr.read()
        server.pause()
        time.sleep(0.4)
        server.process.send_signal(signal.SIGCONT)
        output, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    get = methods_of(json.loads(output))["GetUser"]
    late = sum(count for upper, count in get["histogram"] if upper > 100000)
    assert get["latency_us"]["max"] > 300000 and late > 50, get


def test_tokens_are_sent_in_both_ways(server):
    sent = {}
    for words in ((), ("--literal-token",)):
        found = load(server, "--call-limit", 200, *words)
        assert methods_of(found)["GetUser"]["statuses"] == {"OK": 200}, found
        sent[words] = found["bytes_sent"]
    assert sent[()] < 200 * 90, sent  # a head of indexed fields, and the id
    assert sent[("--literal-token",)] > sent[()] + 200 * 100, sent


def test_first_failure_ends_it(server):
    wrong = pathlib.Path(server.folder) / "wrong-token"
    wrong.write_text(server.token()[:-6] + "AAAAAA")
    words = ["load", *at(server), "--token-file", wrong, "--users", USERS, "--call-limit", 20]
    said = refusal(*words)
    assert "UNAUTHENTICATED" in said and "--tolerate" in said, said
    found = methods_of(json.loads(bench(*words, "--tolerate").stdout))["GetUser"]
    assert found["count"] == 20 and found["statuses"] == {"UNAUTHENTICATED": 20}, found
    assert found["messages"] == 0 and found["failed_latency_us"]["max"] > 0, found


def test_failures_are_counted_by_status(server):
    found = methods_of(load(server, "--users", 10 * USERS, "--call-limit", 500, "--tolerate"))["GetUser"]
    assert set(found["statuses"]) == {"OK", "NOT_FOUND"} and sum(found["statuses"].values()) == 500, found
    assert found["statuses"]["NOT_FOUND"] > found["statuses"]["OK"], found


def test_phases_are_named_by_the_input(server):
    words = [USERBENCH, *map(str, load_words(server, "--rate", 200, "--phases", "--sleep"))]
    with subprocess.Popen(words, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for name in ("calm", "storm", "calm"):
            process.stdin.write(name + "\n")
            process.stdin.flush()
            before = handled(server, "GetUser")
            while handled(server, "GetUser") < before + 20:
                assert process.poll() is None
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    phases = json.loads(output)["phases"]
    assert [(phase["name"], phase["blocks"]) for phase in phases] == [("calm", 2), ("storm", 1)], phases
    for phase in phases:
        assert phase["calls"] > 0, phase
        assert len(phase["methods"]["GetUser"]["maxima_us"]) == phase["blocks"], phase


def test_lost_server_is_told(_server):
    server = BenchServer(SETTINGS)
    try:
        server.start()
        words = [USERBENCH, *map(str, load_words(server, "--seconds", 600, "--streams", 4))]
        with subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while handled(server, "GetUser") == 0:
                assert process.poll() is None, process.stderr.read()
            server.kill()
            output, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1 and output == "", (process.returncode, output, said)
        assert "has ended" in said and server.address in said, said
    finally:
        server.remove()


def test_limits_of_the_server_are_kept(_server):
    """Small windows, few streams, a small header table: what does not fit waits, or is refused."""
    small = {**SETTINGS, "http2": {**SETTINGS["http2"], "max_concurrent_streams": "8", "stream_window": "64KiB",
                                   "connection_window": "64KiB"}}
    with BenchServer.running(small, tls=False) as server:
        found = methods_of(load(server, "--streams", 8, "--mix", "SyncUsers=1,GetUser=1", "--items", 2000,
                                "--window", 1000, "--call-limit", 20))
        assert set(found["SyncUsers"]["statuses"]) == {"OK"} and found["SyncUsers"]["count"] % 2000 == 0, found
        found = methods_of(load(server, "--rate", 20000, "--call-limit", 2000))
        assert found["GetUser"]["count"] == 2000, found
        said = refusal(*load_words(server, "--streams", 9, "--seconds", 1))
        assert "the server allows 8" in said, said


def test_other_servers_are_measured_too(server):
    """Their heads are Huffman-coded and indexed in other ways."""
    files = server.certificates
    for stack in COMMANDS:
        with Peer(stack, "127.0.0.1:0", "--cert", files.cert, "--key", files.key) as peer:
            words = ["load", "--target", peer.address, "--ca", files.ca, "--token-file", server.token_file,
                     "--users", USERS, "--connections", 2, "--streams", 5]
            for more in ((), ("--literal-token",)):
                found = methods_of(json.loads(bench(*words, "--call-limit", 300, *more).stdout))
                assert found["GetUser"]["statuses"] == {"OK": 300}, (stack, found)
            assert peer.count("calls") == 600, stack


def test_bad_command_lines_are_told(server):
    for words, text in ((("--mix", "Get=1"), "METHOD=SHARE"), (("--mix", "GetUser=x"), "share"),
                        (("--mix", "GetUser=0"), "all shares are 0"), (("--ids", "few"), "uniform"),
                        (("--streams", "0"), "--streams"), (("--nothing",), "no option --nothing"),
                        (("--rate", "many"), "no number"), (("--users", "0"), "at least 1"),
                        (("--seconds",), "missing")):
        said = refusal(*load_words(server, "--seconds", "1", *words))
        assert text in said, (words, said)
    said = refusal(*load_words(server))
    assert "--seconds, --call-limit or --phases" in said, said
    said = refusal("load", "--target", "nowhere", "--seconds", 1)
    assert "HOST:PORT" in said, said
    said = refusal("load", *at(server), "--token-file", "/nowhere", "--seconds", 1)
    assert "/nowhere: No such file" in said, said
    held, port = unused_port()
    with held:
        said = refusal("load", "--target", f"127.0.0.1:{port}", "--ca", server.ca, "--seconds", 1)
    assert "Connection refused" in said, said


def test_the_client_library_is_measured_too(server):
    done = bench("channel", *at(server), "--token-file", server.token_file, "--users", USERS, "--rate", 200,
                 "--sleep", input="")
    assert done.stderr == "", done


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


# ---- connections


def gauge(server, name):
    return value(scrape(server), name)


class Held:
    """Connections that stand while this is open."""

    def __init__(self, server, *words):
        words = [USERBENCH, "connections", *at(server), "--token-file", server.token_file, "--users", USERS, *words]
        self.process = subprocess.Popen(list(map(str, words)), text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def __enter__(self):
        self.found = json.loads(self.process.stdout.readline())
        return self.found

    def __exit__(self, *_):
        self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0


def test_connections_stand_still(server):
    before = gauge(server, "userd_connections")
    with Held(server, "--connections", 50) as found:
        assert found["connections"] == 50 and found["seconds"] > 0, found
        assert gauge(server, "userd_connections") == before + 50
    count = handled(server, "GetUser")
    with Held(server, "--connections", 40, "--request"):
        assert handled(server, "GetUser") == count + 40


def test_connections_hold_streams_and_watches(server):
    with Held(server, "--connections", 3, "--streams", 20, "--watch", 10) as found:
        assert found["streams"] == 60 and found["watches"] == 30, found
        samples = scrape(server)
        for method, count in (("SyncUsers", 60), ("WatchUser", 30)):
            started = value(samples, "grpc_server_started_total", grpc_service="users.v1.UserService",
                            grpc_method=method, grpc_type=TYPES[method])
            ended = sum(number for (name, labels), number in samples.items()
                        if name == "grpc_server_handled_total" and ("grpc_method", method) in labels)
            assert started - ended == count, (method, started, ended)


def test_connections_tell_what_is_wrong(server):
    words = ["connections", *at(server), "--users", USERS]
    assert "UNAUTHENTICATED" in refusal(*words, "--request")
    assert "UNAUTHENTICATED" in refusal(*words, "--watch", 1)
    assert "max_concurrent_streams" in refusal(*words, "--token-file", server.token_file, "--streams", 1001)
    assert "at least 1" in refusal(*words, "--connections", 0)
    assert "limit of open files" in refusal(*words, "--connections", 2000000000)
    assert "HOST:PORT" in refusal("connections", "--target", "here")
    assert "--target is missing" in refusal("connections")


if __name__ == "__main__":
    run(globals(), lambda: BenchServer(SETTINGS))
