"""superctl: argv -> command -> exit status."""

import sys
from collections.abc import Sequence

from superd.ctl.commands import complain, parse, run_command
from superd.ctl.console import Streams, standard_streams
from superd.ctl.exits import ExitStatus, NotWritten, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run superctl with `argv`, by default the process's; returns the exit status."""
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


def _run(argv: Sequence[str], streams: Streams) -> int:
    try:
        arguments = parse(argv)
        from superd.ctl.session import Session

        session = Session(streams, address=getattr(arguments, "socket", None))
    except UsageError as error:
        return complain(error, streams.err)
    try:
        return run_command(arguments, session)
    finally:
        session.close()


if __name__ == "__main__":
    sys.exit(main())
