"""Descriptors and blobs through the real daemon's parts, there and back, on real sockets."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from superd.listeners import bind_listener
from superd.service import Context, Service
from superd_client import Blob, Client, Fd, Message, Method, ResourceExhausted, Stream, Upload
from superd_client.wire.limits import (
    BLOB_INLINE_MAX,
    FDS_PER_CONNECTION_MAX,
    FDS_PER_FRAME_MAX,
    FDS_PER_USER_MAX,
)
from tests.daemon.raw import PATIENCE
from tests.daemon.running import running_server


class Nothing(Message):
    pass


class One(Message):
    file: Fd


class Picture(Message):
    pixels: Blob


give_back = Method("files.give_back", One, Fd)
keep = Method("files.keep", One, int)
brighten = Method("files.brighten", Picture, Blob)
ends = Stream("files.ends", Nothing, Fd)
gather = Upload("files.gather", Nothing, One, int)

files = Service("files")


@files.method(give_back)
async def handle_give_back(params: One, context: Context) -> Fd:
    return Fd(params.file)


@files.method(keep)
def handle_keep(params: One, context: Context) -> int:
    return len(os.read(params.file.fileno(), 100))


@files.method(brighten)
async def handle_brighten(params: Picture, context: Context) -> Blob:
    return params.pixels


@files.method(ends)
async def handle_ends(params: Nothing, context: Context) -> AsyncIterator[Fd]:
    for _ in range(3):
        reader, writer = os.pipe()
        os.close(writer)
        yield Fd(reader)


@files.method(gather)
async def handle_gather(params: Nothing, items: AsyncIterator[One], context: Context) -> int:
    total = 0
    async for item in items:
        with item.file as file:
            total += os.fstat(file.fileno()).st_size
    return total


def count_of(path: Path) -> int:
    """How many descriptors of this process lead to a file."""
    return sum(each.resolve() == path for each in Path("/proc/self/fd").iterdir())


@pytest.fixture(name="client", params=["unix", "unix-seqpacket"])
def fixture_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    scheme = request.param
    with (
        running_server(files, listeners=lambda path: [bind_listener(f"{scheme}:{path}", 0o600)]) as server,
        Client(f"{scheme}:{server.path}") as client,
    ):
        yield client


def test_there_and_back(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    with Fd(os.open(path, os.O_RDONLY)) as fd:
        for _ in range(100):
            with client.call(give_back, One(file=fd)) as came:
                assert os.path.sameopenfile(came.fileno(), fd.fileno())
        assert client.call(keep, One(file=fd)) == 5
        assert not fd.closed
    assert count_of(path) == 0


class Many(Message):
    files: tuple[Fd, ...]


def test_descriptors_of_calls_that_run_are_bounded() -> None:
    hold = Method("held.hold", Many, int)
    service = Service("held")
    let_go = asyncio.Event()

    @service.method(hold)
    async def handle_hold(params: Many, context: Context) -> int:
        await let_go.wait()
        return len(params.files)

    with running_server(service) as server, Fd(os.open("/dev/null", os.O_RDONLY)) as null:

        def ask(client: Client, count: int) -> int:
            with contextlib.ExitStack() as stack:
                return client.call(
                    hold, Many(files=tuple(stack.enter_context(Fd(null)) for _ in range(count)))
                )

        with contextlib.ExitStack() as stack, ThreadPoolExecutor(20) as pool:
            clients = [stack.enter_context(Client(f"unix:{server.path}")) for _ in range(5)]
            full = [pool.submit(ask, client, FDS_PER_FRAME_MAX) for client in clients[:4] for _ in range(3)]
            full += [pool.submit(ask, client, FDS_PER_FRAME_MAX - 1) for client in clients[:4]]
            server.in_flight(16)
            with pytest.raises(ResourceExhausted) as caught:
                ask(clients[0], 2)
            used = FDS_PER_CONNECTION_MAX - 1
            assert caught.value.data["used"] == used
            assert (caught.value.data["resource"], caught.value.data["limit"]) == ("descriptors", used + 1)
            with pytest.raises(ResourceExhausted) as caught:
                ask(clients[4], 5)
            assert (caught.value.data["used"], caught.value.data["limit"]) == (4 * used, FDS_PER_USER_MAX)
            last = [pool.submit(ask, client, 1) for client in clients[:4]]
            server.in_flight(20)
            server.loop.call_soon_threadsafe(let_go.set)
            assert sum(each.result(PATIENCE) for each in [*full, *last]) == FDS_PER_USER_MAX
            assert ask(clients[0], FDS_PER_FRAME_MAX) == FDS_PER_FRAME_MAX


@pytest.mark.parametrize("size", [0, BLOB_INLINE_MAX, BLOB_INLINE_MAX + 1, 1 << 22])
def test_a_blob_there_and_back(client: Client, size: int) -> None:
    with Blob(os.urandom(size)) as blob, client.call(brighten, Picture(pixels=blob)) as came:
        assert came == blob
        if size > BLOB_INLINE_MAX:
            assert os.path.sameopenfile(came.fileno(), blob.fileno())


def test_items_bring_descriptors(client: Client) -> None:
    for item in client.stream(ends, Nothing()):
        with item as file:
            assert os.read(file.fileno(), 1) == b""


def test_items_of_an_upload_bring_descriptors(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    with Fd(os.open(path, os.O_RDONLY)) as fd:
        assert client.upload(gather, Nothing(), [One(file=fd)] * 100) == 500
