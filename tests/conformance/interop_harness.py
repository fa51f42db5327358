"""A running interop-server for the tests in Python, and the messages of grpc.testing.

Environment (scripts/run-tests.sh sets it): INTEROP_SERVER, the program. Run by itself it starts a
server for a command, to which it appends the server's address and, with TLS, the file of the CA:

    interop_harness.py tls|clear COMMAND [ARGUMENT]...
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/integration/lib"))

from userd_harness import PATIENCE_S, REPORTS, SLOW, Certificates, ServerFailed  # noqa: E402

import grpc  # noqa: E402

# The generated messages are in the package of grpcio itself, grpc.testing, and stand elsewhere.
grpc.__path__.append(str(ROOT / "build/gen/python/grpc"))

# What a sanitizer may keep of freed memory, to see it used. There the leak check counts, not the RSS.
QUARANTINE_KIB = 256 * 1024 if SLOW > 1 else 0

PROGRAM = os.environ.get("INTEROP_SERVER", str(ROOT / "build/interop-server"))


class InteropServer:
    """One server over TLS or in clear text."""

    def __init__(self, tls):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="interop-test-"))
        self.ca = None
        command = [PROGRAM, "--port", "0"]
        if tls:
            certificates = Certificates(self.folder)
            self.ca = certificates.ca
            command += ["--cert", str(certificates.cert), "--key", str(certificates.key)]
        self.errors = open(self.folder / "stderr", "w+")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True)
        line = self.process.stdout.readline()
        found = re.fullmatch(r"listening (127\.0\.0\.1:[0-9]+)\n", line)
        if found is None:
            self.remove()
            raise ServerFailed(f"the server did not start: {line!r}")
        self.address = found.group(1)
        self.host, _, port = self.address.rpartition(":")
        self.port = int(port)
        self.name = "TLS" if tls else "clear text"

    def rss_kib(self, peak=False):
        """Resident memory now, or the most since the start or reset_peak()."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s*(\d+)" if peak else r"VmRSS:\s*(\d+)", status).group(1))

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def log(self):
        self.errors.flush()
        return (self.folder / "stderr").read_text(errors="replace")

    def stop(self):
        """SIGTERM must end it, clean and soon."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise ServerFailed("SIGTERM did not end the server:\n" + self.log()) from None
        if status != 0 or REPORTS.search(self.log()):
            raise ServerFailed(f"the server ended with {status}:\n" + self.log())

    def remove(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    @contextlib.contextmanager
    def running(cls, tls):
        server = cls(tls)
        try:
            yield server
            server.stop()
        finally:
            server.remove()


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("tls", "clear"):
        sys.exit(__doc__)
    try:
        with InteropServer.running(sys.argv[1] == "tls") as server:
            where = [f"localhost:{server.port}", str(server.ca)] if server.ca else [server.address]
            status = subprocess.run(sys.argv[2:] + where, check=False).returncode
    except ServerFailed as problem:
        print(f"FAILED the server ends clean: {problem}")
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
