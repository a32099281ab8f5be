"""Who may call what: values, and decisions made of them. No input, no output; docs/reference/policy.md is the manual.

A decision is the first of these that has one: the denials, the allowances, the method's default. What is not known of
a caller counts against it: an unknown unit, or unknown groups, match a denial and never an allowance. Root and the
daemon's own user are bound by nothing: the one could change the files, the other is the daemon.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, get_args

from typing_extensions import override

#: Who may call a method of which no rule says more: everybody who can connect, the members of the daemon's group,
#: or root and the daemon's own user alone.
Access: TypeAlias = Literal["public", "group", "admin"]

ACCESSES: Final[tuple[str, ...]] = get_args(Access)

#: Decisions remembered for each method. A caller differs from another by its ids, and where a rule names units by its
#: unit; a host has some dozens of those, and units with new names, such as those of systemd-run, come without end.
DECISIONS_MAX: Final = 256

_PART: Final = r"(?:[a-z][a-z0-9_]*|\*)"
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,247}\.(?:service|scope)")
_PATTERN: Final = re.compile(rf"\*\*|{_PART}(?:\.{_PART})*\.(?:{_PART}|\*\*)")


class Identity(Protocol):
    """What a decision looks at; superd.peer.Caller is one."""

    @property
    def uid(self) -> int:
        """The user id."""

    @property
    def gid(self) -> int:
        """The group id."""

    @property
    def groups(self) -> frozenset[int] | None:
        """The supplementary groups, None where they are not known."""

    @property
    def system_unit(self) -> str | None:
        """The unit of the system's manager, None where it is not known."""


class Place(NamedTuple):
    """Where something stands in a file. Lines count from 1."""

    file: str
    line: int

    @override
    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Rule(NamedTuple):
    """A denial or an allowance: for methods by pattern, and callers of whom each kind that is not None has to match."""

    place: Place
    methods: tuple[str, ...]
    users: frozenset[int] | None = None
    groups: frozenset[int] | None = None
    units: frozenset[str] | None = None

    def matches(self, caller: Identity, *, unknown: bool) -> bool:
        """Whether the callers are meant; what is not known of this one counts as `unknown`."""
        return (
            (self.users is None or caller.uid in self.users)
            and (self.groups is None or _is_member(caller, self.groups, unknown=unknown))
            and (self.units is None or _is_in(caller.system_unit, self.units, unknown=unknown))
        )


class Default(NamedTuple):
    """Another default for methods by pattern than that which their service declares."""

    place: Place
    methods: tuple[str, ...]
    access: Access


class Rules(NamedTuple):
    """All rules, in the order of the files. Of several defaults for a method the last one holds."""

    denials: tuple[Rule, ...] = ()
    allowances: tuple[Rule, ...] = ()
    defaults: tuple[Default, ...] = ()


class Decision(NamedTuple):
    """Whether a call is allowed, what decided it, where that stands, and why in words."""

    allowed: bool
    by: Literal["exempt", "deny", "allow", "default"]
    reason: str
    place: Place | None = None

    @property
    def rule(self) -> str:
        """The rule in short, for the journal: its file and line, or else the reason."""
        return self.reason if self.place is None else str(self.place)


_PUBLIC: Final = Decision(True, "default", "the default, public: everybody who can connect")
_EXEMPT: Final = Decision(True, "exempt", "root and superd's own user are bound by no rule")
_GROUP: Final = "the default, group: the members of superd's group"
_ADMIN: Final = "the default, admin: root and superd's own user"


class Policy:
    """The rules as they apply to the methods of one daemon, which runs as `uid` and `gid`."""

    def __init__(self, rules: Rules, accesses: Mapping[str, Access], *, uid: int, gid: int) -> None:
        """`accesses` are the methods and the defaults that their services declare."""
        self.rules: Final = rules
        self._exempt = frozenset({0, uid})
        self._methods = {name: _compile(name, access, rules, gid) for name, access in accesses.items()}
        #: Methods that everybody may call: of these `judge` need not be asked.
        self.open: Final = frozenset(name for name, ruling in self._methods.items() if ruling is None)

    def judge(self, method: str, caller: Identity) -> Decision:
        """Whether `caller` may call `method`; raises KeyError for a method that is not there."""
        ruling = self._methods[method]
        if ruling is None:
            return _PUBLIC
        return _EXEMPT if caller.uid in self._exempt else ruling.decide(caller)

    @property
    def methods(self) -> Collection[str]:
        """The methods that there are."""
        return self._methods.keys()

    def default(self, method: str) -> tuple[Access, Place | None]:
        """The default of a method, and where it stands if a file says so."""
        ruling = self._methods[method]
        return ("public", None) if ruling is None else (ruling.access, ruling.place)

    def idle_patterns(self) -> list[tuple[Place, str]]:
        """The patterns that match no method: each is a mistake, or of a service that is not there."""
        everything: tuple[Rule | Default, ...] = (
            *self.rules.denials,
            *self.rules.allowances,
            *self.rules.defaults,
        )
        return [
            (rule.place, pattern)
            for rule in everything
            for pattern in rule.methods
            if not any(covers(pattern, method) for method in self._methods)
        ]


def _compile(method: str, access: Access, rules: Rules, gid: int) -> "_Ruling | None":
    """The part of the rules that speaks of a method; None where everybody may call it, and no rule says anything."""
    place = None
    for default in rules.defaults:
        if _concerns(default, method):
            access, place = default.access, default.place
    denials = tuple(rule for rule in rules.denials if _concerns(rule, method))
    allowances = tuple(rule for rule in rules.allowances if _concerns(rule, method))
    if access == "public" and place is None and not denials:
        return None
    return _Ruling(denials, allowances, access, place, gid)


class _Ruling:
    """What the rules say of one method. Remembers what it decided of whom."""

    def __init__(
        self,
        denials: tuple[Rule, ...],
        allowances: tuple[Rule, ...],
        access: Access,
        place: Place | None,
        gid: int,
    ) -> None:
        self.access: Final[Access] = access
        self.place: Final = place
        self._denials = denials
        self._allowances = allowances
        self._gid = gid
        self._asks_unit = any(rule.units is not None for rule in (*denials, *allowances))
        self._known: dict[tuple[int, int, frozenset[int] | None, str | None], Decision] = {}

    def decide(self, caller: Identity) -> Decision:
        """The decision, as it was for the last caller that was the same in all that rules can tell."""
        unit = caller.system_unit if self._asks_unit else None
        key = (caller.uid, caller.gid, caller.groups, unit)
        decision = self._known.get(key)
        if decision is None:
            decision = self._look_up(caller)
            if len(self._known) >= DECISIONS_MAX:
                self._known.clear()
            self._known[key] = decision
        return decision

    def _look_up(self, caller: Identity) -> Decision:
        for rule in self._denials:
            if rule.matches(caller, unknown=True):
                return Decision(False, "deny", _explain_denial(rule, caller), rule.place)
        for rule in self._allowances:
            if rule.matches(caller, unknown=False):
                return Decision(True, "allow", "a rule allows it", rule.place)
        if self.access == "public":
            return _PUBLIC._replace(place=self.place)
        if self.access == "group":
            is_member = _is_member(caller, frozenset({self._gid}), unknown=False)
            return Decision(is_member, "default", _GROUP, self.place)
        return Decision(False, "default", _ADMIN, self.place)


def _explain_denial(rule: Rule, caller: Identity) -> str:
    if rule.matches(caller, unknown=False):
        return "a rule denies it"
    unknown = "groups" if rule.groups is not None and caller.groups is None else "unit"
    return f"a rule denies it, since the caller's {unknown} cannot be known"


def _concerns(rule: Rule | Default, method: str) -> bool:
    return any(covers(pattern, method) for pattern in rule.methods)


def _is_member(caller: Identity, groups: frozenset[int], *, unknown: bool) -> bool:
    if caller.gid in groups:
        return True
    return unknown if caller.groups is None else not groups.isdisjoint(caller.groups)


def _is_in(unit: str | None, units: frozenset[str], *, unknown: bool) -> bool:
    return unknown if unit is None else unit in units


def is_unit(text: str) -> bool:
    """Whether `text` is the name of a unit that holds processes of programs, as systemd.unit(5) admits it."""
    return _UNIT.fullmatch(text) is not None


def is_pattern(text: str) -> bool:
    """Whether `text` can match a method: two or more parts, each a name or `*`, the last perhaps `**`; or `**` alone."""
    return _PATTERN.fullmatch(text) is not None


def covers(pattern: str, method: str) -> bool:
    """Whether a pattern matches a method: `*` stands for one part, `**` at the end for one or more."""
    wanted, parts = pattern.split("."), method.split(".")
    if wanted[-1] == "**":
        wanted = wanted[:-1]
        if len(parts) <= len(wanted):
            return False
    elif len(parts) != len(wanted):
        return False
    return all(want in ("*", part) for want, part in zip(wanted, parts, strict=False))
