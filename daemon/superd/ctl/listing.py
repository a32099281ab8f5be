"""superctl list: the methods, with their signatures."""

import argparse
from typing import Final

from superd.ctl.console import Console, Painted, Part, Style
from superd.ctl.exits import ExitStatus
from superd.ctl.interface import read_interface
from superd.ctl.session import Session
from superd.ctl.signature import Signatures

#: Signatures up to this long share a column; one that is longer does not push the summaries of all others away.
_COLUMN_MAX: Final = 60

#: What there is of each method for scripts.
_MEMBERS: Final = ("name", "signature", "summary", "kind")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `list`."""
    parser.add_argument("prefix", metavar="PREFIX", nargs="?", default="", help="only names that begin so")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Write the list."""
    interface = read_interface(session.discover(timeout=getattr(arguments, "timeout", None)))
    signatures = Signatures(interface)
    methods = sorted(
        (method.name, signatures.method(method), method.summary, method.kind)
        for method in interface.methods
        if method.name.startswith(arguments.prefix)
    )
    out = session.streams.out
    if getattr(arguments, "as_json", False):
        out.json([dict(zip(_MEMBERS, method, strict=True)) for method in methods])
    else:
        _write([(name, signature, summary) for name, signature, summary, _ in methods], out)
    return ExitStatus.OK


def _write(methods: list[tuple[str, str, str]], out: Console) -> None:
    """One line for each method, so that grep is of use; two on a terminal that is too narrow for one."""
    fitting = [len(signature) for _, signature, _ in methods if len(signature) <= _COLUMN_MAX]
    column = max(fitting, default=0)
    in_two = out.is_terminal and any(_width(column, *method) > out.width for method in methods)
    for name, signature, summary in methods:
        head = signature_parts(name, signature)
        if in_two or not summary:
            out.line(*head)
        else:
            gap = " " * (max(column, len(signature)) + 2 - len(signature))
            out.line(*head, gap, Painted(summary, Style.FAINT))
        if in_two and summary:
            out.line("    ", Painted(summary, Style.FAINT))


def _width(column: int, _: str, signature: str, summary: str) -> int:
    return max(column, len(signature)) + 2 + len(summary)


def signature_parts(name: str, signature: str) -> list[Part]:
    """A signature with the name told apart."""
    return [Painted(name, Style.STRONG), signature.removeprefix(name)]
