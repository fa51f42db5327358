"""What the integration tests in Python share: a real server, its certificates, tokens, and a runner.

    from userd_harness import Server, run

    def test_something(server): ...

    if __name__ == "__main__":
        run(globals(), Server)

Environment (scripts/run-tests.sh sets it): USERD and USERCTL, the programs; USERD_BUILD, the build
folder; PYTHONPATH with the generated messages. Without them the plain build in build/ is used.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[3]
USERD = os.environ.get("USERD", str(ROOT / "build/userd"))
USERCTL = os.environ.get("USERCTL", str(ROOT / "build/userctl"))
SLOW = int(os.environ.get("USERD_SLOW", "1"))
PATIENCE_S = 60 * SLOW  # a start or an end that takes longer has failed

sys.path.insert(0, str(ROOT / "build/gen/python"))

# What sanitizers and failed assertions leave on stderr.
REPORTS = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehavior|runtime error:|Assertion `")

# Cheap hashing, since no test is about its strength, and room for tests that create many users. A machine
# that does other things as well must not make the server refuse calls for being slow; and since all
# peers of a test have one address, those that it left half-way must not keep the next one out.
DEFAULTS = {
    "server": {"listen": "127.0.0.1:0", "drain_delay_s": "0", "drain_grace_s": "10"},
    "admin": {"listen": "127.0.0.1:0"},
    "wal": {"segment_size": "1MiB", "max_pending_bytes": "512KiB", "max_pending_ms": "0"},
    "overload": {"target_ms": "0"},
    "limits": {"max_handshakes_per_ip": "256"},
    "auth": {"mode": "jwt"},
    "password": {"memory_kib": "64", "iterations": "1"},
}


class ServerFailed(Exception):
    """The server did not start, or did not end as it should."""


class Certificates:
    """A folder with what scripts/dev-certs.sh makes."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        subprocess.run([str(ROOT / "scripts/dev-certs.sh"), str(folder)], check=True,
                       stdout=subprocess.DEVNULL)
        self.ca = self.folder / "ca.pem"
        self.cert = self.folder / "server.pem"
        self.key = self.folder / "server.key"
        self.secret = self.folder / "jwt.secret"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_token(secret, sub="tester", roles=("admin",), ttl_s=3600, **claims):
    """An HS256 token, made without any code of ours. A claim of None is left out."""
    payload = {"sub": sub, "roles": list(roles), "iat": int(time.time()),
               "exp": int(time.time()) + ttl_s, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    signed = ".".join(base64url(json.dumps(part).encode())
                      for part in ({"alg": "HS256", "typ": "JWT"}, payload))
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64url(digest)}"


def _stands_still(thread):
    """Whether a thread, a folder in /proc, is stopped, or has ended."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Server:
    """One server in a folder of its own, which may be started, killed and started again."""

    def __init__(self, settings=None, tls=True, folder=None):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="userd-test-"))
        self.owns_folder = folder is None
        self.certificates = Certificates(self.folder / "certs")
        self.ca = self.certificates.ca
        self.tls = tls
        self.config = self.folder / "userd.ini"
        self.data = self.folder / "data"
        self.process = None
        self.environment = {}  # of the program, besides what it inherits
        self.wrapper = []  # a command that becomes the program it is given
        self.passed = ()  # descriptors that it keeps
        self.lines = []  # of the log, since the last start
        self.whole_log = []  # since the first
        self._write_config(settings or {})

    def _write_config(self, settings):
        whole = {name: dict(keys) for name, keys in DEFAULTS.items()}
        whole["store"] = {"data_dir": self.data}
        whole["auth"]["jwt_secret_file"] = self.certificates.secret
        whole["tls"] = {"enabled": "true" if self.tls else "false"}
        if self.tls:
            whole["tls"].update(cert_file=self.certificates.cert, key_file=self.certificates.key)
        for section, keys in settings.items():
            whole.setdefault(section, {}).update(keys)
        self.config.write_text("".join(
            f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) + "\n"
            for section, keys in whole.items()))

    # ---- life

    def spawn(self):
        """Starts the program and waits for nothing."""
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("USERD") and name not in ("GRPC_PORT", "JWT_SECRET")}
        self.lines = []
        self._listening = threading.Event()
        self.address = None
        environment.update(self.environment)
        self.process = subprocess.Popen([*self.wrapper, USERD, "--config", str(self.config)],
                                        env=environment, pass_fds=self.passed,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, errors="replace",
                                        pipesize=1 << 20)  # a line that finds no room is dropped
        self._reader = threading.Thread(target=self._read_log, args=(self.process,), daemon=True)
        self._reader.start()

    def start(self):
        """Starts the program and waits until it listens."""
        self.spawn()
        if not self._listening.wait(PATIENCE_S) or self.address is None:
            self.process.kill()
            self._join()
            raise ServerFailed("the server did not start:\n" + self.log())
        return self

    def _read_log(self, process):
        for line in process.stderr:
            self.lines.append(line)
            self.whole_log.append(line)
            found = re.search(r"\blistening\b.*\baddress=\"?([^ \"]+)", line)
            if found and self.address is None:
                self.address = found.group(1)
                self._listening.set()
        self._listening.set()  # the end of the log ends the waiting too

    def _join(self):
        status = self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        return status

    def log(self):
        return "".join(self.lines)

    def stop(self):
        """Ends the server with SIGTERM; it must end clean, and soon."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self._join()
            raise ServerFailed("SIGTERM did not end the server:\n" + self.log()) from None
        status = self._join()
        if status != 0 or REPORTS.search(self.log()):
            raise ServerFailed(f"the server ended with {status}:\n" + self.log())

    def wait_for_end(self):
        """Waits until the program ends by itself; returns its exit code."""
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self._join()
            raise ServerFailed("the server did not end:\n" + self.log()) from None
        return self._join()

    def take_snapshot(self):
        self.process.send_signal(signal.SIGUSR1)

    def pause(self):
        """Stops the process, and returns when all of its threads stand still, those too in which
        the kernel works for its ring. SIGCONT goes on."""
        self.process.send_signal(signal.SIGSTOP)
        end = time.monotonic() + PATIENCE_S
        while not all(map(_stands_still, pathlib.Path(f"/proc/{self.process.pid}/task").iterdir())):
            assert time.monotonic() < end, "SIGSTOP does not stop the server"
            time.sleep(0.005)

    def wait_for(self, pattern, since=0):
        """Waits for a line of the log, and returns its match. `since`: lines to pass over."""
        compiled = re.compile(pattern)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            was_running = self.is_running()
            if not was_running:
                self._reader.join()
            for line in self.lines[since:]:
                found = compiled.search(line)
                if found:
                    return found
            if not was_running:
                break
            time.sleep(0.005)
        raise ServerFailed(f"the server's log does not say {pattern}:\n" + self.log())

    def kill(self):
        """Ends the server with SIGKILL."""
        self.process.kill()
        self._join()
        if REPORTS.search(self.log()):
            raise ServerFailed("the server had failed before it was killed:\n" + self.log())

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def remove(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self._join()
        if self.owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    @contextlib.contextmanager
    def running(cls, *arguments, **keywords):
        """A started server for a block; at its end it must end clean."""
        server = cls(*arguments, **keywords)
        try:
            yield server.start()
            server.stop()
        finally:
            server.remove()

    # ---- talking to it

    @property
    def host(self):
        return self.address.rpartition(":")[0]

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    @property
    def secret(self):
        return self.certificates.secret.read_bytes()

    def token(self, **claims):
        return sign_token(self.secret, **claims)

    def channel(self, options=(), token=""):
        """A grpcio channel over TLS, connected. `token` None sends none, "" makes one."""
        import grpc

        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes())
        if token is not None:
            credentials = grpc.composite_channel_credentials(
                credentials, grpc.access_token_call_credentials(token or self.token()))
        # Connections of one process are shared by equal arguments; a number makes them unequal.
        self.channels = getattr(self, "channels", 0) + 1
        own = [("grpc.use_local_subchannel_pool", 1), ("userd.number", self.channels)]
        channel = grpc.secure_channel(self.address, credentials, options=own + list(options))
        # C-core 1.51 looks at errno only some calls after connect(2) (grpc/grpc#35064), and now and
        # then takes a connection under way for a failed one. It tries again for who waits.
        grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
        return channel

    def stub(self, channel):
        from users.v1 import users_pb2_grpc

        return users_pb2_grpc.UserServiceStub(channel)

    def tls_context(self, alpn=("h2",)):
        context = ssl.create_default_context(cafile=str(self.ca))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def error_details(error):
    """The google.rpc details of a grpc.RpcError: message name -> decoded fields.

    Decoded here by hand from field numbers, since no package brings google/rpc/error_details.proto.
    """
    from google.rpc import status_pb2

    raw = dict((item.key, item.value) for item in error.trailing_metadata() or ())
    if "grpc-status-details-bin" not in raw:
        return None, {}
    status = status_pb2.Status.FromString(raw["grpc-status-details-bin"])
    details = {}
    for item in status.details:
        name = item.type_url.rpartition(".")[2]
        assert name not in details, f"{name} twice"
        details[name] = DETAIL_READERS[name](fields_of(item.value))
    return status, details


def fields_of(message):
    """(number, value) of each field of a packed message: ints and bytes."""
    found = []
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            found.append((key >> 3, varint()))
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size = varint()
            found.append((key >> 3, message[at:at + size]))
            at += size
    return found


def _texts(fields, *names):
    return {names[number - 1]: value.decode() for number, value in fields if number <= len(names)}


def _read_error_info(fields):
    info = _texts([field for field in fields if field[0] in (1, 2)], "reason", "domain")
    entries = [dict(fields_of(value)) for number, value in fields if number == 3]
    info["metadata"] = {entry[1].decode(): entry.get(2, b"").decode() for entry in entries}
    return info


def _read_bad_request(fields):
    violations = [_texts(fields_of(value), "field", "description") for _, value in fields]
    return {one["field"]: one["description"] for one in violations}


DETAIL_READERS = {
    "ErrorInfo": _read_error_info,
    "BadRequest": _read_bad_request,
    "ResourceInfo": lambda fields: _texts(fields, "type", "name", "owner", "description"),
    "PreconditionFailure": lambda fields: [
        _texts(fields_of(value), "type", "subject", "description") for _, value in fields],
    "RetryInfo": dict,
}


def run_main(main):
    """Runs a program that ends with finish(). SIGINT, SIGTERM and SIGHUP end it too, through every
    `finally`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    status = 1
    try:
        main()
    except SystemExit as end:
        status = end.code
    except BaseException:  # pylint: disable=broad-except
        traceback.print_exc()
    # Not by way of the interpreter: grpc waits there for ever for calls that an exception left at an
    # unlucky place.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Counts:
    passed = 0
    failed = 0


def run_one(name, function, *arguments):
    """Runs one test, says how it went, counts it."""
    try:
        function(*arguments)
    except Exception:
        Counts.failed += 1
        print(f"FAILED {name}")
        traceback.print_exc(file=sys.stdout)
    else:
        Counts.passed += 1
        print(f"ok     {name}")
    sys.stdout.flush()


def finish():
    print(f"{Counts.passed} passed, {Counts.failed} failed")
    # Not sys.exit(): C-core 1.51 may wait for one of its threads for ever when it shuts itself down.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if Counts.failed or not Counts.passed else 0)


def run(names, make_server):
    """Runs every test_* function of a module against one server, whose clean end is a test too.

    TEST=name in the environment runs that test alone.
    """
    only = os.environ.get("TEST")
    server = make_server()
    try:
        server.start()
        for name, function in list(names.items()):
            if name.startswith("test_") and callable(function) and only in (None, name):
                run_one(name, function, server)
        run_one("the server ends clean", server.stop)
        if Counts.failed:
            print("---- the last lines of the server's log")
            print("".join(server.whole_log[-60:]))
    finally:
        server.remove()
    finish()
