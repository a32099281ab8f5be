"""What an operator finds in the journal."""

import re
from pathlib import Path

from tests.system.conftest import ROOT
from tests.system.guest import Guest, now
from tests.system.programs import HANG, call, host

CATALOG = (ROOT / "systemd/superd.catalog").read_text()


def test_a_refused_call_is_found_by_its_method(listening: Guest) -> None:
    since = now()
    listening.run("superctl", "call", "echo.echo", "txt=hello", properties=["User=member"], check=False)
    entry = listening.wait_for_entry("SUPERD_METHOD=echo.echo", since=since)
    assert entry["_SYSTEMD_UNIT"] == "superd.service"
    assert entry["SYSLOG_IDENTIFIER"] == "superd"
    assert entry["_UID"] == listening.exec("id", "-u", "superd").stdout.strip()
    assert entry["SUPERD_PEER_UID"] == listening.exec("id", "-u", "member").stdout.strip()
    assert re.fullmatch(r"run-.*\.service", entry["SUPERD_PEER_UNIT"])
    assert entry["SUPERD_CALL_ID"] in entry["MESSAGE"]
    assert entry["SUPERD_CODE"] == "-32602"
    assert "hello" not in entry["MESSAGE"]


def test_the_catalog_explains_it(listening: Guest) -> None:
    since = now()
    listening.exec("superctl", "call", "no.such", check=False)
    entry = listening.wait_for_entry("SUPERD_METHOD=no.such", since=since)
    explained = listening.exec("journalctl", "--catalog", "SUPERD_METHOD=no.such").stdout
    subject = re.search(
        rf"^-- {entry['MESSAGE_ID']}$(?:\n(?!Subject:).*)*\nSubject: (.*)$", CATALOG, re.MULTILINE
    )
    assert subject is not None, "the catalog has no entry for this message"
    # Fields in at-signs are filled in by journalctl.
    pattern = ".*".join(re.escape(part) for part in re.split(r"@[A-Z0-9_]+@", subject[1]))
    assert re.search(rf"^.. Subject: {pattern}", explained, re.MULTILINE), explained


def test_the_catalog_has_an_entry_for_each_message_and_systemd_reads_it(installed: Guest) -> None:
    listed = installed.exec("journalctl", "--list-catalog").stdout
    for message_id in re.findall(r"^-- ([0-9a-f]{32})$", CATALOG, re.MULTILINE):
        assert message_id in listed


def test_a_failed_call_leaves_its_traceback_here_and_only_here(guest: Guest) -> None:
    host(guest, HANG)
    guest.systemctl("start", "superd.socket")
    since = now()
    done = guest.exec("superctl", "call", "hang.fail", "text=kettle", check=False)
    assert done.returncode != 0
    assert "kettle" not in done.stdout + done.stderr
    entry = guest.wait_for_entry("SUPERD_METHOD=hang.fail", since=since)
    assert "RuntimeError: kettle" in entry["SUPERD_TRACEBACK"]
    assert int(entry["SUPERD_DURATION_USEC"]) > 0
    assert entry["SUPERD_CALL_ID"] in done.stdout + done.stderr


def test_what_a_service_prints_is_there_while_superd_runs(guest: Guest) -> None:
    host(guest, HANG)
    guest.systemctl("start", "superd.socket")
    since = now()
    call(guest, "hang.say", "text=kettle")
    entry = guest.wait_for_entry("MESSAGE=kettle", since=since)
    assert entry["_SYSTEMD_UNIT"] == "superd.service"


def test_a_successful_call_is_not_logged_and_start_and_stop_are(listening: Guest) -> None:
    since = now()
    call(listening, "echo.echo", "text=hello")
    listening.systemctl("stop", "superd.service")
    said = [each["MESSAGE"] for each in listening.journal("SYSLOG_IDENTIFIER=superd", since=since)]
    assert len(said) == len(set(said))
    assert not [each for each in said if "echo.echo" in each]
    assert 2 <= len(said) <= 3, said


def test_the_catalog_file_is_where_the_units_are() -> None:
    assert Path(ROOT / "systemd/superd.catalog").read_text().endswith("\n")
