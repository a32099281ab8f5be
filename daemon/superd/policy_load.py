"""The policy of one daemon: the files, the defaults that its services declare, and who it runs as."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from superd.guard import Guard
from superd.journal import MessageId, get_logger
from superd.policy import Access, Policy
from superd.policy_files import Finding, read_policy
from superd.policy_names import Account, own_account
from superd.settings import Settings


class PolicyError(Exception):
    """The files are wrong; carries every fault, one line each as text."""

    def __init__(self, errors: tuple[Finding, ...]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class LoadedPolicy(NamedTuple):
    """A policy, what is doubtful about its files, and which they are."""

    policy: Policy
    warnings: tuple[Finding, ...]
    paths: tuple[str, ...]


def load_policy(settings: Settings, accesses: Mapping[str, Access], account: Account) -> LoadedPolicy:
    """Read the files for a daemon that runs as `account` and offers `accesses`; raises PolicyError.

    Blocks where rules name units, for as long as systemctl takes.
    """
    folder = settings.policy_dir
    files = read_policy(
        Path(folder), owners={0, account.uid}, must_exist=folder != settings.instance.policy_dir
    )
    if files.errors:
        raise PolicyError(files.errors)
    policy = Policy(files.rules, accesses, uid=account.uid, gid=account.gid)
    idle = tuple(
        Finding(place.file, place.line, "methods", f"{pattern} matches no method that is offered")
        for place, pattern in policy.idle_patterns()
    )
    return LoadedPolicy(policy, files.warnings + idle, files.paths)


def enforce_policy(settings: Settings, accesses: Mapping[str, Access], guard: Guard) -> None:
    """Read the policy of this process and put it in force, and tell the log of each fault and each doubt.

    Raises PolicyError, and leaves the guard as it was.
    """
    log = get_logger()
    try:
        loaded = load_policy(settings, accesses, own_account())
    except PolicyError as wrong:
        for fault in wrong.errors:
            log.error("the policy is wrong", message_id=MessageId.POLICY_INVALID, **fault.fields())  # noqa: TRY400 - a fault of a file has no traceback
        raise
    put_in_force(loaded, guard)


def put_in_force(loaded: LoadedPolicy, guard: Guard) -> None:
    """Judge calls by this policy from now on, and tell the log of each doubt."""
    for doubt in loaded.warnings:
        get_logger().warning("the policy is doubtful", message_id=MessageId.POLICY_DOUBTFUL, **doubt.fields())
    guard.policy = loaded.policy
