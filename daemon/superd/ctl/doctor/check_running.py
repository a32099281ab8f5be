"""Limits, the daemon that runs, and what the host gives it."""

import re
from collections.abc import Iterator
from typing import Final

from superd.ctl.doctor.facts import Chosen, Facts, UnitFacts
from superd.ctl.doctor.findings import Finding, Unknown, found, unchecked, well
from superd.ctl.doctor.mending import drop_in, systemctl
from superd.ctl.doctor.units import Unit
from superd.descriptor_limit import needed
from superd.timespan import format_span
from superd_client.builtin import Status
from superd_client.instances import Instance

#: Descriptors that keep_connections has systemd hold: two for connections, and one for the idempotency keys.
STORE_MIN: Final = 3

#: What the unit that is installed has; a little room.
_STORE_USUAL: Final = 8

#: Seconds that a stop needs beside drain_timeout: to say goodbye, and to hand the connections over.
STOP_SECONDS: Final = 5.0

#: The part of WatchdogSec= that the loop may once have been late. It feeds at a half, so it is ended when it is another half late.
LAG_PART: Final = 4

#: The highest score, in tenths, that superd's own units have.
EXPOSURE_MAX: Final = 6

#: Bytes below which a service cannot be expected to keep its data.
STATE_BYTES_MIN: Final = 16 << 20

#: The oldest systemd on which superd is tried.
SYSTEMD_MIN: Final = 252

#: What superd makes use of where it is there, and since which systemd it is.
_SYSTEMD_FEATURES: Final = (
    (253, "notify-reload"),
    (254, "FileDescriptorStorePreserve"),
    (254, "RestartSteps"),
)

#: The same for Linux.
_KERNEL_FEATURES: Final = (((6, 5), "SO_PEERPIDFD"),)


def check_descriptors(facts: UnitFacts) -> Iterator[Finding]:
    """Whether there are as many descriptors as the settings may need."""
    unit, chosen, instance = facts.service, _chosen(facts), facts.instance
    if not isinstance(unit, Unit) or chosen is None:
        yield unchecked(Unknown("the unit or the settings are not known"))
        return
    limit, wanted = unit.number("LimitNOFILE"), needed(chosen.connections, chosen.total_descriptors)
    if limit is not None and limit < wanted:
        yield found(
            "descriptors-few",
            f"LimitNOFILE={limit}: connections = {chosen.connections} needs {wanted}, and fewer are admitted",
            drop_in(instance, "LimitNOFILE", wanted),
        )
    elif isinstance(facts.descriptors, int) and limit is not None and facts.descriptors != limit:
        yield found(
            "descriptors-stale",
            f"the process that runs may have {facts.descriptors} descriptors, its unit says {limit}",
            systemctl(instance, "restart", instance.service_unit),
        )
    else:
        yield well(f"LimitNOFILE={unit.get('LimitNOFILE')} suffices for {chosen.connections} connections")


def check_times(facts: UnitFacts) -> Iterator[Finding]:
    """Whether systemd waits for the drain, and keeps what a restart hands over."""
    unit, chosen, instance = facts.service, _chosen(facts), facts.instance
    if not isinstance(unit, Unit) or not unit.is_loaded or chosen is None:
        yield unchecked(Unknown("the unit or the settings are not known"))
        return
    faults = [*_drain(unit, chosen, instance), *_store(unit, chosen, instance)]
    yield from faults or [well("a stop has the time, and a restart the room, that the settings ask for")]


def _drain(unit: Unit, chosen: Chosen, instance: Instance) -> Iterator[Finding]:
    stop = unit.seconds("TimeoutStopUSec")
    if stop is not None and stop < chosen.drain_timeout + STOP_SECONDS:
        yield found(
            "drain-too-long",
            f"drain_timeout is {chosen.drain_timeout:g} s, and systemd kills superd after TimeoutStopSec={stop:g}s",
            drop_in(instance, "TimeoutStopSec", f"{chosen.drain_timeout + 2 * STOP_SECONDS:g}s"),
        )


def _store(unit: Unit, chosen: Chosen, instance: Instance) -> Iterator[Finding]:
    room = unit.number("FileDescriptorStoreMax") or 0
    if chosen.keep_connections and room < STORE_MIN:
        yield found(
            "store-too-small",
            f"keep_connections needs FileDescriptorStoreMax={STORE_MIN} or more, and it is {room}: a restart ends the connections",
            drop_in(instance, "FileDescriptorStoreMax", _STORE_USUAL),
        )


def check_daemon(facts: Facts) -> Iterator[Finding]:
    """Whether the daemon answers: asked only where it runs."""
    probe, daemon, instance = facts.probe, facts.daemon, facts.instance
    restart = None if instance is None else systemctl(instance, "restart", instance.service_unit)
    if probe is not None and probe.failure is not None:
        yield found(
            "probe-failed", f"the first call failed after {format_span(probe.usec)}: {probe.failure}", restart
        )
    elif probe is not None:
        yield well(f"the first call was answered after {format_span(probe.usec)}")
    if isinstance(daemon, Unknown):
        yield found("daemon-silent", f"nobody answers at {facts.address}: {daemon.why}", restart)
    elif daemon is not None:
        yield well(f"superd {daemon.version} answers, up for {format_span(daemon.uptime_usec)}")
    elif isinstance(facts.service, Unit) and facts.service.is_active:
        yield unchecked(Unknown(f"user {facts.caller.name} may not connect"))
    elif probe is None:
        yield well("superd does not run, and was not started (--probe makes a call)")


def check_watchdog(facts: UnitFacts) -> Iterator[Finding]:
    """Whether systemd would see a loop that hangs, and how near to it the loop has come."""
    unit, instance = facts.service, facts.instance
    if not isinstance(unit, Unit) or not unit.is_loaded:
        yield unchecked(Unknown("the unit is not known"))
        return
    if not unit.is_active:
        return  # systemd tells it of a unit that runs alone
    watchdog = unit.seconds("WatchdogUSec")
    if not watchdog:
        yield found(
            "watchdog-off",
            f"{unit.name} has no WatchdogSec=: a loop that hangs is not ended",
            drop_in(instance, "WatchdogSec", "10s"),
        )
        return
    lag = facts.daemon.loop_lag_max_usec if isinstance(facts.daemon, Status) else None
    if lag is not None and lag > watchdog * 1e6 / LAG_PART:
        yield found(
            "loop-slow",
            f"the loop was once {format_span(lag)} late, and WatchdogSec={watchdog:g}s ends it at {watchdog / 2:g} s: a handler blocks it",
            drop_in(instance, "WatchdogSec", f"{watchdog * LAG_PART:g}s"),
        )
    else:
        seen = "not measured yet" if lag is None else f"{format_span(lag)} late at most"
        yield well(f"WatchdogSec={watchdog:g}s; the loop: {seen}")


def check_systemd(facts: UnitFacts) -> Iterator[Finding]:
    """What this systemd and this kernel can do."""
    if isinstance(facts.systemd, Unknown):
        yield unchecked(facts.systemd)
        return
    number = re.match(r"\d+", facts.systemd)
    version = int(number[0]) if number else 0
    if version < SYSTEMD_MIN:
        yield found(
            "systemd-old",
            f"systemd {facts.systemd} runs, and superd needs {SYSTEMD_MIN}",
            "apt-get dist-upgrade",
        )
        return
    features = [(name, version >= since) for since, name in _SYSTEMD_FEATURES]
    features += [(name, facts.kernel >= since) for since, name in _KERNEL_FEATURES]
    present = ", ".join(name for name, there in features if there)
    missing = ", ".join(name for name, there in features if not there)
    kernel = ".".join(map(str, facts.kernel))
    yield well(
        f"systemd {facts.systemd}, Linux {kernel}; there: {present or 'none'}; not there: {missing or 'none'}"
    )


def check_exposure(facts: UnitFacts) -> Iterator[Finding]:
    """How much of the host a superd that was taken over could reach."""
    seen, instance = facts.exposure, facts.instance
    if isinstance(seen, Unknown):
        yield unchecked(seen)
    elif seen is not None:
        score = f"{instance.service_unit} has an exposure of {seen.tenths / 10:.1f}"
        if seen.tenths <= EXPOSURE_MAX:
            yield well(f"{score} of 10")
            return
        costs = ", ".join(f"{name} {cost:g}" for name, cost in seen.costs)
        yield found(
            "exposure-high",
            f"{score}, over {EXPOSURE_MAX / 10:.1f}; most cost: {costs}",
            f"systemctl revert {instance.service_unit} && {systemctl(instance, 'try-restart', instance.service_unit)}",
        )


def check_journal(facts: UnitFacts) -> Iterator[Finding]:
    """Whether what superd logs can be read, here and after a boot."""
    journal, chosen = facts.journal, _chosen(facts)
    notes = []
    if not journal.is_readable:
        notes.append(
            found(
                "journal-unreadable",
                f"user {facts.caller.name} may not read what superd logs: superctl why finds nothing",
                f"usermod --append --groups systemd-journal {facts.caller.name}",
            )
        )
    if not journal.is_persistent:
        notes.append(
            found(
                "journal-volatile",
                "the journal is in memory, and gone after a boot",
                "mkdir -p /var/log/journal && systemd-tmpfiles --create --prefix=/var/log/journal && journalctl --flush",
            )
        )
    if chosen is not None and chosen.log_level == "debug":
        notes.append(
            found(
                "journal-rate-limit",
                'log_level = "debug" writes a line for each call: journald drops what is over its RateLimitBurst=',
                "journalctl --unit=systemd-journald --grep=Suppressed --lines=5",
            )
        )
    yield from notes or [well("the journal can be read, and is on disk")]


def check_state(facts: UnitFacts) -> Iterator[Finding]:
    """Whether services can write their data."""
    room = facts.state
    if room is None:
        return
    if room.bytes_free < STATE_BYTES_MIN or room.files_free == 0:
        yield found(
            "state-full",
            f"{room.mount}, where {room.folder} is, is full ({room.bytes_free >> 10} KiB, {room.files_free} files free)",
            f"du -x --max-depth=3 {room.mount} | sort -n | tail",
        )
    else:
        yield well(f"{room.mount} has {room.bytes_free >> 20} MiB free for {room.folder}")


def _chosen(facts: UnitFacts) -> Chosen | None:
    seen = facts.examination
    return None if isinstance(seen, Unknown) else seen.chosen
