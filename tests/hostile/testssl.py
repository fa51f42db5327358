#!/usr/bin/python3
"""testssl.sh (Debian's package) against a server, with TLS 1.3 alone and with 1.2 beside it: it must
find nothing above LOW. `make test-hostile`.

The certificate is one as a public authority would make it: with a name, a chain to a root that
testssl.sh is told to trust, and an address for revocation lists. What testssl.sh says of itself, of
the machine or of DNS is no finding.
"""

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration/lib"))

from userd_harness import Server, finish, run_main, run_one  # noqa: E402

ABOVE_LOW = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
PATIENCE_S = 900


def openssl(*words, **keywords):
    subprocess.run(["openssl", *words], check=True, capture_output=True, **keywords)


def make_certificate(server):
    """Signed by the authority that the harness has made."""
    folder = server.certificates.folder
    request = folder / "request.pem"
    extensions = folder / "extensions"
    extensions.write_text(
        "subjectAltName = DNS:localhost, IP:127.0.0.1\n"
        "basicConstraints = critical, CA:FALSE\n"
        "keyUsage = critical, digitalSignature\n"
        "extendedKeyUsage = serverAuth\n"
        "crlDistributionPoints = URI:http://localhost/ca.crl\n")
    openssl("req", "-new", "-key", server.certificates.key, "-subj", "/CN=localhost", "-out", request)
    openssl("x509", "-req", "-in", request, "-CA", server.ca, "-CAkey", folder / "ca.key",
            "-days", "90", "-extfile", extensions, "-out", server.certificates.cert)


def check(min_version):
    server = Server({"tls": {"min_version": min_version},
                     "limits": {"max_connections_per_ip": "1000"}})
    try:
        make_certificate(server)
        server.start()
        report = server.folder / "report.json"
        # It ends with the number of its findings, which says nothing.
        subprocess.run(["testssl", "--quiet", "--color", "0", "--warnings", "off", "--ip", "one",
                        "--add-ca", str(server.ca), "--jsonfile", str(report),
                        f"localhost:{server.port}"], timeout=PATIENCE_S, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        findings = json.loads(report.read_text())
        assert any(one["id"] == "TLS1_3" and "offered" in one["finding"] for one in findings), findings
        bad = [one for one in findings if one["severity"] in ABOVE_LOW]
        low = sorted({one["id"] for one in findings if one["severity"] == "LOW"})
        print(f"counts: testssl.sh, min_version {min_version}: {len(findings)} checks, "
              f"{len(bad)} above LOW, LOW: {', '.join(low) or 'none'}")
        assert not bad, bad
        server.stop()
    finally:
        server.remove()


def main():
    for version in ("1.3", "1.2"):
        run_one(f"testssl.sh, min_version {version}", check, version)
    finish()


if __name__ == "__main__":
    os.environ.setdefault("TERM", "dumb")
    run_main(main)
