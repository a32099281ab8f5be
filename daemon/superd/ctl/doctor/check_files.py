"""What is installed, and what was configured."""

import shlex
from collections.abc import Iterator
from typing import Final

from superd.ctl.doctor.facts import Facts, Fault, UnitFacts
from superd.ctl.doctor.findings import Finding, Unknown, found, unchecked, well
from superd.ctl.doctor.mending import drop_in, edit, install_again, leave_out, of_instance, systemctl
from superd_client.builtin import Status
from superd_client.instances import Instance

#: How dpkg says that a package is whole; "hi" is one that is held.
_WHOLE: Final = ("ii", "hi")

#: How many of the files that are not as they were a line names.
_FILES_SHOWN: Final = 3

_NOT_ALLOWED: Final = "Permission denied"

#: What comes of a library that is not there.
_LIBRARIES: Final = {
    "uvloop": ("uvloop-missing", "uvloop", "superd runs on asyncio's own loop, and serves fewer calls"),
    "systemd.journal": (
        "python-systemd-missing",
        "systemd",
        "superctl why cannot read the journal",
    ),
    "orjson": ("orjson-missing", "orjson", "long texts are written ten times as slowly"),
}


#: Names of packages at PyPI, where they are not those of Debian without python3-.
_OF_PYPI: Final = {"systemd": "systemd-python"}


def check_packages(facts: UnitFacts) -> Iterator[Finding]:
    """Whether dpkg has come to an end, and its files are there."""
    halves = [each for each in facts.packages if not each.state.startswith(_WHOLE)]
    for each in halves:
        yield found(
            "package-half-configured",
            f"{each.name} {each.version} is half installed (dpkg: {each.state}): an upgrade was interrupted, or a dependency is missing",
            "dpkg --configure -a || apt-get install --fix-broken",
        )
    changed = [each for each in facts.packages if not isinstance(each.changed, Unknown) and each.changed]
    for each in changed:
        files = tuple(each.changed)
        more = f" and {len(files) - _FILES_SHOWN} more" if len(files) > _FILES_SHOWN else ""
        yield found(
            "package-files-changed",
            f"files of {each.name} are gone or not as they were: {', '.join(map(str, files[:_FILES_SHOWN]))}{more}",
            install_again(facts, [each.name]),
        )
    unread = next((each.changed for each in facts.packages if isinstance(each.changed, Unknown)), None)
    if unread is not None:
        yield unchecked(unread)
    elif not halves and not changed:
        known = ", ".join(f"{each.name} {each.version}" for each in facts.packages)
        yield well(f"packages: {known or 'none; superd was installed without dpkg'}")


def check_libraries(facts: UnitFacts) -> Iterator[Finding]:
    """Whether what superd imports is there."""
    seen = facts.examination
    if isinstance(seen, Unknown):
        yield unchecked(seen)
        return
    broken = seen.libraries.get("superd", "")
    missing = [name for name, fault in seen.libraries.items() if fault and name in _LIBRARIES]
    if broken:
        yield found("libraries-broken", broken, seen.mend)
        return
    for name in missing:
        finding, package, effect = _LIBRARIES[name]
        pip = _OF_PYPI.get(package, package)
        source = f"apt-get install python3-{package}" if facts.packages else f"pip install {pip}"
        yield found(finding, f"{name} is not there ({seen.libraries[name]}): {effect}", source)
    if not missing:
        yield well("all libraries can be imported")


def check_version(facts: Facts) -> Iterator[Finding]:
    """Whether what runs is what is installed."""
    if not isinstance(facts.daemon, Status):
        return
    if facts.daemon.version == facts.version:
        yield well(f"superd {facts.version} runs, as installed")
        return
    fix = (
        None if facts.instance is None else systemctl(facts.instance, "restart", facts.instance.service_unit)
    )
    yield found(
        "restart-needed",
        f"superd {facts.daemon.version} runs, and {facts.version} is installed: a restart keeps the connections",
        fix,
    )


def check_configuration(facts: UnitFacts) -> Iterator[Finding]:
    """Whether superd would start with its settings."""
    seen, instance = facts.examination, facts.instance
    if isinstance(seen, Unknown):
        yield unchecked(seen)
        return
    hidden = [fault for fault in (*seen.settings, *seen.policy) if _is_hidden(facts, fault)]
    if hidden:
        yield unchecked(Unknown(f"need root: {hidden[0].source} may not be read"))
    faults = [_setting(fault, instance) for fault in seen.settings if fault not in hidden]
    faults += [
        found("service-broken", text, f"{of_instance('superd', instance, '--check')} && {_restart(instance)}")
        for text in seen.services
    ]
    faults += [
        found(
            "listen-address-wrong",
            text,
            f"{of_instance('superd', instance, '--check')} && {_restart(instance)}",
        )
        for text in seen.addresses
    ]
    yield from faults
    if not faults and not hidden and not seen.libraries.get("superd"):
        yield well("settings are valid, and all services can be loaded")


def _restart(instance: Instance) -> str:
    return systemctl(instance, "restart", instance.service_unit)


def _is_hidden(facts: UnitFacts, fault: Fault) -> bool:
    """Whether it is the caller who may not read it; superd may."""
    return facts.caller.uid != 0 and _NOT_ALLOWED in fault.message


def _setting(fault: Fault, instance: Instance) -> Finding:
    text = ": ".join(part for part in (fault.place, fault.key, fault.message) if part)
    if fault.message.startswith(("unknown key", "there is no such key")):
        return found("config-unknown-key", text, _mend_setting(fault, instance))
    if not fault.key:
        return found("config-unreadable", text, _make_readable(fault))
    return found("config-invalid", text, _mend_setting(fault, instance))


def _mend_setting(fault: Fault, instance: Instance) -> str:
    if fault.source.startswith("/"):
        return leave_out(fault)
    if fault.source == "environment":
        name = (
            fault.key if fault.key.startswith("SUPERD_") else f"SUPERD_{fault.key.partition('.')[0].upper()}"
        )
        return drop_in(instance, "UnsetEnvironment", name)
    return systemctl(instance, "edit", "--full", instance.service_unit)


def _make_readable(fault: Fault) -> str:
    file = shlex.quote(fault.source)
    if _NOT_ALLOWED in fault.message:
        return f"chmod a+rX {shlex.quote(fault.source.rpartition('/')[0])} {file}"
    if fault.message.startswith("no such file"):
        return f"install -D -m 0644 /dev/null {file}"
    return edit(fault)


def check_policy(facts: UnitFacts) -> Iterator[Finding]:
    """Whether the policy says what its author meant."""
    seen = facts.examination
    if isinstance(seen, Unknown):
        yield unchecked(seen)
        return
    if seen.chosen is None or seen.services:
        yield unchecked(Unknown("the settings come first"))
        return
    faults = [fault for fault in seen.policy if not _is_hidden(facts, fault)]
    yield from (_rule("policy-invalid", fault) for fault in faults)
    yield from (_rule("policy-doubtful", doubt) for doubt in seen.doubts)
    if not seen.policy and not seen.doubts:
        yield well("the policy is valid, and all that it names is known")
    elif len(faults) < len(seen.policy):
        yield unchecked(Unknown("need root: the policy may not be read"))


def _rule(finding: str, fault: Fault) -> Finding:
    text = ": ".join(part for part in (fault.place, fault.key, fault.message) if part)
    return found(finding, text, edit(fault))
