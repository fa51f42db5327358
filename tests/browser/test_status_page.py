#!/usr/bin/python3
"""The status page of a real server in a real browser: do its figures tell what /metrics tells, does it
ask nobody else, does it look right, and what does it say when the server goes and comes back?"""

import contextlib
import http.client
import os
import pathlib
import random
import re
import signal
import socket
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests/browser"), str(ROOT / "tests/integration/lib")]

from browser import Browser  # noqa: E402
from userd_calls import create, failure, get, stub_of, update  # noqa: E402
from userd_harness import PATIENCE_S, Server, finish, run_main, run_one  # noqa: E402

import grpc  # noqa: E402
from users.v1 import users_pb2  # noqa: E402

SCREENSHOTS = ROOT / "build/browser"
BUCKET = re.compile(r'^grpc_server_handling_seconds_bucket\{(.*)\} (\d+)$', re.MULTILINE)

# Luminance and contrast as WCAG 2 defines them, of every text against what is behind it.
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const found = parse(getComputedStyle(at).backgroundColor);
    if (found.length < 4 || found[3] === 1) return found;
  }
  return [255, 255, 255];
};
const poor = [];
for (const element of document.body.querySelectorAll('*')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility() || element.closest('script, noscript')) continue;
  const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) poor.push(`${element.textContent.trim()}: ${contrast.toFixed(2)}`);
}
return poor;
"""

# What is wider than its place, or reaches over the edge of the window.
TOO_WIDE = """
const wide = [];
for (const element of document.body.querySelectorAll('*')) {
  if (element.closest('noscript, script, svg') || !element.checkVisibility()) continue;
  const { right, left } = element.getBoundingClientRect();
  if (right > innerWidth + 0.5 || left < -0.5 || element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0) {
    wide.push(`${element.tagName} #${element.id} ${element.className}: ${element.textContent.trim().slice(0, 40)}`);
  }
}
if (document.documentElement.scrollWidth > innerWidth) wide.push('the page');
return wide;
"""


def free_port():
    """A port that no system gives away by itself, so that it is still free after a restart."""
    for _ in range(100):
        port = random.randrange(20000, 30000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


class Case:
    """A server with load on it, and a browser that shows its page."""

    def __init__(self):
        self.browser = Browser(PATIENCE_S)
        self.host = f"127.0.0.1:{free_port()}"
        self.server = Server({"admin": {"listen": self.host},
                              "server": {"drain_delay_s": "300"}})  # a second signal ends it
        self.stop_load = threading.Event()
        self.load = None

    def ask(self, path):
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metric(self, name, **labels):
        """The sum of a metric over all series with these labels."""
        lines = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", self.ask("/metrics"), re.MULTILINE)
        assert lines, f"/metrics has no {name}"
        return sum(float(value) for text, value in lines
                   if all(f'{key}="{wanted}"' in text for key, wanted in labels.items()))

    def begin_load(self):
        """Calls of several kinds, now and then one that fails, until told to stop."""
        self.stop_load.clear()
        users = [create(self.server) for _ in range(5)]

        def work():
            number = 0
            while not self.stop_load.is_set():
                number += 1
                user = users[number % len(users)]
                get(self.server, user.id)
                if number % 5 == 0:
                    update(self.server, user.id, users_pb2.User(email=f"e{number}@example.com"), "email")
                    stub_of(self.server).ListUsers(users_pb2.ListUsersRequest(page_size=5))
                if number % 20 == 0:
                    assert failure(get, self.server, "nobody").code() == grpc.StatusCode.NOT_FOUND
                time.sleep(0.005)

        self.watch = stub_of(self.server).WatchUser(users_pb2.GetUserRequest(id=users[0].id))
        self.load = threading.Thread(target=work)
        self.load.start()

    def end_load(self):
        if self.load is not None:
            self.stop_load.set()
            self.load.join()
            self.load = None
            self.watch.cancel()

    def close(self):
        self.end_load()
        self.browser.close()
        self.server.remove()


def number(text):
    return float(text.replace(",", "").split()[0])


def seconds(text):
    value, unit = text.split()
    return float(value) * {"µs": 1e-6, "ms": 1e-3, "s": 1}[unit]


def test_the_page_opens(case):
    case.browser.open(f"http://{case.host}/")
    case.browser.wait(lambda: case.browser.text("state-text") == "Ready", "it never says Ready")
    case.browser.wait(lambda: case.browser.text("rate") not in ("–", "0"), "the rate does not move")
    assert case.browser.text("version") == re.search(r'version="([^"]+)"', case.ask("/metrics")).group(1)
    assert re.fullmatch(r"ends in \d+ d( \d+ h)?", case.browser.text("certificate"))
    assert case.browser.rows("limits") == {"none": []}, case.browser.rows("limits")


def test_the_count_of_calls_is_that_of_the_metrics(case):
    """Whatever the page shows was true between two looks at /metrics."""
    name = "grpc_server_handled_total"
    for _ in range(3):
        low = case.metric(name)
        shown = case.browser.wait(
            lambda: max(number(case.browser.text("calls-total")) - low + 1, 0), "the count stands still") + low - 1
        high = case.metric(name)
        assert low <= shown <= high, (low, shown, high)


def test_the_rate_is_that_of_the_metrics(case):
    """It lies within what /metrics gave over spans as long as the page's own."""
    looks = []

    def fits():
        looks.append((time.monotonic(), case.metric("grpc_server_handled_total")))
        spans = [(b[1] - a[1]) / (b[0] - a[0]) for a in looks for b in looks if 2 <= b[0] - a[0] <= 5]
        return spans and 0.5 * min(spans) <= number(case.browser.text("rate")) <= 2 * max(spans)

    case.browser.wait(fits, "the rate is another")


def test_percentiles_lie_where_the_calls_are(case):
    def fits():
        shown = [case.browser.text(name) for name in ("p50", "p90", "p99", "p999")]
        if "–" in shown:
            return False
        times = [seconds(text) for text in shown]
        assert times == sorted(times), shown
        upto = {}
        for labels, count in BUCKET.findall(case.ask("/metrics")):
            if 'grpc_type="unary"' in labels:
                end = float(re.search(r'le="([^"]+)"', labels).group(1).replace("+Inf", "inf"))
                upto[end] = upto.get(end, 0) + int(count)
        ends = sorted(upto)
        used = [i for i, end in enumerate(ends) if upto[end] > (upto[ends[i - 1]] if i else 0)]
        low = ends[used[0] - 1] if used[0] else 0
        return low * 0.99 <= times[0] and times[-1] <= ends[used[-1]] * 1.01

    case.browser.wait(fits, "the percentiles are others")


def test_methods_and_errors_are_those_of_the_metrics(case):
    get_user = {"grpc_method": "GetUser"}
    row = case.browser.wait(lambda: case.browser.rows("methods").get("GetUser"), "GetUser is missing")
    assert row[0] != "–" and number(row[0]) > 0, row
    assert case.metric("grpc_server_handled_total", **get_user) > 0
    assert {"GetUser", "UpdateUser", "ListUsers", "CreateUser"} <= set(case.browser.rows("methods"))
    shown = case.browser.wait(lambda: case.browser.rows("errors").get("NotFound"), "NotFound is missing")
    assert 0 < number(shown[2]) <= case.metric("grpc_server_handled_total", grpc_code="NotFound")


def test_gauges_are_those_of_the_metrics(case):
    for element, name in (("users", "userd_users"), ("connections", "userd_connections"),
                          ("watchers", "userd_watchers")):
        case.browser.wait(lambda: number(case.browser.text(element)) == case.metric(name), element)
    case.browser.wait(lambda: case.browser.text("sync") != "–", "no time of a sync")
    case.browser.wait(lambda: case.browser.text("batch") != "–" and number(case.browser.text("batch")) >= 1, "no batch")
    case.browser.wait(lambda: case.browser.text("memory") != "–", "no memory")
    case.browser.wait(lambda: "%" in case.browser.text("processor"), "no processor time")


def test_a_limit_that_is_hit_is_named(case):
    def is_named():
        failure(create, case.server, password="x" * (2 << 20))
        return number(case.browser.rows("limits").get("limits.max_message", ["", "0"])[1]) > 0

    case.browser.wait(is_named, "the limit is not named")


def test_pictures_are_drawn_and_can_be_pointed_at(case):
    case.browser.wait(lambda: case.browser.run("return points.length > 8"), "no points")
    for name in ("rate-chart", "latency-chart"):
        used = case.browser.run(
            "const canvas = document.getElementById(arguments[0]);"
            "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
            "const found = new Set(); for (let i = 0; i < data.length; i += 4)"
            " if (data[i + 3] > 200) found.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);"
            "return found.size", name)
        assert used > 4, (name, used)
        readout = name.replace("chart", "readout")
        case.browser.run("const canvas = document.getElementById(arguments[0]); canvas.focus();"
                         "for (let i = 0; i < 4; i++) canvas.dispatchEvent("
                         " new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true }))", name)
        assert re.match(r"\d+ s ago: ", case.browser.text(readout)), case.browser.text(readout)
        case.browser.run("document.activeElement.blur()")
        assert " ago: " not in case.browser.text(readout), case.browser.text(readout)


def test_nothing_shifts_while_figures_change(case):
    case.browser.run("window.shifts = []; new PerformanceObserver((list) =>"
                     " shifts.push(...list.getEntries().map((one) => one.value))).observe({ type: 'layout-shift' })")
    begun = case.browser.run("return points.length")
    case.browser.wait(lambda: case.browser.run("return points.length") >= begun + 4, "it does not go on")
    assert sum(case.browser.run("return shifts")) < 0.01, case.browser.run("return shifts")


def test_it_fits_every_window(case):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, width, height, scheme, scale in (
            ("light", 1280, 1000, "light", 1), ("dark", 1280, 1000, "dark", 1),
            ("phone", 360, 1950, "dark", 2), (None, 360, 800, "light", 2), (None, 320, 640, "light", 1),
            (None, 700, 900, "dark", 1), (None, 960, 900, "light", 1), (None, 2200, 1200, "light", 1)):
        case.browser.look(width, height, scheme, scale)
        if name is not None:
            case.browser.save(SCREENSHOTS / f"status-{name}.png")
        assert case.browser.run(TOO_WIDE) == [], (width, scheme, case.browser.run(TOO_WIDE))
        assert case.browser.run(CONTRAST) == [], (width, scheme, case.browser.run(CONTRAST))
        ground = case.browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(ground) < 64) == (scheme == "dark"), (scheme, ground)
    case.browser.look(1280, 1000, "light")


def test_it_is_silent_while_nobody_looks(case):
    case.browser.run("Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
                     "document.dispatchEvent(new Event('visibilitychange'))")
    case.browser.wait(lambda: case.browser.run("return timer === undefined && !isAsking"), "it goes on asking")
    seen = case.browser.run("return samples.at(-1).time")
    time.sleep(2.5)
    assert case.browser.run("return samples.at(-1).time") == seen
    case.browser.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    case.browser.wait(lambda: case.browser.run("return samples.at(-1).time") > seen, "it does not go on")


def test_it_asks_nobody_else_and_complains_of_nothing(case):
    for address in case.browser.note_requests():
        assert address.startswith((f"http://{case.host}/", "data:")), address
    assert f"http://{case.host}/metrics" in case.browser.requested
    assert case.browser.complaints() == []


def test_it_runs_no_script_but_its_own(case):
    """The policy that comes with the page holds against whoever gets text into it."""
    case.browser.run("const script = document.createElement('script'); script.textContent = 'window.foreign = 1';"
                     "document.body.append(script); script.remove()")
    assert case.browser.run("return window.foreign") is None
    outcome = case.browser.driver.execute_async_script(
        "const told = arguments[0]; fetch('http://127.0.0.1:9/').then(() => told('sent'), (error) => told(String(error)))")
    assert "TypeError" in outcome, outcome
    complaints = case.browser.complaints()
    assert len(complaints) >= 2 and all("Content Security Policy" in line for line in complaints[:2]), complaints


def test_a_server_that_leaves_goes_and_comes_back(case):
    server, browser = case.server, case.browser
    case.end_load()
    server.shared_channel.close()
    del server.shared_channel
    before = number(browser.text("calls-total"))
    server.process.send_signal(signal.SIGTERM)
    browser.wait(lambda: browser.text("state-text").startswith("Not ready: draining"), "it does not say that it leaves")
    server.stop()
    browser.wait(lambda: browser.text("state-text") == "No answer", "it does not say that the server is gone")
    assert "trying again" in browser.text("state-more")
    assert browser.run("return document.body.classList.contains('stale')")
    server.start()
    browser.wait(lambda: browser.text("state-text") == "Ready", "it does not come back")
    assert not browser.run("return document.body.classList.contains('stale')")
    browser.wait(lambda: "started anew" in browser.text("warnings"), "it does not say that this is another run")
    assert number(browser.text("calls-total")) < before
    case.begin_load()
    browser.wait(lambda: browser.text("rate") not in ("–", "0"), "the rate does not move again")
    assert browser.run("return points.every((point) => point.rate >= 0 && point.errorRate >= 0)")


def test_missing_metrics_are_dashes(case):
    case.browser.complaints()
    case.browser.run("window.fetch = async (path) =>"
                     " new Response(path === '/readyz' ? 'ready\\n' : 'userd_connections 3\\n<p>rubbish\\n')")
    case.browser.wait(lambda: case.browser.text("connections") == "3", "what is there is not shown")
    for element in ("users", "uptime", "version", "p50", "sync", "processor"):
        assert case.browser.text(element).strip() == "–", (element, case.browser.text(element))
    assert case.browser.text("state-text") == "Ready"
    assert case.browser.complaints() == []


def main():
    case = Case()
    only = os.environ.get("TEST")
    try:
        case.server.start()
        case.begin_load()
        for name, function in list(globals().items()):
            if name.startswith("test_") and (only in (None, name) or name == "test_the_page_opens"):
                run_one(name, function, case)
        case.end_load()
        case.server.process.send_signal(signal.SIGTERM)
        case.server.wait_for(" draining ")
        run_one("the server ends clean", case.server.stop)
    finally:
        case.close()
    finish()


if __name__ == "__main__":
    run_main(main)
