#!/usr/bin/python3
"""The client library on several servers behind one name: who gets which call, and what becomes of calls when a
server is killed, leaves, fails, is not well, or moves."""

import collections
import os
import pathlib
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from cluster import NET, SHARED, Cluster, service_config, skip_without_names  # noqa: E402
from peers import Peer  # noqa: E402
from userd_harness import REPORTS, SLOW, USERD, Server, run  # noqa: E402

CALLS = 3000 if SLOW == 1 else 900
IN_FLIGHT = 24
RATE = 400 // SLOW  # of calls while a server leaves and comes back
WRITES = 5  # every so many calls one is a write
WINDOW_MS = 4000 * SLOW
NEVER_DONE = {"CONNECT", "REFUSED", "BREAKER"}  # what the library says of a call that nobody has looked at


def counts(lines, name):
    return collections.Counter(line[name] for line in lines)


def expect_even(lines, backends, tolerance=0.05):
    """Of calls that were answered; a server that tells its name with every answer must have given it."""
    found = counts(lines, "backend")
    assert set(found) == set(backends), (found, backends)
    fair = len(lines) / len(backends)
    assert all(abs(count - fair) <= fair * tolerance for count in found.values()), found
    return found


def expect_one_server_each(lines):
    """What the library says of a call's backend is true: the servers give the shared user different names."""
    pairs = {(line["backend"], line["username"]) for line in lines if line["method"] == "GetUser"}
    assert len(pairs) == len({backend for backend, _ in pairs}), pairs


def audit(cluster, load):
    """What the servers have of the writes: every acknowledged one once; no other twice, and none that the
    library says was never looked at."""
    stored = collections.Counter()
    for server in cluster.servers:
        stored.update(cluster.users(server))
    writes = load.calls(method="CreateUser")
    names = counts(writes, "name")
    assert set(names.values()) <= {1}, "a call ended twice"
    problems = []
    for line in writes:
        count = stored[line["name"]]
        if line["code"] == "OK" and count != 1:
            problems.append(f"acknowledged, and stored {count} times: {line}")
        elif count > 1:
            problems.append(f"stored {count} times: {line}")
        elif count > 0 and line["cause"] in NEVER_DONE:
            problems.append(f"stored in spite of its cause: {line}")
    assert not problems, problems[:5]
    return sum(line["code"] == "OK" for line in writes)


def expect_return(load, backend):
    """A server that is back is called again, and as often as the others."""
    load.wait_for_calls(30, backend=backend)
    place = load.driver.place()
    load.wait_for_calls(300, method="GetUser")
    lines = load.driver.find(place, event="call", method="GetUser", code="OK")
    expect_even(lines, {one["address"] for one in load.driver.stats()["backends"]}, tolerance=0.2)


# ---- spread


def spread(cluster, **options):
    with cluster.driver(**options) as driver:
        driver.wait_ready(len(cluster.addresses))
        load = driver.load(calls=CALLS, in_flight=IN_FLIGHT, id=SHARED)
        end = load.wait()
        assert end["ok"] == CALLS, load.failures()[:3]
        found = expect_even(load.calls(), cluster.addresses)
        expect_one_server_each(load.calls())
        stats = driver.stats()
        assert stats["calls"] == CALLS and stats["retries"] == 0, stats
        assert {one["address"]: one["calls"] for one in stats["backends"]} == dict(found), stats
        return found


def test_round_robin_spreads_calls_evenly_over_a_list(_server):
    with Cluster() as cluster:
        spread(cluster, addresses=cluster.addresses)
        spread(cluster, target="ipv4:" + ",".join(cluster.addresses), hosts=None)
        cluster.stop()


@skip_without_names
def test_round_robin_spreads_calls_evenly_behind_one_name(_server):
    with Cluster() as cluster:
        found = spread(cluster)
        print(f"counts: {CALLS} calls over three servers behind one name: {sorted(found.values())}")
        cluster.stop()


def test_pick_first_stays_with_one_and_moves_on(_server):
    with Cluster(count=2) as cluster:
        first, second = cluster.addresses
        with cluster.driver(addresses=cluster.addresses, service_config=service_config(policy="pick_first"),
                            balancing="pick_first") as driver:
            load = driver.load(rate=RATE, in_flight=IN_FLIGHT, id=SHARED)
            load.wait_for_calls(100)
            assert set(counts(load.calls(), "backend")) == {first}
            cluster.servers[0].kill()
            load.wait_for_calls(100, backend=second)
            load.stop()
            assert not load.failures(), load.failures()[:3]


# ---- servers that go


def begin_load(driver, **more):
    load = driver.load(**{"rate": RATE, "in_flight": IN_FLIGHT, "writes": WRITES, "id": SHARED,
                          "prefix": "w", **more})
    load.wait_for_calls(100)
    return load


def test_kill_loses_no_read_and_repeats_no_write(_server):
    """By the default service config: its throttle has to bear that a connection fails all its calls at once."""
    with Cluster() as cluster, cluster.driver() as driver:
        driver.wait_ready(3)
        load = begin_load(driver, rate=0)
        for victim in cluster.servers * 2:
            load.wait_for_calls(300)
            victim.kill()
            load.wait_for_calls(300)
            victim.start()
            expect_return(load, victim.address)
        load.stop()
        assert not load.failures(method="GetUser"), load.failures(method="GetUser")[:3]
        unknown = load.failures(method="CreateUser")
        assert all(line["code"] == "UNAVAILABLE" for line in unknown), unknown[:3]
        written = audit(cluster, load)
        print(f"counts: six kills among {len(load.calls())} calls: no read lost, {written} writes "
              f"acknowledged, {len(unknown)} unknown, none done twice")
        cluster.stop()


def test_a_draining_server_loses_no_call(_server):
    with Cluster() as cluster, cluster.driver() as driver:
        driver.wait_ready(3)
        load = begin_load(driver, rate=0)
        for leaving in cluster.servers:
            load.wait_for_calls(300)
            leaving.stop()
            load.wait_for_calls(300)
            leaving.start()
            expect_return(load, leaving.address)
        load.stop()
        assert not load.failures(), load.failures()[:3]
        written = audit(cluster, load)
        print(f"counts: three drains among {len(load.calls())} calls and {written} writes: none lost")
        cluster.stop()


def test_without_any_server_calls_fail_or_wait_as_they_say(_server):
    with Cluster(count=1) as cluster, cluster.driver(addresses=cluster.addresses) as driver:
        assert driver.call("get", id=SHARED)["code"] == "OK"
        cluster.servers[0].kill()
        driver.wait_for_backends(lambda all_: all(one["state"] != "READY" for one in all_.values()),
                                 "the loss is not noticed")
        failed = driver.call("create", username="nobody", wait=0)
        # TLS: a connection that the dying server's socket still took.
        assert failed["code"] == "UNAVAILABLE" and failed["cause"] in ("CONNECT", "TLS"), failed
        assert cluster.addresses[0] in failed["message"], failed
        late = driver.call("get", id=SHARED, wait=1, timeout_ms=300)
        assert (late["code"], late["cause"]) == ("DEADLINE_EXCEEDED", "DEADLINE"), late
        waiting = driver.begin("get", id=SHARED, wait=1)
        cluster.servers[0].start()
        assert driver.end(waiting)["code"] == "OK"
        cluster.stop()


# ---- circuit breakers


def breaker_options(**more):
    return {"breaker_window_ms": WINDOW_MS, "breaker_min_calls": 20, "breaker_failure_percent": 50,
            "breaker_cooldown_ms": 500, "breaker_probes": 3, **more}


def foreign_server(cluster, number, stack="grpcio"):
    """A server of somebody else at the cluster's port."""
    return Peer(stack, f"{NET}.{number}:{cluster.port}", "--cert", cluster.pair[0], "--key", cluster.pair[1])


def test_a_failing_server_opens_its_breaker_and_closes_it_again(_server):
    with Cluster(count=2) as cluster, foreign_server(cluster, 3) as peer:
        addresses = [*cluster.addresses, peer.address]
        with cluster.driver(addresses=addresses, foreign=peer, **breaker_options()) as driver:
            driver.wait_ready(3)
            load = driver.load(rate=RATE, in_flight=IN_FLIGHT, id=SHARED)
            load.wait_for_calls(RATE)
            place = driver.place()
            peer.ask("unavailable on")
            told = driver.stats()["ms"]
            opened = driver.wait("breaker", place, backend=peer.address, state="OPEN")
            assert opened["ms"] - told <= WINDOW_MS, f"open after {opened['ms'] - told:.0f} ms of {WINDOW_MS}"
            # While it is open nobody calls but the probes, and each of them opens it once more.
            driver.wait_for_backends(lambda all_: all_[peer.address]["breaker_opened"] >= 3,
                                     "no probe opens the breaker again")
            backend = driver.backends()[peer.address]
            probes = backend["calls"] - opened["calls"]
            assert 0 < probes <= 3 * backend["breaker_opened"] + IN_FLIGHT // 3, (opened, backend)
            place = driver.place()
            peer.ask("unavailable off")
            driver.wait("breaker", place, backend=peer.address, state="CLOSED")
            expect_return(load, peer.address)
            load.stop()
            assert not load.failures(), load.failures()[:3]
            assert driver.stats()["breaker_refusals"] == 0
            print(f"counts: open {opened['ms'] - told:.0f} ms after the first failure, "
                  f"{backend['breaker_opened']:.0f} times; {probes:.0f} probes; closed again; no call lost")
        cluster.stop()


def test_an_open_breaker_answers_for_the_only_server(_server):
    with Cluster(count=1) as cluster, foreign_server(cluster, 2) as peer:
        options = breaker_options(breaker_cooldown_ms=600000)
        with cluster.driver(addresses=[peer.address], **options) as driver:
            peer.ask("unavailable on")
            load = driver.load(calls=40, in_flight=4, writes=1, prefix="never")  # writes are not tried again
            load.wait()
            causes = counts(load.calls(), "cause")
            assert causes["ANSWER"] >= 20 and causes["BREAKER"] > 0, causes
            assert peer.count("calls") == causes["ANSWER"]
            refused = driver.call("get", id=SHARED, wait=0)
            assert (refused["code"], refused["cause"]) == ("UNAVAILABLE", "BREAKER"), refused
            assert refused["attempts"] == 0, refused
            late = driver.call("get", id=SHARED, wait=1, timeout_ms=300)  # patient: until its deadline
            assert (late["code"], late["cause"]) == ("DEADLINE_EXCEEDED", "DEADLINE"), late
            assert "circuit breaker" in late["message"], late
            assert driver.stats()["breaker_refusals"] == causes["BREAKER"] + 1
            waiting = driver.begin("get", id=SHARED, wait=1, timeout_ms=60000)
            peer.process.kill()
            peer.process.wait()
            with foreign_server(cluster, 2):  # connected anew it is probed at once, not in ten minutes
                assert driver.end(waiting)["code"] == "OK"


def test_answers_that_are_no_failures_open_no_breaker(_server):
    with Cluster(count=1) as cluster, cluster.driver(addresses=cluster.addresses, **breaker_options()) as driver:
        load = driver.load(calls=200, in_flight=8, id="nobody")
        load.wait()
        assert set(counts(load.calls(), "code")) == {"NOT_FOUND"}, load.calls()[:3]
        backend = driver.backends()[cluster.addresses[0]]
        assert backend["breaker_opened"] == 0 and backend["failures"] == 0, backend


# ---- health


def test_servers_that_are_not_serving_get_no_calls(_server):
    """userd says NOT_SERVING for the delay of a drain; its calls would still be answered."""
    settings = {"server": {"drain_delay_s": "600"}}
    with Cluster(settings) as cluster, cluster.driver(service_config=service_config(health=True)) as driver:
        driver.wait_ready(3)
        leaving = cluster.servers[1]
        load = begin_load(driver)
        leaving.process.send_signal(signal.SIGTERM)
        driver.wait_for_backends(lambda all_: not all_[leaving.address]["healthy"], "NOT_SERVING is not seen")
        place = driver.place()
        load.wait_for_calls(300)
        lines = driver.find(place, event="call", method="GetUser")[IN_FLIGHT:]  # without those that were under way
        assert leaving.address not in counts(lines, "backend"), counts(lines, "backend")
        assert driver.backends()[leaving.address]["state"] == "READY"
        leaving.process.send_signal(signal.SIGTERM)
        assert leaving.wait_for_end() == 0
        leaving.start()
        expect_return(load, leaving.address)
        load.stop()
        assert not load.failures(), load.failures()[:3]
        audit(cluster, load)


def test_health_is_watched_all_the_time(_server):
    with Cluster(count=2) as cluster, foreign_server(cluster, 3, "grpc-js") as peer:
        peer.ask("serving off")
        with cluster.driver(addresses=[*cluster.addresses, peer.address], foreign=peer,
                            service_config=service_config(health=True)) as driver:
            driver.wait_ready(2)
            load = driver.load(rate=RATE, in_flight=IN_FLIGHT, id=SHARED)
            load.wait_for_calls(100)
            assert peer.count("calls") == 0
            peer.ask("serving on")
            expect_return(load, peer.address)
            load.stop()
            assert not load.failures(), load.failures()[:3]


# ---- tokens and names


def test_a_rotated_token_is_taken_under_load(_server):
    with Cluster({"log": {"access": "all"}}) as cluster:
        first = cluster.servers[0]
        cluster.token_file.write_text(first.token(sub="old-caller"))
        with cluster.driver() as driver:
            driver.wait_ready(3)
            load = begin_load(driver)
            new = cluster.folder / "token.new"
            new.write_text(first.token(sub="new-caller") + "\n")
            os.replace(new, cluster.token_file)
            for server in cluster.servers:
                server.wait_for(r" info call method=\S+ .*caller=new-caller")
            load.wait_for_calls(2 * IN_FLIGHT)
            places = [len(server.lines) for server in cluster.servers]
            # One that has become unusable does not replace it.
            cluster.token_file.write_text("")
            load.wait_for_calls(2 * RATE)
            load.stop()
            for server, place in zip(cluster.servers, places):
                callers = set(re.findall(r" info call .*caller=(\S+)", "".join(server.lines[place:])))
                assert callers == {"new-caller"}, callers
            assert not load.failures(), load.failures()[:3]
        cluster.stop()


def moves(cluster, driver, load):
    """The name now stands for .2 and .3."""
    first, *others = cluster.addresses
    load.wait_for_calls(100, backend=first)
    assert set(counts(load.calls(method="GetUser"), "backend")) == {first}
    cluster.set_hosts(*others)
    return first, others


@skip_without_names
def test_names_are_asked_for_again_at_intervals(_server):
    with Cluster() as cluster:
        cluster.set_hosts(cluster.addresses[0])
        with cluster.driver(resolve_interval_ms=1000) as driver:
            load = begin_load(driver)
            _, others = moves(cluster, driver, load)
            for address in others:
                load.wait_for_calls(50, backend=address)
            driver.wait_for_backends(lambda all_: set(all_) == set(others), "the old address is kept")
            place = driver.place()
            load.wait_for_calls(200)
            reads = driver.find(place, event="call", method="GetUser")[IN_FLIGHT:]
            assert set(counts(reads, "backend")) == set(others)
            load.stop()
            assert not load.failures(), load.failures()[:3]
            audit(cluster, load)
        cluster.stop()


@skip_without_names
def test_names_are_asked_for_again_when_a_connection_is_lost(_server):
    with Cluster() as cluster:
        cluster.set_hosts(cluster.addresses[0])
        with cluster.driver(resolve_interval_ms=0, wait_for_ready=1) as driver:
            load = begin_load(driver, writes=0)
            first, others = moves(cluster, driver, load)
            place = driver.place()
            load.wait_for_calls(RATE)
            assert set(counts(driver.find(place, event="call"), "backend")) == {first}
            cluster.servers[0].kill()
            for address in others:
                load.wait_for_calls(50, backend=address)
            load.stop()
            assert not load.failures(), load.failures()[:3]


@skip_without_names
def test_an_unknown_name_is_told(_server):
    with Cluster(count=1) as cluster:
        with cluster.driver(target="dns:///nobody.invalid:1", hosts=cluster.hosts) as driver:
            failed = driver.call("get", id=SHARED)
            assert failed["code"] == "UNAVAILABLE" and "nobody.invalid" in failed["message"], failed


def test_ten_thousand_clients_leave_nothing_behind(server):
    """Connect, call, cancel, disconnect. The sanitizer build looks for leaks. CLIENT_ROUNDS=10000 for all of them."""
    rounds = os.environ.get("CLIENT_ROUNDS", "1000")
    token_file = server.folder / "token"
    token_file.write_text(server.token())
    program = pathlib.Path(USERD).parent / "client-rounds"
    ran = subprocess.run([program, f"localhost:{server.port}", server.ca, token_file, rounds], check=False,
                         text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert ran.returncode == 0 and not REPORTS.search(ran.stdout), ran.stdout
    print(f"counts: {ran.stdout.strip()}")


if __name__ == "__main__":
    run(globals(), Server)
