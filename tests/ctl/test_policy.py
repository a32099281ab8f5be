"""superctl policy: the files as they are, without a daemon."""

import json
import os
import pwd
from pathlib import Path
from typing import Final

import pytest

from superd.ctl import policing
from superd.ctl.exits import ExitStatus
from superd.policy_names import own_account
from tests.ctl.conftest import Superctl

NOBODY: Final = pwd.getpwnam("nobody")

RULES: Final = """\
# who may use the store
[[deny]]
methods = ["store.*"]
users = ["nobody"]
units = ["evil.service"]

[[allow]]
methods = ["store.fail"]
users = ["nobody", "no-such-user"]

[[default]]
methods = ["store.fail", "store.wait"]
access = "admin"

[[allow]]
methods = ["store.wait"]
groups = ["nogroup", 4242]
units = ["good.service"]
"""


@pytest.fixture(name="rules")
def fixture_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy of one file, for a superd that hosts the store and runs as this process does."""
    folder = tmp_path / "policy.d"
    folder.mkdir(mode=0o755)
    path = folder / "50-store.toml"
    path.write_text(RULES)
    path.chmod(0o644)
    monkeypatch.setenv("SUPERD_POLICY_DIR", str(folder))
    monkeypatch.setenv("SUPERD_SERVICES", "tests.ctl.service:store")
    monkeypatch.setenv("SUPERD_CONFIG", str(folder / "superd.conf"))
    (folder / "superd.conf").touch()
    monkeypatch.setattr(policing, "daemon_account", lambda _: own_account())
    return path


def test_show(superctl: Superctl, rules: Path) -> None:
    done = superctl("policy", "show")
    assert done.status == ExitStatus.OK
    head, title, rest = done.out.partition("Defaults\n")
    assert head + title == (
        "Denials\n"
        "  store.*  users nobody; units evil.service\n"
        f"    {rules}:2\n"
        "Allowances\n"
        "  store.fail  users nobody\n"
        f"    {rules}:7\n"
        "  store.wait  groups 4242, nogroup; units good.service\n"
        f"    {rules}:15\n"
        "Defaults\n"
    )
    defaults = [line.split() for line in rest.splitlines()]
    assert defaults == sorted(defaults)
    assert ["echo.echo", "public"] in defaults
    assert ["store.fail", "admin", f"{rules}:11"] in defaults
    assert ["store.lookup", "public"] in defaults
    assert ["store.wait", "admin", f"{rules}:11"] in defaults
    assert ["superd.stop", "admin"] in defaults
    assert f"warning: {rules}:9: allow.0.users.1: there is no user 'no-such-user'" in done.err


def test_show_for_scripts(superctl: Superctl, rules: Path) -> None:
    shown = json.loads(superctl("policy", "show", "--json").out)
    assert shown["denials"] == [
        {
            "rule": f"{rules}:2",
            "methods": ["store.*"],
            "users": ["nobody"],
            "groups": None,
            "units": ["evil.service"],
        }
    ]
    assert shown["allowances"][1]["groups"] == [4242, "nogroup"]
    assert shown["defaults"]["store.wait"] == {"access": "admin", "rule": f"{rules}:11"}
    assert shown["defaults"]["echo.echo"] == {"access": "public", "rule": None}
    (warning,) = shown["warnings"]
    assert "no-such-user" in warning


def test_show_of_no_rules(superctl: Superctl, rules: Path) -> None:
    rules.write_text("[[deny]]\nmethods = ['echo.*']\n")
    assert superctl("policy", "show").out.startswith(
        f"Denials\n  echo.*  everybody\n    {rules}:1\nAllowances: none\n"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "reason", "line"),
    [
        (
            ["--user=nobody", "store.lookup"],
            1,
            "a rule denies it, since the caller's unit cannot be known",
            2,
        ),
        (["--user=nobody", "--unit=evil.service", "store.lookup"], 1, "a rule denies it", 2),
        (
            ["--user=nobody", "--unit=x.service", "store.lookup"],
            0,
            "the default, public: everybody who can connect",
            None,
        ),
        (["--user=nobody", "--unit=x.service", "store.fail"], 0, "a rule allows it", 7),
        (["--user=bin", "store.fail"], 1, "the default, admin: root and superd's own user", 11),
        (["--user=bin", "--group=4242", "--unit=good.service", "store.wait"], 0, "a rule allows it", 15),
        (
            ["--user=bin", "--group=4242", "store.wait"],
            1,
            "the default, admin: root and superd's own user",
            11,
        ),
        (["--user=nobody", "--unit=good.service", "store.wait"], 0, "a rule allows it", 15),
        (["--user=root", "store.wait"], 0, "root and superd's own user are bound by no rule", None),
        (["--user=0", "store.wait"], 0, "root and superd's own user are bound by no rule", None),
        (["--user=987654", "store.lookup"], 0, "the default, public: everybody who can connect", None),
    ],
)
def test_test(
    superctl: Superctl, rules: Path, arguments: list[str], status: int, reason: str, line: int | None
) -> None:
    done = superctl("policy", "test", *arguments)
    first, *rest = done.out.splitlines()
    assert done.status == status
    assert first.startswith(f"{('allowed', 'denied')[status]}: {arguments[-1]} from ")
    assert rest == [f"  {reason}", *([] if line is None else [f"  {rules}:{line}"])]
    said = json.loads(superctl("policy", "test", "--json", *arguments).out)
    assert (said["allowed"], said["reason"]) == (status == 0, reason)
    assert said["rule"] == (None if line is None else f"{rules}:{line}")


def test_test_says_for_whom(superctl: Superctl, rules: Path) -> None:
    done = superctl(
        "policy", "test", "--user", "nobody", "--group", "4242", "--unit", "x.service", "store.lookup"
    )
    assert done.out.startswith(
        f"allowed: store.lookup from nobody (uid {NOBODY.pw_uid}; groups 4242, nogroup; unit x.service)\n"
    )
    said = json.loads(superctl("policy", "test", "--json", "--user=987654", "store.lookup").out)
    assert (said["uid"], said["groups"], said["unit"], said["by"]) == (987654, [], None, "default")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test", "--user=root"], "policy test needs METHOD"),
        (["test", "store.fail"], "policy test needs --user"),
        (["test", "--user=no-such-user", "store.fail"], "there is no user 'no-such-user'"),
        (["test", "--user=root", "--group=no-such", "store.fail"], "there is no group 'no-such'"),
        (["test", "--user=root", "--unit=romd", "store.fail"], "'romd' is no unit that runs programs"),
        (["test", "--user=root", "store.fial"], "there is no method 'store.fial'; did you mean store.fail?"),
        (["show", "store.fail"], "METHOD is for policy test"),
        (["show", "--group=x"], "--group is for policy test"),
        (["check"], "invalid choice: 'check'"),
        ([], "required: action"),
    ],
)
def test_wrong_command_lines(superctl: Superctl, rules: Path, arguments: list[str], message: str) -> None:
    done = superctl("policy", *arguments)
    assert (done.status, done.out) == (ExitStatus.USAGE, "")
    assert message in done.err


def test_a_wrong_policy_is_told_with_file_line_and_key(superctl: Superctl, rules: Path) -> None:
    rules.write_text('[[allow]]\nmethods = ["store.*"]\nunits = ["x.service"]\n[[deny]]\nmethod = "x"\n')
    for arguments in (["show"], ["test", "--user=root", "store.fail"]):
        done = superctl("policy", *arguments)
        assert (done.status, done.out) == (ExitStatus.USAGE, "")
        assert done.err.splitlines() == [
            f"superctl: {rules}:1: allow.0: names neither users nor groups: a unit is never enough alone, it can only narrow",
            f"{rules}:4: deny.0.methods: Field required",
            f"{rules}:5: deny.0.method: unknown key; did you mean methods?",
        ]


def test_wrong_settings_and_services(
    superctl: Superctl, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERD_SERVICES", "tests.ctl.service:nothing")
    done = superctl("policy", "show")
    assert done.status == ExitStatus.USAGE
    assert "tests.ctl.service:nothing cannot be loaded" in done.err
    monkeypatch.setenv("SUPERD_CONNECTIONS", "0")
    assert "connections" in superctl("policy", "show").err


def test_another_configuration(
    superctl: Superctl, rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUPERD_POLICY_DIR")
    config = tmp_path / "other.toml"
    config.write_text(f"policy_dir = {json.dumps(str(rules.parent))}\n")
    assert str(rules) in superctl("policy", "show", "--config", str(config)).out
    config.write_text(f"policy_dir = {json.dumps(str(tmp_path / 'none'))}\n")
    assert f"{tmp_path}/none: no such folder" in superctl("policy", "show", "--config", str(config)).err


def test_no_daemon_is_asked(superctl: Superctl, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERD_SOCKET", "unix:/nowhere")
    assert superctl("policy", "test", "--user", str(os.geteuid()), "echo.echo").status == ExitStatus.OK


def test_an_instance_has_a_policy_of_its_own(
    superctl: Superctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "superd/instances/store.policy.d"
    folder.mkdir(parents=True, mode=0o755)
    (folder.parent / "store.toml").write_text('services = ["tests.ctl.service:store"]\n')
    (folder / "50.toml").write_text('[[deny]]\nmethods = ["echo.*"]\n')
    tested = ("policy", "test", "--user", "77777", "echo.echo")
    assert superctl("--user", "--instance", "store", *tested).status == ExitStatus.FAILED
    (folder.parent / "other.toml").touch()
    assert superctl("--user", *tested, "--instance", "other").status == ExitStatus.OK
    done = superctl("--user", "--instance", "none", *tested)
    assert (done.status, done.err) == (
        ExitStatus.USAGE,
        f"superctl: {folder.parent}/none.toml: no such file\n",
    )
