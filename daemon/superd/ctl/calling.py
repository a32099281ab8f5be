"""superctl call: one call, its result on standard output; a stream's items as they come, an upload's out of a file."""

import argparse
import contextlib
from typing import Any, Final

from superd.ctl.exits import ExitStatus, UsageError
from superd.ctl.params import build_params, open_descriptors, read_items
from superd.ctl.session import Session
from superd_client.arguments import check_call_id

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
    """Call the method and write the result."""
    with contextlib.ExitStack() as stack:
        options = call_options(arguments)
        params = call_params(arguments, stack)
        if arguments.stream:
            return _stream(session, arguments.method, params, options)
        if arguments.upload is not None:
            items = read_items(arguments.upload, stack)
            result = session.client.upload(arguments.method, params, items, **options)
        else:
            result = session.client.call(arguments.method, params, **options)
    session.streams.out.json(result)
    return ExitStatus.OK


def _stream(session: Session, method: str, params: dict[str, Any], options: dict[str, Any]) -> int:
    with session.client.stream(method, params, **options) as items:
        for item in items:
            session.streams.out.json_line(item)
    return ExitStatus.OK


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
