"""superctl call: one call, its result on standard output."""

import argparse
from typing import Final

from superd.ctl.exits import ExitStatus, UsageError
from superd.ctl.params import build_params
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
    parser.add_argument("method", metavar="METHOD", help="such as echo.echo; superctl list shows them")
    parser.add_argument(
        "pairs", metavar="KEY=TEXT | KEY:=JSON", nargs="*", default=[], help="the params, see below"
    )
    parser.add_argument(
        "--params",
        "--json",
        dest="source",
        metavar="FILE",
        help="read params from a file that holds a JSON object, - for standard input; those given as KEY=... win",
    )
    parser.add_argument(
        "--call-id",
        metavar="ID",
        help="the name of this call in the journals of both sides (default: a new one)",
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Call the method and write the result."""
    _check_call_id(arguments.call_id)
    result = session.call(
        arguments.method,
        build_params(arguments.pairs, arguments.source),
        timeout=getattr(arguments, "timeout", None),
        call_id=arguments.call_id,
    )
    session.streams.out.json(result)
    return ExitStatus.OK


def _check_call_id(call_id: str | None) -> None:
    try:
        if call_id is not None:
            check_call_id(call_id)
    except ValueError as error:
        raise UsageError(str(error)) from None
