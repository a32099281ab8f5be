"""superctl: argv -> command -> exit status."""

import gc
import os
import sys
from collections.abc import Sequence
from typing import Final

from superd.ctl.console import Streams, standard_streams
from superd.ctl.exits import ExitStatus, NotWritten, UsageError
from superd.incomplete import BROKEN

#: Python's default is 700, with which a start has some 60 collections. A shell that runs for long has them, too.
_OBJECTS_BETWEEN_COLLECTIONS: Final = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run superctl with `argv`, by default the process's; returns the exit status."""
    _hurry()
    streams = standard_streams()
    try:
        status = _run(sys.argv[1:] if argv is None else argv, streams)
        streams.out.flush()
    except KeyboardInterrupt:
        status = ExitStatus.INTERRUPTED
        if streams.err.is_terminal:
            streams.err.line()
    except BrokenPipeError:
        streams.out.discard()
        status = ExitStatus.PIPE_CLOSED
    except NotWritten as error:
        streams.out.discard()
        streams.err.line(f"superctl: standard output: {error}")
        status = ExitStatus.NOT_WRITTEN
    return status


def _hurry() -> None:
    """Leave out of a start what a command of a second has no use for."""
    # Hardly anything that is made while modules are loaded is garbage.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # pydantic would look for them in every installed package. The unit of superd says the same.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _run(argv: Sequence[str], streams: Streams) -> int:
    try:
        from superd.ctl.commands import complain, parse, read_instance, run_command
    except BROKEN as error:
        return _give_up(error, argv, streams)
    try:
        arguments = parse(argv)
        from superd.ctl.session import Session

        session = Session(
            streams, address=getattr(arguments, "socket", None), instance=read_instance(arguments)
        )
    except UsageError as error:
        return complain(error, streams.err)
    except BROKEN as error:
        return _give_up(error, argv, streams)
    try:
        return run_command(arguments, session)
    finally:
        session.close()


def _give_up(error: Exception, argv: Sequence[str], streams: Streams) -> int:
    from superd.ctl.doctor.half_installed import tell_incomplete

    return tell_incomplete(error, argv, streams)


if __name__ == "__main__":
    sys.exit(main())
