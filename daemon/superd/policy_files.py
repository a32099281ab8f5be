"""Reading policy.d/*.toml: the rules as they are written, checked, with the line of each fault.

All faults of all files are found in one go. A fault is an error: with half a policy nobody would know who is let in.
A name that this host does not know is a warning: a package may bring its rules before its user.
"""

import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import override

from superd.policy import Default, Place, Rule, Rules
from superd.policy_lines import Lines
from superd.policy_names import find_gid, find_missing_units, find_uid
from superd.policy_tables import Denial, File, explain_unknown_key

#: Bytes of a file. A rule has some hundred; a larger file was not meant for here, and is read before anything is served.
FILE_SIZE_MAX: Final = 1 << 20

_TOML_LINE: Final = re.compile(r" ?\(at line (\d+), column \d+\)$")


class Finding(NamedTuple):
    """Something about a file that an operator should know: where it stands, the dotted key, what it is."""

    file: str
    line: int | None
    key: str
    message: str

    @property
    def source(self) -> str:
        """The file and the line."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def fields(self) -> dict[str, str]:
        """For a log line."""
        return {"source": self.source, "key": self.key, "reason": self.message}

    @override
    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.key, self.message) if part)


class PolicyFiles(NamedTuple):
    """What the files say, and which they are. With errors, `rules` is not to be used."""

    rules: Rules
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    paths: tuple[str, ...] = ()


def read_policy(folder: Path, *, owners: Collection[int], must_exist: bool) -> PolicyFiles:
    """Read `folder`/*.toml in the order of their names. Never raises.

    `owners` are the users to whom the folder and its files may belong; nobody else may be able to write to them.
    """
    errors: list[Finding] = []
    readers = [_Reader(path, text) for path, text in _read_all(folder, owners, errors, must_exist=must_exist)]
    for reader in readers:
        reader.read()
    _mark_missing_units(readers)
    return PolicyFiles(
        Rules(*(tuple(rule for reader in readers for rule in kind(reader)) for kind in _KINDS)),
        (*errors, *(error for reader in readers for error in reader.errors)),
        tuple(warning for reader in readers for warning in reader.warnings),
        tuple(reader.path for reader in readers),
    )


def _read_all(
    folder: Path, owners: Collection[int], errors: list[Finding], *, must_exist: bool
) -> list[tuple[Path, str]]:
    """The texts of the files that can be read; the others are errors."""
    try:
        _check_ownership(folder.stat(), owners)
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        if must_exist:
            errors.append(Finding(str(folder), None, "", "no such folder"))
        return []
    except OSError as error:
        errors.append(Finding(str(folder), None, "", f"cannot be read: {error.strerror}"))
        return []
    except _Unusable as error:
        errors.append(Finding(str(folder), None, "", str(error)))
        return []
    texts = []
    for path in paths:
        try:
            texts.append((path, _read_text(path, owners)))
        except OSError as error:
            errors.append(Finding(str(path), None, "", f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError as error:
            errors.append(Finding(str(path), None, "", f"is not UTF-8 at byte {error.start}"))
        except _Unusable as error:
            errors.append(Finding(str(path), None, "", str(error)))
    return texts


class _Unusable(Exception):
    """A file must not be used; the text says why."""


def _read_text(path: Path, owners: Collection[int]) -> str:
    """Judge and read the same file: what the path names may change in between."""
    # O_NONBLOCK: a FIFO with nobody at its other end must not hold up the start.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _Unusable("is not a regular file")
        _check_ownership(status, owners)
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(FILE_SIZE_MAX + 1)
    finally:
        os.close(fd)
    if len(data) > FILE_SIZE_MAX:
        raise _Unusable(f"is larger than {FILE_SIZE_MAX} bytes")
    return data.decode("utf-8").replace("\r\n", "\n")


def _check_ownership(status: os.stat_result, owners: Collection[int]) -> None:
    if status.st_uid not in owners:
        raise _Unusable(f"belongs to the user {status.st_uid}; it must be root's or superd's own")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _Unusable(f"can be written to by others (mode {stat.S_IMODE(status.st_mode):04o}); chmod go-w")


class _Reader:
    """One file: its rules, what is wrong in it, and what is doubtful."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = str(path)
        self._text = text
        self.errors: list[Finding] = []
        self.warnings: list[Finding] = []
        self.denials: list[Rule] = []
        self.allowances: list[Rule] = []
        self.defaults: list[Default] = []
        #: Where a unit is named, for one question to systemd about all of them.
        self.units: list[tuple[str, tuple[str | int, ...]]] = []

    def read(self) -> None:
        """Read the rules; the findings are kept."""
        try:
            data = tomllib.loads(self._text)
            self._lines = Lines(self._text)
        except tomllib.TOMLDecodeError as error:
            self._not_toml(str(error))
            return
        except RecursionError:
            self._not_toml("nested too deep")
            return
        try:
            file = File.model_validate(data)
        except ValidationError as error:
            found = [self._as_error(fault) for fault in error.errors(include_url=False)]
            self.errors += sorted(found, key=lambda each: each.line or 0)
            return
        self.denials = [self._rule("deny", *each) for each in enumerate(file.deny)]
        self.allowances = [self._rule("allow", *each) for each in enumerate(file.allow)]
        self.defaults = [
            Default(self._place("default", number), tuple(each.methods), each.access)
            for number, each in enumerate(file.default)
        ]

    def warn(self, path: Sequence[str | int], message: str) -> None:
        """Keep a warning about what stands at `path`."""
        self.warnings.append(self._finding(path, message))

    def _not_toml(self, reason: str) -> None:
        line = _TOML_LINE.search(reason)
        number = self._text.count("\n") + 1 if line is None else int(line[1])
        self.errors.append(Finding(self.path, number, "", f"is not TOML: {_TOML_LINE.sub('', reason)}"))

    def _rule(self, kind: str, number: int, table: Denial) -> Rule:
        users = self._resolve((kind, number, "users"), table.users, find_uid, "user")
        if users is not None and 0 in users:
            self.warn((kind, number, "users"), "root is bound by no rule")
        self.units += [(unit, (kind, number, "units", each)) for each, unit in enumerate(table.units or ())]
        return Rule(
            self._place(kind, number),
            tuple(table.methods),
            users,
            self._resolve((kind, number, "groups"), table.groups, find_gid, "group"),
            None if table.units is None else frozenset(table.units),
        )

    def _resolve(
        self,
        path: tuple[str | int, ...],
        names: Iterable[str | int] | None,
        find: Callable[[str | int], int | None],
        kind: str,
    ) -> frozenset[int] | None:
        """The ids of those that there are. A rule for unknown names alone is for nobody, not for everybody."""
        if names is None:
            return None
        found = set[int]()
        for number, name in enumerate(names):
            each = find(name)
            if each is None:
                self.warn((*path, number), f"there is no {kind} {name!r}; the rule does without")
            else:
                found.add(each)
        return frozenset(found)

    def _as_error(self, fault: ErrorDetails) -> Finding:
        message = fault["msg"].removeprefix("Input ")
        if fault["type"] == "extra_forbidden":
            message = explain_unknown_key(fault["loc"])
        return self._finding(fault["loc"], message)

    def _finding(self, path: Sequence[str | int], message: str) -> Finding:
        return Finding(self.path, self._lines.find(path), ".".join(map(str, path)), message)

    def _place(self, kind: str, number: int) -> Place:
        return Place(self.path, self._lines.find((kind, number)))


_KINDS: Final[tuple[Callable[[_Reader], list[Any]], ...]] = (
    lambda reader: reader.denials,
    lambda reader: reader.allowances,
    lambda reader: reader.defaults,
)


def _mark_missing_units(readers: list[_Reader]) -> None:
    missing = find_missing_units({unit for reader in readers for unit, _ in reader.units})
    for reader in readers:
        for unit, path in reader.units:
            if unit in missing:
                reader.warn(path, f"systemd knows no unit {unit}")
