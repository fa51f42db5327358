#!/usr/bin/python3
"""Runs a command while a server runs: lib/with_server.py COMMAND [ARGUMENT]...

TEST_SETTINGS in the environment, in JSON, is what the server's configuration has besides the usual.
The command finds TEST_TARGET (host:port), TEST_CA, TEST_TOKEN_FILE, TEST_SECRET, TEST_FOLDER (for
its own files) and TEST_SERVER_PID in its environment, and TEST_HEALTH_TARGET when there is a health
port. Exits as the command did; when the server does not end clean after it, with 1 and the reason.
"""

import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from userd_harness import Server, ServerFailed  # noqa: E402


def main():
    try:
        settings = json.loads(os.environ.get("TEST_SETTINGS", "{}"))
        with Server.running(settings) as server:
            token_file = server.folder / "token"
            token_file.write_text(server.token() + "\n")
            port = re.search(r"\bhealth_listening address=\"?([^ \"]+)", server.log())
            status = subprocess.run(sys.argv[1:], check=False, env={
                **os.environ,
                "TEST_TARGET": f"localhost:{server.port}",
                "TEST_CA": str(server.ca),
                "TEST_TOKEN_FILE": str(token_file),
                "TEST_SECRET": str(server.certificates.secret),
                "TEST_FOLDER": str(server.folder),
                "TEST_SERVER_PID": str(server.process.pid),
                **({"TEST_HEALTH_TARGET": port.group(1)} if port else {}),
            }).returncode
            if status != 0:
                print("---- the last lines of the server's log\n" + "".join(server.lines[-20:]))
    except ServerFailed as problem:
        print(f"FAILED the server ends clean: {problem}")
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
