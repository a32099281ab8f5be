"""The entry point."""

import gc
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; the console script `superd`.

    What a start makes stays, so that to look for garbage in it takes time and finds none: none is looked for until the
    services are loaded (`superd.app`).
    """
    gc.disable()
    from superd.program import run_program  # noqa: PLC0415 - most of what a start makes are modules

    return run_program(argv)


if __name__ == "__main__":
    sys.exit(main())
