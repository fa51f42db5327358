#!/usr/bin/python3
"""Some of the malformed connections of `make test-hostile`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "hostile"))

import connections  # noqa: E402
from userd_harness import run_main  # noqa: E402

if __name__ == "__main__":
    run_main(lambda: connections.run(5000, 1))
