"""A reload: of a superd that runs as a process, by call and by signal, as its callers, its log and systemd see it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from signal import SIGHUP, SIGTERM
from typing import Any, Final

import pytest

from superd import __version__
from superd.settings import Settings, is_live
from superd_client.administration import REPORTED_MAX
from tests.daemon.manager import Manager
from tests.daemon.process import PROGRAMS, Superd
from tests.daemon.raw import RawClient, echo, request

RELOAD: Final = request("superd.reload", {})

#: Values that are not the defaults, for each setting that can be reloaded.
OTHER: Final[dict[str, object]] = {
    "log_level": "debug",
    "frame_size": 2048,
    "calls_in_flight": 7,
    "write_buffer": 4096,
    "streams": 3,
    "connections": 9,
    "total_calls": 64,
    "total_streams": 32,
    "total_bytes": 2 << 20,
    "total_descriptors": 16,
    "write_timeout": 7.5,
    "frame_timeout": 8.0,
    "drain_timeout": 1.5,
    "idle_exit": 60.0,
}

#: And for some that cannot.
FIXED: Final[dict[str, object]] = {
    "worker_threads": 3,
    "call_rate": 1000,
    "latency": "low",
    "log_target": "stderr",
    "listen": ["unix:@nowhere"],
    "services": ["no.such.module:service"],
    "socket_mode": "0660",
    "builtin_services": ["status"],
    "keep_connections": True,
    "idempotency_age": 60.0,
    "idempotency_entries": 7,
    "idempotency_bytes": 4096,
}


class Reloading(Superd):
    """superd, and the files that it reads."""

    config: Path

    def settings(self, **values: object) -> None:
        values = {"policy_dir": str(self.policy), **values}
        self.config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))

    @property
    def policy(self) -> Path:
        return self.config.with_suffix(".policy")

    def rule(self, text: str, name: str = "50.toml") -> Path:
        path = self.policy / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    def reload(self) -> Any:
        with self.client() as client:
            reply = client.ask(RELOAD)
        assert "result" in reply, reply
        return reply["result"]

    def refused(self) -> Any:
        with self.client() as client:
            error = client.ask(RELOAD)["error"]
        assert (error["code"], error["data"]["type"]) == (-32000, "WrongFiles")
        assert error["message"] == "the files are wrong; nothing was changed"
        return error["data"]["detail"]


@pytest.fixture(params=sorted(PROGRAMS))
def program(request: pytest.FixtureRequest) -> list[str]:
    return PROGRAMS[str(request.param)]


@contextlib.contextmanager
def running(folder: Path, *arguments: str, **options: Any) -> Iterator[Reloading]:
    config = folder / "superd.toml"
    config.with_suffix(".policy").mkdir(mode=0o755)
    config.write_text(f'policy_dir = "{config.with_suffix(".policy")}"\n')
    daemon = Reloading(
        f"--listen=unix:{folder}/s", f"--config={config}", *arguments, path=folder / "s", **options
    )
    daemon.config = config
    try:
        daemon.started()
        yield daemon
    finally:
        daemon.kill()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Reloading]:
    with running(tmp_path) as made:
        yield made


def changes(listed: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    return {each["name"]: (each["old"], each["new"]) for each in listed}


def defaults(names: dict[str, object]) -> dict[str, tuple[Any, Any]]:
    before = Settings().model_dump(mode="json")
    return {name: (before[name], value) for name, value in names.items()}


# --- what is answered --------------------------------------------------------------------------------------------


def test_nothing_new(daemon: Reloading) -> None:
    nothing = {"files": [], "rules": 0, "warnings": []}
    assert daemon.reload() == {"changed": [], "needs_restart": [], "policy": nothing}
    said = daemon.wait_for("reloaded")
    assert "info     reloaded: superd.reload from uid " in said
    assert "changed=none needs_restart=none" in said


def test_every_setting_is_one_of_both() -> None:
    live = {name for name in Settings.model_fields if is_live(name)}
    assert live == {"policy_dir", *OTHER}
    assert set(Settings.model_fields) - live == set(FIXED)


def test_what_changes_and_what_needs_a_restart(daemon: Reloading) -> None:
    fixed = {**FIXED, "listen": ["unix:@nowhere"]}
    daemon.settings(**OTHER, **fixed)
    result = daemon.reload()
    assert changes(result["changed"]) == defaults(OTHER)
    expected = defaults(fixed)
    # The command line wins over the file, as at the start.
    del expected["listen"]
    assert changes(result["needs_restart"]) == expected
    again = daemon.reload()
    assert again["changed"] == []
    assert again["needs_restart"] == result["needs_restart"]
    said = daemon.wait_for("needs_restart")
    assert "log_level: info -> debug" in said
    daemon.settings()
    back = daemon.reload()
    assert back["needs_restart"] == []
    assert changes(back["changed"]) == {name: (new, old) for name, (old, new) in defaults(OTHER).items()}


def test_the_policy_that_is_in_force_is_told(daemon: Reloading) -> None:
    one = daemon.rule('[[deny]]\nmethods = ["echo.*"]\nusers = ["no-such-user"]\n')
    two = daemon.rule(
        '[[allow]]\nmethods = ["no.such"]\ngroups = ["root"]\n[[default]]\nmethods = ["echo.*"]\naccess = "admin"\n',
        "60.toml",
    )
    policy = daemon.reload()["policy"]
    assert (policy["files"], policy["rules"]) == ([str(one), str(two)], 3)
    assert policy["warnings"] == [
        f"{one}:3: deny.0.users.0: there is no user 'no-such-user'; the rule does without",
        f"{two}:1: methods: no.such matches no method that is offered",
    ]
    assert "the policy is doubtful" in daemon.wait_for("no-such-user")


# --- what it does --------------------------------------------------------------------------------------------------


def hello_limits(client: RawClient) -> dict[str, int]:
    limits: dict[str, int] = client.ask(request("rpc.hello", {}))["result"]["limits"]
    return limits


def test_limits_are_those_of_the_files(daemon: Reloading) -> None:
    daemon.settings(**OTHER)
    with daemon.client() as before:
        before.ask(echo())
        daemon.reload()
        with daemon.client() as after:
            told = hello_limits(after)
            assert (told["frame_size_default"], told["calls_in_flight_default"]) == (2048, 7)
            assert (told["streams_default"], told["write_buffer_default"]) == (3, 4096)
            after.send(echo("x" * 2048))
            assert after.receive()["error"]["code"] == -32006
        assert before.ask(echo("x" * 2048))["result"]


def test_the_log_level_changes_both_ways_and_the_line_about_it_is_seen(daemon: Reloading) -> None:
    for level in ("debug", "error", "info", "warning", "debug"):
        daemon.settings(log_level=level)
        daemon.reload()
    said = daemon.wait_for("log_level: warning -> debug")
    assert "log_level: debug -> error" in said
    assert "log_level: error -> info" in said
    assert "log_level: info -> warning" in said
    with daemon.client() as client:
        client.ask(echo())
    daemon.wait_for("call served: echo.echo")


def test_the_drain_timeout_is_the_new_one(tmp_path: Path) -> None:
    with running(tmp_path, "--service=tests.daemon.sample:probe") as daemon, daemon.client() as client:
        daemon.settings(drain_timeout=0)
        daemon.reload()
        client.send(request("probe.wait", {}))
        daemon.wait_for("waiting: probe.wait")
        assert daemon.stop() == 0
        assert "drain_timeout=0.0" in daemon.log


def test_another_folder_of_the_policy(daemon: Reloading, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    path = other / "1.toml"
    path.write_text('[[deny]]\nmethods = ["echo.*"]\n')
    path.chmod(0o644)
    daemon.settings(policy_dir=str(other))
    assert daemon.reload()["policy"]["files"] == [str(path)]


# --- what is wrong -------------------------------------------------------------------------------------------------


def test_a_wrong_file_changes_nothing_and_every_fault_is_told(daemon: Reloading) -> None:
    daemon.settings(calls_in_flight=5, connectoins=1, log_level="debug")
    path = daemon.rule('[[deny]]\nmethods = ["echo.*"]\n\nuser = ["a"]\n')
    detail = daemon.refused()
    assert detail == {
        "faults": [
            {
                "source": str(daemon.config),
                "line": None,
                "key": "connectoins",
                "message": f"unknown key; did you mean connections? (this is superd {__version__})",
            },
            {
                "source": str(path),
                "line": 4,
                "key": "deny.0.user",
                "message": "unknown key; did you mean users?",
            },
        ],
        "omitted": 0,
    }
    said = daemon.wait_for("the reload was refused")
    assert f"{path}:4: deny.0.user: unknown key" in said
    with daemon.client() as client:
        assert hello_limits(client)["calls_in_flight_default"] == 1024
        assert client.ask(echo())["result"]
    assert "call served" not in daemon.log
    path.unlink()
    daemon.settings(calls_in_flight=5)
    assert changes(daemon.reload()["changed"]) == {"calls_in_flight": (1024, 5)}


def test_right_settings_are_not_taken_with_a_wrong_policy(daemon: Reloading) -> None:
    daemon.settings(calls_in_flight=5)
    path = daemon.rule("not toml")
    (fault,) = daemon.refused()["faults"]
    assert (fault["source"], fault["line"]) == (str(path), 1)
    with daemon.client() as client:
        assert hello_limits(client)["calls_in_flight_default"] == 1024


def test_a_right_policy_is_not_taken_with_wrong_settings(daemon: Reloading) -> None:
    daemon.rule('[[default]]\nmethods = ["echo.*"]\naccess = "admin"\n')
    daemon.settings(streams=0)
    (fault,) = daemon.refused()["faults"]
    assert (fault["key"], fault["source"]) == ("streams", str(daemon.config))


@pytest.mark.parametrize("count", [REPORTED_MAX - 1, REPORTED_MAX, REPORTED_MAX + 1])
def test_the_number_of_faults_that_are_told_is_bounded(daemon: Reloading, count: int) -> None:
    daemon.settings(**{f"key{number}": 1 for number in range(count)})
    detail = daemon.refused()
    assert len(detail["faults"]) == min(count, REPORTED_MAX)
    assert detail["omitted"] == count - len(detail["faults"])


def test_a_file_that_is_gone(daemon: Reloading) -> None:
    daemon.config.unlink()
    (fault,) = daemon.refused()["faults"]
    assert (fault["source"], fault["message"]) == (str(daemon.config), "no such file")


# --- signals, systemd, several at a time ---------------------------------------------------------------------------


def test_sighup_reloads(tmp_path: Path, program: list[str]) -> None:
    with running(tmp_path, program=program) as daemon:
        daemon.settings(connectoins=1)
        daemon.send_signal(SIGHUP)
        assert "connectoins" in daemon.wait_for("signal=SIGHUP")
        daemon.settings(calls_in_flight=5)
        daemon.send_signal(SIGHUP)
        daemon.wait_for("calls_in_flight: 1024 -> 5")
        with daemon.client() as client:
            assert hello_limits(client)["calls_in_flight_default"] == 5
        assert daemon.stop() == 0


def test_sighup_and_the_stop_at_once(tmp_path: Path, program: list[str]) -> None:
    with running(tmp_path, program=program) as daemon:
        daemon.send_signal(SIGHUP)
        assert daemon.stop() == 0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def test_systemd_hears_of_it(tmp_path: Path, manager: Manager) -> None:
    with running(tmp_path, environment={"NOTIFY_SOCKET": str(manager.address)}) as daemon:
        manager.wait_for("READY=1")
        daemon.reload()
        daemon.settings(connectoins=1)
        daemon.refused()
        manager.wait_for("reload refused")
        manager.wait_until(lambda said: sum("READY=1" in message for message in said) == 3)
        states = [
            message.splitlines() for message in manager.said if "READY=1" in message or "RELOADING" in message
        ]
        kinds = [lines[0] for lines in states]
        assert kinds == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]
        assert all(lines[1].startswith("MONOTONIC_USEC=") for lines in states if lines[0] == "RELOADING=1")
        assert "connectoins: unknown key" in states[-1][-1]
        daemon.settings()
        daemon.reload()
        manager.wait_until(lambda said: sum("READY=1" in message for message in said) == 4)
        assert "refused: " not in [message for message in manager.said if "READY=1" in message][-1]
        daemon.send_signal(SIGTERM)
        manager.wait_for("STOPPING=1")
        assert daemon.ended() == 0


def test_reloads_come_one_after_the_other(daemon: Reloading) -> None:
    with daemon.client() as client:
        daemon.settings(calls_in_flight=5)
        client.send(*(request("superd.reload", {}, number) for number in range(8)))
        results = [client.receive()["result"] for _ in range(8)]
    assert sorted(len(result["changed"]) for result in results) == [0] * 7 + [1]
    assert daemon.wait_for("reloaded").count("calls_in_flight: 1024 -> 5") == 1
