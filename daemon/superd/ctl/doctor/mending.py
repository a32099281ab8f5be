"""Commands that mend: lines for a shell, made of names that systemd or this program gave."""

import re
import shlex
from collections.abc import Sequence
from typing import Final

from superd.ctl.doctor.facts import Fault, UnitFacts
from superd_client.instances import Instance

#: Read after whatever a package or an operator has in drop-ins.
_LAST: Final = "zz"

_SUGGESTED: Final = re.compile(r"did you mean (\w+)\?")


def drop_in(instance: Instance, setting: str, value: str | int, *, section: str = "Service") -> str:
    """Set one thing in a unit, over what its files and drop-ins say, and have it in force."""
    unit = instance.service_unit if section == "Service" else instance.socket_unit
    base = "~/.config/systemd/user" if instance.user else "/etc/systemd/system"
    folder = f"{base}/{unit}.d"
    lines = rf"[{section}]\n{setting}={value}\n"
    return (
        f"mkdir -p {folder} && printf '{lines}' >{folder}/{_LAST}-{setting}.conf && "
        f"{reload_units(instance)} && {systemctl(instance, 'try-restart', unit)}"
    )


def reload_units(instance: Instance) -> str:
    """Have systemd read its units again."""
    return systemctl(instance, "daemon-reload")


def systemctl(instance: Instance, *words: str) -> str:
    """A command for the manager of the instance."""
    return shlex.join((*instance.systemctl, *words))


def of_instance(program: str, instance: Instance, *words: str) -> str:
    """A command of superd's own programs, for the instance."""
    return shlex.join([program, *options_of(instance), *words])


def options_of(instance: Instance) -> list[str]:
    """The options of superd and superctl that name it."""
    return [*(["--user"] if instance.user else []), *(["--instance", instance.name] if instance.name else [])]


def start_again(instance: Instance) -> str:
    """Forget failures, and listen."""
    reset = systemctl(instance, "reset-failed", instance.service_unit, instance.socket_unit)
    return f"{reset} && {systemctl(instance, 'start', instance.socket_unit)}"


def edit(fault: Fault) -> str:
    """Correct a file: the misspelt word where the right one is known, else whatever an editor is needed for."""
    file, key = shlex.quote(fault.source), fault.key.rpartition(".")[2]
    if fault.line is None:
        return f'"${{EDITOR:-vi}}" {file}'
    suggested = _SUGGESTED.search(fault.message)
    if suggested and re.fullmatch(r"\w+", key):
        return f"sed -i '{fault.line}s/\\b{key}\\b/{suggested[1]}/' {file}"
    return f'"${{EDITOR:-vi}}" +{fault.line} {file}'


def leave_out(fault: Fault) -> str:
    """Make a comment of a line, so that the default is in force; its misspelt word is corrected where the right one is known."""
    if fault.line is None or _SUGGESTED.search(fault.message):
        return edit(fault)
    return f"sed -i '{fault.line}s/^/#/' {shlex.quote(fault.source)}"


def install_again(facts: UnitFacts, packages: Sequence[str] = ("superd",)) -> str:
    """Have all files as they were made."""
    return f"apt-get install --reinstall {shlex.join(packages)}" if facts.packages else "make install"
