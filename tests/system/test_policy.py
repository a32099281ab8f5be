"""Who may call what, as an operator sets it up and looks into it."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.system.guest import Completed, Guest, now
from tests.system.programs import call_as

FILE = "/etc/superd/policy.d/50-test.toml"

#: More groups than the short way of asking for them takes.
MANY_GROUPS = range(20_000, 20_300)


@pytest.fixture
def ruled(guest: Guest) -> Iterator[Guest]:
    """The guest, whose policy a test may write."""
    yield guest
    guest.path(FILE).unlink(missing_ok=True)


def rule(guest: Guest, text: str) -> None:
    guest.write(FILE, text)
    guest.systemctl("start", "superd.socket")


def call_from(guest: Guest, unit: str, *arguments: str) -> Completed:
    """A call by the user member, from a unit of this name."""
    command = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}", "--uid=member"]
    return guest.exec(*command, "--", "superctl", "call", *arguments, check=False)


def is_denied(done: Completed) -> bool:
    assert done.returncode in {0, 3}, done.stderr
    return done.returncode == 3 and "permission denied" in done.stderr


def test_a_denied_caller_learns_a_call_id_and_the_operator_the_rule(ruled: Guest) -> None:
    rule(ruled, '# a test\n[[deny]]\nmethods = ["echo.*"]\nusers = ["member"]\n')
    done = call_as(ruled, "member", "echo.echo", "text=kettle")
    assert is_denied(done)
    assert "test.toml" not in done.stdout + done.stderr
    found = re.search(r"SUPERD_CALL_ID=(\S+)", done.stderr)
    assert found is not None
    uid = ruled.exec("id", "-u", "member").stdout.strip()
    ruled.wait_for_entry(f"SUPERD_CALL_ID={found[1]}")
    said = ruled.exec("superctl", "why", found[1]).stdout
    assert said.startswith(f"call {found[1]}: denied\n")
    assert "  method: echo.echo\n" in said
    assert re.search(rf"caller: uid {uid}, gid \d+, groups .*, unit run-.*\.service, pid \d+\n", said)
    assert f"    rule: {FILE}:2\n" in said
    assert " said by: superd.service\n" in said
    (entry,) = json.loads(ruled.exec("superctl", "why", "--json", found[1]).stdout)
    assert (entry["outcome"], entry["rule"], entry["peer_uid"]) == ("denied", f"{FILE}:2", uid)
    assert call_as(ruled, "root", "echo.echo", "text=kettle").returncode == 0


def test_who_may_not_read_the_journal_is_told_so(ruled: Guest) -> None:
    rule(ruled, '[[deny]]\nmethods = ["echo.*"]\n')
    assert is_denied(call_as(ruled, "member", "echo.echo", "text=a", "--call-id=test:why"))
    ruled.wait_for_entry("SUPERD_CALL_ID=test:why")
    done = ruled.run("superctl", "why", "test:why", properties=["User=stranger"], check=False)
    assert done.returncode == 1
    assert "that you may read" in done.stderr


def test_a_forged_entry_is_not_taken_for_superds_word(guest: Guest) -> None:
    fields = "MESSAGE=call served: a.b\nSUPERD_CALL_ID=test:forged\nSUPERD_METHOD=a.b\n"
    guest.exec("logger", "--journald", stdin=fields)
    guest.wait_for_entry("SUPERD_CALL_ID=test:forged")
    said = guest.exec("superctl", "why", "test:forged").stdout
    assert said.startswith("Others say\n")
    assert "served: a.b" in said


def test_a_unit_narrows_an_allowance(ruled: Guest) -> None:
    rule(
        ruled,
        '[[default]]\nmethods = ["echo.*"]\naccess = "admin"\n'
        '[[allow]]\nmethods = ["echo.*"]\nusers = ["member"]\nunits = ["good.service"]\n',
    )
    assert not is_denied(call_from(ruled, "good.service", "echo.echo", "text=a"))
    assert is_denied(call_from(ruled, "bad.service", "echo.echo", "text=a"))


def test_a_denial_by_unit_is_for_those_whose_unit_is_not_known(ruled: Guest) -> None:
    rule(ruled, '[[deny]]\nmethods = ["echo.*"]\nunits = ["bad.service"]\n')
    assert not is_denied(call_from(ruled, "good.service", "echo.echo", "text=a"))
    assert is_denied(call_from(ruled, "bad.service", "echo.echo", "text=a"))
    outside = ["setpriv", "--reuid=member", "--regid=member", "--init-groups"]
    assert is_denied(ruled.exec(*outside, "superctl", "call", "echo.echo", "text=a", check=False))


def test_very_many_groups_are_all_looked_at(ruled: Guest) -> None:
    """In superd's sandbox, too."""
    rule(ruled, f'[[deny]]\nmethods = ["echo.*"]\ngroups = [{MANY_GROUPS[-1]}]\n')
    for groups, denied in ((MANY_GROUPS, True), (MANY_GROUPS[:-1], False)):
        names = ",".join(["superd", *map(str, groups)])
        command = ["setpriv", "--reuid=member", "--regid=member", f"--groups={names}", "superctl", "call"]
        assert is_denied(ruled.exec(*command, "echo.echo", "text=a", check=False)) is denied


def test_the_rules_are_tested_where_no_superd_runs(ruled: Guest) -> None:
    ruled.write(FILE, '[[deny]]\nmethods = ["echo.*"]\nusers = ["member"]\nunits = ["bad.service"]\n')
    test = ["superctl", "policy", "test", "--user=member"]
    assert ruled.exec(*test, "--unit=good.service", "echo.echo").stdout.startswith(
        "allowed: echo.echo from member"
    )
    for unit in (["--unit=bad.service"], []):
        done = ruled.run(*test, *unit, "echo.echo", properties=["User=stranger"], check=False)
        assert done.returncode == 1
        assert f"  {FILE}:1\n" in done.stdout
    assert f"{FILE}:1" in ruled.exec("superctl", "policy", "show").stdout
    assert ruled.show("superd.service", "ActiveState") == "inactive"


def test_a_wrong_policy_keeps_superd_from_starting_and_says_where(ruled: Guest) -> None:
    ruled.write(FILE, '[[deny]]\nmethods = ["echo.*"]\n\nuser = ["member"]\n')
    checked = ruled.exec("superd", "--check", check=False)
    assert checked.returncode == 78
    assert checked.stderr == f"{FILE}:4: deny.0.user: unknown key; did you mean users?\n"
    since = now()
    assert ruled.exec("systemctl", "start", "superd.service", check=False).returncode != 0
    entry = ruled.wait_for_entry("MESSAGE_ID=e3fbd1452bce4ef790a9ee7b634a938c", since=since)
    assert (entry["SUPERD_SOURCE"], entry["SUPERD_KEY"]) == (f"{FILE}:4", "deny.0.user")


def test_units_and_users_that_are_not_there_are_warnings(ruled: Guest) -> None:
    """systemd is asked from within superd's sandbox."""
    ruled.write(
        FILE,
        '[[deny]]\nmethods = ["echo.*"]\nusers = ["ghost"]\nunits = [\n  "romd.service",\n  "ghost.service",\n]\n',
    )
    since = now()
    ruled.systemctl("start", "superd.service")
    entries = ruled.journal("MESSAGE_ID=14a3bec803894a9fa50ac2f9d513d0e6", since=since)
    assert {(entry["SUPERD_SOURCE"], entry["SUPERD_REASON"]) for entry in entries} == {
        (f"{FILE}:3", "there is no user 'ghost'; the rule does without"),
        (f"{FILE}:6", "systemd knows no unit ghost.service"),
    }


def test_a_file_that_others_can_write_to_is_not_used(ruled: Guest) -> None:
    ruled.write(FILE, "", mode=0o666)
    checked = ruled.exec("superd", "--check", check=False)
    assert (checked.returncode, checked.stderr) == (
        78,
        f"{FILE}: can be written to by others (mode 0666); chmod go-w\n",
    )
