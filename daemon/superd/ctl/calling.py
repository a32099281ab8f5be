"""superctl call: one call, its result on standard output; a stream's items as they come, an upload's out of a file."""

import argparse
import contextlib
from typing import TYPE_CHECKING, Any, Final

from superd.ctl.exchange import Exchange
from superd.ctl.exits import ExitStatus, FileNotWritten, UsageError
from superd.ctl.params import build_params, open_descriptors, read_items
from superd.ctl.session import Session
from superd_client.arguments import check_call_id

if TYPE_CHECKING:
    from superd.ctl.output import Output

EPILOG: Final = """\
params:
  sku=A-1             the text "A-1"
  quantity:=3         any JSON value: a number, true, null, a list, an object
  'tags:=["a","b"]'   quoted for the shell

The result is JSON: indented on a terminal, else in one line. For this command --json
does not ask for JSON output, as it does for the others: it names a file with params.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `call`."""
    parser.epilog = EPILOG
    add_arguments(parser)
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--stream",
        action="store_true",
        help="the method is a stream: write each item in one line as it comes",
    )
    ways.add_argument(
        "--upload",
        metavar="FILE",
        help="the method is an upload: send the JSON values in FILE, one in each line, - for standard input",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write the bytes of the blobs that come to FILE, one blob after the other",
    )
    parser.add_argument(
        "--reveal",
        action="store_true",
        help="write what the server marks as secret, also on a terminal",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which call it is."""
    parser.add_argument("method", metavar="METHOD", help="such as echo.echo; superctl list shows them")
    parser.add_argument(
        "pairs",
        metavar="KEY=TEXT | KEY:=JSON",
        nargs="*",
        default=[],
        help="the params, see superctl call --help",
    )
    parser.add_argument(
        "--params",
        "--json",
        dest="source",
        metavar="FILE",
        help="read params from a file that holds a JSON object, - for standard input; those given as KEY=... win",
    )
    parser.add_argument(
        "--fd",
        dest="descriptors",
        metavar="KEY=FILE",
        action="append",
        default=[],
        help="open FILE for reading, and pass its descriptor as the param KEY; may be repeated",
    )
    parser.add_argument(
        "--call-id",
        metavar="ID",
        help="the name of this call in the journals of both sides (default: a new one)",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Call the method and write what comes; all that the command line names is read and opened before."""
    with contextlib.ExitStack() as stack:
        options, params = call_options(arguments), call_params(arguments, stack)
        output = _open_output(arguments.output, stack)
        exchange = Exchange(session, arguments.method, options, output, reveal=arguments.reveal)
        try:
            if arguments.stream:
                return exchange.stream(params)
            if arguments.upload is not None:
                return exchange.upload(params, read_items(arguments.upload, stack))
            return exchange.call(params)
        except FileNotWritten as error:
            session.streams.err.line("superctl: ", str(error))
            return ExitStatus.NOT_WRITTEN


def _open_output(path: str | None, stack: contextlib.ExitStack) -> "Output | None":
    if path is None:
        return None
    from superd.ctl.output import Output

    return stack.enter_context(Output(path))


def call_params(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> dict[str, Any]:
    """The params that a command line gives; `stack` closes the files that it names. Raises UsageError."""
    if arguments.source == "-" and getattr(arguments, "upload", None) == "-":
        raise UsageError("standard input can be the params or the items, not both")
    params = build_params(arguments.pairs, arguments.source)
    return params | open_descriptors(arguments.descriptors, params, stack)


def call_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The timeout and the call id that a command line gives; raises UsageError."""
    try:
        if arguments.call_id is not None:
            check_call_id(arguments.call_id)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return {"timeout": getattr(arguments, "timeout", None), "call_id": arguments.call_id}
