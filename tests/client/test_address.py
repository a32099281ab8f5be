import pytest

from superd_client.address import ADDRESS_MAX, Address, SocketKind, default_address, parse_address


def test_a_path() -> None:
    address = parse_address("unix:/run/superd/superd.sock")
    assert address == Address(path="/run/superd/superd.sock")
    assert address.sockaddr == b"/run/superd/superd.sock"
    assert str(address) == "unix:/run/superd/superd.sock"


def test_an_abstract_name() -> None:
    address = parse_address("unix:@super d")
    assert address == Address(abstract="super d")
    assert address.sockaddr == b"\0super d"
    assert str(address) == "unix:@super d"


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("unix", SocketKind.STREAM),
        ("unix-seqpacket", SocketKind.SEQPACKET),
        ("unix-dgram", SocketKind.DATAGRAM),
    ],
)
def test_the_scheme_says_the_type_of_the_socket(scheme: str, kind: SocketKind) -> None:
    assert kind.scheme == scheme
    assert parse_address(f"{scheme}:/a:b") == Address(path="/a:b", kind=kind)
    assert parse_address(f"{scheme}:@a") == Address(abstract="a", kind=kind)
    assert str(parse_address(f"{scheme}:/a:b")) == f"{scheme}:/a:b"
    assert str(parse_address(f"{scheme}:@a")) == f"{scheme}:@a"


def test_characters_are_counted_as_bytes() -> None:
    assert parse_address("unix:/" + "é" * 53).sockaddr == b"/" + "é".encode() * 53
    with pytest.raises(ValueError, match="109"):
        parse_address("unix:/" + "é" * 54)


@pytest.mark.parametrize("length", [ADDRESS_MAX - 1, ADDRESS_MAX])
@pytest.mark.parametrize("head", ["unix:/", "unix:@", "unix-seqpacket:/", "unix-dgram:@"])
def test_the_longest_address(head: str, length: int) -> None:
    name = "x" * (length - head.endswith("/"))
    assert str(parse_address(head + name)) == head + name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/run/superd.sock", "begins with unix:"),
        ("", "begins with unix:"),
        ("tcp:1.2.3.4", "begins with unix:"),
        ("unix:run/superd.sock", "a path is absolute"),
        ("unix:", "a path is absolute"),
        ("unix", "begins with unix:"),
        ("unix-raw:/a", "begins with unix:, unix-seqpacket:, unix-dgram:, instance: or user:"),
        ("Unix:/a", "begins with unix:"),
        ("unix-seqpacket:a", "a path is absolute"),
        ("unix-dgram:/" + "x" * 107, "1 to 107 bytes, not 108"),
        ("unix:@", "1 to 107 bytes, not 0"),
        ("unix:/" + "x" * 107, "1 to 107 bytes, not 108"),
        ("unix:@" + "x" * 108, "1 to 107 bytes, not 108"),
        ("unix:/a\0b", "no NUL"),
        ("unix:/\ud800", "that the file system can name"),
    ],
)
def test_what_is_no_address(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_address(text)


def test_the_environment_names_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERD_SOCKET", raising=False)
    assert str(default_address()) == "unix:/run/superd/superd.sock"
    monkeypatch.setenv("SUPERD_SOCKET", "")
    assert str(default_address()) == "unix:/run/superd/superd.sock"
    monkeypatch.setenv("SUPERD_SOCKET", "unix:@other")
    assert default_address() == Address(abstract="other")
    monkeypatch.setenv("SUPERD_SOCKET", "other")
    with pytest.raises(ValueError, match="SUPERD_SOCKET: 'other' is not an address"):
        default_address()
