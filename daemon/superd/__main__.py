"""The entry point."""

import gc
import sys
from collections.abc import Sequence

from superd.incomplete import BROKEN, INCOMPLETE_STATUS, explain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; the console script `superd`.

    What a start makes stays, so that to look for garbage in it takes time and finds none: none is looked for until the
    services are loaded (`superd.app`).
    """
    gc.disable()
    try:
        from superd.program import run_program  # noqa: PLC0415 - most of what a start makes are modules
    except BROKEN as error:
        return _give_up(error)
    return run_program(argv)


def _give_up(error: Exception) -> int:
    """Tell people and systemd, which tries again, that there is half an installation; the status to exit with."""
    from superd.sd.notify import Notifier  # noqa: PLC0415 - no usual start comes here

    text = explain(error)
    Notifier.from_environment().status(text)
    sys.stderr.write(f"superd: {text}\n")
    return INCOMPLETE_STATUS


if __name__ == "__main__":
    sys.exit(main())
