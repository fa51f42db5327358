#!/usr/bin/python3
"""The admin port of a real server, asked by Python's HTTP client."""

import base64
import hashlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import create, get  # noqa: E402
from userd_harness import PATIENCE_S, SLOW, USERD, Server, run  # noqa: E402


def admin_address(server):
    """(host, port) from the log, where the line stands before the one that the harness waits for."""
    found = re.search(r" admin_listening address=([^ \n]+):(\d+)", server.log())
    assert found, server.log()
    return found.group(1), int(found.group(2))


def ask(server, method, path, headers=None, body=None):
    """(status, body, response) of one request."""
    connection = http.client.HTTPConnection(*admin_address(server), timeout=PATIENCE_S)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode(), response
    finally:
        connection.close()


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_probes(server):
    assert ask(server, "GET", "/healthz")[:2] == (200, "alive\n")
    assert ask(server, "GET", "/readyz")[:2] == (200, "ready\n")
    assert ask(server, "HEAD", "/readyz")[:2] == (200, "")


def test_help_names_the_routes(server):
    status, body, response = ask(server, "GET", "/help")
    assert status == 200, (status, body)
    for path in ("/", "/healthz", "/readyz", "/metrics", "/config", "/log", "/reload", "/snapshot"):
        assert re.search(rf"^(GET|POST).* {path} ", body, re.MULTILINE), body
    assert response.getheader("Content-Type") == "text/plain; charset=utf-8"
    assert response.getheader("Cache-Control") == "no-store"


def test_the_page_stands_alone(server):
    """One answer is all of it, and what it may run and fetch is named by hash, in the answer itself."""
    status, body, response = ask(server, "GET", "/")
    assert (status, response.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
    rights = dict(part.strip().split(" ", 1) for part in
                  response.getheader("Content-Security-Policy").split(";"))
    assert rights["default-src"] == "'none'" and rights["connect-src"] == "'self'", rights
    for tag in ("script", "style"):
        inside = re.search(rf"<{tag}>(.*)</{tag}>", body, re.DOTALL).group(1)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rights[f"{tag}-src"] == f"'sha256-{digest}'", rights
    assert not re.search(r"(src|href)=\"(?!/|data:,)", body) and "//" not in re.sub(r"'[^']*'", "", body), "an outside address"
    assert ask(server, "HEAD", "/")[:2] == (200, "")


def test_config_shows_what_is_in_force(server):
    status, body, response = ask(server, "GET", "/config")
    assert (status, response.getheader("Content-Type")) == (200, "text/plain; charset=utf-8")
    assert f"data_dir = {server.data} ; {server.config}:" in body, body
    assert re.search(r"^max_message = \S+ ; default, reloadable$", body, re.MULTILINE), body
    assert re.search(r"^backlog = 1024 ; default$", body, re.MULTILINE), body
    printed = subprocess.run([USERD, "--config", str(server.config), "--print-config"],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
    assert body == printed
    assert ask(server, "GET", "/config", {"Host": "evil.example"})[0] == 403


def test_config_hides_secrets(_server):
    secret = "a-secret-that-nobody-may-see-anywhere"
    server = Server({"auth": {"jwt_secret_file": ""}})
    server.environment["JWT_SECRET"] = secret
    try:
        server.start()
        body = ask(server, "GET", "/config")[1]
        assert "; jwt_secret = ******** ; environment JWT_SECRET" in body and secret not in body, body
        server.stop()
        assert secret not in server.log()
    finally:
        server.remove()


def test_reload_on_demand(_server):
    with Server.running() as server:
        assert re.search(r"^max_message = 64KiB ; default", ask(server, "GET", "/config")[1], re.MULTILINE)
        server.config.write_text(server.config.read_text().replace("[limits]", "[limits]\nmax_message = 32KiB"))
        status, body, _ = ask(server, "POST", "/reload")
        assert (status, body) == (202, "a reload has begun; the log of userd tells how it ends\n")
        server.wait_for(r" admin_request peer=127\.0\.0\.1:\d+ method=POST path=/reload status=202")
        server.wait_for(r" reloaded .*limits\.max_message")
        line = rf"^max_message = 32KiB ; {server.config}:\d+, reloadable$"
        assert re.search(line, ask(server, "GET", "/config")[1], re.MULTILINE)
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            assert ask(server, "POST", "/reload", headers)[0] == 403
        server.wait_for(r" warn admin_request .* path=/reload status=403")
        assert server.log().count(" reloaded ") == 1, server.log()


def test_the_log_level_until_the_next_reload(_server):
    with Server.running() as server:
        assert ask(server, "GET", "/log")[:2] == (200, "info\n")
        assert ask(server, "POST", "/log?level=loud")[0] == 400
        assert ask(server, "GET", "/log?level=debug")[1] == "info\n"
        assert ask(server, "POST", "/log?level=error")[0] == 200
        server.wait_for(r" log_level_set peer=127\.0\.0\.1:\d+ level=error before=info ")
        assert ask(server, "POST", "/log?level=debug")[:2] == (200, "debug, until the next reload\n")
        server.wait_for(r" log_level_set .* level=debug before=error ")
        create(server)
        server.wait_for(r" debug .*CreateUser")
        assert ask(server, "POST", "/reload")[0] == 202
        server.wait_for(r" reloaded ")
        wait_until(lambda: ask(server, "GET", "/log")[1] == "info\n")
        server.shared_channel.close()


def test_what_it_does_not_know(server):
    assert ask(server, "GET", "/metricz")[0] == 404
    status, _, response = ask(server, "GET", "/snapshot")
    assert (status, response.getheader("Allow")) == (405, "POST")
    status, _, response = ask(server, "DELETE", "/readyz")
    assert (status, response.getheader("Allow")) == (405, "GET, HEAD")
    assert ask(server, "POST", "/snapshot", body=b"now")[0] == 413


def test_pages_of_other_sites(server):
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"},
                    {"Host": "evil.example:9090"}):
        assert ask(server, "POST", "/snapshot", headers)[0] == 403, headers
    assert ask(server, "GET", "/healthz", {"Host": "evil.example"})[0] == 403


def test_snapshot_on_demand(server):
    user = create(server)
    status, body, _ = ask(server, "POST", "/snapshot")
    assert status == 202, (status, body)
    assert ask(server, "POST", "/snapshot")[0] in (202, 409)
    wait_until(lambda: list(server.data.glob("snap-*.snap")))
    wait_until(lambda: ask(server, "POST", "/snapshot")[0] == 202)
    assert get(server, user.id) == user


def test_connections_are_limited_in_number_and_time(_server):
    with Server.running({"admin": {"max_connections": "3", "timeout_s": "2"}}) as server:
        address = admin_address(server)
        started = time.monotonic()
        idle = [socket.create_connection(address, timeout=PATIENCE_S) for _ in range(3)]
        for one in idle:
            one.sendall(b"GET / HT")
        extra = socket.create_connection(address, timeout=PATIENCE_S)
        try:
            assert extra.recv(1) == b""
        except ConnectionResetError:
            pass
        assert all(one.recv(1) == b"" for one in idle)
        assert time.monotonic() - started > 1.5
        wait_until(lambda: ask(server, "GET", "/healthz")[0] == 200)
        for one in (*idle, extra):
            one.close()


def test_calls_go_on_beside_it(server):
    """Whoever hammers the port, or feeds it rubbish, does not hold up calls or end the server."""
    user = create(server)
    stop = threading.Event()
    counts = []

    def hammer(request):
        count = 0
        while not stop.is_set():
            try:
                with socket.create_connection(admin_address(server), timeout=PATIENCE_S) as one:
                    one.sendall(request)
                    while one.recv(65536):
                        pass
                count += 1
            except OSError:
                pass  # over the limit of connections
        counts.append(count)

    requests = (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03rubbish\r\n\r\n",
                b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n")
    threads = [threading.Thread(target=hammer, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for _ in range(200):
        assert get(server, user.id) == user
    stop.set()
    for thread in threads:
        thread.join()
    assert all(counts), counts
    assert ask(server, "GET", "/readyz")[0] == 200


def test_a_server_that_goes_is_not_ready_but_alive(_server):
    with Server.running({"server": {"drain_delay_s": str(2 * SLOW)}}) as server:
        assert ask(server, "GET", "/readyz")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: ask(server, "GET", "/readyz")[0] == 503)
        status, body, _ = ask(server, "GET", "/readyz")
        assert (status, body.startswith("not ready: draining")) == (503, True), body
        assert ask(server, "GET", "/healthz")[0] == 200


def test_it_can_be_off(_server):
    with Server.running({"admin": {"listen": "off"}}) as server:
        assert "admin_listening" not in server.log()
        create(server)
        server.shared_channel.close()


def test_a_port_that_is_taken_ends_the_start(_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = Server({"admin": {"listen": f"127.0.0.1:{taken.getsockname()[1]}"}})
        try:
            process = subprocess.run([USERD, "--config", str(other.config)], timeout=PATIENCE_S,
                                     stderr=subprocess.PIPE, text=True, check=False)
            assert process.returncode == 78, process.returncode
            assert "admin.listen: cannot listen on 127.0.0.1:" in process.stderr, process.stderr
        finally:
            other.remove()


if __name__ == "__main__":
    run(globals(), Server)
