"""What the host says beside systemd: accounts, packages, limits of the process, the journal, the exposure of the unit."""

import grp
import json
import os
import pwd
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from superd.ctl.doctor.asking import Answer, ask
from superd.ctl.doctor.facts import Accounts, Exposure, Journal, Package, User
from superd.ctl.doctor.findings import Unknown

#: The packages that superd is made of, those that are installed of them.
PACKAGES: Final = ("superd", "python3-superd-client", "superd-examples")

_DPKG_QUERY: Final = Path("/usr/bin/dpkg-query")

#: The first letters of dpkg's abbreviations of what is not there: unknown, or its configuration alone.
_ABSENT: Final = ("un", "pn", "rc", "hn")

#: Seconds for dpkg to read and sum up all files of a package, some megabytes.
_VERIFY_SECONDS: Final = 20.0

#: A line of `dpkg --verify`: nine marks, or "missing"; "c" for a file of configuration, which is the operator's; the path.
_VERIFIED: Final = re.compile(r"(?P<marks>missing|\S{9})\s+(?P<conffile>c )?(?P<path>/.*?)(?: \(.*\))?")

#: How many costly settings are worth a line.
_COSTS_SHOWN: Final = 5

#: The score is 0 to 10, in tenths.
_TENTHS_MAX: Final = 100

_JOURNALS: Final = (Path("/var/log/journal"), Path("/run/log/journal"))


def who_calls(path: str | None, members: Iterable[str]) -> User:
    """The user of this process."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    may = path is None or os.access(path, os.W_OK, effective_ids=True)
    return User(uid, name, may, name in members)


def look_up(users: Iterable[str], groups: Iterable[str], socket_group: str) -> Accounts:
    """Which of these accounts there are; "" for none is left out."""
    known_groups = {name: _find_group(name) for name in groups if name}
    gid = known_groups.get(socket_group)
    members = () if gid is None else tuple(sorted(set(grp.getgrgid(gid).gr_mem)))
    return Accounts({name: _find_user(name) for name in users if name}, known_groups, members)


def _find_user(name: str) -> int | None:
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _find_group(name: str) -> int | None:
    try:
        return grp.getgrgid(int(name)).gr_gid if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def find_packages() -> tuple[Package, ...]:
    """The packages as dpkg has them; none where there is no dpkg."""
    if not _DPKG_QUERY.exists():
        return ()
    form = "--showformat=${db:Status-Abbrev}|${Version}|${Package}\\n"
    answer = ask([str(_DPKG_QUERY), "--show", form, *PACKAGES])
    if isinstance(answer, Unknown):
        return ()
    rows = (line.split("|") for line in answer.out.splitlines() if line.count("|") == 2)
    return tuple(
        Package(name, version, state.strip(), _changed_files(name))
        for state, version, name in rows
        if not state.startswith(_ABSENT)
    )


def _changed_files(package: str) -> tuple[str, ...] | Unknown:
    answer = ask(["/usr/bin/dpkg", "--verify", package], seconds=_VERIFY_SECONDS)
    return answer if isinstance(answer, Unknown) else tuple(read_verified(answer.out))


def read_verified(text: str) -> Iterable[str]:
    """The files in what `dpkg --verify` writes, but those of configuration."""
    for line in text.splitlines():
        match = _VERIFIED.fullmatch(line.strip())
        if match is not None and not match["conffile"]:
            yield match["path"]


def descriptors_of(pid: int) -> int | Unknown:
    """The hard limit of descriptors of a process: the daemon raises its soft one to it."""
    try:
        text = Path(f"/proc/{pid}/limits").read_text("ascii")
    except OSError as error:
        return Unknown(f"the limits of process {pid} cannot be read: {error.strerror}")
    match = re.search(r"^Max open files +\d+ +(\d+) ", text, re.MULTILINE)
    return Unknown(f"process {pid} has no limit of descriptors") if match is None else int(match[1])


def look_at_journal() -> Journal:
    """Whether this process may read the system's journal, and whether it is on disk."""
    files = [file for folder in _JOURNALS for file in folder.glob("*/system.journal")]
    return Journal(any(os.access(file, os.R_OK) for file in files), _JOURNALS[0].is_dir())


def exposure_of(unit: str) -> Exposure | Unknown:
    """The score of a unit, from its files: systemd-analyze security. Nothing has to run for it."""
    rows = _analyze(unit, _TENTHS_MAX)
    if isinstance(rows, Unknown):
        return rows
    try:
        costs = [(row["name"], float(row["exposure"])) for row in json.loads(rows.out) if row["exposure"]]
    except (ValueError, KeyError, TypeError):
        return Unknown("systemd-analyze security gives no JSON here")
    costs.sort(key=lambda cost: -cost[1])
    return Exposure(_score(unit), tuple(costs[:_COSTS_SHOWN]))


def _score(unit: str) -> int:
    """The score in tenths. It is in the text for people alone; programs are told whether it is over a threshold."""
    low, high = 0, _TENTHS_MAX
    while low < high:
        middle = (low + high) // 2
        answer = _analyze(unit, middle)
        if isinstance(answer, Unknown) or answer.status != 0:
            low = middle + 1
        else:
            high = middle
    return low


def _analyze(unit: str, threshold: int) -> Answer | Unknown:
    options = ["--json=short", "--offline=true", f"--threshold={threshold}"]
    answer = ask(["systemd-analyze", "security", *options, unit])
    if isinstance(answer, Answer) and not answer.out.strip():
        said: list[Any] = answer.err.strip().splitlines()
        return Unknown(f"systemd-analyze security: {said[-1] if said else 'it says nothing'}")
    return answer
