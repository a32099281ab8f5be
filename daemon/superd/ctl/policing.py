"""superctl policy: what the files of the policy say, and what they would decide. Asks no daemon: it reads what superd reads."""

import argparse
import difflib
import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from superd.ctl.console import Console, Painted, Style
from superd.ctl.exits import ExitStatus, UsageError
from superd.ctl.selection import user_name
from superd.ctl.session import Session
from superd.parts import StartError, offered
from superd.policy import Decision, Policy, Rule, is_unit
from superd.policy_load import LoadedPolicy, PolicyError, load_policy
from superd.policy_names import daemon_account, find_gid
from superd.settings_sources import SettingsError, load_settings
from superd_client.instances import Instance

EPILOG: Final = """\
show   the rules in the order in which they are tried, and the default of each method
test   whether a user may call METHOD, and which rule decides; exit status 0 allowed, 1 denied

The files are read as superd reads them when it starts, whether it runs or not. One that runs
has read them then, or at its last reload.
"""

#: The group id of a number that no user has: not that of any group.
_NO_GID: Final = -1


class Identity(NamedTuple):
    """A caller as the command line describes it; superd.policy.Identity."""

    uid: int
    gid: int
    groups: frozenset[int] | None
    system_unit: str | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `policy`."""
    parser.epilog = EPILOG
    parser.add_argument("action", choices=("show", "test"), help="see below")
    parser.add_argument("method", metavar="METHOD", nargs="?", help="for test: such as inventory.lookup")
    parser.add_argument("--user", metavar="USER", help="for test: who calls, a name or a number")
    parser.add_argument(
        "--group",
        metavar="GROUP",
        action="append",
        default=[],
        help="for test: a group beside those of the user, as by SupplementaryGroups=; may be repeated",
    )
    parser.add_argument(
        "--unit", metavar="UNIT", help="for test: the unit of the caller (default: one that is not known)"
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="the configuration, as superd's option of that name"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Read the policy; show it, or test it."""
    caller = _read_caller(arguments)
    loaded = _load(arguments.config, session.instance)
    as_json = bool(getattr(arguments, "as_json", False))
    out, err = session.streams
    if caller is None:
        if as_json:
            out.json(_as_json(loaded))
            return ExitStatus.OK
        _show(loaded.policy, out)
    for warning in loaded.warnings:
        err.line(Painted("warning: ", Style.BAD), str(warning))
    if caller is None:
        return ExitStatus.OK
    return _test(loaded.policy, arguments.method, caller, out, as_json=as_json)


def _load(config: Path | None, instance: Instance) -> LoadedPolicy:
    """The policy of the superd that the configuration describes; raises UsageError where any of it is wrong."""
    try:
        settings = load_settings(config=config, instance=instance)
        return load_policy(settings, offered(settings).accesses, daemon_account(settings.instance))
    except (SettingsError, StartError, PolicyError) as error:
        raise UsageError(str(error)) from None


# --- show ----------------------------------------------------------------------------------------------------------


def _show(policy: Policy, out: Console) -> None:
    for title, rules in (("Denials", policy.rules.denials), ("Allowances", policy.rules.allowances)):
        out.line(Painted(title, Style.STRONG), "" if rules else ": none")
        for rule in rules:
            who = "; ".join(_who(rule)) or "everybody"
            out.line("  ", Painted(", ".join(rule.methods), Style.NAME), f"  {who}")
            out.line("    ", Painted(str(rule.place), Style.FAINT))
    out.line(Painted("Defaults", Style.STRONG))
    width = max(map(len, policy.methods), default=0)
    for method in sorted(policy.methods):
        access, place = policy.default(method)
        source = () if place is None else (Painted(f"  {place}", Style.FAINT),)
        out.line("  ", Painted(method.ljust(width), Style.NAME), f"  {access}", *source)


def _who(rule: Rule) -> Iterator[str]:
    for kind, names in _names(rule).items():
        if names is not None:
            yield f"{kind} {', '.join(map(str, names)) or '(none that is known)'}"


def _names(rule: Rule) -> dict[str, list[str | int] | None]:
    """Those whom a rule means, by name where there is one."""
    return {
        "users": None if rule.users is None else [user_name(uid) for uid in sorted(rule.users)],
        "groups": None if rule.groups is None else [group_name(gid) for gid in sorted(rule.groups)],
        "units": None if rule.units is None else sorted(rule.units),
    }


def group_name(gid: int) -> str | int:
    """The name of a group, or the number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return gid


def _as_json(loaded: LoadedPolicy) -> dict[str, Any]:
    policy = loaded.policy
    return {
        "denials": [_rule_as_json(rule) for rule in policy.rules.denials],
        "allowances": [_rule_as_json(rule) for rule in policy.rules.allowances],
        "defaults": {method: _default_as_json(policy, method) for method in sorted(policy.methods)},
        "warnings": list(map(str, loaded.warnings)),
    }


def _rule_as_json(rule: Rule) -> dict[str, Any]:
    return {"rule": str(rule.place), "methods": list(rule.methods), **_names(rule)}


def _default_as_json(policy: Policy, method: str) -> dict[str, Any]:
    access, place = policy.default(method)
    return {"access": access, "rule": None if place is None else str(place)}


# --- test ----------------------------------------------------------------------------------------------------------


def _read_caller(arguments: argparse.Namespace) -> Identity | None:
    """The caller to test; None for `show`. Raises UsageError."""
    given = {"METHOD": arguments.method, "--user": arguments.user}
    if arguments.action == "show":
        more = {**given, "--group": arguments.group, "--unit": arguments.unit}
        for name, value in more.items():
            if value:
                raise UsageError(f"{name} is for policy test")
        return None
    for name, value in given.items():
        if value is None:
            raise UsageError(f"policy test needs {name}")
    if arguments.unit is not None and not is_unit(arguments.unit):
        raise UsageError(f"{arguments.unit!r} is no unit that runs programs: write one such as romd.service")
    uid, gid, groups = _find_user(arguments.user)
    return Identity(uid, gid, groups | set(map(_find_group, arguments.group)), arguments.unit)


def _find_user(user: str) -> tuple[int, int, frozenset[int]]:
    """A user's ids and groups, as a login would have them; of a number without a user, the number alone."""
    number = int(user) if user.isascii() and user.isdigit() else None
    try:
        entry = pwd.getpwnam(user) if number is None else pwd.getpwuid(number)
    except (KeyError, OverflowError):
        if number is None:
            raise UsageError(f"there is no user {user!r}") from None
        return number, _NO_GID, frozenset()
    return entry.pw_uid, entry.pw_gid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))


def _find_group(group: str) -> int:
    gid = find_gid(group)
    if gid is None:
        raise UsageError(f"there is no group {group!r}")
    return gid


def _test(policy: Policy, method: str, caller: Identity, out: Console, *, as_json: bool) -> ExitStatus:
    if method not in policy.methods:
        near = difflib.get_close_matches(method, sorted(policy.methods), n=1)
        raise UsageError(f"there is no method {method!r}" + (f"; did you mean {near[0]}?" if near else ""))
    decision = policy.judge(method, caller)
    if as_json:
        out.json(_decision_as_json(decision, method, caller))
    else:
        verdict = Painted("allowed", Style.GOOD) if decision.allowed else Painted("denied", Style.BAD)
        out.line(verdict, f": {method} from {_describe(caller)}")
        out.line(f"  {decision.reason}")
        if decision.place is not None:
            out.line(f"  {decision.place}")
    return ExitStatus.OK if decision.allowed else ExitStatus.FAILED


def _decision_as_json(decision: Decision, method: str, caller: Identity) -> dict[str, Any]:
    return {
        "allowed": decision.allowed,
        "method": method,
        "uid": caller.uid,
        "groups": sorted((caller.groups or frozenset()) | {caller.gid} - {_NO_GID}),
        "unit": caller.system_unit,
        "by": decision.by,
        "reason": decision.reason,
        "rule": None if decision.place is None else str(decision.place),
    }


def _describe(caller: Identity) -> str:
    ids = sorted((caller.groups or frozenset()) | {caller.gid} - {_NO_GID})
    groups = ", ".join(str(group_name(gid)) for gid in ids) or "none"
    return f"{user_name(caller.uid)} (uid {caller.uid}; groups {groups}; unit {caller.system_unit or 'not known'})"
