"""Decisions: which rule holds for whom. Plain values, no files."""

from typing import Literal, NamedTuple

import pytest

from superd.policy import DECISIONS_MAX, Access, Default, Place, Policy, Rule, Rules, covers, is_pattern

DAEMON_UID, DAEMON_GID = 900, 901
WHERE = Place("50.toml", 3)
OTHER = Place("60.toml", 9)


class Who(NamedTuple):
    uid: int = 1000
    gid: int = 1000
    groups: frozenset[int] | None = frozenset()
    system_unit: str | None = "romd.service"


ROMD = Who()


def rule(
    *methods: str,
    users: set[int] | None = None,
    groups: set[int] | None = None,
    units: set[str] | None = None,
    place: Place = WHERE,
) -> Rule:
    return Rule(
        place,
        methods or ("**",),
        None if users is None else frozenset(users),
        None if groups is None else frozenset(groups),
        None if units is None else frozenset(units),
    )


def policy(
    access: Access = "public",
    *,
    deny: tuple[Rule, ...] = (),
    allow: tuple[Rule, ...] = (),
    default: tuple[Default, ...] = (),
) -> Policy:
    accesses: dict[str, Access] = {"a.get": access, "a.set": access, "b.c.get": access}
    return Policy(Rules(deny, allow, default), accesses, uid=DAEMON_UID, gid=DAEMON_GID)


# --- patterns ----------------------------------------------------------------------------------------------------

METHODS = ("a.get", "a.set", "b.c.get", "ab.get", "a.get_2")


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("a.get", {"a.get"}),
        ("a.*", {"a.get", "a.set", "a.get_2"}),
        ("*.get", {"a.get", "ab.get"}),
        ("*.*", {"a.get", "a.set", "ab.get", "a.get_2"}),
        ("*.*.*", {"b.c.get"}),
        ("b.*.get", {"b.c.get"}),
        ("b.**", {"b.c.get"}),
        ("b.c.**", {"b.c.get"}),
        ("b.c.get.**", set()),
        ("*.**", set(METHODS)),
        ("**", set(METHODS)),
        ("x.*", set()),
    ],
)
def test_what_a_pattern_matches(pattern: str, matched: set[str]) -> None:
    assert is_pattern(pattern)
    assert {method for method in METHODS if covers(pattern, method)} == matched


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "a",
        "a.",
        ".a",
        "a..b",
        "**.a",
        "a.**.b",
        "a.g*",
        "A.b",
        "a.***",
        "a.get\n",
        "a b.c",
        "9.a",
        "a.é",
    ],
)
def test_what_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)


# --- the order ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("access", "who", "allowed"),
    [
        ("public", ROMD, True),
        ("group", ROMD, False),
        ("admin", ROMD, False),
        ("group", Who(gid=DAEMON_GID), True),
        ("group", Who(groups=frozenset({5, DAEMON_GID})), True),
        ("group", Who(groups=None), False),
        ("group", Who(gid=DAEMON_GID, groups=None), True),
        ("admin", Who(gid=DAEMON_GID, groups=frozenset({0})), False),
        ("admin", Who(uid=0), True),
        ("admin", Who(uid=DAEMON_UID), True),
        ("group", Who(uid=0), True),
    ],
)
def test_defaults(access: Access, who: Who, allowed: bool) -> None:
    decision = policy(access).judge("a.get", who)
    assert decision.allowed is allowed
    assert decision.by == ("exempt" if who.uid in {0, DAEMON_UID} else "default")
    assert decision.place is None
    assert decision.rule == decision.reason


def test_denials_come_first_then_allowances_then_the_default() -> None:
    judged = policy("admin", deny=(rule("a.get", place=OTHER),), allow=(rule("a.*", users={1000}),))
    assert judged.judge("a.get", ROMD)[:2] == (False, "deny")
    assert judged.judge("a.get", ROMD).rule == "60.toml:9"
    assert judged.judge("a.set", ROMD)[:2] == (True, "allow")
    assert judged.judge("a.set", ROMD).rule == "50.toml:3"
    assert judged.judge("b.c.get", ROMD)[:2] == (False, "default")


def test_the_first_rule_that_matches_is_named() -> None:
    judged = policy(deny=(rule(users={1}), rule(place=OTHER), rule()))
    assert judged.judge("a.get", ROMD).place == OTHER


@pytest.mark.parametrize("uid", [0, DAEMON_UID])
def test_root_and_the_daemon_are_bound_by_no_rule(uid: int) -> None:
    judged = policy("admin", deny=(rule(), rule(users={uid})))
    assert judged.judge("a.get", Who(uid=uid))[:2] == (True, "exempt")


def test_another_default() -> None:
    """The last one that matches holds; and it yields to rules as the service's own does."""
    defaults = (Default(WHERE, ("**",), "admin"), Default(OTHER, ("a.*",), "group"))
    judged = policy(default=defaults, allow=(rule("b.**", users={1000}),))
    assert judged.judge("a.get", ROMD) == (False, "default", judged.judge("a.set", ROMD).reason, OTHER)
    assert judged.judge("a.get", Who(gid=DAEMON_GID)).allowed
    assert judged.judge("b.c.get", ROMD).by == "allow"
    assert judged.default("a.get") == ("group", OTHER)
    assert judged.default("b.c.get") == ("admin", WHERE)
    opened = policy("admin", default=(Default(WHERE, ("a.get",), "public"),))
    assert opened.judge("a.get", ROMD)[:2] == (True, "default")
    assert opened.judge("a.get", ROMD).place == WHERE
    assert not opened.judge("a.set", ROMD).allowed
    assert opened.default("a.set") == ("admin", None)


# --- who is meant ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "matches"),
    [
        (rule(), True),
        (rule(users={1000}), True),
        (rule(users={1, 1000}), True),
        (rule(users={1}), False),
        (rule(users=set()), False),
        (rule(groups={1000}), True),
        (rule(groups={7}), True),
        (rule(groups={8}), False),
        (rule(units={"romd.service"}), True),
        (rule(units={"other.service"}), False),
        (rule(users={1000}, groups={7}, units={"romd.service", "x.service"}), True),
        (rule(users={1}, groups={7}, units={"romd.service"}), False),
        (rule(users={1000}, groups={8}, units={"romd.service"}), False),
        (rule(users={1000}, groups={7}, units={"x.service"}), False),
    ],
)
def test_all_kinds_that_are_named_have_to_match(names: Rule, matches: bool) -> None:
    who = Who(groups=frozenset({7, 9}))
    assert policy(deny=(names,)).judge("a.get", who).allowed is not matches
    assert policy("admin", allow=(names,)).judge("a.get", who).allowed is matches


@pytest.mark.parametrize(
    ("names", "who", "unknown"),
    [
        (rule(units={"x.service"}), Who(system_unit=None), "unit"),
        (rule(users={1000}, units={"x.service"}), Who(system_unit=None), "unit"),
        (rule(groups={7}), Who(groups=None), "groups"),
    ],
)
def test_what_is_not_known_counts_against_the_caller(names: Rule, who: Who, unknown: str) -> None:
    denied = policy(deny=(names,)).judge("a.get", who)
    assert not denied.allowed
    assert f"the caller's {unknown} cannot be known" in denied.reason
    assert not policy("admin", allow=(names,)).judge("a.get", who).allowed


def test_an_unknown_unit_does_not_make_another_user_of_somebody() -> None:
    names = rule(users={1}, units={"x.service"})
    assert policy(deny=(names,)).judge("a.get", Who(system_unit=None)).allowed


def test_the_group_id_of_a_datagrams_sender_is_known() -> None:
    assert policy("admin", allow=(rule(groups={1000}),)).judge("a.get", Who(groups=None)).allowed
    assert policy(deny=(rule(groups={1000}),)).judge("a.get", Who(groups=None)).reason == "a rule denies it"


# --- cost and bounds ---------------------------------------------------------------------------------------------


class Curious:
    """A caller that says which of its properties were asked for."""

    def __init__(self, uid: int = 1000) -> None:
        self.asked: list[Literal["uid", "gid", "groups", "unit"]] = []
        self._uid = uid

    @property
    def uid(self) -> int:
        self.asked.append("uid")
        return self._uid

    @property
    def gid(self) -> int:
        self.asked.append("gid")
        return 1000

    @property
    def groups(self) -> frozenset[int] | None:
        self.asked.append("groups")
        return frozenset()

    @property
    def system_unit(self) -> str | None:
        self.asked.append("unit")
        return "romd.service"


def test_a_public_method_without_a_rule_asks_nothing() -> None:
    caller = Curious()
    assert policy(deny=(rule("b.**"),)).judge("a.get", caller).allowed
    assert policy(allow=(rule("a.get", users={5}),)).judge("a.get", caller).allowed
    assert caller.asked == []


def test_the_unit_is_read_only_where_a_rule_names_one() -> None:
    caller = Curious()
    judged = policy(deny=(rule("a.get", users={1}), rule("a.set", units={"x.service"})))
    judged.judge("a.get", caller)
    assert "unit" not in caller.asked
    judged.judge("a.set", caller)
    assert "unit" in caller.asked


def test_the_exempt_are_known_by_the_uid_alone() -> None:
    caller = Curious(uid=0)
    policy("admin", deny=(rule(units={"x.service"}),)).judge("a.get", caller)
    assert caller.asked == ["uid"]


@pytest.mark.parametrize("callers", [DECISIONS_MAX - 1, DECISIONS_MAX, DECISIONS_MAX + 1, 3 * DECISIONS_MAX])
def test_decisions_stay_right_however_many_callers(callers: int) -> None:
    judged = policy(deny=(rule(units={"run-7.service"}),))
    for _ in range(2):
        units = [f"run-{number}.service" for number in range(callers)]
        denied = [unit for unit in units if not judged.judge("a.get", Who(system_unit=unit)).allowed]
        assert denied == ["run-7.service"]
    ruling = judged._methods["a.get"]
    assert ruling is not None
    assert len(ruling._known) <= DECISIONS_MAX


def test_a_method_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        policy(deny=(rule(),)).judge("a.none", ROMD)


def test_patterns_that_match_nothing_are_found() -> None:
    judged = policy(
        deny=(rule("a.get", "x.*"),),
        allow=(rule("y.**", users={1}, place=OTHER),),
        default=(Default(WHERE, ("b.*",), "admin"),),
    )
    assert judged.idle_patterns() == [(WHERE, "x.*"), (OTHER, "y.**"), (WHERE, "b.*")]
