#!/usr/bin/python3
"""/metrics of a real server: whether its figures are those of the calls that were made, whether readers of
Prometheus take it, and whether it is what docs/OPERATIONS.md says."""

import contextlib
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from raw_peer import PING, RawPeer, frame, head_block, message  # noqa: E402
from metrics_reader import OPEN_METRICS, fetch, samples_of, scrape, scrape_open, value  # noqa: E402
from userd_calls import DEADLINE_S, PASSWORD, create, failure, get, stub_of, update  # noqa: E402
from userd_harness import PATIENCE_S, ROOT, Server, run  # noqa: E402

import grpc  # noqa: E402
from prometheus_client.openmetrics import parser as openmetrics  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

SERVICE = "users.v1.UserService"
PROMTOOL = ROOT / "build/deps/promtool/promtool"
# The guide's names are as they are.
FINDINGS_TAKEN = {"grpc_request_duration_ms metric names should not contain abbreviated units"}
RANDOM_PATHS = 10000
WINDOW = 500  # calls at once


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def classic(method, kind="unary"):
    return {"grpc_type": kind, "grpc_service": SERVICE, "grpc_method": method}


def of_calls(samples):
    """What counts calls, without their times."""
    return {key: count for key, count in samples.items()
            if key[0].startswith("grpc_") and not key[0].endswith(("_sum", "_bucket"))}


def difference(before, after):
    """Of the series that changed or came."""
    return {key: count - before.get(key, 0) for key, count in after.items()
            if count != before.get(key, 0)}


def expected(method, kind="unary", codes=(), received=0, sent=0):
    """What calls of a method change. `codes`: (number, name, count)."""
    labels = classic(method, kind)
    path = f"/{SERVICE}/{method}"
    total = sum(count for _, _, count in codes)
    counts = {
        ("grpc_server_started_total", ()): total,
        ("grpc_server_handling_seconds_count", ()): total,
        ("grpc_server_msg_received_total", ()): received,
        ("grpc_server_msg_sent_total", ()): sent,
        **{("grpc_server_handled_total", (("grpc_code", name),)): count
           for _, name, count in codes},
    }
    whole = {(name, tuple(sorted((*labels.items(), *more)))): count
             for (name, more), count in counts.items() if count}
    whole[("grpc_request_duration_ms_count", (("method", path),))] = total
    for number, _, count in codes:
        whole[("grpc_requests_total", (("method", path), ("status", str(number))))] = count
    return whole


def check_calls(server, before, *expectations):
    """Waits for calls that end behind the client's back, then compares everything."""
    wanted = {key: count for part in expectations for key, count in part.items()}
    with contextlib.suppress(AssertionError):
        wait_until(lambda: difference(before, of_calls(scrape(server))) == wanted)
    found = difference(before, of_calls(scrape(server)))
    assert found == wanted, {key: (found.get(key), wanted.get(key))
                             for key in found.keys() | wanted.keys()
                             if found.get(key) != wanted.get(key)}


# ---- the figures


def test_unary_calls_count_exactly(server):
    user = create(server)
    before = of_calls(scrape(server))
    for _ in range(7):
        get(server, user.id)
    for _ in range(3):
        failure(stub_of(server).GetUser, users_pb2.GetUserRequest(id="nobody"), timeout=DEADLINE_S)
    failure(stub_of(server).CreateUser, users_pb2.CreateUserRequest(), timeout=DEADLINE_S)
    channel = server.channel(token=None)
    for _ in range(2):
        failure(server.stub(channel).GetUser, users_pb2.GetUserRequest(id=user.id),
                timeout=DEADLINE_S)
    channel.close()
    check_calls(server, before,
                expected("GetUser", received=10, sent=7,  # two were refused at their head
                         codes=((0, "OK", 7), (5, "NotFound", 3), (16, "Unauthenticated", 2))),
                expected("CreateUser", codes=((3, "InvalidArgument", 1),), received=1))


def test_streams_count_their_messages(server):
    user = create(server)
    before = of_calls(scrape(server))
    watch = stub_of(server).WatchUser(users_pb2.GetUserRequest(id=user.id))
    next(watch)
    update(server, user.id, users_pb2.User(email="watched@example.com"))
    next(watch)
    # While it is open its messages are counted, and it is not.
    labels = classic("WatchUser", "server_stream")
    now = scrape(server)
    assert value(now, "grpc_server_msg_sent_total", **labels) == 2
    assert value(now, "grpc_server_started_total", **labels) == 1
    assert value(now, "grpc_server_handling_seconds_count", **labels) == 0
    assert value(now, "userd_watchers", service="users") == 1
    watch.cancel()
    requests = [users_pb2.CreateUserRequest(username=f"batch{i}", email=f"batch{i}@example.com",
                                            password=PASSWORD) for i in range(6)]
    replies = list(stub_of(server).BatchCreateUsers(iter(requests), timeout=DEADLINE_S))
    assert len(replies) == 6
    check_calls(server, before,
                expected("WatchUser", "server_stream", ((1, "Canceled", 1),), received=1, sent=2),
                expected("UpdateUser", codes=((0, "OK", 1),), received=1, sent=1),
                expected("BatchCreateUsers", "bidi_stream", ((0, "OK", 1),), received=6, sent=6))
    now = scrape(server)
    assert value(now, "userd_stream_items_total", result="done") == 6
    assert value(now, "userd_watch_messages_total", service="users") == 2
    assert value(now, "userd_watchers", service="users") == 0


def test_times_fit_the_calls(server):
    """The sum of the times is below what the client measured, and every call took some."""
    user = create(server)
    before = scrape(server)
    started = time.monotonic()
    for _ in range(20):
        get(server, user.id)
    taken = time.monotonic() - started
    after = scrape(server)
    labels = classic("GetUser")

    def grown(name, **of):
        return value(after, name, **of) - value(before, name, **of)

    seconds = grown("grpc_server_handling_seconds_sum", **labels)
    assert 0 < seconds < taken, (seconds, taken)
    ms = grown("grpc_request_duration_ms_sum", method=f"/{SERVICE}/GetUser")
    assert abs(ms / 1000 - seconds) < 1e-6, (ms, seconds)


def test_random_paths_add_one_series(server):
    get(server, create(server).id)
    before = scrape(server)
    names = iter(range(RANDOM_PATHS))
    for _ in range(RANDOM_PATHS // WINDOW):
        calls = []
        for number in (next(names) for _ in range(WINDOW)):
            path = f"/guess{number % 7}.v{number}.Service{number % 13}/Method{number}"
            if number % 3 == 0:
                path = f"/{SERVICE}/Guess{number}"
            calls.append(server.shared_channel.unary_unary(path).future(b"", timeout=DEADLINE_S))
        assert {call.code() for call in calls} == {grpc.StatusCode.UNIMPLEMENTED}
    after = scrape(server)
    added = after.keys() - before.keys()
    assert added == {("grpc_requests_total", (("method", "other"), ("status", "12")))}, added
    assert after[added.pop()] == RANDOM_PATHS
    assert value(after, "grpc_server_handled_total", grpc_type="other", grpc_service="other",
                 grpc_method="other", grpc_code="Unimplemented") == RANDOM_PATHS


def test_refusals_are_counted_by_reason(server):
    before = scrape(server)
    user = create(server)
    for token in (server.token(exp=1), "rubbish", server.token()[:-6] + "AAAAAA"):
        channel = server.channel(token=token)
        failure(server.stub(channel).GetUser, users_pb2.GetUserRequest(id=user.id),
                timeout=DEADLINE_S)
        channel.close()
    with socket.create_connection((server.host, server.port), timeout=PATIENCE_S) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while stranger.recv(1000):
                pass
    with socket.create_connection((server.host, server.port), timeout=PATIENCE_S):
        pass  # and gone
    reasons = (("userd_auth_refused_total", "expired"), ("userd_auth_refused_total", "bad_shape"),
               ("userd_auth_refused_total", "bad_signature"),
               ("userd_tls_handshakes_failed_total", "tls"),
               ("userd_tls_handshakes_failed_total", "peer"),
               ("userd_connections_closed_total", "tls"))

    def counted():
        now = scrape(server)
        return {reason: value(now, *reason[:1], reason=reason[1]) -
                value(before, *reason[:1], reason=reason[1]) for reason in reasons}

    wait_until(lambda: all(counted().values()))
    assert set(counted().values()) == {1}, counted()
    now = scrape(server)
    assert value(now, "userd_tls_handshakes_done_total") > value(before, "userd_tls_handshakes_done_total")
    assert value(now, "userd_tls_handshakes") == 0


def test_http2_frames_are_counted(_server):
    """Without TLS, by a peer that sends frame by frame."""
    settings = {"keepalive": {"min_ping_s": "3600", "max_strikes": "2"}}
    with Server.running({"auth": {"mode": "none"}, **settings}, tls=False) as server:
        with RawPeer(server) as peer:
            block = head_block(f"/{SERVICE}/GetUser")
            peer.send(peer.request(block, message(b""), ends=False))
            wait_until(lambda: value(scrape(server), "userd_streams") == 1)
            assert value(scrape(server), "userd_calls") == 1
            peer.send(peer.cancel(0))
            wait_until(lambda: value(scrape(server), "userd_streams") == 0)
            for _ in range(5):
                peer.send(frame(PING, 0, 0, struct.pack(">Q", 1)))
            wait_until(lambda: value(scrape(server), "userd_connections") == 0)
        now = scrape(server)
        assert value(now, "userd_resets_received_total") == 1
        # The first is free, three are strikes, and then it is over.
        assert value(now, "userd_ping_strikes_total") == 3
        assert value(now, "userd_pings_received_total") == 4
        assert value(now, "userd_goaways_sent_total", reason="limit") == 1
        assert value(now, "userd_limit_hits_total", limit="keepalive.max_strikes") == 1
        assert value(now, "userd_connections_accepted_total") == 1
        assert value(now, "userd_connections_failed_total") == 1


def test_log_and_snapshots_are_told(_server):
    with Server.running() as server:
        begun = time.time()
        for _ in range(5):
            create(server)
        now = scrape(server)
        assert value(now, "userd_wal_records_total") == 5
        assert value(now, "userd_wal_sync_records_sum") == 5
        assert value(now, "userd_wal_sync_seconds_count") >= value(now, "userd_wal_sync_records_count") > 0
        assert value(now, "userd_wal_sync_seconds_sum") > 0
        assert value(now, "userd_wal_durable_lsn") == value(now, "userd_wal_written_lsn") == 5
        assert value(now, "userd_users") == 5 and value(now, "userd_hash_seconds_count") == 5
        assert value(now, "userd_store_bytes") > 5 * 100
        assert value(now, "userd_snapshot_last_timestamp_seconds") == 0
        server.take_snapshot()
        wait_until(lambda: value(scrape(server), "userd_snapshots_total", result="done") == 1)
        now = scrape(server)
        size = value(now, "userd_snapshot_last_bytes")
        assert size == sum(path.stat().st_size for path in server.data.glob("snap-*.snap"))
        assert value(now, "userd_snapshot_last_duration_seconds") > 0
        assert begun - 1 < value(now, "userd_snapshot_last_timestamp_seconds") < time.time() + 1
        server.shared_channel.close()
        server.stop()
        server.start()
        now = scrape(server)  # of the run before, from its file
        assert value(now, "userd_snapshot_last_bytes") == size
        assert begun - 1 < value(now, "userd_snapshot_last_timestamp_seconds") < time.time() + 1
        assert value(now, "userd_snapshot_last_duration_seconds") == 0
        assert value(now, "userd_users") == 5


def test_reloads_are_counted(_server):
    with Server.running() as server:
        first = value(scrape(server), "userd_config_last_reload_success_timestamp_seconds")
        good = server.config.read_text()
        server.config.write_text(good + "\n[nonsense]\na = b\n")
        server.process.send_signal(1)
        wait_until(lambda: value(scrape(server), "userd_config_reloads_total", result="failure") == 1)
        now = scrape(server)
        assert value(now, "userd_config_last_reload_successful") == 0
        assert value(now, "userd_config_last_reload_success_timestamp_seconds") == first
        server.config.write_text(good)
        server.process.send_signal(1)
        wait_until(lambda: value(scrape(server), "userd_config_reloads_total", result="success") == 1)
        now = scrape(server)
        assert value(now, "userd_config_last_reload_successful") == 1
        assert value(now, "userd_config_last_reload_success_timestamp_seconds") > first
        assert value(now, "userd_config_reloads_total", result="failure") == 1


def test_process_is_told(server):
    now = scrape(server)
    proc = pathlib.Path(f"/proc/{server.process.pid}")
    assert abs(value(now, "process_open_fds") - len(list((proc / "fd").iterdir()))) <= 2
    assert 0 < value(now, "process_cpu_seconds_total") < 10000
    assert value(now, "process_resident_memory_bytes") < value(now, "process_virtual_memory_bytes")
    limit = re.search(r"Max open files +(\d+)", (proc / "limits").read_text()).group(1)
    assert value(now, "process_max_fds") == int(limit)
    assert abs(value(now, "process_start_time_seconds") - (proc / "cmdline").stat().st_mtime) < PATIENCE_S
    assert value(now, "userd_state", state="serving") == 1
    assert value(now, "userd_wal_state", state="ready") == 1


# ---- the form


def test_both_formats_say_the_same(server):
    get(server, create(server).id)
    kind, text = fetch(server)
    assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
    assert "# EOF" not in text
    kind, text = fetch(server, OPEN_METRICS)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8", kind
    assert text.endswith("\n# EOF\n")
    samples_of(openmetrics.text_string_to_metric_families(text))
    plain, strict = scrape(server), scrape_open(server)

    def calls(samples):
        return {(name, tuple((key, float(text) if key == "le" else text) for key, text in labels)): count
                for (name, labels), count in samples.items()
                if name.startswith("grpc_") and not name.endswith("_created")}

    assert calls(plain) == calls(strict)
    assert {name for name, _ in plain} == {name for name, _ in strict}


def test_open_metrics_rules(server):
    """By hand, what a parser may be lenient about."""
    text = fetch(server, OPEN_METRICS)[1]
    families = {}
    kind = unit = name = None
    label = r'[a-z_]+="(?:[^"\\\n]|\\[n"\\])*"'
    sample = re.compile(rf"([a-z_]+)(?:\{{{label}(?:,{label})*\}})? -?[0-9.e+-]+")
    suffixes = {"counter": ("_total",), "gauge": ("",), "info": ("_info",),
                "histogram": ("_bucket", "_sum", "_count")}
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    for line in lines[:-2]:
        words = line.split(" ", 3)
        if line.startswith("# HELP "):
            name, kind, unit = words[2], None, None
            assert name not in families and not name.endswith(("_total", "_info")), name
            families[name] = 0
        elif line.startswith("# TYPE "):
            assert words[2] == name and words[3] in suffixes, line
            kind = words[3]
        elif line.startswith("# UNIT "):
            unit = words[3]
            assert words[2] == name and name.endswith("_" + unit), line
        else:
            found = sample.fullmatch(line)
            assert found and found.group(1) in [name + suffix for suffix in suffixes[kind]], line
            families[name] += 1
            for bound in re.findall(r'le="([^"]*)"', line):
                assert bound == "+Inf" or bound == repr(float(bound)), line
    assert len(families) > 90, len(families)


def test_buckets_are_cumulative(server):
    get(server, create(server).id)
    series = {}
    samples = scrape(server)
    for (name, labels), count in samples.items():
        if name.endswith("_bucket"):
            rest = tuple(label for label in labels if label[0] != "le")
            series.setdefault((name[:-len("_bucket")], rest), []).append((float(dict(labels)["le"]), count))
    assert len(series) > 20
    for (name, rest), buckets in series.items():
        buckets.sort()
        counts = [count for _, count in buckets]
        assert counts == sorted(counts), (name, rest, buckets)
        assert buckets[-1][0] == float("inf"), (name, rest)
        assert counts[-1] == samples[(name + "_count", rest)], (name, rest)
    guide = sorted(bound for bound, _ in
                   series[("grpc_request_duration_ms", (("method", f"/{SERVICE}/GetUser"),))])
    assert guide == [10, 50, 100, 500, 1000, 5000, float("inf")], guide
    usual = sorted(bound for bound, _ in
                   series[("grpc_server_handling_seconds", tuple(sorted(classic("GetUser").items())))])
    assert (usual[0], usual[-2]) == (1e-05, 100), usual


def test_every_code_of_every_method_is_there(_server):
    with Server.running() as server:
        samples = scrape(server)
        codes = {}
        for (name, labels), _ in samples.items():
            if name == "grpc_server_handled_total":
                method = tuple(label for label in labels if label[0] != "grpc_code")
                codes.setdefault(method, set()).add(dict(labels)["grpc_code"])
        assert {len(found) for found in codes.values()} == {17}, codes
        methods = {dict(method)["grpc_method"] for method in codes}
        assert {"GetUser", "WatchUser", "BatchCreateUsers", "Check", "Watch", "other"} <= methods, methods


def test_no_secrets(server):
    user = create(server, username="somebodys-name", email="somebody@example.org")
    token = server.token(sub="somebodys-subject")
    channel = server.channel(token=token)
    server.stub(channel).GetUser(users_pb2.GetUserRequest(id=user.id), timeout=DEADLINE_S)
    channel.close()
    for text in (fetch(server)[1], fetch(server, OPEN_METRICS)[1]):
        for secret in (token, token.split(".")[2], server.secret.decode(errors="replace").strip(),
                       PASSWORD, "$argon2", user.id, "somebody", str(server.folder)):
            assert secret not in text, secret


def test_promtool_finds_nothing(server):
    if not PROMTOOL.exists():
        print(f"SKIPPED: promtool is not there; `scripts/deps.sh check` puts it into {PROMTOOL}")
        return
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=fetch(server)[1], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    findings = set(done.stdout.splitlines())
    assert findings == FINDINGS_TAKEN and done.returncode == 3, (done.returncode, findings)


# ---- what is written about it


def documented():
    """name -> (type, label names) of the table in docs/OPERATIONS.md."""
    rows = {}
    labels = ()
    for line in (ROOT / "docs/OPERATIONS.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 5 or not re.fullmatch(r"`[a-z_]+`", cells[0]) or cells[1] not in (
                "counter", "gauge", "histogram", "info"):
            continue
        named = re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", cells[2]))
        if "the same" in cells[2]:
            named = list(labels) + named
        else:
            labels = named
        name = cells[0].strip("`")
        assert name not in rows, name
        rows[name] = (cells[1], set(named))
    return rows


def exposed(server):
    types = {}
    for line in fetch(server)[1].splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = "info" if name.endswith("_info") else kind
    found = {name: (kind, set()) for name, kind in types.items()}
    for name, labels in scrape(server):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        base = base if types.get(base) == "histogram" else name
        found[base][1].update(label for label, _ in labels if label != "le")
    return found


def test_documentation_names_them_all(server):
    told, there = documented(), exposed(server)
    assert told.keys() == there.keys(), (told.keys() - there.keys(), there.keys() - told.keys())
    wrong = {name: (told[name], there[name]) for name in told if told[name] != there[name]}
    assert not wrong, wrong


def test_a_scrape_is_short(server):
    """Says how long the loop was held up: see docs/PERFORMANCE.md. How much that may be depends on
    the machine, so a test can only say that it is told."""
    text = fetch(server)[1]
    times = sorted(value(scrape(server), "userd_metrics_render_seconds") for _ in range(50))
    assert times[0] > 0
    print(f"counts: /metrics has {len(text)} bytes in {text.count(chr(10))} lines, written in "
          f"{times[0] * 1e6:.0f} us at best, {times[25] * 1e6:.0f} us typically")


if __name__ == "__main__":
    run(globals(), Server)
