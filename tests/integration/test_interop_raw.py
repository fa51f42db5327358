#!/usr/bin/python3
"""The interop server and a client that makes gRPC by hand (python3-h2), over TLS and in clear text.

TEST=name in the environment runs that case alone.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../conformance"))

import interop_raw  # noqa: E402
from interop_harness import InteropServer  # noqa: E402
from userd_harness import finish, run_one  # noqa: E402


def main():
    only = os.environ.get("TEST")
    for tls in (True, False):
        with InteropServer.running(tls) as server:
            for name, function in interop_raw.cases().items():
                if only in (None, name):
                    run_one(f"{server.name}: {name}", function, server)
    finish()


if __name__ == "__main__":
    main()
