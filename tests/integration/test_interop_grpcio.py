#!/usr/bin/python3
"""The interop server and C-core: every case over TLS and in clear text, and what a thousand large calls
at once cost.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../conformance"))

import interop_test  # noqa: E402
from interop_harness import QUARANTINE_KIB, InteropServer  # noqa: E402
from userd_harness import finish, run_one  # noqa: E402

CALLS = 1000


def thousand_large_calls(server, target):
    """Three times: what one round leaves behind, the next must not add to."""
    before = server.rss_kib()
    peaks, afters = [], []
    for _ in range(3):
        server.reset_peak()
        interop_test.concurrent_large_unary(target, CALLS)
        peaks.append(server.rss_kib(peak=True))
        afters.append(server.rss_kib())
    print(f"       {CALLS} large calls at once: RSS before {before} KiB, peaks {peaks}, after {afters}")
    # A request that is being gathered may take twice its size; a reply is not made before there is
    # room for it.
    bound = before + CALLS * 2 * interop_test.LARGE_REQUEST // 1024 + 32 * 1024 + QUARANTINE_KIB
    assert max(peaks) <= bound, (peaks, bound)


def main():
    for tls in (True, False):
        with InteropServer.running(tls) as server:
            target = interop_test.Target(
                f"localhost:{server.port}" if tls else server.address, server.ca)
            prefix = f"{server.name}: "
            interop_test.run_cases(target, prefix)
            run_one(prefix + "a thousand large calls at once", thousand_large_calls, server, target)
            target.close()
    finish()


if __name__ == "__main__":
    main()
