import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import pytest
from pydantic import SecretStr, ValidationError

from superd import __version__, settings, settings_sources
from superd.settings import LIVE, Change, Settings, compare, with_live
from superd.settings_sources import Problem, SettingsError, load_settings
from superd.settings_types import DRAIN_TIMEOUT_MAX, IDLE_EXIT_MIN, parse_seconds
from superd_client.instances import Instance
from superd_client.wire.limits import FRAME_SIZE_MAX, FRAME_SIZE_MIN

ROOT: Final = Path(__file__).resolve().parents[2]

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the files nor the environment of the machine that runs the tests."""
    for name in [name for name in os.environ if name.startswith("SUPERD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(settings_sources, "DEFAULT_CONFIG", tmp_path / "etc" / "superd.toml")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        path = tmp_path / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write_file


def problems_of(**overrides: object) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides=overrides)
    return caught.value.problems


def test_defaults_need_no_source() -> None:
    assert load_settings() == Settings()
    assert Settings().builtin_services == ("echo", "status", "discover")
    assert Settings().socket_mode == 0o600


def test_an_instance_has_a_file_of_its_own(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "etc"))
    instance = Instance("inventory", user=True)
    path = write("superd/instances/inventory.toml", "connections = 7\n")
    write("superd/instances/inventory.d/20-b.toml", "worker_threads = 3\n")
    write("superd.toml", "connections = 8\n")
    found = load_settings(instance=instance)
    assert (found.connections, found.worker_threads, found.instance) == (7, 3, instance)
    assert found.policy_dir == str(path.with_name("inventory.policy.d"))
    other = write("other.toml", 'policy_dir = "/srv/policy"\n')
    found = load_settings(instance=instance, config=other)
    assert (found.connections, found.policy_dir) == (Settings().connections, "/srv/policy")
    assert with_live(found, Settings()).instance == instance


def test_an_instance_without_its_file_is_wrong_and_a_users_superd_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(SettingsError) as caught:
        load_settings(instance=Instance("inventory", user=True))
    assert str(caught.value) == f"{tmp_path}/superd/instances/inventory.toml: no such file"
    found = load_settings(instance=Instance(user=True))
    assert found.policy_dir == f"{tmp_path}/superd/policy.d"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().worker_threads = 3


def test_the_constructor_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERD_LOG_LEVEL", "debug")
    assert Settings().log_level == "info"


def test_order_of_the_sources(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("superd.toml", "connections = 1\nworker_threads = 1\ncalls_in_flight = 1\ndrain_timeout = 1\n")
    write("superd.d/20-b.toml", "worker_threads = 3\ncalls_in_flight = 3\ndrain_timeout = 3\n")
    write("superd.d/10-a.toml", "worker_threads = 2\ncalls_in_flight = 2\ndrain_timeout = 2\n")
    write("superd.d/30-c.conf", "this is not read")
    monkeypatch.setenv("SUPERD_CALLS_IN_FLIGHT", "4")
    monkeypatch.setenv("SUPERD_DRAIN_TIMEOUT", "4")
    loaded = load_settings(overrides={"drain_timeout": 5, "connections": None})
    assert (loaded.connections, loaded.worker_threads, loaded.calls_in_flight, loaded.drain_timeout) == (
        1,
        3,
        4,
        5,
    )


def test_services_add_up_and_other_lists_are_replaced(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("superd.toml", 'services = ["a:a", "b:b"]\nlisten = ["unix:/a"]\n')
    write("superd.d/10.toml", 'services = ["c:c", "a:a"]\nlisten = ["unix:/b"]\n')
    monkeypatch.setenv("SUPERD_SERVICES", "d:d, b:b")
    loaded = load_settings(overrides={"services": ["e:e"]})
    assert loaded.services == ("a:a", "b:b", "c:c", "d:d", "e:e")
    assert loaded.listen == ("unix:/b",)


@pytest.mark.parametrize("text", ["unix:/a,unix:@b", " unix:/a , unix:@b,", '["unix:/a", "unix:@b"]'])
def test_a_list_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SUPERD_LISTEN", text)
    assert load_settings().listen == ("unix:/a", "unix:@b")


def test_an_empty_list_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERD_BUILTIN_SERVICES", "")
    assert load_settings().builtin_services == ()


@pytest.mark.parametrize("text", ["[", '["a"', "[" * 100_000])
def test_a_list_that_is_not_json(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SUPERD_LISTEN", text)
    (problem,) = problems_of()
    assert problem.source == "environment"
    assert problem.message.startswith("begins like a JSON list and is none")
    assert len(problem.message) < 150


def test_all_problems_are_reported_at_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    main = write("superd.toml", "drain_timout = 3\nconnections = 0\n")
    drop_in = write("superd.d/x.toml", 'connections = 5\nbuiltin_services = ["echo", "bogus"]\n')
    monkeypatch.setenv("SUPERD_LOG_LEVL", "debug")
    monkeypatch.setenv("SUPERD_LOG_LEVEL", "loud")
    problems = problems_of(services=["x:y", 3])
    assert [(problem.source, problem.key) for problem in problems] == [
        ("environment", "SUPERD_LOG_LEVL"),
        (str(main), "drain_timout"),
        (str(main), "connections"),
        (str(drop_in), "builtin_services.1"),
        ("environment", "log_level"),
        ("command line", "services.1"),
    ]
    assert (
        str(problems[0])
        == f"environment: SUPERD_LOG_LEVL: unknown key; did you mean SUPERD_LOG_LEVEL? (this is superd {__version__})"
    )
    assert (
        str(problems[1])
        == f"{main}: drain_timout: unknown key; did you mean drain_timeout? (this is superd {__version__})"
    )
    assert problems[2].message == "should be greater than or equal to 1 (got 0)"


@pytest.mark.parametrize("key", ["Log_Level", "LOG_LEVEL", "superd", "log-level"])
def test_keys_are_exact(write: Write, key: str) -> None:
    write("superd.toml", f'{key} = "debug"\n')
    (problem,) = problems_of()
    assert problem.key == key
    assert problem.message.startswith("unknown key")


def test_a_key_that_is_like_no_other_may_be_of_a_newer_version(write: Write) -> None:
    write("superd.toml", "quux = 1\n")
    (problem,) = problems_of()
    assert problem.message == f"unknown key; this is superd {__version__}, and a newer one may have it"


def test_a_key_of_an_older_version_says_since_when_it_is_none(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_sources, "RETIRED", {"quux": "since 0.2.0 it is streams"})
    write("superd.toml", "quux = 1\n")
    (problem,) = problems_of()
    assert problem.message == "there is no such key any more: since 0.2.0 it is streams"
    assert not settings_sources.RETIRED.keys() & Settings.model_fields.keys()


def test_variables_that_are_no_settings_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERD_SOCKET", "unix:/run/x")
    assert load_settings() == Settings()


def test_the_text_has_a_line_for_each_problem(write: Write) -> None:
    path = write("superd.toml", "connections = 0\nworker_threads = 0\n")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert [line.split(": ")[:2] for line in str(caught.value).splitlines()] == [
        [str(path), "connections"],
        [str(path), "worker_threads"],
    ]


def test_a_wrong_value_is_not_repeated_at_length(write: Write) -> None:
    write("superd.toml", f'log_level = "{"x" * 10_000}"\n')
    (problem,) = problems_of()
    assert len(problem.message) < 120


def test_a_syntax_error_names_the_line(write: Write) -> None:
    path = write("superd.toml", "connections = 1\nworker_threads = = 2\n")
    (problem,) = problems_of()
    assert problem.source == str(path)
    assert "line 2" in problem.message


def test_a_file_that_is_not_utf8(write: Write) -> None:
    write("superd.toml", "").write_bytes(b'log_level = "\xff"')
    assert problems_of()[0].message == "is not UTF-8 at byte 13"


def test_a_file_that_nests_too_deep(write: Write) -> None:
    write("superd.toml", f"listen = {'[' * 100_000}")
    assert problems_of()[0].message == "is not TOML: nested too deep"


def test_a_folder_in_place_of_the_file(write: Write) -> None:
    folder = write("superd.toml/x", "").parent
    assert problems_of() == (Problem(str(folder), "", "cannot be read: Is a directory"),)


def test_a_file_in_place_of_the_folder(write: Write) -> None:
    path = write("superd.d", "")
    assert problems_of() == (Problem(str(path), "", "cannot be read: Not a directory"),)


def test_a_drop_in_that_leads_nowhere(write: Write) -> None:
    link = write("superd.d/a.toml", "").with_name("b.toml")
    link.symlink_to("nowhere")
    assert problems_of() == (Problem(str(link), "", "no such file"),)


def test_another_file_and_its_own_drop_ins(write: Write) -> None:
    write("superd.toml", "connections = 1\n")
    write("superd.d/a.toml", "worker_threads = 1\n")
    other = write("other/mine.toml", "calls_in_flight = 2\n")
    write("other/mine.d/a.toml", "drain_timeout = 2\n")
    loaded = load_settings(config=other)
    assert loaded.model_fields_set == {"calls_in_flight", "drain_timeout", "services", "policy_dir"}


def test_a_named_file_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(SettingsError, match=re.escape(f"{missing}: no such file")):
        load_settings(config=missing)
    monkeypatch.setenv("SUPERD_CONFIG", str(missing))
    with pytest.raises(SettingsError, match=re.escape(f"{missing}: no such file")):
        load_settings()


def test_the_command_line_names_the_file_before_the_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERD_CONFIG", str(write("environment.toml", "connections = 2\n")))
    assert load_settings().connections == 2
    assert load_settings(config=write("option.toml", "connections = 3\n")).connections == 3
    monkeypatch.setenv("SUPERD_CONFIG", "")
    assert load_settings() == Settings()


@pytest.mark.parametrize("key", ["calls_in_flight", "connections", "worker_threads"])
def test_the_least_of_each_count(key: str) -> None:
    assert [problem.key for problem in problems_of(**{key: 0})] == [key]
    assert getattr(load_settings(overrides={key: 1}), key) == 1
    assert getattr(load_settings(overrides={key: 2}), key) == 2


@pytest.mark.parametrize("key", ["frame_size", "write_buffer"])
def test_the_bounds_of_each_size(key: str) -> None:
    for value in (FRAME_SIZE_MIN - 1, FRAME_SIZE_MAX + 1):
        assert [problem.key for problem in problems_of(**{key: value})] == [key]
    for value in (FRAME_SIZE_MIN, FRAME_SIZE_MIN + 1, FRAME_SIZE_MAX - 1, FRAME_SIZE_MAX):
        assert getattr(load_settings(overrides={key: value}), key) == value


@pytest.mark.parametrize(
    "value", [-1, -0.001, DRAIN_TIMEOUT_MAX + 0.001, float("nan"), float("inf"), 10**400, True]
)
def test_a_drain_timeout_out_of_bounds(value: object) -> None:
    assert [problem.key for problem in problems_of(drain_timeout=value)] == ["drain_timeout"]


@pytest.mark.parametrize("value", [0, 0.001, DRAIN_TIMEOUT_MAX - 0.001, DRAIN_TIMEOUT_MAX])
def test_a_drain_timeout_within_bounds(value: float) -> None:
    assert load_settings(overrides={"drain_timeout": value}).drain_timeout == value


@pytest.mark.parametrize(
    "value", [-0.001, 0.001, IDLE_EXIT_MIN - 0.001, DRAIN_TIMEOUT_MAX + 0.001, "999ms", True]
)
def test_an_idle_exit_out_of_bounds(value: object) -> None:
    assert [problem.key for problem in problems_of(idle_exit=value)] == ["idle_exit"]


@pytest.mark.parametrize("value", [0, IDLE_EXIT_MIN, IDLE_EXIT_MIN + 0.001, DRAIN_TIMEOUT_MAX])
def test_an_idle_exit_within_bounds(value: float) -> None:
    assert load_settings(overrides={"idle_exit": value}).idle_exit == value


def test_an_idle_exit_says_what_it_takes() -> None:
    (problem,) = problems_of(idle_exit="500ms")
    assert problem.message == "should be 0, for never, or at least 1 s (got '500ms')"
    assert load_settings(overrides={"idle_exit": "5min"}).idle_exit == 300


@pytest.mark.parametrize("key", ["connections", "frame_size"])
@pytest.mark.parametrize("value", [True, 1.0, "many", "", "-5", [1], None])
def test_what_is_no_number(write: Write, key: str, value: object) -> None:
    if value is None:
        write("superd.toml", f"{key} = 1979-05-27\n")
        assert [problem.key for problem in problems_of()] == [key]
    else:
        assert [problem.key for problem in problems_of(**{key: value})] == [key]


@pytest.mark.parametrize(
    ("text", "size"),
    [("2048", 2048), ("2048B", 2048), ("2K", 2048), ("2KiB", 2048), (" 16 MiB ", 1 << 24), ("16M", 1 << 24)],
)
def test_sizes(text: str, size: int) -> None:
    assert load_settings(overrides={"frame_size": text}).frame_size == size


@pytest.mark.parametrize(
    "text", ["16MB", "16 mib", "1.5MiB", "MiB", "0x1000", "9" * 16, "4096 bytes", "٤٠٩٦"]
)
def test_what_is_no_size(text: str) -> None:
    assert problems_of(frame_size=text)[0].message.startswith("write bytes, or a size such as")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("30s", 30),
        ("1min 30s", 90),
        ("1min30s", 90),
        ("500ms", 0.5),
        (" 2 h ", 7200),
        ("1.5s", 1.5),
        (".5 sec", 0.5),
        ("5.s", 5),
        ("7usec 3 µs 10μs", 20e-6),
        ("1d", 86400),
        ("1w 2days", 777600),
        ("1M", 2630016),
        ("1m", 60),
        ("1y", 31557600),
        ("55s500ms", 55.5),
    ],
)
def test_time_spans(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "infinity", "s", "5 bananas", "-5s", "1e3", "5S", "1min,30s", "1 2 3x", "\u0665"]
)
def test_what_is_no_time_span(text: str) -> None:
    assert [problem.key for problem in problems_of(drain_timeout=text)] == ["drain_timeout"]


@pytest.mark.parametrize(("text", "mode"), [("0600", 0o600), ("660", 0o660), ("0777", 0o777), ("000", 0)])
def test_modes(text: str, mode: int) -> None:
    assert load_settings(overrides={"socket_mode": text}).socket_mode == mode


@pytest.mark.parametrize("value", [600, 0o600, "0o600", "1777", "60", "0800", "rw", "", True, " 600"])
def test_what_is_no_mode(value: object) -> None:
    assert problems_of(socket_mode=value)[0].message.startswith("write the mode in octal digits and quotes")


def test_an_empty_name_is_no_service() -> None:
    assert problems_of(services=[""])[0].key == "services.0"


def test_each_field_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_the_shipped_file_shows_each_key_with_its_default(write: Write) -> None:
    text = (ROOT / "systemd/superd.toml").read_text("utf-8")
    assert tomllib.loads(text) == {}, "the shipped file changes a default"
    shown = re.sub(r"^#\s?(?=\w+ = )", "", text, flags=re.MULTILINE)
    assert list(tomllib.loads(shown)) == list(Settings.model_fields)
    loaded = load_settings(config=write("shown.toml", shown))
    assert loaded.model_fields_set == set(Settings.model_fields)
    assert loaded == Settings()


class Secretive(Settings):
    """Settings as they may be one day."""

    password: Annotated[SecretStr, LIVE] = SecretStr("old secret")


def test_a_secret_that_changes_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "Settings", Secretive)
    old, new = Secretive(), Secretive(password=SecretStr("new secret"))
    (change,) = compare(old, new)
    assert change == Change("password", "**********", "**********", is_live=True)
    assert with_live(old, new) == new


def test_what_differs_in_the_order_of_the_fields() -> None:
    new = Settings.model_validate({"drain_timeout": 1, "socket_mode": "0660", "policy_dir": "/other"})
    assert compare(Settings(), new) == (
        Change("socket_mode", "0600", "0660", is_live=False),
        Change("policy_dir", "/etc/superd/policy.d", "/other", is_live=True),
        Change("drain_timeout", 30.0, 1.0, is_live=True),
    )
    assert with_live(Settings(), new) == Settings(drain_timeout=1, policy_dir="/other")
    assert compare(new, new) == ()
