"""Reading settings and policy again: all of it is put in force, or nothing."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from superd.guard import Guard
from superd.journal import PRIORITIES, MessageId, get_logger
from superd.lifecycle import Input, Lifecycle, State
from superd.listeners import wrong_addresses
from superd.policy import Access
from superd.policy_load import LoadedPolicy, PolicyError, load_policy, put_in_force
from superd.policy_names import own_account
from superd.report import Reporter
from superd.settings import Change, Settings, compare, with_live
from superd.settings_sources import SettingsError
from superd.work import CallEnded
from superd_client.administration import (
    REPORTED_MAX,
    FileFault,
    PolicyLoaded,
    Reloaded,
    SettingChange,
    WrongFiles,
    fault_text,
)
from superd_client.errors import ApplicationError
from superd_client.text import printable
from superd_client.wire.errors import ErrorCode, ErrorObject

#: Characters of one text of a reload's answer: a fault repeats at most a part of what is wrong.
_TEXT_MAX: Final = 512

_STOPPING: Final = ErrorObject(ErrorCode.UNAVAILABLE, "superd is stopping; nothing was reloaded", {})


class Files(NamedTuple):
    """What the files say, all of it usable."""

    settings: Settings
    policy: LoadedPolicy


class Refused(Exception):
    """Something in the files is wrong."""

    def __init__(self, faults: tuple[FileFault, ...]) -> None:
        super().__init__("; ".join(map(fault_text, faults)))
        self.faults: Final = faults


class Reloader:
    """Reloads for one run of the daemon, one at a time: who comes second waits, since the files may have changed."""

    def __init__(
        self,
        settings: Settings,
        *,
        read_settings: Callable[[], Settings],
        accesses: Mapping[str, Access],
        guard: Guard,
        lifecycle: Lifecycle,
        reporter: Reporter,
        apply: Callable[[Settings], None],
    ) -> None:
        """`settings` are in force now; `apply` puts others in force, and must not fail."""
        self._settings = settings
        self._read_settings: Final = read_settings
        self._accesses: Final = accesses
        self._guard: Final = guard
        self._lifecycle: Final = lifecycle
        self._reporter: Final = reporter
        self._apply: Final = apply
        self._one_at_a_time: Final = asyncio.Lock()

    async def reload(self, log: FilteringBoundLogger) -> Reloaded:
        """Reload, and tell `log` and systemd of it.

        Raises ApplicationError with WrongFiles, and CallEnded where superd stops; nothing is changed then, nor if this
        is cancelled.
        """
        async with self._one_at_a_time:
            if self._lifecycle.state is not State.READY:
                raise CallEnded(_STOPPING)
            self._lifecycle.advance(Input.RELOAD)
            try:
                # Not on the loop: systemctl is asked for units that the policy names, and may take its time.
                files = await asyncio.to_thread(self._read)
                return self._put_in_force(files, log)
            except Refused as refused:
                raise self._refuse(refused, log) from None
            finally:
                self._lifecycle.advance(Input.RELOADED, status=self._reporter.line())

    async def reload_on(self, signal: asyncio.Event, name: str) -> None:
        """Reload whenever `signal` is set, until this is cancelled. How it ended is in the journal."""
        log = get_logger().bind(signal=name)
        while True:
            await signal.wait()
            signal.clear()
            try:
                await self.reload(log)
            except (ApplicationError, CallEnded):
                continue
            except Exception:
                log.exception("the reload failed", message_id=MessageId.RELOAD_REFUSED)

    def _read(self) -> Files:
        """Read everything; raises Refused with all faults of all files."""
        settings, faults = self._settings, list[FileFault]()
        try:
            settings = self._read_settings()
        except SettingsError as wrong:
            faults += [_fault(each.source, None, each.key, each.message) for each in wrong.problems]
        faults += [_fault("", None, "listen", each) for each in wrong_addresses(settings.listen)]
        try:
            policy = load_policy(settings, self._accesses, own_account())
        except PolicyError as wrong:
            raise Refused((*faults, *(_fault(*each) for each in wrong.errors))) from None
        if faults:
            raise Refused(tuple(faults))
        return Files(settings, policy)

    def _put_in_force(self, files: Files, log: FilteringBoundLogger) -> Reloaded:
        changes = compare(self._settings, files.settings)
        result = Reloaded(
            changed=_as_result(each for each in changes if each.is_live),
            needs_restart=_as_result(each for each in changes if not each.is_live),
            policy=_policy_loaded(files.policy),
        )
        # Before the level of the log rises, or after it has fallen: the line is to be seen in both cases.
        is_seen = PRIORITIES[self._settings.log_level] >= PRIORITIES["info"]
        if is_seen:
            _tell(result, log)
        put_in_force(files.policy, self._guard)
        self._settings = with_live(self._settings, files.settings)
        self._reporter.warning = None
        self._apply(self._settings)
        if not is_seen:
            _tell(result, log)
        return result

    def _refuse(self, refused: Refused, log: FilteringBoundLogger) -> ApplicationError:
        log.error("the reload was refused", message_id=MessageId.RELOAD_REFUSED, reason=str(refused))
        self._reporter.warning = f"reload refused: {printable(fault_text(refused.faults[0]))}"
        wrong = WrongFiles(
            faults=refused.faults[:REPORTED_MAX], omitted=max(0, len(refused.faults) - REPORTED_MAX)
        )
        return ApplicationError(wrong, "the files are wrong; nothing was changed")


def _fault(source: str, line: int | None, key: str, message: str) -> FileFault:
    return FileFault(source=source, line=line, key=key[:_TEXT_MAX], message=message[:_TEXT_MAX])


def _as_result(changes: Iterable[Change]) -> tuple[SettingChange, ...]:
    return tuple(SettingChange(name=each.name, old=each.old, new=each.new) for each in changes)


def _policy_loaded(loaded: LoadedPolicy) -> PolicyLoaded:
    return PolicyLoaded(
        files=loaded.paths,
        rules=sum(map(len, loaded.policy.rules)),
        warnings=tuple(str(each)[:_TEXT_MAX] for each in loaded.warnings[:REPORTED_MAX]),
    )


def _tell(result: Reloaded, log: FilteringBoundLogger) -> None:
    log.info(
        "reloaded",
        message_id=MessageId.RELOADED,
        changed=_changes_text(result.changed),
        needs_restart=_changes_text(result.needs_restart),
        policy_files=len(result.policy.files),
        policy_rules=result.policy.rules,
    )


def _changes_text(changes: tuple[SettingChange, ...]) -> str:
    """A field that is not there would stand in the catalog's text by its name."""
    return "; ".join(f"{each.name}: {each.old} -> {each.new}" for each in changes) or "none"
