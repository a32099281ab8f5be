"""Files of policy.d: what may stand in them, whose they are, and where a fault is."""

import os
import pwd
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from superd import policy_files, policy_names
from superd.policy import Default, Place, Rule, Rules
from superd.policy_files import FILE_SIZE_MAX, Finding, PolicyFiles, read_policy
from superd.policy_load import PolicyError, load_policy
from superd.policy_names import Account, find_missing_units, own_account
from superd.settings import Settings

OWN: Final = os.geteuid()
NOBODY: Final = pwd.getpwnam("nobody")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    folder = tmp_path / "policy.d"
    folder.mkdir(mode=0o755)

    def write_file(text: str, name: str = "50.toml") -> Path:
        path = folder / name
        path.write_text(text, "utf-8")
        path.chmod(0o644)
        return path

    return write_file


@pytest.fixture
def read(tmp_path: Path) -> Callable[[], PolicyFiles]:
    return lambda: read_policy(tmp_path / "policy.d", owners={OWN}, must_exist=True)


Read = Callable[[], PolicyFiles]


def where(finding: Finding) -> tuple[str, int | None, str]:
    return Path(finding.file).name, finding.line, finding.key


# --- what is read ------------------------------------------------------------------------------------------------


def test_rules_in_the_order_of_the_files(write: Write, read: Read) -> None:
    second = write(
        '[[deny]]\nmethods = ["b.*"]\n[[default]]\nmethods = ["**"]\naccess = "group"\n', "20.toml"
    )
    first = write(
        '# the first\n[[deny]]\nmethods = ["a.*", "c.**"]\nusers = [0, "nobody", "65534"]\n'
        'groups = ["root"]\nunits = ["x.service"]\n\n[[allow]]\nmethods = ["a.get"]\ngroups = [5]\n',
        "10.toml",
    )
    write("this is not read", "15.conf")
    write("nor is this", ".toml~")
    found = read()
    assert found.errors == ()
    assert found.rules == Rules(
        (
            Rule(
                Place(str(first), 2),
                ("a.*", "c.**"),
                frozenset({0, NOBODY.pw_uid, 65534}),
                frozenset({0}),
                frozenset({"x.service"}),
            ),
            Rule(Place(str(second), 1), ("b.*",)),
        ),
        (Rule(Place(str(first), 8), ("a.get",), None, frozenset({5})),),
        (Default(Place(str(second), 3), ("**",), "group"),),
    )


def test_no_folder(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    assert read_policy(nowhere, owners={OWN}, must_exist=False) == PolicyFiles(Rules(), (), ())
    (error,) = read_policy(nowhere, owners={OWN}, must_exist=True).errors
    assert str(error) == f"{nowhere}: no such folder"


def test_an_empty_folder_and_empty_files(write: Write, read: Read) -> None:
    path = write("# nothing yet\n")
    assert read() == PolicyFiles(Rules(), (), (), (str(path),))


def test_names_that_this_host_does_not_know_are_warnings(write: Write, read: Read) -> None:
    """And the rule is then for nobody: it must not become one for everybody."""
    write('[[deny]]\nmethods = ["a.*"]\nusers = [\n  "no-such-user",\n]\ngroups = ["no-such-group", 7]\n')
    found = read()
    assert found.errors == ()
    assert [(*where(each), each.message) for each in found.warnings] == [
        ("50.toml", 4, "deny.0.users.0", "there is no user 'no-such-user'; the rule does without"),
        ("50.toml", 6, "deny.0.groups.0", "there is no group 'no-such-group'; the rule does without"),
    ]
    (rule,) = found.rules.denials
    assert (rule.users, rule.groups) == (frozenset(), frozenset({7}))


@pytest.mark.parametrize("root", ['"root"', "0", '"0"'])
def test_a_denial_of_root_does_nothing_and_says_so(write: Write, read: Read, root: str) -> None:
    write(f'[[deny]]\nmethods = ["a.*"]\nusers = [1, {root}]\n')
    (warning,) = read().warnings
    assert (*where(warning), warning.message) == ("50.toml", 3, "deny.0.users", "root is bound by no rule")


def test_unknown_units_are_warnings(write: Write, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd is asked under a real one in tests/system; here it is told what it would say."""
    asked: list[set[str]] = []

    def find(units: set[str]) -> frozenset[str]:
        asked.append(units)
        return frozenset({"b.service"})

    monkeypatch.setattr(policy_files, "find_missing_units", find)
    write('[[deny]]\nmethods = ["a.*"]\nunits = ["a.service",\n "b.service"]\n')
    write('[[allow]]\nmethods = ["a.*"]\nusers = [1]\nunits = ["c.scope", "b.service"]\n', "60.toml")
    found = read()
    assert asked == [{"a.service", "b.service", "c.scope"}]
    assert [(*where(each), each.message) for each in found.warnings] == [
        ("50.toml", 4, "deny.0.units.1", "systemd knows no unit b.service"),
        ("60.toml", 4, "allow.0.units.1", "systemd knows no unit b.service"),
    ]


@pytest.mark.parametrize(
    ("program", "missing"),
    [
        ("printf 'loaded\\n\\nnot-found\\n'", {"b.service"}),
        ("printf 'not-found\\n\\nmasked\\n'", {"a.service"}),
        ("printf 'not-found\\n'", set()),  # an answer that does not fit the question
        ("exit 1", set()),
    ],
)
def test_what_systemctl_says(
    program: str, missing: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\n{program}\n")
    systemctl.chmod(0o755)
    monkeypatch.setattr(policy_names, "SYSTEMCTL", str(systemctl))
    monkeypatch.setattr(policy_names, "BOOTED", tmp_path)
    assert find_missing_units(["b.service", "a.service"]) == missing
    monkeypatch.setattr(policy_names, "BOOTED", tmp_path / "none")
    assert find_missing_units(["b.service", "a.service"]) == frozenset()


# --- what is wrong -----------------------------------------------------------------------------------------------

ALLOW = '[[allow]]\nmethods = ["a.get"]\n'

FAULTS = [
    ("[[deny]]\n", 1, "deny.0.methods", "Field required"),
    ("[[deny]]\nmethods = []\n", 2, "deny.0.methods", "is empty"),
    ('\n[[deny]]\nmethods = "a.get"\n', 3, "deny.0.methods", "should be a valid list"),
    ('[[deny]]\nmethods = ["a.get",\n "a.g*"]\n', 3, "deny.0.methods.1", "can match no method"),
    ("[[deny]]\nmethods = [1]\n", 2, "deny.0.methods.0", "should be a valid string"),
    ('[[deny]]\nmethods = ["a.get"]\nusers = []\n', 3, "deny.0.users", "is empty"),
    ('[[deny]]\nmethods = ["a.get"]\nusers = "romd"\n', 3, "deny.0.users", "should be a valid list"),
    ('[[deny]]\nmethods = ["a.get"]\nusers = [true]\n', 3, "deny.0.users.0", "write a name"),
    ('[[deny]]\nmethods = ["a.get"]\nusers = [-1]\n', 3, "deny.0.users.0", "write a name"),
    ('[[deny]]\nmethods = ["a.get"]\ngroups = [4294967295]\n', 3, "deny.0.groups.0", "write a name"),
    ('[[deny]]\nmethods = ["a.get"]\ngroups = [""]\n', 3, "deny.0.groups.0", "write a name"),
    ('[[deny]]\nmethods = ["a.get"]\ngroups = [1.0]\n', 3, "deny.0.groups.0", "write a name"),
    (
        '[[deny]]\nmethods = ["a.get"]\nunits = ["romd"]\n',
        3,
        "deny.0.units.0",
        "is no unit that runs programs",
    ),
    ('[[deny]]\nmethods = ["a.get"]\nunits = ["a*.service"]\n', 3, "deny.0.units.0", "is no unit"),
    ('[[deny]]\nmethods = ["a.get"]\n\nuser = ["romd"]\n', 4, "deny.0.user", "did you mean users?"),
    ('[[deny]]\nmethods = ["a.get"]\nzz = 1\n', 3, "deny.0.zz", "there are methods, users, groups, units"),
    ('# x\n[[alow]]\nmethods = ["a.get"]\n', 2, "alow", "did you mean allow?"),
    ('methods = ["a.get"]\n', 1, "methods", "unknown key; there are deny, allow, default"),
    ('\n[allow]\nmethods = ["a.get"]\n', 2, "allow", "should be a valid list"),
    (ALLOW, 1, "allow.0", "names neither users nor groups"),
    (f'{ALLOW}users = [1]\n{ALLOW}units = ["romd.service"]\n', 4, "allow.1", "a unit is never enough alone"),
    ('[[default]]\nmethods = ["**"]\n', 1, "default.0.access", "Field required"),
    (
        '[[default]]\nmethods = ["**"]\naccess = "all"\n',
        3,
        "default.0.access",
        "should be 'public', 'group' or 'admin'",
    ),
    ('[[default]]\nmethods = ["**"]\naccess = "group"\nusers = [1]\n', 4, "default.0.users", "unknown key"),
    ("[[deny]]\nmethods = = 1\n", 2, "", "is not TOML: "),
    ("[[deny]]\nmethods = [\n", 2, "", "is not TOML: "),
    (f"a = {'[' * 100_000}", 1, "", "is not TOML: nested too deep"),
]


@pytest.mark.parametrize(("text", "line", "key", "message"), FAULTS)
def test_a_fault_has_file_line_and_key(
    text: str, line: int, key: str, message: str, write: Write, read: Read
) -> None:
    path = write(text)
    (error,) = read().errors
    assert where(error)[0] == "50.toml"
    assert (error.key, error.message.startswith(message) or message in error.message) == (key, True)
    if "[\n" not in text:  # some versions of tomllib say "at end of document"
        assert error.line == line
    assert str(error).startswith(f"{path}:{error.line}: ")


def test_all_faults_of_all_files_are_found(write: Write, read: Read) -> None:
    write('[[deny]]\nmethods = ["a"]\n[[deny]]\nmethod = ["a.b"]\n', "1.toml")
    write("x = 1\n", "2.toml")
    write('[[deny]]\nmethods = ["a.b"]\n', "3.toml")
    assert [where(error) for error in read().errors] == [
        ("1.toml", 2, "deny.0.methods.0"),
        ("1.toml", 3, "deny.1.methods"),
        ("1.toml", 4, "deny.1.method"),
        ("2.toml", 1, "x"),
    ]


def test_a_fault_does_not_repeat_what_is_wrong(write: Write, read: Read) -> None:
    write('[[deny]]\nmethods = ["secret word"]\nusers = [17.5]\n')
    assert not [error for error in read().errors if re.search(r"secret|17\.5", str(error))]


# --- whose files -------------------------------------------------------------------------------------------------

GOOD = '[[deny]]\nmethods = ["a.get"]\n'


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o622, 0o666])
def test_a_file_that_others_can_write_to(mode: int, write: Write, read: Read) -> None:
    write(GOOD).chmod(mode)
    (error,) = read().errors
    assert (*where(error), error.message) == (
        "50.toml",
        None,
        "",
        f"can be written to by others (mode {mode:04o}); chmod go-w",
    )


def test_a_folder_that_others_can_write_to(write: Write, read: Read) -> None:
    write(GOOD).parent.chmod(0o775)
    (error,) = read().errors
    assert where(error) == ("policy.d", None, "")
    assert "can be written to by others" in error.message


@pytest.mark.skipif(OWN != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else(write: Write, tmp_path: Path) -> None:
    path = write(GOOD)
    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    (error,) = read_policy(path.parent, owners={0}, must_exist=True).errors
    assert error.message == f"belongs to the user {NOBODY.pw_uid}; it must be root's or superd's own"
    assert read_policy(path.parent, owners={0, NOBODY.pw_uid}, must_exist=True).errors == ()
    os.chown(path, 0, 0)
    os.chown(path.parent, NOBODY.pw_uid, NOBODY.pw_gid)
    (error,) = read_policy(path.parent, owners={0}, must_exist=True).errors
    assert where(error) == ("policy.d", None, "")


def test_a_link_is_judged_by_what_it_leads_to(write: Write, read: Read, tmp_path: Path) -> None:
    link = write("").parent / "60.toml"
    target = tmp_path / "elsewhere"
    target.write_text(GOOD)
    target.chmod(0o666)
    link.symlink_to(target)
    (error,) = read().errors
    assert "can be written to" in error.message
    target.chmod(0o600)
    assert read().errors == ()
    target.unlink()
    (error,) = read().errors
    assert error.message == "cannot be read: No such file or directory"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file(make: Callable[[Path, int], None], write: Write, read: Read) -> None:
    make(write("").parent / "60.toml", 0o600)
    (error,) = read().errors
    assert error.message == "is not a regular file"


@pytest.mark.parametrize(
    ("size", "fits"), [(FILE_SIZE_MAX - 1, True), (FILE_SIZE_MAX, True), (FILE_SIZE_MAX + 1, False)]
)
def test_the_largest_file(size: int, fits: bool, write: Write, read: Read) -> None:
    write("#" * size)
    assert [error.message for error in read().errors] == (
        [] if fits else [f"is larger than {FILE_SIZE_MAX} bytes"]
    )


def test_a_file_that_is_not_text(write: Write, read: Read) -> None:
    write("").write_bytes(b"# \xff\n")
    (error,) = read().errors
    assert error.message == "is not UTF-8 at byte 2"


def test_lines_that_end_as_elsewhere(write: Write, read: Read) -> None:
    write("").write_bytes(b'# x\r\n\r\n[[deny]]\r\nmethods = ["a"]\r\n')
    (error,) = read().errors
    assert where(error) == ("50.toml", 4, "deny.0.methods.0")


# --- the policy of a daemon --------------------------------------------------------------------------------------


def settings_of(path: Path) -> Settings:
    return Settings.model_validate({"policy_dir": str(path.parent)})


def test_loading(write: Write) -> None:
    path = write(
        '[[allow]]\nmethods = ["a.set"]\nusers = [1000]\n\n[[deny]]\nmethods = [\n  "a.get", "b.*"]\nusers = ["ghost"]\n'
    )
    loaded = load_policy(settings_of(path), {"a.get": "public", "a.set": "admin"}, Account(OWN, 5))
    assert [(*where(each), each.message) for each in loaded.warnings] == [
        ("50.toml", 8, "deny.0.users.0", "there is no user 'ghost'; the rule does without"),
        ("50.toml", 5, "methods", "b.* matches no method that is offered"),
    ]
    assert loaded.policy.rules.allowances[0].place == Place(str(path), 1)


def test_loading_what_is_wrong(write: Write) -> None:
    path = write('[[deny]]\nmethods = ["a"]\nx = 1\n')
    with pytest.raises(PolicyError) as caught:
        load_policy(settings_of(path), {}, own_account())
    assert str(caught.value).splitlines() == [
        f"{path}:2: deny.0.methods.0: can match no method: write one such as 'inventory.lookup', 'inventory.*' or '**'",
        f"{path}:3: deny.0.x: unknown key; there are methods, users, groups, units",
    ]


def test_a_folder_that_is_named_must_exist(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "none" / "x")
    with pytest.raises(PolicyError, match="no such folder"):
        load_policy(settings, {}, own_account())
