#!/usr/bin/python3
"""What userctl does for people and shells: colours and tables on a terminal, completion, the configuration file,
watches that outlive their connection, health, and calls through reflection, also of a server that is not ours."""

import contextlib
import fcntl
import importlib.util
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from concurrent import futures

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from userd_calls import PASSWORD, create  # noqa: E402
from userd_harness import PATIENCE_S, ROOT, USERCTL, Certificates, Server, run  # noqa: E402

import grpc  # noqa: E402
from google.protobuf import descriptor_pb2  # noqa: E402

EVERY = ROOT / "build/gen/tests/userctl_every.binpb"


def environment(server, **changes):
    """Nothing from outside decides."""
    own = {name: value for name, value in os.environ.items()
           if not name.startswith("USERCTL_") and name not in ("NO_COLOR", "COLUMNS", "TERM")}
    folder = pathlib.Path(server.folder)
    token = folder / "tools-token"
    if not token.exists():
        token.write_text(server.token() + "\n")
        token.chmod(0o600)
    own |= {"TERM": "xterm", "XDG_CONFIG_HOME": str(folder / "config"), "HOME": str(folder),
            "USERCTL_TARGET": f"localhost:{server.port}", "USERCTL_CA": str(server.ca),
            "USERCTL_TOKEN_FILE": str(token)}
    own |= changes
    return {name: value for name, value in own.items() if value is not None}


def userctl(server, *words, code=0, stdin="", **changes):
    done = subprocess.run([USERCTL, *words], env=environment(server, **changes), input=stdin, text=True,
                          capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, words, env, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.shown = ""

    def read(self):
        """False at its end."""
        if not select.select([self.fd], [], [], PATIENCE_S)[0]:
            raise AssertionError(f"nothing more is shown after {self.shown!r}")
        try:
            more = os.read(self.fd, 65536)
        except OSError:
            more = b""
        self.shown += more.decode(errors="replace")
        return more != b""

    def wait_for(self, pattern):
        while not re.search(pattern, self.shown):
            assert self.read(), f"{pattern!r} is not in {self.shown!r}"
        match = re.search(pattern, self.shown)
        self.shown = self.shown[match.end():]
        return match

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        while self.read():
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def on_terminal(server, *words, columns=80, **changes):
    """Through a shell that waits until the terminal has its size."""
    gate = "while [ \"$(stty size 2>/dev/null)\" != \"24 $1\" ]; do :; done; shift; exec \"$@\""
    terminal = Terminal(["sh", "-c", gate, "sh", str(columns), USERCTL, *words], environment(server, **changes),
                        columns)
    code = terminal.end()
    return code, terminal.shown


def test_colors_are_for_terminals(server):
    user = create(server)
    code, shown = on_terminal(server, "get", "nobody")
    assert code == 5 and "\x1b[1;31muserctl: NOT_FOUND\x1b[0m: " in shown, shown
    code, shown = on_terminal(server, "get", user.id)
    assert code == 0 and "\x1b[32mACTIVE\x1b[0m" in shown, shown
    for changes in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": None}):
        assert "\x1b" not in on_terminal(server, "get", user.id, **changes)[1], changes
    assert "\x1b" not in on_terminal(server, "get", user.id, "--color", "never")[1]
    assert "\x1b" not in userctl(server, "get", "nobody", code=5).stderr
    assert "\x1b[1;31m" in userctl(server, "get", "nobody", "--color", "always", code=5).stderr
    assert "is none of auto|always|never" in userctl(server, "get", "x", "--color", "pink", code=64).stderr


def test_tables_fit_the_terminal(server):
    name = "w" * 36
    user = create(server, username=name, email=f"{name}@{'x' * 60}.example")
    for columns in (80, 100, 120, 200):
        code, shown = on_terminal(server, "list", "--filter", f"username = {name}", columns=columns, NO_COLOR="1")
        lines = shown.replace("\r", "").strip().split("\n")
        assert code == 0 and len(lines) == 2, shown
        assert all(len(line.rstrip()) <= columns for line in lines), (columns, lines)
        assert user.id in lines[1] and "ACTIVE" in lines[1], lines
        assert ("UTC" in lines[1]) == (columns > 100) and ("CREATED" in lines[0]) == (columns > 80), lines
        assert ("…" in lines[1].split()[1]) == (columns < 200), (columns, lines)


def shell(server, words):
    path = f"{pathlib.Path(USERCTL).parent}:{os.environ['PATH']}"
    terminal = Terminal(words, environment(server, PATH=path, PS1="> ", TERM="dumb", INPUTRC="/dev/null"), 200)
    return terminal


def check_completion(server, terminal, folder):
    """What is typed, and what it becomes."""
    for typed, shown in (
            ("userctl wat", "userctl watch "),
            ("userctl completion z", "userctl completion zsh "),
            ("userctl list --fil", "userctl list --filter "),
            ("userctl get x --no-rec", None),
            ("userctl watch --no-rec", "userctl watch --no-reconnect "),
            ("userctl --lb round", "userctl --lb round_robin "),
            ("userctl --color=alw", "userctl --color=always "),
            ("userctl --on produ", "userctl --on production "),
            ("userctl --config ~/other-targets --on else", "userctl --config ~/other-targets --on elsewhere "),
            ("userctl --deadline 5s upd", "userctl --deadline 5s update "),
            ("userctl --target a:1 upd", "userctl --target a:1 update "),
            ("userctl --target=dns:///a:1 list --fil", "userctl --target=dns:///a:1 list --filter "),
            ("userctl --header x:y --target a:1 upd", "userctl --header x:y --target a:1 update "),
            (f"userctl import {folder}/some", f"userctl import {folder}/some-users.jsonl "),
            (f"userctl get x --ca {folder}/some", f"userctl get x --ca {folder}/some-users.jsonl "),
            ("userctl token --tar", None),
            ("userctl describe --js", None),
            ("userctl targets --js", "userctl targets --json "),
            ("userctl help impo", "userctl help import ")):
        terminal.type(typed + "\t#end#")
        terminal.wait_for(re.escape((shown or typed) + "#end#"))
        terminal.type("\x15")


def prepare_completion(server):
    folder = pathlib.Path(server.folder) / "completion"
    folder.mkdir(exist_ok=True)
    (folder / "some-users.jsonl").write_text("")
    (pathlib.Path(server.folder) / "other-targets").write_text("[target elsewhere]\ntarget = a:1\n")
    config = pathlib.Path(server.folder) / "config"
    config.mkdir(exist_ok=True)
    (config / "userctl.ini").write_text("[target production]\ntarget = users.example:1\n"
                                        "[target staging]\ntarget = staging.example:1\n")
    return folder


def test_bash_completes(server):
    folder = prepare_completion(server)
    terminal = shell(server, ["bash", "--norc", "--noprofile", "-i"])
    terminal.type("bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; source <(userctl completion bash)"
                  " && echo 're''ady'\n")
    terminal.wait_for("ready")
    check_completion(server, terminal, folder)
    terminal.type("exit\n")
    terminal.end()
    subprocess.run(["bash", "-n"], input=userctl(server, "completion", "bash").stdout, text=True, check=True)
    assert "bash or zsh" in userctl(server, "completion", "fish", code=64).stderr


def test_zsh_completes(server):
    if shutil.which("zsh") is None:
        assert not os.environ.get("USERD_NO_SKIP"), "zsh is not there: scripts/deps.sh test"
        print("SKIPPED test_zsh_completes: zsh is not there")
        return
    folder = prepare_completion(server)
    terminal = shell(server, ["zsh", "-f", "-i"])
    terminal.type("unsetopt zle_bracketed_paste; autoload -Uz compinit && compinit -u -D; "
                  "source <(userctl completion zsh) && echo 're''ady'\n")
    terminal.wait_for("ready\r?\n")
    for typed, shown in (
            ("userctl wat", "userctl watch "), ("userctl completion z", "userctl completion zsh "),
            ("userctl --on produ", "userctl --on production "), ("userctl --lb=rou", "userctl --lb=round_robin "),
            ("userctl --config ~/other-targets --on else", "userctl --config ~/other-targets --on elsewhere "),
            ("userctl get --config ~/other-targets --on else", "userctl get --config ~/other-targets --on elsewhere "),
            (f"userctl import {folder}/some", f"userctl import {folder}/some-users.jsonl ")):
        terminal.type(typed + "\t")
        terminal.wait_for(re.escape(shown[len(typed):].rstrip()))
        terminal.type("\x15")
    terminal.type("exit\n")
    terminal.end()


def test_targets_of_the_configuration(server):
    user = create(server)
    folder = pathlib.Path(server.folder) / "own"
    folder.mkdir()
    config = folder / "c.ini"
    (folder / "token").write_text(server.token())
    (folder / "token").chmod(0o600)
    shutil.copy(server.ca, folder / "ca.pem")
    config.write_text("[default]\ntarget = here\n\n[target here]\n"
                      f"target = localhost:{server.port}\nca = ca.pem\ntoken_file = token\n\n"
                      "[target nowhere]\ntarget = 127.0.0.1:1\nplaintext = yes\n")
    bare = {"USERCTL_TARGET": None, "USERCTL_CA": None, "USERCTL_TOKEN_FILE": None}
    own = ("--config", str(config))
    assert user.username in userctl(server, *own, "get", user.id, **bare).stdout
    assert user.username in userctl(server, "get", user.id, **bare, USERCTL_CONFIG=str(config)).stdout
    assert "127.0.0.1:1" in userctl(server, *own, "get", user.id, "--on", "nowhere", code=14).stderr
    assert "'nowhere'" in userctl(server, *own, "get", user.id, "--on", "nowere", code=64, **bare).stderr
    lines = [json.loads(line) for line in userctl(server, *own, "targets").stdout.splitlines()]
    assert [line["name"] for line in lines] == ["here", "nowhere"] and lines[0]["default"], lines
    assert lines[0]["token_file"] == str(folder / "token"), lines
    code, shown = on_terminal(server, *own, "targets", NO_COLOR="1")
    assert code == 0 and re.search(r"\* here +localhost:", shown), shown
    (folder / "token").chmod(0o644)
    assert "everybody may read" in userctl(server, *own, "get", user.id, code=64, **bare).stderr
    config.write_text("[target here]\ntarget = a:1\ntokn_file = x\n")
    problem = userctl(server, *own, "targets", code=64).stderr
    assert f"{config}:3: there is no key 'tokn_file'; did you mean 'token_file'?" in problem, problem
    assert "cannot read" in userctl(server, "--config", "/nonexistent", "targets", code=64).stderr


class Relay:
    """A way to the server that can be cut and mended, on one port."""

    def __init__(self, port, host="127.0.0.1"):
        self.port = port
        self.listener = socket.create_server((host, 0))
        self.own = self.listener.getsockname()[1]
        self.pairs = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                here = self.listener.accept()[0]
                there = socket.create_connection(("127.0.0.1", self.port))
                self.pairs += [here, there]
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    @staticmethod
    def pump(one, other):
        with contextlib.suppress(OSError):
            while True:
                other.sendall(one.recv(65536) or exit())

    def cut(self):
        pairs, self.pairs = self.pairs, []
        for one in pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def end(self):
        self.cut()
        self.listener.close()


def start(server, *words, **changes):
    return subprocess.Popen([USERCTL, *words], env=environment(server, **changes), text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def next_line(file):
    ready = select.select([file], [], [], PATIENCE_S)[0]
    assert ready, "nothing more comes"
    return file.readline()


def test_watch_connects_again(server):
    user = create(server)
    relay = Relay(server.port)
    watch = start(server, "watch", user.id, USERCTL_TARGET=f"localhost:{relay.own}")
    assert user.username in next_line(watch.stdout)
    relay.cut()
    lost = next_line(watch.stderr)
    assert re.search(r"the connection is lost: .*\(UNAVAILABLE\); again in \d+\.\d s$", lost), lost
    assert next_line(watch.stderr) == "userctl: connected again; nothing has changed\n"
    userctl(server, "update", user.id, "--set", "roles=again")
    assert '"roles":["again"]' in next_line(watch.stdout)
    userctl(server, "delete", user.id)
    assert "USER_STATUS_DELETED" in next_line(watch.stdout)
    assert watch.wait(PATIENCE_S) == 0
    relay.end()


def test_watch_that_waits_ends_with_ctrl_c_and_with_a_user_that_is_gone(server):
    user = create(server)
    relay = Relay(server.port)
    watches = [start(server, "watch", user.id, USERCTL_TARGET=f"localhost:{relay.own}") for _ in range(2)]
    for watch in watches:
        assert user.username in next_line(watch.stdout)
    # The one is in its wait when the signal comes, the other finds its user deleted.
    userctl_delete = threading.Thread(target=userctl, args=(server, "delete", user.id))
    relay.cut()
    for watch in watches:
        assert "again in" in next_line(watch.stderr)
    watches[0].send_signal(signal.SIGINT)
    assert watches[0].wait(PATIENCE_S) == 0
    userctl_delete.start()
    userctl_delete.join()
    rest = watches[1].communicate(timeout=PATIENCE_S)
    # Either it saw the deletion, or it came too late for it and the server knows nobody.
    assert watches[1].returncode in (0, 5), (watches[1].returncode, rest)
    assert "USER_STATUS_DELETED" in rest[0] or "NOT_FOUND" in rest[1], rest
    relay.end()


def test_watch_ends_when_it_is_refused(server):
    user = create(server)
    for words, code in (((user.id, "--token", "forged"), 16), (("nobody",), 5),
                        ((user.id, "--target", "127.0.0.1:1"), 14)):
        done = userctl(server, "watch", *words, code=code)
        assert "again in" not in done.stderr, done.stderr


def test_health(server):
    assert userctl(server, "health").stdout == '{"status":"SERVING"}\n'
    assert json.loads(userctl(server, "health", "users.v1.UserService").stdout)["status"] == "SERVING"
    assert "NOT_FOUND" in userctl(server, "health", "nobody.v1", code=5).stderr
    assert "Connection refused" in userctl(server, "health", code=14, USERCTL_TARGET="127.0.0.1:1").stderr
    code, shown = on_terminal(server, "health", NO_COLOR="1")
    assert code == 0 and shown.strip() == "SERVING", shown
    watch = start(server, "health", "--watch")
    assert next_line(watch.stdout) == '{"status":"SERVING"}\n'
    watch.send_signal(signal.SIGINT)
    assert watch.wait(PATIENCE_S) == 0
    watch = start(server, "health", "nobody.v1", "--watch")
    assert next_line(watch.stdout) == '{"service":"nobody.v1","status":"SERVICE_UNKNOWN"}\n'
    watch.send_signal(signal.SIGINT)
    assert watch.wait(PATIENCE_S) == 5


def test_lists_of_targets(server):
    user = create(server)
    both = f"127.0.0.1:1,localhost:{server.port}"
    for balancing in ((), ("--lb", "pick_first"), ("--lb", "round_robin")):
        done = userctl(server, "get", user.id, *balancing, USERCTL_TARGET=both)
        assert user.username in done.stdout, (balancing, done)
    assert user.username in userctl(server, "get", user.id, USERCTL_TARGET=f"dns:///localhost:{server.port}").stdout
    # A walk through pages stays where it began, whatever is asked for: the second server knows other users.
    with Server.running() as other:
        both = f"localhost:{server.port},localhost:{other.port}"
        every = userctl(server, "list", "--all").stdout
        for _ in range(3):
            walk = userctl(server, "list", "--all", "--page-size", "1", "--lb", "round_robin", "--target", both)
            assert walk.stdout == every, walk
    assert "none of round_robin|pick_first" in userctl(server, "get", "x", "--lb", "best", code=64).stderr


def test_call_of_each_shape(server):
    user = create(server)
    path = "/users.v1.UserService/"
    reply = json.loads(userctl(server, "call", path + "GetUser", json.dumps({"id": user.id})).stdout)
    assert reply["user"]["username"] == user.username and reply["user"]["status"] == "USER_STATUS_ACTIVE", reply
    again = userctl(server, "call", "users.v1.UserService.GetUser", "-", stdin=f'{{\n"id":\n"{user.id}"}}')
    assert json.loads(again.stdout) == reply
    request = pathlib.Path(server.folder) / "request.json"
    request.write_text(json.dumps({"updateMask": "roles", "user": {"roles": ["x"]}, "id": user.id}))
    described = userctl(server, "describe", "users.v1.UpdateUserRequest").stdout
    assert "message users.v1.UpdateUserRequest {" in described, described
    lines = "".join(json.dumps({"username": f"called{i}", "email": f"called{i}@example.com",
                                "password": PASSWORD}) + "\n" for i in range(20))
    done = userctl(server, "call", path + "BatchCreateUsers", stdin=lines)
    made = [json.loads(line)["user"]["username"] for line in done.stdout.splitlines()]
    assert made == [f"called{i}" for i in range(20)], made
    watch = start(server, "call", path + "WatchUser", json.dumps({"id": user.id}))
    assert user.username in next_line(watch.stdout)
    userctl(server, "delete", user.id)
    assert "USER_STATUS_DELETED" in next_line(watch.stdout)
    assert watch.wait(PATIENCE_S) == 0
    failed = userctl(server, "call", path + "GetUser", '{"id":"nobody"}', code=5).stderr
    assert failed.startswith("userctl: NOT_FOUND: User nobody not found\n"), failed
    assert "NOT_FOUND" in userctl(server, "call", path + "WatchUser", '{"id":"nobody"}', code=5).stderr


def test_call_mistakes(server):
    path = "/users.v1.UserService/"
    said = userctl(server, "call", path + "GetUser", '{"idd":"x"}', code=3).stderr
    assert "$.idd: users.v1.GetUserRequest has no such field; did you mean id?" in said, said
    said = userctl(server, "call", path + "CreateUser", '{"password": 77}', code=3).stderr
    assert "$.password: expected a string, this is a number" in said and "77" not in said, said
    said = userctl(server, "call", path + "BatchCreateUsers", '{}\n{"shoe":1}', code=3).stderr
    assert "line 2" in said and "$.shoe" in said, said
    said = userctl(server, "call", "/users.v1.UserServic/GetUser", code=5).stderr
    assert "did you mean 'users.v1.UserService'?" in said, said
    said = userctl(server, "call", path + "FindUser", code=5).stderr
    assert "rpc GetUser(" in said, said
    userctl(server, "call", "nothing", code=64)
    userctl(server, "call", code=64)
    userctl(server, "call", path + "GetUser", "@/nonexistent", code=64)


def field(number, content):
    """A field with bytes in it, short ones."""
    content = content.encode() if isinstance(content, str) else content
    assert len(content) < 128
    return bytes((number << 3 | 2, len(content))) + content


def test_details_of_strangers(server):
    every = Every()
    own = {"USERCTL_TARGET": f"127.0.0.1:{every.port}", "USERCTL_TOKEN_FILE": None}
    words = ("call", "every.v1.Things/Get", "--plaintext")
    kind = "type.googleapis.com/google.rpc."
    info = field(1, "retry after: \u009b2J owned") + field(2, "x")
    status = field(3, field(1, kind + "ErrorInfo") + field(2, info)) + \
        field(3, field(1, kind + "Help") + field(2, "12345")) + field(3, field(1, "own/\u009bkind"))
    every.failure = (grpc.StatusCode.RESOURCE_EXHAUSTED, status)
    said = userctl(server, *words, code=8, **own).stderr
    assert "\u009b" not in said and "try again after" not in said, said
    assert f"    detail: {kind}Help (5 bytes)\n" in said and "    detail: own/\\x9bkind (0 bytes)\n" in said, said
    assert "detail: " + kind + "ErrorInfo" not in said, said
    retry = field(3, field(1, kind + "RetryInfo") + field(2, field(1, b"\x08\x02")))
    every.failure = (grpc.StatusCode.RESOURCE_EXHAUSTED, retry)
    assert "try again after 2000 ms" in userctl(server, *words, code=8, **own).stderr
    every.failure = (grpc.StatusCode.PERMISSION_DENIED, b"")
    assert "hint" not in userctl(server, *words, code=7, **own).stderr
    every.end()


def test_answers_that_cannot_be_shown(server):
    every = Every()
    own = {"USERCTL_TARGET": f"127.0.0.1:{every.port}", "USERCTL_TOKEN_FILE": None}
    words = ("call", "every.v1.Things/Get", "--plaintext")
    every.answer = b"\x18\x05\x80\x01"  # a number, and a field without its value
    done = userctl(server, *words, code=13, **own)
    assert done.stdout == "" and "is no every.v1.Every" in done.stderr, done
    every.answer = b"\x18\x05\x92\x03\x09\x08\xff\xff\xff\xff\xff\xff\xff\x7f"  # a time that is none, behind a number
    done = userctl(server, *words, code=13, **own)
    assert done.stdout == "" and "Timestamp" in done.stderr, done
    every.answer = b"\xc3\x0c\x08\x01\xc4\x0c\x18\x05"  # a group that nobody knows
    assert json.loads(userctl(server, *words, **own).stdout) == {"an_int32": 5}
    every.end()


def mute(server, *words, code, said="", **changes):
    """Against a port where TCP is answered and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = userctl(server, *words, "--plaintext", code=code, **changes,
                       USERCTL_TARGET=f"127.0.0.1:{listener.getsockname()[1]}")
        assert said in done.stderr, done.stderr


def test_deadlines_of_reflection_and_of_calls(server):
    every = Every()
    own = {"USERCTL_TARGET": f"127.0.0.1:{every.port}", "USERCTL_TOKEN_FILE": None}
    every.is_mute = True
    for words in (("describe",), ("call", "--list"), ("call", "every.v1.Things/Get")):
        said = userctl(server, *words, "--plaintext", "--deadline", "300ms", code=4, **own).stderr
        assert "did not answer reflection within 0.300 s" in said and "a longer --deadline" in said, said
    every.is_mute = False
    every.is_slow = True
    said = userctl(server, "call", "every.v1.Things/Get", "--plaintext", "--deadline", "300ms", code=4, **own).stderr
    assert "DEADLINE_EXCEEDED" in said, said
    # Without --deadline too, as other calls of one answer have it.
    said = userctl(server, "call", "every.v1.Things/Get", "--plaintext", code=4, **own).stderr
    assert "DEADLINE_EXCEEDED" in said and "--deadline 30s" in said, said
    every.end()
    mute(server, "describe", "--deadline", "300ms", code=4)


def test_ctrl_c_while_input_is_awaited(server):
    for words in (("call", "/users.v1.UserService/GetUser", "-"), ("watch", "x", "--token-file", "-"),
                  ("health", "--watch", "--token-file", "-")):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = start(server, *words)
            caught = f"/proc/{process.pid}/status"
            while not is_caught(caught, signal.SIGINT):
                assert process.poll() is None, process.communicate()
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 1, (words, process.communicate())
            process.communicate()


def is_caught(path, number):
    with contextlib.suppress(OSError):
        lines = pathlib.Path(path).read_text().splitlines()
        return any(line.startswith("SigCgt:") and int(line.split()[1], 16) >> (number - 1) & 1 for line in lines)
    return False


def test_streams_end_with_their_reader(server):
    user = create(server)
    for words in (("health", "--watch"), ("call", "/users.v1.UserService/WatchUser", json.dumps({"id": user.id}))):
        for target, code in (("pipe", 141), ("/dev/full", 74)):
            read, write = os.pipe() if target == "pipe" else (None, os.open(target, os.O_WRONLY))
            if read is not None:
                os.close(read)
            process = subprocess.Popen([USERCTL, *words], env=environment(server), stdin=subprocess.DEVNULL,
                                       stdout=write, stderr=subprocess.PIPE, text=True)
            os.close(write)
            said = process.communicate(timeout=PATIENCE_S)[1]
            assert process.returncode == code, (words, target, process.returncode, said)


def test_watch_outlives_its_token(server):
    user = create(server)
    token = pathlib.Path(server.folder) / "rotated-token"
    token.write_text(server.token(ttl_s=4))
    token.chmod(0o600)
    watch = start(server, "watch", user.id, USERCTL_TOKEN_FILE=str(token))
    assert user.username in next_line(watch.stdout)
    token.write_text(server.token())
    lost = next_line(watch.stderr)
    assert re.search(r"the token has expired: .*\(UNAUTHENTICATED\); again in \d+\.\d s$", lost), lost
    assert next_line(watch.stderr) == "userctl: connected again; nothing has changed\n"
    watch.send_signal(signal.SIGINT)
    assert watch.wait(PATIENCE_S) == 0
    # One that nobody renews ends it.
    token.write_text(server.token(ttl_s=4))
    watch = start(server, "watch", user.id, USERCTL_TOKEN_FILE=str(token))
    said = watch.communicate(timeout=PATIENCE_S)[1]
    assert watch.returncode == 16 and said.count("again in") == 1 and "hint: the token" in said, said


def test_health_tells_of_an_outage(server):
    relay = Relay(server.port)
    own = {"USERCTL_TARGET": f"localhost:{relay.own}"}
    watch = start(server, "health", "--watch", **own)
    assert next_line(watch.stdout) == '{"status":"SERVING"}\n'
    relay.cut()
    assert "the connection is lost" in next_line(watch.stderr)
    assert next_line(watch.stderr) == "userctl: connected again\n"
    assert next_line(watch.stdout) == '{"status":"SERVING"}\n'
    relay.end()
    assert "the connection is lost" in next_line(watch.stderr)
    watch.send_signal(signal.SIGINT)
    assert watch.wait(PATIENCE_S) == 1, watch.communicate()


def test_secrets_stay_where_they_belong(server):
    for words in (("token", "--target", "a:1"), ("completion", "bash", "--json"), ("describe", "--json"),
                  ("help", "--lb", "round_robin"), ("targets", "--deadline", "1s"), ("get", "x", "--deadline", "1s",
                                                                                       "--deadline", "2s")):
        said = userctl(server, *words, code=64).stderr
        assert "does not go with" in said or "given twice" in said, said
    for words in (("get", "x", "--tokne=secret"), ("call", "x", "--header", "authorization secret"),
                  ("get", "x", "--json=secret")):
        said = userctl(server, *words, code=64).stderr
        assert "secret" not in said, said
    every = Every()
    own = {"USERCTL_TARGET": f"127.0.0.1:{every.port}"}
    words = ("call", "--plaintext", "every.v1.Things/Get")
    userctl(server, *words, "--header", "Authorization: Bearer own", **own)
    assert every.all.count(("authorization", "Bearer own")) == 1, every.all
    assert [name for name, _ in every.all].count("authorization") == 1, every.all
    userctl(server, *words, "--header", "authorization: Basic eA==", **own)
    assert [value for name, value in every.all if name == "authorization"] == ["Basic eA=="], every.all
    # The token of the environment is of the environment's server.
    config = pathlib.Path(server.folder) / "other.ini"
    config.write_text(f"[target other]\ntarget = 127.0.0.1:{every.port}\nplaintext = yes\n")
    userctl(server, "--config", str(config), "--on", "other", "call", "every.v1.Things/Get", **own)
    assert "authorization" not in [name for name, _ in every.all], every.all
    said = userctl(server, "get", "x", "--on", "other", "--config", str(config), "--target", "a:1", code=64).stderr
    assert "--on and --target" in said, said
    every.end()
    said = userctl(server, "get", "x", "--plaintext", "--deadline", "1s", code=14, USERCTL_TARGET="0.0.0.0:1").stderr
    assert "goes to 0.0.0.0:1 in clear text" in said, said


def test_errors_do_not_overwrite_their_input(server):
    lines = pathlib.Path(server.folder) / "own-lines.jsonl"
    lines.write_text("nonsense\n")
    link = pathlib.Path(server.folder) / "own-link.jsonl"
    os.link(lines, link)
    for path in (lines, link):
        assert "is to be read" in userctl(server, "import", str(lines), "--errors", str(path), code=64).stderr
    assert lines.read_text() == "nonsense\n"
    errors = pathlib.Path(server.folder) / "own-errors.jsonl"
    userctl(server, "import", str(lines), "--errors", str(errors), code=3)
    assert '"line":1' in errors.read_text() and errors.stat().st_mode & 0o77 == 0, oct(errors.stat().st_mode)


def test_homes_that_are_none(server):
    user = create(server)
    bare = {"XDG_CONFIG_HOME": None, "HOME": "/dev/null", "USERCTL_TARGET": None}
    said = userctl(server, "get", user.id, code=14, **bare).stderr  # nobody is at the default address
    assert "cannot read" not in said, said


def test_passwords_are_typed_in_characters(server):
    words = [USERCTL, "create", "--username", "typed", "--email", "typed@example.com"]
    terminal = Terminal(words, environment(server, TERM="dumb"))
    terminal.wait_for("Password: ")
    terminal.type("\u00e9\x7f" + PASSWORD + "\r")
    terminal.wait_for("The same again: ")
    terminal.type(PASSWORD + "\r")
    terminal.wait_for("typed@example.com")
    assert terminal.end() == 0
    terminal = Terminal(words, environment(server, TERM="dumb"))
    terminal.wait_for("Password: ")
    terminal.type("\x03")
    assert terminal.end() == 1 and "Try" not in terminal.shown, terminal.shown
    terminal = Terminal(words, environment(server, TERM="dumb"))
    terminal.wait_for("Password: ")
    terminal.type("x" * 1100 + "\r")
    terminal.wait_for("The same again: |longer than 1023 bytes")
    terminal.end()
    # A signal ends it with the terminal as it was: the shell around shows what is typed again.
    shell_ = Terminal(["sh", "-c", '"$@"; stty -a; echo over', "sh", "timeout", "--foreground", "1", *words],
                      environment(server, TERM="dumb"))
    shell_.wait_for("Password: ")
    shell_.wait_for("[^-]echo ")
    shell_.end()


def test_describe(server):
    services = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection", "users.v1.UserService"]
    for words in (("describe",), ("call", "--list")):
        assert userctl(server, *words).stdout.split() == services
    assert "/users.v1.UserService/GetUser\n" in userctl(server, "call", "--list", "users.v1.UserService").stdout
    said = userctl(server, "describe", "users.v1.UserService").stdout
    assert "  rpc WatchUser(users.v1.GetUserRequest) returns (stream users.v1.User);\n" in said, said
    said = userctl(server, "describe", "users.v1.UserService.GetUser").stdout
    assert said.startswith("rpc GetUser(users.v1.GetUserRequest)"), said
    assert userctl(server, "describe", "/users.v1.UserService/GetUser").stdout == said
    said = userctl(server, "describe", "users.v1.User").stdout
    assert "  repeated string roles = " in said and "  users.v1.UserStatus status = " in said, said
    assert "  USER_STATUS_ACTIVE = 1;\n" in userctl(server, "describe", "users.v1.UserStatus").stdout
    assert "no 'users.v1.Nothing'" in userctl(server, "describe", "users.v1.Nothing", code=5).stderr


def load_reflection():
    name = "grpc/reflection/v1alpha/reflection_pb2.py"
    path = next(path for path in (pathlib.Path(folder, name) for folder in sys.path) if path.exists())
    spec = importlib.util.spec_from_file_location("reflection_v1alpha", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Every:
    """A server of another kind: knows reflection in its older form alone, tells one file at a time, and gives back
    what it gets."""

    def __init__(self):
        self.reflection = load_reflection()
        files = descriptor_pb2.FileDescriptorSet.FromString(EVERY.read_bytes()).file
        self.files = {file.name: file for file in files}
        self.asked = []  # symbols
        apart = descriptor_pb2.FileDescriptorProto(name="apart.proto", package="apart.v1", syntax="proto3")
        apart.dependency.append("google/protobuf/any.proto")
        message = apart.message_type.add(name="Apart")
        message.field.add(name="text", number=1, type=9, label=1)
        message.field.add(name="more", number=2, type=11, label=1, type_name=".google.protobuf.Any")
        self.apart = apart  # that no other file imports
        self.metadata = {}
        self.all = []
        self.is_mute = False  # of reflection
        self.is_slow = False  # of calls
        self.failure = None  # of calls: code, google.rpc.Status as bytes
        self.answer = None   # in place of the message that came
        self.spread = None   # in place of three times the message that came
        self.last = b""      # the message that came
        self.is_over = threading.Event()
        identity = {"request_deserializer": bytes, "response_serializer": bytes}
        methods = {
            "Get": grpc.unary_unary_rpc_method_handler(self.get, **identity),
            "Sum": grpc.stream_unary_rpc_method_handler(lambda messages, _: b"".join(messages), **identity),
            "Spread": grpc.unary_stream_rpc_method_handler(lambda message, _: iter(self.spread or [message] * 3), **identity),
            "Talk": grpc.stream_stream_rpc_method_handler(lambda messages, _: messages, **identity),
        }
        about = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
            self.reflect, self.reflection.ServerReflectionRequest.FromString,
            self.reflection.ServerReflectionResponse.SerializeToString)}
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("every.v1.Things", methods),
            grpc.method_handlers_generic_handler("grpc.reflection.v1alpha.ServerReflection", about)))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def get(self, message, context):
        self.last = message
        self.metadata = dict(context.invocation_metadata())
        self.all = [(name, value) for name, value in context.invocation_metadata()]
        while self.is_slow and context.is_active():
            self.is_over.wait(0.05)
        if self.failure is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", self.failure[1]),))
            context.abort(self.failure[0], "no")
        return message if self.answer is None else self.answer

    def end(self):
        self.is_slow = False
        self.is_mute = False
        self.server.stop(0)

    def reflect(self, requests, context):
        for request in requests:
            while self.is_mute and context.is_active():
                self.is_over.wait(0.05)
            reply = self.reflection.ServerReflectionResponse(original_request=request)
            name = request.file_by_filename or "userctl_every.proto"
            known = request.WhichOneof("message_request") == "file_by_filename" and name in self.files or \
                request.file_containing_symbol == "every.v1.Things"
            self.asked.append(request.file_containing_symbol)
            if request.file_containing_symbol == "apart.v1.Apart":
                reply.file_descriptor_response.file_descriptor_proto.append(self.apart.SerializeToString())
            elif request.WhichOneof("message_request") == "list_services":
                reply.list_services_response.service.add(name="every.v1.Things")
            elif known:
                reply.file_descriptor_response.file_descriptor_proto.append(self.files[name].SerializeToString())
            else:
                reply.error_response.error_code = 5
            yield reply


def test_call_of_another_server(server):
    every = Every()
    own = {"USERCTL_TARGET": f"127.0.0.1:{every.port}", "USERCTL_TOKEN_FILE": None}
    message = {"a_double": 1.5, "an_int64": "-5", "some_bytes": "AP8=", "color": "COLOR_RED", "numbers": [1, -2],
               "by_name": {"one": 1}, "by_text": "x", "time": "2026-01-31T12:34:56.789Z", "duration": "-1.500s",
               "mask": "aString", "value": [1, None, {"a": "b"}], "boxed_int64": "0",
               "any": {"@type": "type.googleapis.com/every.v1.Every", "a_string": "in"}}
    text = json.dumps(message)
    words = ("call", "--plaintext")
    done = userctl(server, *words, "every.v1.Things/Get", text, "--header", "X-Asked-By: the test", **own)
    assert json.loads(done.stdout) == message, done.stdout
    assert every.metadata["x-asked-by"] == "the test" and every.metadata["user-agent"].startswith("userctl"), \
        every.metadata
    done = userctl(server, *words, "every.v1.Things/Spread", text, **own)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [message] * 3
    done = userctl(server, *words, "every.v1.Things/Sum", stdin='{"numbers":[1]}\n\n{"numbers":[2,3]}\n', **own)
    assert json.loads(done.stdout) == {"numbers": [1, 2, 3]}, done.stdout
    talk = start(server, *words, "every.v1.Things/Talk", **own)
    for number in range(3):
        talk.stdin.write(f'{{"an_int32":{number + 1}}}\n')
        talk.stdin.flush()
        assert json.loads(next_line(talk.stdout)) == {"an_int32": number + 1}
    talk.stdin.close()
    assert talk.wait(PATIENCE_S) == 0
    big = json.dumps({"words": ["w" * 1000] * 100})
    done = userctl(server, *words, "every.v1.Things/Talk", stdin=(big + "\n") * 100, **own)
    assert done.stdout.count("\n") == 100
    assert "every.v1.Things" in userctl(server, "describe", "--plaintext", **own).stdout
    said = userctl(server, "describe", "--plaintext", "/every.v1.Things/Get", **own).stdout
    assert said.startswith("rpc Get("), said
    every.server.stop(0)


def test_what_an_any_holds_is_asked_for(server):
    """No file that the method's own imports has it."""
    every = Every()
    own = {"USERCTL_TARGET": f"127.0.0.1:{every.port}", "USERCTL_TOKEN_FILE": None}
    words = ("call", "--plaintext")
    kind = "type.googleapis.com/apart.v1.Apart"
    message = {"any": {"@type": kind, "text": "in", "more": {"@type": kind, "text": "deeper"}}}
    done = userctl(server, *words, "every.v1.Things/Get", json.dumps(message), **own)
    assert json.loads(done.stdout) == message and every.asked.count("apart.v1.Apart") == 1, (done, every.asked)
    # Met in an answer; what nobody knows stays in base64. Each is asked for once.
    every.spread = [every.last, every.last.replace(b"apart.v1.Apart", b"apart.v1.Other"), every.last]
    del every.asked[:]
    done = userctl(server, *words, "every.v1.Things/Spread", **own)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3 and lines[0] == lines[2] == message, lines
    assert lines[1]["any"].keys() == {"@type", "value"}, lines
    assert every.asked.count("apart.v1.Apart") == every.asked.count("apart.v1.Other") == 1, every.asked
    unknown = {"any": {"@type": "x/not.Known", "value": "AQ=="}}
    said = userctl(server, *words, "every.v1.Things/Get", json.dumps(unknown), code=3, **own).stderr
    assert "$.any: the server does not describe the type" in said, said
    every.end()


def test_hints_know_the_words_of_the_library(server):
    """They are found by pieces of its messages: whoever changes those finds out here."""
    with contextlib.ExitStack() as all_:
        listeners = [all_.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        targets = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
        # As long as connecting may take; both at once.
        mute_ones = [start(server, "get", "x", "--deadline", "60s", *more, USERCTL_TARGET=target)
                     for target, more in zip(targets, ((), ("--plaintext",)))]
        other = Certificates(pathlib.Path(server.folder) / "other-certs")
        said = userctl(server, "get", "x", "--ca", str(other.ca), code=14).stderr
        assert "hint: --ca FILE or USERCTL_CA must name who signed" in said, said
        said = userctl(server, "get", "x", code=14, USERCTL_TARGET="127.0.0.1:1").stderr
        assert "hint: is userd running there?" in said, said
        for process, hint in zip(mute_ones, ("says nothing of TLS: is it userd?", "says nothing: is it userd,")):
            said = process.communicate(timeout=PATIENCE_S)[1]
            assert process.returncode == 14 and hint in said, said


def test_hints(server):
    said = userctl(server, "get", "x", "--plaintext", code=14).stderr
    assert "leave out --plaintext" in said, said
    every = Every()
    said = userctl(server, "get", "x", code=14, USERCTL_TARGET=f"127.0.0.1:{every.port}").stderr
    assert "hint: the server speaks no TLS" in said, said
    said = userctl(server, "health", "--plaintext", code=12, USERCTL_TARGET=f"127.0.0.1:{every.port}").stderr
    assert "UNIMPLEMENTED" in said, said
    every.server.stop(0)
    relay = Relay(server.port, "127.0.0.2")
    said = userctl(server, "get", "x", code=14, USERCTL_TARGET=f"127.0.0.2:{relay.own}").stderr
    assert "hint: the server's certificate is for another name" in said and "--server-name" in said, said
    said = userctl(server, "get", "x", "--server-name", "localhost", code=5,
                   USERCTL_TARGET=f"127.0.0.2:{relay.own}").stderr
    assert "NOT_FOUND" in said, said
    config = pathlib.Path(server.folder) / "named.ini"
    config.write_text(f"[target named]\ntarget = 127.0.0.2:{relay.own}\nca = {server.ca}\nserver_name = localhost\n")
    userctl(server, "get", "x", "--config", str(config), "--on", "named", code=16)
    relay.end()
    said = userctl(server, "get", "x", code=16, USERCTL_TOKEN_FILE=None).stderr
    assert "hint: --token-file" in said, said
    said = userctl(server, "get", "x", "--token", server.token(ttl_s=-3600), code=16, USERCTL_TOKEN_FILE=None).stderr
    assert "hint: the token" in said, said
    said = userctl(server, "get", "x", code=14, USERCTL_TARGET="userd.invalid:1").stderr
    assert "nobody knows that name" in said, said


if __name__ == "__main__":
    run(globals(), lambda: Server({"reflection": {"enabled": "true"}}))
