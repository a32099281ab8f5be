"""python -m tests.conformance ADDRESS: judges a server that claims the protocol, clause by clause.

It needs nothing but sockets and JSON; tests/conformance/README.md says which methods the server has to have.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from tests.conformance.checks import CHECKS
from tests.conformance.judging import DATAGRAM, PACKET, Check, Failed, NotApplicable, Server, shown
from tests.conformance.peer import Address, Closed, Peer, Silence, parse
from tests.conformance.unseen import UNSEEN
from tests.wire.golden import clauses_of_the_page


class Finding(NamedTuple):
    """What one check brought about. `text` says why it failed, or why it does not apply."""

    check: Check
    verdict: str
    text: str


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: nothing failed. 1: something did. 2: there is nobody to judge."""
    options = _parser().parse_args(arguments)
    try:
        server = meet(parse(options.address), options.patience, options.pid)
    except (Closed, Silence):
        sys.stderr.write(f"{options.address}: it does not answer\n")
        return 2
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{options.address}: {error}\n")
        return 2
    findings = list(judge(server, options.clause))
    sys.stdout.write(
        "".join(f"{line}\n" for line in report(server, findings, options.clause, everything=options.verbose))
    )
    return 1 if any(finding.verdict == "FAIL" for finding in findings) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument(
        "address", metavar="ADDRESS", help="unix:/path, unix-seqpacket:/path or unix-dgram:/path"
    )
    parser.add_argument(
        "--pid", type=int, help="the server's process: it is stopped at the end by SIGTERM, and judged"
    )
    parser.add_argument(
        "--patience", type=float, default=5.0, help="seconds for an answer (default: %(default)s)"
    )
    parser.add_argument(
        "--clause", action="append", default=[], help="this clause or section alone; may be repeated"
    )
    parser.add_argument("--verbose", action="store_true", help="name each check, not the failed ones alone")
    return parser


def meet(address: Address, patience: float, pid: int | None) -> Server:
    """Find out whether somebody is there, and what it says of itself."""
    with Peer(address, patience) as peer:
        hello = peer.call("rpc.hello").get("result")
    return Server(address, patience, hello if isinstance(hello, dict) else {}, pid)


def judge(server: Server, clauses: list[str], checks: Iterable[Check] = CHECKS) -> Iterable[Finding]:
    """Do all checks that concern this type of socket and these clauses, those that stop the server last."""
    for check in sorted(checks, key=lambda check: check.stops):
        if server.address.kind in check.sockets and _wanted(check, clauses):
            yield _try(check, server)


def _wanted(check: Check, clauses: list[str]) -> bool:
    return not clauses or any(is_one_of(clause, clauses) for clause in check.clauses)


def is_one_of(clause: str, wanted: list[str]) -> bool:
    """Whether it is one of these clauses, or of a section that they name."""
    return any(clause == one or clause.startswith(f"{one}.") for one in wanted)


def concerns(clause: str, kind: str) -> bool:
    """Sections 17 and 18 are of one type of socket each; a check may show a clause of theirs beside others."""
    return kind == {"17": PACKET, "18": DATAGRAM}.get(clause.partition(".")[0], kind)


def _try(check: Check, server: Server) -> Finding:
    try:
        check.run(server)
    except NotApplicable as reason:
        return Finding(check, "n/a", str(reason))
    except Failed as failed:
        return Finding(check, "FAIL", str(failed))
    except Closed:
        return Finding(check, "FAIL", "the server closed the connection")
    except Silence:
        return Finding(check, "FAIL", f"nothing came within {server.patience:g} s")
    except (OSError, ValueError, LookupError, TypeError) as error:
        return Finding(check, "FAIL", f"{type(error).__name__}: {shown(str(error))}")
    return Finding(check, "pass", "")


def report(server: Server, findings: list[Finding], wanted: list[str], *, everything: bool) -> Iterable[str]:
    """Line by line: each clause of the page in its order, and the sum."""
    of_clause = defaultdict(list)
    for finding in findings:
        for clause in finding.check.clauses:
            if concerns(clause, server.address.kind):
                of_clause[clause].append(finding)
    verdicts = {"pass": 0, "FAIL": 0, "n/a": 0}
    yield f"{server.address.text}: protocol {server.hello.get('protocol', 'unknown')}"
    for number, _ in clauses_of_the_page():
        if wanted and not is_one_of(number, wanted):
            continue
        found = of_clause[number]
        verdict = verdict_of(found)
        verdicts[verdict] += 1
        yield f"{number:>7}  {verdict:<4}  {_why(number, found, verdict)}"
        for finding in found:
            if everything or finding.verdict == "FAIL":
                text = f": {finding.text}" if finding.text else ""
                yield f"{'':>15}{finding.verdict} {finding.check.name}{text}"
    yield ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())


def verdict_of(findings: list[Finding]) -> str:
    """One failure is a failure; what passed counts where some of it did not apply."""
    seen = {finding.verdict for finding in findings}
    return next((verdict for verdict in ("FAIL", "pass") if verdict in seen), "n/a")


def _why(clause: str, findings: list[Finding], verdict: str) -> str:
    if verdict == "n/a":
        reasons = {finding.text for finding in findings} or {UNSEEN.get(clause, "not of this type of socket")}
        return "; ".join(sorted(reasons))
    count = sum(finding.verdict == "pass" for finding in findings)
    return f"{count} of {len(findings)} checks"


if __name__ == "__main__":
    sys.exit(main())
