"""The foreign servers of tests/peers, and certificates for servers with names of one's own."""

import os
import pathlib
import queue
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from userd_harness import PATIENCE_S, ROOT  # noqa: E402

PEERS = ROOT / "tests/peers"
COMMANDS = {
    "grpcio": ["/usr/bin/python3", str(PEERS / "peer_grpcio.py")],
    "grpc-js": ["node", str(PEERS / "peer_node.cjs")],
    "libgrpc++": [str(ROOT / "build/peer-cpp")],
}


class Lines:
    """The lines that a process writes, read by a thread so that it never waits for its reader."""

    def __init__(self, stream):
        self.queue = queue.Queue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            self.queue.put(line)
        self.queue.put(None)

    def next(self, what):
        """The next line without its end; None when there is none any more."""
        try:
            return self.queue.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError(f"nothing was said: {what}") from None


class Peer:
    """One foreign server. `stack` is a name of COMMANDS."""

    def __init__(self, stack, listen="127.0.0.1:0", *options, details=b""):
        self.stack = stack
        command = [*COMMANDS[stack], "--listen", listen, *map(str, options)]
        if details:
            command += ["--details", details.hex()]
        environment = {**os.environ, "NODE_PATH": os.environ.get("NODE_PATH") or str(ROOT / "build/node_modules")}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.lines = Lines(self.process.stdout)
        first = self.lines.next("the address") or ""
        assert first.startswith("listening "), f"{stack} did not start: {first}"
        self.address = first.split()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def ask(self, line):
        self.tell(line)
        return (self.lines.next(line) or "").rstrip("\n")

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def count(self, what):
        """`calls` or `cancelled`."""
        return int(self.ask(what).split()[1])

    def stop(self):
        """GOAWAY, and the end."""
        self.tell("stop")
        assert self.process.wait(PATIENCE_S) == 0, f"{self.stack} ended with {self.process.returncode}"


def sign_server(folder, name, names):
    """A certificate and key of a server with these names, by the authority of userd_harness.Certificates."""
    folder = pathlib.Path(folder)
    pair = folder / f"{name}.pem", folder / f"{name}.key"
    texts = ",".join(("IP:" if one[0].isdigit() else "DNS:") + one for one in names)
    extensions = folder / f"{name}.ext"
    extensions.write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                          f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={texts}\n"
                          "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", pair[1], "-subj", f"/CN={name}", "-out", folder / f"{name}.csr"], **run)
    subprocess.run(["openssl", "x509", "-req", "-sha256", "-days", "30", "-in", folder / f"{name}.csr",
                    "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial",
                    "-extfile", extensions, "-out", pair[0]], **run)
    return pair
