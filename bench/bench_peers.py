"""The servers that userd is measured against (bench/peers/README.md), each started alike.

    import bench_peers

    for peer in bench_peers.all():
        reason = peer.available()
        if reason is not None:
            print(f"{peer.name}: not measured: {reason}")
            continue
        with peer.start(folder, cert, key, ca, token, users=100000, core=0) as running:
            ...  # running.address, running.pid, running.version, running.cpu_ns()

A server that dies, or does not listen in time, is a PeerFailed with what it wrote. All of them end
with the thread that started them, also when that is killed.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PEERS = ROOT / "bench/peers"
GRPC_CPP = ROOT / "build/peers/grpc-cpp"
PATIENCE_S = 60 * int(os.environ.get("USERD_SLOW", "1"))
STOP_S = 5

FIRST_CREATED_MS = 1700000000000  # as bench/userbench_data.c
LISTENS = "0A"  # the state of /proc/net/tcp


class PeerFailed(Exception):
    """A server that does not do what it is started for."""


# ---- the users that all of them have


def user_id(index):
    return f"{index * 2654435761 % 2**32:08x}-0000-4000-8000-{index:012x}"


def user_fields(index):
    """User `index` of `userbench data`, by the names of users.v1.User."""
    username = f"user.number{index:07d}"
    return {
        "id": user_id(index),
        "username": username,
        "email": f"{username}@example.com",
        "created_at": FIRST_CREATED_MS + index,
        "roles": ["member"],
        "status": "USER_STATUS_ACTIVE",
        "profile": {
            "first_name": f"First{index % 1000}",
            "last_name": f"Last{index // 1000}",
            "avatar_url": f"https://cdn.example.com/avatars/{index:07d}",
        },
        "updated_at": FIRST_CREATED_MS + index,
        "etag": f'"{index + 1:x}"',
    }


def _varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes_field(number, value):
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number_field(number, value):
    return _varint(number << 3) + _varint(value)


def answer_body(index):
    """What userd sends for a GetUser of this user: a gRPC frame with a packed GetUserResponse."""
    fields = user_fields(index)
    profile = fields["profile"]
    user = (_bytes_field(1, fields["id"]) + _bytes_field(2, fields["username"])
            + _bytes_field(3, fields["email"]) + _number_field(4, fields["created_at"])
            + b"".join(_bytes_field(5, role) for role in fields["roles"]) + _number_field(6, 1)
            + _bytes_field(7, _bytes_field(1, profile["first_name"]) + _bytes_field(2, profile["last_name"])
                           + _bytes_field(3, profile["avatar_url"]))
            + _number_field(8, fields["updated_at"]) + _bytes_field(9, fields["etag"]))
    message = _bytes_field(1, user)
    return b"\0" + len(message).to_bytes(4, "big") + message


def usual_answer(users):
    """The answer of the middle size, of users spread over all."""
    step = max(1, users // 1001)
    bodies = sorted((answer_body(index) for index in range(0, max(1, users), step)), key=len)
    return bodies[len(bodies) // 2]


# ---- a server that runs


class Running:
    """One server. `pid` is the process itself, with all its threads on its core."""

    def __init__(self, name, command, folder, environment=None):
        self.name = name
        self.version = ""
        self.address = None
        self.log = pathlib.Path(folder) / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, env=environment)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_until(self, what, found):
        """What found() returns, as soon as that is not None."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            is_over = self.process.poll() is not None
            value = found()
            if value is not None:
                return value
            if is_over:
                break
            time.sleep(0.01)
        raise PeerFailed(f"{self.name}: {what}: status {self.process.poll()}, it wrote:\n{self.text()}")

    def connect(self, ca, protocol):
        """One connection, by which it is known to serve what it should, over TLS 1.3."""
        host, port = self.address.rsplit(":", 1)
        context = ssl.create_default_context(cafile=str(ca))
        context.set_alpn_protocols([protocol])
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as plain:
            with context.wrap_socket(plain, server_hostname=host) as tls:
                said = (tls.version(), tls.selected_alpn_protocol())
        if said != ("TLSv1.3", protocol):
            raise PeerFailed(f"{self.name}: speaks {said[1]} over {said[0]}")

    def cpu_ns(self):
        """User and system time of all its threads so far."""
        return time.clock_gettime_ns(~self.pid << 3 | 2)

    def memory_bytes(self):
        """What it has in memory."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024

    def stop(self):
        """Ends it, if need be by force. May be called again."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def _said(running, word):
    found = re.search(rf"^{word} (.*)\n", running.text(), re.MULTILINE)
    return found.group(1) if found else None


def _listening_port(pid):
    """The TCP port on which this process listens, as the kernel tells it; None when there is none."""
    inodes = set()
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(os.readlink(link))
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == LISTENS and f"socket:[{words[9]}]" in inodes:
            return int(words[1].partition(":")[2], 16)
    return None


# ---- the kinds of servers


def _check_token(token, secret):
    """A token that no server accepts would have its refusals measured."""
    signed, _, signature = token.rpartition(".")
    digest = hmac.new(secret.read_bytes(), signed.encode(), hashlib.sha256).digest()
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != signature:
        raise PeerFailed(f"the token is not signed by {secret}")


def _missing_program(*names):
    for name in names:
        if _find(name) is None:
            return f"{name} is not installed (scripts/deps.sh bench)"
    return None


def _find(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Peer:
    """A server that can be started. `protocol`: grpc; rest; or h2, which is a bare POST."""

    def __init__(self, name, language, protocol):
        self.name = name
        self.language = language
        self.protocol = protocol

    def available(self):
        """None, or why it cannot be started."""
        raise NotImplementedError

    def start(self, folder, cert, key, ca, token, users, core, secret=None):
        """Starts it with the users 0 to `users` - 1 and waits until it serves.

        `folder` is for its files. `token`, or a file with it, is the token that its clients will
        send, and `secret` a file with the key of that: as scripts/dev-certs.sh names it beside
        `cert`, if it is not given. `core`: where all its threads run; None for anywhere.
        """
        secret = pathlib.Path(secret or pathlib.Path(cert).with_name("jwt.secret"))
        text = str(token)
        if "." not in text or os.path.exists(text):
            text = pathlib.Path(token).read_text().strip()
        _check_token(text, secret)
        # It is pinned before it begins, so that all its threads are, and ends when this thread does.
        around = ["setpriv", "--pdeathsig", "KILL"]
        around += [] if core is None else ["taskset", "-c", str(core)]
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        command, environment = self._prepare(pathlib.Path(folder), cert, key, secret, users)
        running = Running(self.name, around + command, folder, environment)
        try:
            running.address = running.wait_until("does not listen", lambda: self._address(running))
            running.version = self._version(running)
            running.connect(ca, "http/1.1" if self.protocol == "rest" else "h2")
        except BaseException as problem:
            running.process.kill()
            running.process.wait()
            if isinstance(problem, OSError):  # the errors of ssl are such too
                raise PeerFailed(f"{self.name}: {problem}, it wrote:\n{running.text()}") from problem
            raise
        return running

    def _prepare(self, folder, cert, key, secret, users):
        """The command and the environment of its process."""
        raise NotImplementedError

    def _address(self, running):
        return _said(running, "listening")

    def _version(self, running):
        return _said(running, "version")


def _options(cert, key, secret, users):
    return ["--cert", str(cert), "--key", str(key), "--secret", str(secret), "--users", str(users)]


class CppPeer(Peer):
    def __init__(self, name, mode):
        super().__init__(name, "C++", "grpc")
        self.mode = mode

    def available(self):
        if not GRPC_CPP.exists():
            return (f"{GRPC_CPP.relative_to(ROOT)} is not built: libgrpc++-dev and protobuf-compiler-grpc"
                    " are needed (scripts/deps.sh bench), then make")
        return _missing_program("setpriv", "taskset")

    def _prepare(self, folder, cert, key, secret, users):
        return [str(GRPC_CPP), self.mode] + _options(cert, key, secret, users), None


class NodePeer(Peer):
    def __init__(self, name, protocol, script, modules=()):
        super().__init__(name, "JavaScript", protocol)
        self.script = script
        self.modules = modules
        self.path = os.environ.get("NODE_PATH") or str(ROOT / "build/node_modules")

    def available(self):
        for module in self.modules:
            if not (pathlib.Path(self.path) / module).is_dir():
                return f"the npm package {module} is not installed (scripts/deps.sh bench)"
        return _missing_program("node", "setpriv", "taskset")

    def _prepare(self, folder, cert, key, secret, users):
        environment = {**os.environ, "NODE_PATH": self.path, "NODE_ENV": "production"}
        return ["node", str(PEERS / self.script)] + _options(cert, key, secret, users), environment


class NghttpdPeer(Peer):
    """Answers each POST with the same bytes, as many as userd's answers have."""

    STREAMS_MAX = 1000

    def __init__(self):
        super().__init__("nghttpd", "C++", "h2")

    def available(self):
        return _missing_program("nghttpd", "setpriv", "taskset")

    def _prepare(self, folder, cert, key, secret, users):
        document = folder / "nghttpd-root/users.v1.UserService/GetUser"
        document.parent.mkdir(parents=True, exist_ok=True)
        document.write_bytes(usual_answer(users))
        return [_find("nghttpd"), "--workers=1", "--address=127.0.0.1",
                f"--max-concurrent-streams={self.STREAMS_MAX}",
                f"--htdocs={folder / 'nghttpd-root'}", "0", str(key), str(cert)], None

    def _address(self, running):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            port = _listening_port(running.pid)
            return None if port is None else f"127.0.0.1:{port}"
        return None

    def _version(self, running):
        said = subprocess.run([_find("nghttpd"), "--version"], check=True, text=True, stdout=subprocess.PIPE)
        return said.stdout.strip()


def all():  # pylint: disable=redefined-builtin
    """Every server there is, whether or not it can be started here."""
    return [
        CppPeer("grpc-cpp-async", "--async"),
        CppPeer("grpc-cpp-callback", "--callback"),
        NodePeer("grpc-js", "grpc", "grpc_js.cjs", ("@grpc/grpc-js", "@grpc/proto-loader")),
        NodePeer("rest-node", "rest", "rest.cjs"),
        NghttpdPeer(),
    ]
