from pathlib import Path

import pytest

from superd_client.address import ADDRESS_MAX, Address, default_address, parse_address
from superd_client.instances import INSTANCE_NAME_MAX, Instance, instance_at, make_instance

RUNTIME = "/run/user/1000"


@pytest.fixture(autouse=True)
def _session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", RUNTIME)
    monkeypatch.setenv("HOME", "/home/eve")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.mark.parametrize(
    ("instance", "unit", "socket", "config", "policy"),
    [
        (
            Instance(),
            "superd",
            "/run/superd/superd.sock",
            "/etc/superd/superd.toml",
            "/etc/superd/policy.d",
        ),
        (
            Instance("inventory"),
            "superd@inventory",
            "/run/superd/inventory.sock",
            "/etc/superd/instances/inventory.toml",
            "/etc/superd/instances/inventory.policy.d",
        ),
        (
            Instance(user=True),
            "superd",
            "/run/user/1000/superd/superd.sock",
            "/home/eve/.config/superd/superd.toml",
            "/home/eve/.config/superd/policy.d",
        ),
        (
            Instance("inventory", user=True),
            "superd@inventory",
            "/run/user/1000/superd/inventory.sock",
            "/home/eve/.config/superd/instances/inventory.toml",
            "/home/eve/.config/superd/instances/inventory.policy.d",
        ),
    ],
)
def test_the_units_and_files_of_an_instance(
    instance: Instance, unit: str, socket: str, config: str, policy: str
) -> None:
    assert instance.service_unit == f"{unit}.service"
    assert instance.socket_unit == f"{unit}.socket"
    assert instance.socket_path == socket
    assert instance.config_path == config
    assert instance.policy_dir == policy
    assert instance.systemctl == (("systemctl", "--user") if instance.user else ("systemctl",))
    assert instance_at(socket) == parse_address(f"unix:{socket}").instance == instance


def test_the_users_folders_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/eve/")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/srv/eve")
    assert Instance(user=True).socket_path == "/tmp/eve/superd/superd.sock"
    assert instance_at("/tmp/eve/superd/superd.sock") == Instance(user=True)
    assert Instance(user=True).config_path == "/srv/eve/superd/superd.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert Instance(user=True).config_path == "/home/eve/.config/superd/superd.toml"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("instance:inventory", "/run/superd/inventory.sock"),
        ("instance:a", "/run/superd/a.sock"),
        ("user:", f"{RUNTIME}/superd/superd.sock"),
        ("user:inventory", f"{RUNTIME}/superd/inventory.sock"),
    ],
)
def test_an_address_may_be_an_instance(text: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_address(text) == Address(path=path)
    monkeypatch.setenv("SUPERD_SOCKET", text)
    assert default_address() == Address(path=path)


@pytest.mark.parametrize(
    "instance", [Instance(), Instance("a-1_b"), Instance(user=True), Instance("a", user=True)]
)
def test_an_instance_as_text_is_its_address(instance: Instance) -> None:
    assert parse_address(str(instance)) == Address(path=instance.socket_path)


@pytest.mark.parametrize("length", [1, INSTANCE_NAME_MAX - 1, INSTANCE_NAME_MAX])
def test_the_lengths_of_a_name(length: int) -> None:
    assert make_instance("x" * length).name == "x" * length


@pytest.mark.parametrize(
    "name",
    [
        "x" * (INSTANCE_NAME_MAX + 1),
        "1a",
        "-a",
        "_a",
        "A",
        "a.b",
        "a/b",
        "..",
        "a b",
        "é",
        "a\n",
        "a@b",
        "\0",
    ],
)
@pytest.mark.parametrize("scheme", ["instance", "user"])
def test_what_is_no_name(scheme: str, name: str) -> None:
    with pytest.raises(
        ValueError, match="is no name of an instance, such as inventory: it has 1 to 24 of a-z"
    ):
        parse_address(f"{scheme}:{name}")


def test_names_that_would_mean_another_superd() -> None:
    with pytest.raises(ValueError, match="would have the socket of the plain one"):
        parse_address("instance:superd")
    with pytest.raises(ValueError, match="is followed by a name, such as instance:inventory"):
        parse_address("instance:")
    with pytest.raises(ValueError, match="instance: or user:"):
        parse_address("instance")


@pytest.mark.parametrize("value", [None, "", "run/user/1000"])
def test_without_a_session_a_users_superd_is_not_found(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse_address("user:")
    if value is None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    with pytest.raises(ValueError, match="XDG_RUNTIME_DIR is not set"):
        parse_address("user:")
    assert instance_at(f"{RUNTIME}/superd/superd.sock") is None


def test_only_a_stream_is_an_instances() -> None:
    for address in ("unix-dgram:/run/superd/a.sock", "unix-seqpacket:/run/superd/a.sock", "unix:@a"):
        assert parse_address(address).instance is None


def test_the_user_of_an_instance_has_a_name_that_systemd_takes() -> None:
    assert Instance().account == "superd"
    assert Instance("inventory").account == "superd-inventory"
    assert len(Instance("x" * INSTANCE_NAME_MAX).account) == 31


def test_an_environment_that_changes_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert parse_address("user:").path == f"{RUNTIME}/superd/superd.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert parse_address("user:").path == f"{tmp_path}/superd/superd.sock"


def test_a_folder_that_is_too_deep_for_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    tail = len("/superd/superd.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/" + "x" * (ADDRESS_MAX - tail - 1))
    assert len(parse_address("user:").sockaddr) == ADDRESS_MAX
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/" + "x" * (ADDRESS_MAX - tail))
    with pytest.raises(ValueError, match="1 to 107 bytes, not 108"):
        parse_address("user:")


@pytest.mark.parametrize(
    "path",
    [
        "/run/superd/datagrams",
        "/run/superd.sock",
        "/run/superd/A.sock",
        "/run/superd/x/superd.sock",
        "/srv/superd/superd.sock",
        "/superd/superd.sock",
        "superd.sock",
        "",
    ],
)
def test_a_path_that_is_no_instances(path: str) -> None:
    assert instance_at(path) is None
