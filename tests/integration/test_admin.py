#!/usr/bin/python3
"""The admin port of a real server, asked by Python's HTTP client."""

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


def test_index_names_the_routes(server):
    status, body, response = ask(server, "GET", "/")
    assert status == 200 and "/healthz" in body and "POST /snapshot" in body, body
    assert response.getheader("Content-Type") == "text/plain; charset=utf-8"
    assert response.getheader("Cache-Control") == "no-store"


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
