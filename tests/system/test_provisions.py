"""Credentials and directories of the real unit, in its sandbox: they reach a service, and no journal shows what they contain."""

import hashlib
from typing import Final

import pytest

from tests.system.guest import Guest, now
from tests.system.programs import call, host

SECRET: Final = "correct-horse-battery"
FILE: Final = "/etc/superd-password"

UNIT: Final = f"""[Service]
LoadCredential=db-password:{FILE}
SetCredential=token:not-so-secret
RuntimeDirectory=superd-work
"""


@pytest.fixture
def providing(guest: Guest) -> Guest:
    """superd.socket listens for a superd whose unit has credentials, in a file that only root may read."""
    host(guest, '"vault:vault"')
    guest.write(FILE, f"{SECRET}\n", mode=0o600)
    guest.drop_in("superd.service", UNIT)
    guest.systemctl("start", "superd.socket")
    return guest


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_service_has_them_and_the_journal_has_not(providing: Guest) -> None:
    since = now()
    assert call(providing, "vault.digests") == {
        "db-password": digest(f"{SECRET}\n"),
        "token": digest("not-so-secret"),
    }
    process = providing.path(f"/proc/{providing.show('superd.service', 'MainPID')}/status").read_text()
    uid = providing.exec("id", "--user", "superd").stdout.strip()
    assert f"\nUid:\t{uid}\t" in process, "it is not root that reads them"
    failed = providing.exec("superctl", "call", "vault.fail", check=False)
    assert failed.returncode != 0
    providing.systemctl("stop", "superd.service")
    # All that systemd and superd have said, in every field, and what is told of the unit.
    said = providing.journal(since=since)
    assert any("logged in with **********" in each.get("MESSAGE", "") for each in said)
    assert any("cannot log in with **********" in each.get("SUPERD_TRACEBACK", "") for each in said)
    assert SECRET not in str(said)
    assert SECRET not in failed.stdout + failed.stderr + providing.systemctl("show", "superd.service")


def test_directories_are_those_of_the_unit(providing: Guest) -> None:
    assert call(providing, "vault.folders") == ["/var/lib/superd", "/run/superd-work"]
    assert providing.path("/var/lib/superd/vault-was-here").read_text() == "yes"
    providing.path("/var/lib/superd/vault-was-here").unlink()
    providing.systemctl("stop", "superd.service")
    assert not providing.path("/run/superd-work").exists()


def test_a_missing_one_names_what_to_add(guest: Guest) -> None:
    host(guest, '"vault:vault"')
    since = now()
    assert guest.exec("systemctl", "start", "superd.service", check=False).returncode != 0
    entry = guest.wait_for_entry("SYSLOG_IDENTIFIER=superd", "PRIORITY=3", since=since)
    assert "there is no credential 'db-password'" in entry["MESSAGE"]
    assert "add LoadCredential=db-password:/path/to/file to the unit" in entry["MESSAGE"]
