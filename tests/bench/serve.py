"""The server process of a system that is a Python library: `python -m tests.bench.serve MODULE ADDRESS`."""

import importlib
import sys


def ready() -> None:
    """Say to who started this process that connections are accepted, or wait in the queue."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def main() -> int:
    """Serve until the process is ended by a signal."""
    module, address = sys.argv[1:]
    importlib.import_module(module).serve(address, ready)
    return 0


if __name__ == "__main__":
    sys.exit(main())
