#!/usr/bin/python3
"""What is in deploy/ fits the server: it lives under the filters of system calls that are shipped, and
manifests, alerts and dashboard name options, ports and metrics that there are."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))

from userd_harness import PATIENCE_S, ROOT, USERD, Certificates, Counts, Server, finish, run_main, run_one  # noqa: E402
from manager import Manager  # noqa: E402
from metrics_reader import admin_address, fetch  # noqa: E402
from userd_calls import DEADLINE_S, PASSWORD  # noqa: E402

import yaml  # noqa: E402

from users.v1 import users_pb2  # noqa: E402

DEPLOY = ROOT / "deploy"
PROMTOOL = ROOT / "build/deps/promtool/promtool"
SANITIZED = re.search(r"asan|tsan", os.environ.get("USERD_BUILD", ""))
CONFINED = ROOT / "tests/integration/lib/confined.py"
CONFINED_USER = 65532
# What a metric's name may end with in a query, beside what the table of metrics has.
SERIES_ENDS = re.compile(r"_(bucket|sum|count)$")


# ---- filters of system calls


def renew(server):
    """Puts another certificate and key in place."""
    others = Certificates(server.folder / "renewed")
    for new, old in (others.key, server.certificates.key), (others.cert, server.certificates.cert):
        if os.geteuid() == 0:
            os.chown(new, CONFINED_USER, CONFINED_USER)
        new.rename(old)


def life(server):
    """Everything that a server does from its start to its end."""
    with Manager(server.folder / "notify") as manager:
        os.chmod(manager.address, 0o777)
        server.environment = dict(manager.environment, WATCHDOG_USEC="2000000")
        server.start()
        channel = server.channel()
        stub = server.stub(channel)
        user = stub.CreateUser(users_pb2.CreateUserRequest(username="ada", email="ada@example.com",
                                                           password=PASSWORD), timeout=DEADLINE_S).user
        stub.GetUser(users_pb2.GetUserRequest(id=user.id), timeout=DEADLINE_S)
        watch = stub.WatchUser(users_pb2.GetUserRequest(id=user.id))
        next(watch)
        watch.cancel()
        server.take_snapshot()
        server.wait_for("snapshot_done")
        assert "userd_users 1" in fetch(server)[1]
        connection = http.client.HTTPConnection(*admin_address(server), timeout=PATIENCE_S)
        connection.request("GET", "/config")
        assert connection.getresponse().status == 200
        connection.close()
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r" reloaded source=SIGHUP")
        renew(server)
        server.wait_for(r" reloaded source=(?!SIGHUP)")
        manager.wait_for("WATCHDOG=1")
        channel.close()
        server.stop()
        manager.wait_for("STOPPING=1")
    warnings = [line for line in server.whole_log
                if re.search(r" (warn|error) ", line) and "password hashes are weaker" not in line]
    assert not warnings, warnings


def confined_life(names):
    """A life in which every system call but these kills; twice, for the second start replays a log."""
    server = Server({"health": {"listen": "127.0.0.1:0"}})
    try:
        program = server.folder / "userd"
        shutil.copy2(USERD, program)
        program.chmod(0o755)
        listed = server.folder / "calls"
        listed.write_text("\n".join(sorted(names)))
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{CONFINED_USER}:{CONFINED_USER}", server.folder], check=True)
        server.wrapper = [sys.executable, str(CONFINED), str(listed), str(program)]
        life(server)
        server.start()
        server.stop()
    finally:
        server.remove()


def systemd_calls(group, known):
    """The names of a group of system calls, @groups within it replaced."""
    names = set()
    for word in known[group]:
        names |= systemd_calls(word, known) if word.startswith("@") else {word}
    return names


def test_a_life_under_the_filter_of_systemd():
    if SANITIZED:
        print("SKIPPED: the filter of systemd: sanitizers call more of the kernel")
        return
    if not shutil.which("systemd-analyze"):
        print("SKIPPED: the filter of systemd: systemd-analyze is not there")
        return
    text = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    known = {}
    for line in text.splitlines():
        if line.startswith("@"):
            members = known.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.append(line.strip())
        elif line.startswith("#"):  # calls that are in no group
            members = []
    allowed = systemd_calls("@default", known)
    unit = (DEPLOY / "systemd/userd.service.in").read_text()
    for words in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        for word in words.lstrip("~").split():
            calls = systemd_calls(word, known) if word.startswith("@") else {word}
            allowed = allowed - calls if words.startswith("~") else allowed | calls
    # systemd takes @default along whatever is forbidden, and lets the program be started.
    confined_life(allowed | systemd_calls("@default", known) | {"execve"})


def seccomp_profile():
    profile = json.loads((DEPLOY / "kubernetes/seccomp-userd.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(group["action"] == "SCMP_ACT_ALLOW" for group in profile["syscalls"])
    names = [name for group in profile["syscalls"] for name in group["names"]]
    assert len(names) == len(set(names)), "a name stands twice"
    return names


def test_a_life_under_the_profile_for_containers():
    names = seccomp_profile()
    if SANITIZED:
        print("SKIPPED: the profile for containers: sanitizers call more of the kernel")
        return
    confined_life(names)


def test_the_profile_refuses_what_is_dangerous():
    assert not {"ptrace", "bpf", "mount", "unshare", "setns", "keyctl", "kexec_load", "init_module",
                "process_vm_writev", "pidfd_getfd", "userfaultfd", "perf_event_open"} & set(seccomp_profile())


# ---- Kubernetes


def manifests(name):
    return [one for one in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()) if one]


def the(kind, documents):
    found = [one for one in documents if one["kind"] == kind]
    assert len(found) == 1, (kind, len(found))
    return found[0]


def settings_of(text):
    """(section, key) -> value of an INI."""
    settings = {}
    section = None
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith((";", "#")):
            key, _, value = line.partition("=")
            settings[section, key.strip()] = value.strip()
    return settings


def config_of(documents):
    return the("ConfigMap", documents)["data"]["userd.ini"]


def port_of(address):
    return int(address.rpartition(":")[2])


def test_the_configuration_of_kubernetes_is_good(server):
    text = config_of(manifests("userd.yaml"))
    for mounted, here in (("/etc/userd/tls/tls.crt", server.certificates.cert),
                          ("/etc/userd/tls/tls.key", server.certificates.key),
                          ("/etc/userd/jwt/jwt.secret", server.certificates.secret)):
        assert mounted in text, mounted
        text = text.replace(mounted, str(here))
    file = server.folder / "kubernetes.ini"
    file.write_text(text)
    done = subprocess.run([USERD, "--config", str(file), "--check"], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout


def check_pod(workload, config):
    spec = workload["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": port_of(config["server", "listen"]), "health": port_of(config["health", "listen"]),
                     "admin": port_of(config["admin", "listen"])}, ports
    for probe, service in (("startupProbe", "liveness"), ("livenessProbe", "liveness"),
                           ("readinessProbe", "readiness")):
        assert container[probe]["grpc"] == {"port": ports["health"], "service": service}, probe
    needed = int(config["server", "drain_delay_s"]) + int(config["server", "drain_grace_s"])
    assert spec["terminationGracePeriodSeconds"] > needed
    assert spec["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    profile = spec["securityContext"]["seccompProfile"]
    assert (DEPLOY / "kubernetes" / profile["localhostProfile"]).is_file()
    volumes = {one["name"]: one for one in spec["volumes"]}
    volumes.update({one["metadata"]["name"]: one for one in workload["spec"].get("volumeClaimTemplates", ())})
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == set(volumes)
    assert config["store", "data_dir"] in mounts and not mounts[config["store", "data_dir"]].get("readOnly")
    for key in ("tls", "cert_file"), ("tls", "key_file"), ("auth", "jwt_secret_file"):
        folder = str(pathlib.PurePath(config[key]).parent)
        secret = volumes[mounts[folder]["name"]]["secret"]
        assert secret["defaultMode"] & 0o007 == 0, "userd refuses secrets that everybody may read"
        assert secret["defaultMode"] & 0o040 and spec["securityContext"]["fsGroup"]
    assert not any("subPath" in mount for mount in mounts.values()
                   if mount["mountPath"] != "/etc/userd/userd.ini"), "changes do not reach a subPath"
    limits = container["resources"]["limits"]
    assert set(limits) == set(container["resources"]["requests"]) == {"cpu", "memory"}


def test_manifests_fit_together(_server):
    documents = manifests("userd.yaml")
    config = settings_of(config_of(documents))
    deployment = the("Deployment", documents)
    service = the("Service", documents)
    assert service["metadata"]["name"] == "user-service" and service["spec"]["clusterIP"] == "None"
    assert service["spec"]["ports"] == [{"name": "grpc", "port": 50051, "targetPort": "grpc"}]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    budget = the("PodDisruptionBudget", documents)
    assert deployment["spec"]["replicas"] == 3 and budget["spec"]["minAvailable"] < 3
    for selector in service["spec"]["selector"], budget["spec"]["selector"]["matchLabels"]:
        assert selector.items() <= labels.items(), selector
    check_pod(deployment, config)
    stateful = the("StatefulSet", manifests("statefulset.yaml"))
    check_pod(stateful, config)
    assert stateful["spec"]["serviceName"] == service["metadata"]["name"]
    scraped = manifests("servicemonitor.yaml")
    monitor = the("ServiceMonitor", scraped)
    admin = the("Service", scraped)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= admin["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == admin["spec"]["ports"][0]["name"]
    assert admin["spec"]["ports"][0]["targetPort"] == "admin" and admin["spec"]["selector"].items() <= labels.items()
    # The alerts look for this job; the operator would name it after the service.
    assert monitor["spec"]["jobLabel"] in admin["metadata"]["labels"]
    assert admin["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "userd"
    policy = the("NetworkPolicy", manifests("networkpolicy.yaml"))
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    let_in = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert let_in == {port_of(config["server", "listen"]), port_of(config["admin", "listen"])}


# ---- container


def test_the_container_has_the_libraries(_server):
    """Each library that userd names must come with a package of the image."""
    text = (DEPLOY / "container/Containerfile").read_text()
    packages = set(text.partition("FROM debian:12-slim")[2].replace("\\", " ").split())
    named = subprocess.run(["readelf", "-d", USERD], check=True, text=True, stdout=subprocess.PIPE).stdout
    found = dict(re.findall(r"(\S+) => (/\S+)", subprocess.run(
        ["ldd", USERD], check=True, text=True, stdout=subprocess.PIPE).stdout))
    libraries = re.findall(r"\(NEEDED\).*\[(.*)\]", named)
    assert libraries
    for library in libraries:
        path = os.path.basename(found.get(library, library))
        owner = subprocess.run(["dpkg", "-S", "*/" + path], check=False, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL).stdout.partition(":")[0]
        # libc and the like are in every image; sanitizers and Debian's wolfSSL in none.
        if not re.match(r"(libc6|libgcc|libasan|libubsan|libtsan|libwolfssl)", owner):
            assert owner in packages, f"{library} of {owner}"


# ---- Prometheus


def alerts():
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels():
    dashboard = json.loads((DEPLOY / "prometheus/dashboard.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    return dashboard["panels"]


def check_names(expression, present, where):
    bare = re.sub(r"#.*", "", expression)
    bare = re.sub(r'"[^"]*"', "", bare)
    names = re.findall(r"\b(?:grpc|userd|process)_[a-z_]+(?<!_code)(?<!_method)(?<!_service)(?<!_type)\b", bare)
    assert names, f"{where} asks for no metric: {expression}"
    for name in names:
        assert name in present or SERIES_ENDS.sub("", name) in present, f"{where}: there is no {name}"


def metrics_of(server):
    return set(re.findall(r"^# TYPE (\S+)", fetch(server)[1], re.MULTILINE))


def test_alerts_and_dashboard_ask_for_metrics_that_there_are(server):
    present = metrics_of(server)
    for rule in alerts():
        if rule["expr"].strip() != 'up{job="userd"} == 0':
            check_names(rule["expr"], present, rule["alert"])
    queries = 0
    for panel in panels():
        for target in panel.get("targets", ()):
            check_names(target["expr"], present, panel["title"])
            queries += 1
    assert queries > 20


def test_each_alert_is_explained(_server):
    text = (ROOT / "docs/OPERATIONS.md").read_text()
    section = text.partition("## Alerts: what to do when\n")[2].partition("\n## ")[0]
    explained = re.findall(r"\*\*(Userd[A-Za-z]+)", section)
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    assert sorted(explained) == sorted(names), set(explained) ^ set(names)
    for rule in alerts():
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
        assert rule["annotations"]["runbook"] == "docs/OPERATIONS.md#alerts-what-to-do-when"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_promtool_likes_them(_server):
    if not PROMTOOL.exists():
        print(f"SKIPPED: promtool is not there; `scripts/deps.sh check` puts it into {PROMTOOL}")
        return
    for words in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml"),
                  ("test", "rules", "alerts_test.yml")):
        done = subprocess.run([PROMTOOL, *words], cwd=DEPLOY / "prometheus", check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout


def test_each_alert_is_tested(_server):
    tests = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    quiet = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case.get("exp_alerts")}
    assert fired == quiet
    assert fired == {rule["alert"] for rule in alerts()}


def main():
    only = os.environ.get("TEST")
    tests = {name: value for name, value in globals().items()
             if name.startswith("test_") and only in (None, name)}
    server = Server()
    try:
        server.start()
        for name, function in tests.items():
            run_one(name, function, *([server] if function.__code__.co_argcount else []))
        server.stop()
    finally:
        server.remove()
    if Counts.failed:
        print("".join(server.whole_log[-20:]))
    finish()


if __name__ == "__main__":
    run_main(main)
