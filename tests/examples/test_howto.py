"""The how-tos that need no root, done as they are written."""

import json
import re
import shutil
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest

from tests.examples.pages import HOWTO, Block, Reader, blocks

#: What runs the program of each language.
LANGUAGES: Final = {"Node.js": ("node", "ask.js"), "Perl": ("perl", "ask.pl")}


def read(page: str) -> str:
    return (HOWTO / page).read_text("utf-8")


def read_language(language: str) -> str:
    """The part of a page that is about a language."""
    parts = re.split(r"^## ", read("call-from-another-language.md"), flags=re.MULTILINE)
    (text,) = (part for part in parts if part.startswith(language))
    return text


def done_of(text: str, directory: Path, *moved: str) -> list[Block]:
    """What is done of a how-to: a block of text shows how something looks, elsewhere or on another day."""
    return [block for block in blocks(text, directory, *moved) if block.kind != "text"]


def follow(reader: Reader, page: Iterable[Block], *options: str) -> None:
    """Do what a page says, beside a superd with these options, if any; and stop superd in order."""
    if options:
        reader.type(f"python3 -m superd {' '.join(options)}", "")
    for block in page:
        reader.follow(block)
    assert reader.superd is not None
    assert reader.superd.stop() == 0


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with ExitStack() as stack:
        yield Reader(tmp_path, stack)


@pytest.fixture
def address(tmp_path: Path, reader: Reader) -> str:
    """Where the pages that tell of a superd which runs already will find it."""
    address = f"unix:{tmp_path}/superd.sock"
    reader.type(f"export SUPERD_SOCKET={address}", "")
    return address


def need(reader: Reader, program: str) -> None:
    if shutil.which(program, path=reader.environment["PATH"]) is None:
        pytest.skip(f"{program} is not installed")


@pytest.mark.parametrize(
    ("page", "path", "checks"),
    [
        ("write-a-service.md", "/tmp/counters.sock", 4),
        ("pass-descriptors-and-blobs.md", "/tmp/files.sock", 3),
        ("install-and-run.md", "/tmp/superd.sock", 1),
    ],
)
def test_a_page_starts_superd_and_calls_it(
    page: str, path: str, checks: int, reader: Reader, tmp_path: Path
) -> None:
    follow(reader, done_of(read(page), tmp_path, path))
    assert reader.checked == checks


def test_datagrams_are_sent(reader: Reader, tmp_path: Path) -> None:
    moved = "/run/superd/superd.dgram", "/tmp/right.sock", "/tmp/left.sock"
    page = done_of(read("datagrams.md"), tmp_path, *moved)
    follow(reader, page, f"--listen unix-dgram:{tmp_path}/superd.dgram")
    assert reader.checked == 2


def test_the_shell_calls_the_services_of_two_other_pages(
    reader: Reader, address: str, tmp_path: Path
) -> None:
    need(reader, "jq")
    for page in "write-a-service.md", "pass-descriptors-and-blobs.md":
        for block in done_of(read(page), tmp_path):
            if block.file is not None:
                reader.follow(block)
    reader.type("export STATE_DIRECTORY=.", "")
    services = "--service counters_service:service", "--service files_service:service"
    follow(reader, done_of(read("call-from-the-shell.md"), tmp_path), f"--listen {address}", *services)
    assert reader.checked == 17


@pytest.mark.parametrize("language", LANGUAGES)
def test_another_language_calls(language: str, reader: Reader, address: str, tmp_path: Path) -> None:
    need(reader, LANGUAGES[language][0])
    follow(reader, done_of(read_language(language), tmp_path), f"--listen {address}")
    assert reader.checked == 1


def test_node_connects_anew_when_it_is_told_to_go(reader: Reader, address: str, tmp_path: Path) -> None:
    need(reader, "node")
    for block in done_of(read_language("Node.js"), tmp_path):
        if block.file is not None:
            reader.follow(block)
    program = """
        const { Client } = require("./superd.js"), { execFile } = require("node:child_process");
        (async () => {
          const superd = new Client(), ask = () => superd.call("echo.echo", { text: "hello" });
          await ask();
          await new Promise((resolve) => execFile("superctl", ["drain", "--wait"], resolve));
          await new Promise(setImmediate);   // one turn of the loop: what has come is read
          console.log((await ask()).text);
          superd.close();
        })();
    """
    reader.write("drained.js", program)
    reader.type(f"python3 -m superd --listen {address}", "")
    reader.type("node drained.js", "hello\n")
    assert reader.superd is not None
    assert reader.superd.stop() == 0
    assert "connections_accepted=3" in reader.superd.lines[-1]


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def failure(code: int, identity: int | None = 1, **data: str) -> bytes:
    error = {"code": code, "message": "no", "data": data}
    return frame(json.dumps({"jsonrpc": "2.0", "id": identity, "error": error}).encode())


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"", "unknown"),
        (struct.pack(">I", 0), "unknown"),
        (struct.pack(">I", 16 * 1024 * 1024 + 1), "unknown"),
        (frame(b'{"jsonrpc":"2.0","id":1,"result":1}')[:-1], "unknown"),
        (frame(b"nonsense"), "unknown"),
        (failure(-32600, None), "unknown"),
        (failure(-32601), "refused"),
        (failure(-32005), "refused"),
        (failure(-32603), "failed"),
        (failure(-32007, reason="lost"), "unknown"),
        (failure(-32007, reason="different"), "refused"),
        (frame(b'{"jsonrpc":"2.0","method":"rpc.unheard","params":{}}') + failure(-32000), "failed"),
    ],
    ids=range(12),
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_says_what_became_of_its_call(
    language: str, answer: bytes, outcome: str, reader: Reader, address: str, tmp_path: Path
) -> None:
    """Whatever comes from the other end, it says so, and ends."""
    program, file = LANGUAGES[language]
    need(reader, program)
    for block in done_of(read_language(language), tmp_path):
        if block.file is not None:
            reader.follow(block)

    def serve(listener: socket.socket) -> None:
        with closing(listener.accept()[0]) as connection:
            connection.recv(65536)
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address.removeprefix("unix:"))
        listener.listen()
        server = threading.Thread(target=serve, args=[listener])
        server.start()
        status, said = reader.execute(f"{program} {file}")
        server.join()
    assert status != 0
    assert re.search(r"\(outcome: ([a-z ]+)\)", said) is not None, said
    assert re.findall(r"\(outcome: ([a-z ]+)\)", said)[0] == outcome


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_gives_up_in_time(language: str, reader: Reader, address: str, tmp_path: Path) -> None:
    """On a server that takes its connection and nothing else; and on none."""
    program, file = LANGUAGES[language]
    need(reader, program)
    for block in done_of(read_language(language).replace(", 5)", ", 0.1)"), tmp_path):
        if block.file is not None:
            reader.follow(block)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address.removeprefix("unix:"))
        listener.listen()
        status, said = reader.execute(f"{program} {file}")
    assert status != 0
    assert "no reply in time (outcome: unknown)" in said
    assert "(outcome: not sent)" in reader.execute(f"{program} {file}")[1]
