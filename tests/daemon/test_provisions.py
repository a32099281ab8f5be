"""What a unit provides its services with: credentials that are never shown, and directories."""

import asyncio
import copy
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from superd import journal
from superd.journal import to_entry
from superd.peer import Caller
from superd.provisions import CREDENTIAL_SIZE_MAX, Credentials, NoSuchCredential, NotProvided, Provisions
from superd.service import Context, Service
from tests.daemon.process import Superd, superd
from tests.daemon.raw import PATIENCE, request

SECRET: Final = 'corr"ect horse é'
STARS: Final = "**********"


@pytest.fixture(autouse=True)
def no_secrets_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests read is of these tests."""
    monkeypatch.setattr(journal, "_never_shown", set())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").write_bytes(b"\x00\xff\n")
    (tmp_path / "db-password").write_text(f"{SECRET}\n")
    return tmp_path


@pytest.fixture
def credentials(folder: Path) -> Credentials:
    return Credentials({"CREDENTIALS_DIRECTORY": str(folder)})


# --- credentials -----------------------------------------------------------------------------------------------------


def test_names_lead_to_bytes(credentials: Credentials) -> None:
    assert credentials["token"] == b"\x00\xff\n"
    assert credentials["db-password"] == f"{SECRET}\n".encode()
    assert list(credentials) == ["db-password", "token"]
    assert len(credentials) == 2
    assert "token" in credentials
    assert "tokens" not in credentials
    assert object() not in credentials
    assert credentials.get("tokens", b"none") == b"none"


def test_they_are_looked_up_when_they_are_asked_for(folder: Path, credentials: Credentials) -> None:
    assert "late" not in credentials
    (folder / "late").write_bytes(b"here")
    assert credentials["late"] == b"here"


def test_one_that_is_missing_is_named_with_what_to_add(folder: Path, credentials: Credentials) -> None:
    with pytest.raises(KeyError) as caught:
        credentials["tls.key"]
    assert isinstance(caught.value, NotProvided)
    assert str(caught.value) == (
        f"there is no credential 'tls.key' (it is not in {folder}): add LoadCredential=tls.key:/path/to/file to the unit"
    )


@pytest.mark.parametrize("environ", [{}, {"CREDENTIALS_DIRECTORY": ""}])
def test_without_any(environ: dict[str, str]) -> None:
    none = Credentials(environ)
    assert list(none) == []
    assert "token" not in none
    assert repr(none) == "<credentials: none>"
    with pytest.raises(NoSuchCredential, match="CREDENTIALS_DIRECTORY is not set"):
        none["token"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../token", "a/b", "/etc/passwd", "a:b", "a\0b", "a\nb", "é", "x" * 256]
)
def test_a_name_that_leads_elsewhere(credentials: Credentials, name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a credential"):
        credentials[name]
    with pytest.raises(ValueError, match="is not the name of a credential"):
        credentials.get(name)
    assert name not in credentials


@pytest.mark.parametrize("name", ["a", "x" * 255, "...", "a b", "A-1_b.c~"])
def test_names_that_systemd_takes(folder: Path, credentials: Credentials, name: str) -> None:
    (folder / name).write_bytes(b"1")
    assert credentials[name] == b"1"


@pytest.mark.parametrize("size", [CREDENTIAL_SIZE_MAX - 1, CREDENTIAL_SIZE_MAX, CREDENTIAL_SIZE_MAX + 1])
def test_the_largest(folder: Path, credentials: Credentials, size: int) -> None:
    (folder / "big").write_bytes(b"b" * size)
    if size <= CREDENTIAL_SIZE_MAX:
        assert len(credentials["big"]) == size
    else:
        with pytest.raises(ValueError, match="the credential 'big' is larger than 1048576 bytes"):
            credentials["big"]


def test_neither_shown_nor_copied(credentials: Credentials) -> None:
    assert credentials["db-password"]
    for text in (repr(credentials), str(credentials), f"{credentials.items()}"):
        assert "db-password" in text
        assert "horse" not in text
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            leak(credentials)


@pytest.mark.parametrize(
    "said",
    [
        SECRET,
        f"with {SECRET}!",
        repr(SECRET),
        repr(SECRET.encode()),
        repr(f"{SECRET}\n".encode()),
        str({"password": SECRET}),
    ],
)
def test_what_was_read_is_masked_in_every_line(credentials: Credentials, said: str) -> None:
    fields = {"event": said, "reason": said, "value": said, "exc_info": RuntimeError(said)}
    assert credentials["db-password"]
    ((entry,), _) = to_entry(None, "info", fields)
    for text in (entry.event, entry.fields["reason"], entry.fields["value"], entry.traceback):
        assert STARS in str(text)
        assert "horse" not in str(text)


def test_one_of_three_characters_is_not_masked(folder: Path, credentials: Credentials) -> None:
    """Each line would be full of stars."""
    for name, text in (("short", "abc\n"), ("enough", "abcd\n"), ("empty", "\n")):
        (folder / name).write_text(text)
        assert credentials[name]
    ((entry,), _) = to_entry(None, "info", {"event": "abc abcd"})
    assert entry.event == f"abc {STARS}"


# --- directories -----------------------------------------------------------------------------------------------------


def test_directories_are_those_of_the_unit() -> None:
    unit = Provisions({"STATE_DIRECTORY": "/var/lib/superd", "RUNTIME_DIRECTORY": "/run/work:/run/other"})
    assert unit.state_directory == Path("/var/lib/superd")
    assert unit.runtime_directory == Path("/run/work")


@pytest.mark.parametrize("environ", [{}, {"STATE_DIRECTORY": "", "RUNTIME_DIRECTORY": ""}])
def test_what_is_missing_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(
        NotProvided, match="add StateDirectory=NAME to the unit, or set STATE_DIRECTORY to a path"
    ):
        _ = Provisions(environ).state_directory
    with pytest.raises(NotProvided, match="add RuntimeDirectory=NAME to the unit, or set RUNTIME_DIRECTORY"):
        _ = Provisions(environ).runtime_directory


def test_a_call_has_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    monkeypatch.setenv("STATE_DIRECTORY", "/state")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/x")
    context = Context(method="a.b", call_id="1", caller=Caller(1, 1, 1), state=None)
    assert context.credentials["token"] == b"\x00\xff\n"
    assert (context.state_directory, context.runtime_directory) == (Path("/state"), Path("/run/x"))


# --- lifespans -------------------------------------------------------------------------------------------------------


class Life:
    """A lifespan that yields what it was given."""

    def __init__(self, *given: object) -> None:
        self.given = given

    async def __aenter__(self) -> tuple[object, ...]:
        return self.given

    async def __aexit__(self, *_: object) -> None:
        pass


async def entered(service: Service, unit: Provisions) -> object:
    async with service.live(unit) as state:
        return state


def test_a_lifespan_that_takes_something_gets_what_the_unit_provides() -> None:
    unit = Provisions({})

    def none() -> Life:
        return Life()

    def with_default(path: object = "a") -> Life:
        return Life(path)

    def one(provisions: Provisions) -> Life:
        return Life(provisions)

    for lifespan, state in ((none, ()), (with_default, ("a",)), (one, (unit,))):
        assert asyncio.run(entered(Service("a", lifespan=lifespan), unit)) == state
    assert asyncio.run(entered(Service("a"), unit)) is None


def test_a_lifespan_that_takes_more_is_refused_at_once() -> None:
    def two(provisions: Provisions, more: int) -> Life:
        return Life(provisions, more)

    with pytest.raises(TypeError, match="takes more than what its unit provides"):
        Service("a", lifespan=two)  # type: ignore[arg-type] # what is refused


# --- a daemon --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("credentials")
    (folder / "db-password").write_text(f"{SECRET}\n")
    return {
        "CREDENTIALS_DIRECTORY": str(folder),
        "STATE_DIRECTORY": "/var/lib/superd:/var/lib/other",
        "RUNTIME_DIRECTORY": "/run/work",
        "SUPERD_LOG_LEVEL": "debug",
    }


def leaks(text: str) -> list[str]:
    """Parts of the secret in a text."""
    return [part for part in ("horse", "corr", "\\xc3\\xa9") if part in text]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, unit: dict[str, str]) -> Iterator[Superd]:
    path = tmp_path_factory.mktemp("socket") / "s"
    with superd("--service=tests.daemon.keeper:keeper", path=path, environment=unit) as running:
        yield running


def test_a_daemon_never_says_what_a_credential_contains(daemon: Superd, unit: dict[str, str]) -> None:
    with daemon.client() as client:
        answers = {
            name: client.ask(request(f"keeper.{name}"))
            for name in ("where", "size", "log", "fail", "refuse", "miss")
        }
        others = [
            client.ask(request(name))
            for name in ("superd.status", "rpc.discover", "rpc.hello", "superd.peers")
        ]
    assert answers["where"]["result"] == ["/var/lib/superd", "/run/work"]
    assert answers["size"]["result"] == len(f"{SECRET}\n".encode())
    assert answers["fail"]["error"]["message"] == answers["miss"]["error"]["message"] == "internal error"
    assert all("result" in each for each in others), others
    assert not leaks(str(answers) + str(others))
    assert daemon.stop() == 0
    assert not leaks(daemon.log), daemon.log
    for said in (
        f"logged in with {STARS}",
        f"asked with {STARS}: keeper.log",
        f"password={STARS} raw=b'{STARS}",
        "all of <credentials: db-password> and {'db-password': b'" + STARS,
        f"cannot use b'{STARS}\\n' as {STARS}",
        f"nobody looks at {STARS}",
        f"logged out with b'{STARS}",
        "there is no credential 'no-such'",
        "add LoadCredential=no-such:/path/to/file to the unit",
    ):
        assert said in daemon.log, daemon.log


def test_a_start_that_fails_does_not_say_it_either(tmp_path: Path, unit: dict[str, str]) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        environment = unit | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        service = "--service=tests.daemon.keeper:locked_out"
        daemon = Superd(f"--listen=unix:{path}", service, path=path, environment=environment)
        try:
            assert daemon.ended() == 1
        finally:
            daemon.kill()
        manager.settimeout(PATIENCE)
        status = manager.recv(4096).decode()
        assert (
            status
            == f"STATUS=cannot start: the service keeper cannot start: RuntimeError: no login with {STARS}\n"
        )
    assert f"the service keeper cannot start: RuntimeError: no login with {STARS}" in daemon.log
    assert not leaks(daemon.log)


def test_a_directory_that_cannot_be_read(folder: Path, credentials: Credentials) -> None:
    (folder / "sub").mkdir()
    with pytest.raises(IsADirectoryError):
        credentials["sub"]
    assert "sub" not in credentials
    os.rmdir(folder / "sub")  # noqa: PTH106
