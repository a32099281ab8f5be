"""What superctl's exit status says. docs/reference/superctl.md has the table; a test compares the two."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """For a call that went wrong it is the outcome: what a script must know before it tries again."""

    OK = 0
    #: The server carried the call out, or began to, and there is no result.
    FAILED = 1
    #: The command line is wrong, or a file that it names; nothing was sent.
    USAGE = 2
    #: The server refused the call and did not carry it out.
    REFUSED = 3
    #: The call was never sent: nobody listens, or no permission. Trying again is safe.
    NOT_SENT = 4
    #: The call was sent, and nobody can say whether it was carried out.
    UNKNOWN = 5
    #: The answer came and could not be written to standard output, or its bytes to the file of --output.
    NOT_WRITTEN = 6
    #: A module of superd or of a library cannot be imported: superd.incomplete. Nothing was sent.
    INCOMPLETE = 78
    #: Ctrl-C: 128 + SIGINT, as the shell reports it.
    INTERRUPTED = 130
    #: The reader of standard output went away: 128 + SIGPIPE.
    PIPE_CLOSED = 141


class UsageError(Exception):
    """The command line is wrong; the text says how. Raised before anything was sent."""


class NotWritten(Exception):
    """Standard output takes no more; `__cause__` is the OSError."""


class FileNotWritten(Exception):
    """The file of --output does not have what was to be written there; the text names it and says why."""
