"""DatagramPeer: two that ask each other, what handlers do, and the path that each has."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from pydantic import BaseModel

from superd_client import (
    ApplicationError,
    CallTimeout,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    DatagramPeer,
    InternalError,
    InvalidParams,
    MessageTooLarge,
    Method,
    MethodNotFound,
    Origin,
    Outcome,
    ResourceExhausted,
    ResultTooLarge,
    Stream,
)
from tests.client.datagram_server import frame
from tests.client.models import OutOfStock, Text, echo, stock

SOON: Final = 0.05
PATIENCE: Final = 10.0

hold = Method("shop.hold", Text, Text)


async def handle_echo(params: Text, origin: Origin) -> Text:
    return params


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    def run(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, PATIENCE))

    return run


def at(folder: Path, name: str) -> str:
    return f"unix-dgram:{folder}/{name}"


def test_two_peers_call_each_other_at_once(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            DatagramPeer(at(tmp_path, "a"), {echo: handle_echo}) as a,
            DatagramPeer(at(tmp_path, "b"), {echo: handle_echo}) as b,
        ):
            calls = [
                one.call(other.address, echo, Text(text=f"{number}"))
                for number in range(100)
                for one, other in ((a, b), (b, a))
            ]
            replies = await asyncio.gather(*calls)
        assert [int(each.text) for each in replies] == [number // 2 for number in range(200)]

    run(main())
    assert list(tmp_path.iterdir()) == []


def test_a_handler_asks_back_while_it_is_asked(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        async def ask_back(params: Text, origin: Origin) -> Text:
            return await b.call(a.address, echo, Text(text=f"back: {params.text}"))

        a = DatagramPeer(at(tmp_path, "a"), {echo: handle_echo})
        b = DatagramPeer(at(tmp_path, "b"), {echo: ask_back})
        async with a, b:
            assert (await a.call(b.address, echo, Text(text="x"))).text == "back: x"

    run(main())


def test_a_handler_knows_whose_the_call_is(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        origins: list[Origin] = []

        def plain(params: Text, origin: Origin) -> Text:
            origins.append(origin)
            return Text(text=threading.current_thread().name)

        async with (
            DatagramPeer(at(tmp_path, "a"), {echo: plain}) as a,
            DatagramPeer(at(tmp_path, "b")) as b,
        ):
            reply = await b.call(str(a.address), echo, Text(text="x"), call_id="mine")
            assert reply.text != threading.current_thread().name, "a plain function has a thread"
        assert origins == [Origin(os.getuid(), os.getgid(), os.getpid(), "mine")]

    run(main())


def test_one_way(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        arrived: asyncio.Queue[str] = asyncio.Queue()

        async def take(params: Text, origin: Origin) -> Text:
            arrived.put_nowait(params.text)
            return params

        async with (
            DatagramPeer(at(tmp_path, "a"), {echo: take}) as a,
            DatagramPeer(f"unix-dgram:@superd-test-{os.getpid()}") as b,
        ):
            for number in range(30):
                await b.notify(a.address, echo, Text(text=str(number)))
            assert [int(await arrived.get()) for _ in range(30)] == list(range(30))

    run(main())


class Undeclared(BaseModel):
    pass


def test_what_a_handler_does_wrong(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        told: list[tuple[str, BaseException | None]] = []
        failures: list[BaseException | Any] = [
            ValueError("a secret"),
            asyncio.CancelledError(),
            ApplicationError(Undeclared()),
            "not a Text",
        ]

        async def fail(params: Text, origin: Origin) -> Any:
            failure = failures[int(params.text)]
            if isinstance(failure, BaseException):
                raise failure
            return failure

        async def sold_out(params: Text, origin: Origin) -> Text:
            raise ApplicationError(OutOfStock(available=3), "only 3")

        async with (
            DatagramPeer(
                at(tmp_path, "a"),
                {echo: fail, stock: sold_out},
                on_error=lambda text, error: told.append((text, error)),
            ) as a,
            DatagramPeer(at(tmp_path, "b")) as b,
        ):
            for number in range(len(failures)):
                with pytest.raises(InternalError, match="internal error") as caught:
                    await b.call(a.address, echo, Text(text=str(number)), call_id=f"c-{number}")
                assert "secret" not in str(caught.value)
                assert told[number][0] == f"echo.echo failed [call c-{number}]"
            assert told[0][1] is failures[0]
            with pytest.raises(ApplicationError, match="only 3") as declared:
                await b.call(a.address, stock, Text(text=""))
            assert declared.value.detail == OutOfStock(available=3)

    run(main())


def test_what_a_caller_does_wrong(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        async def large(params: Text, origin: Origin) -> Text:
            return Text(text="x" * 300_000)

        async with (
            DatagramPeer(at(tmp_path, "a"), {echo: large}) as a,
            DatagramPeer(at(tmp_path, "b")) as b,
        ):
            with pytest.raises(MethodNotFound):
                await b.call(a.address, "echo.ecko", {})
            with pytest.raises(InvalidParams):
                await b.call(a.address, "echo.echo", {"text": 1})
            with pytest.raises(ResultTooLarge, match="use a stream socket"):
                await b.call(a.address, echo, Text(text="x"))
            with pytest.raises(MessageTooLarge, match="use a stream socket"):
                await b.call(a.address, echo, Text(text="x" * 300_000))
            with pytest.raises(ConnectFailed):
                await b.call(at(tmp_path, "none"), echo, Text(text="x"))
            with pytest.raises(MethodNotFound):
                await b.call(b.address, "nobody.serves", {})

    run(main())


def test_replies_that_nobody_asked_for_are_not_answered(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as raw:
            raw.bind(f"{tmp_path}/raw")
            async with DatagramPeer(at(tmp_path, "a"), {echo: handle_echo}) as a:
                for message in (
                    {"id": 1, "result": 1},
                    {"id": "0" * 32, "result": {"text": "forged"}},
                    {"id": None, "error": {"code": 1, "message": "", "data": {}}},
                    {"id": 1, "error": "no error"},
                ):
                    raw.sendto(frame({"jsonrpc": "2.0"} | message), f"{tmp_path}/a")
                async with DatagramPeer(at(tmp_path, "b")) as b:
                    assert await b.call(a.address, echo, Text(text="x")) == Text(text="x")
            raw.setblocking(False)
            with pytest.raises(BlockingIOError):
                raw.recv(1000)

    run(main())


class Held:
    """A handler that waits until it is let go, and says when it was begun and cancelled."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[None] = asyncio.Queue()
        self.cancelled: asyncio.Queue[None] = asyncio.Queue()
        self.go = asyncio.Event()

    async def __call__(self, params: Text, origin: Origin) -> Text:
        self.begun.put_nowait(None)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.put_nowait(None)
            raise
        return params


def test_a_call_that_is_given_up_is_cancelled_at_the_other_side(
    run: Callable[[Any], Any], tmp_path: Path
) -> None:
    async def main() -> None:
        held = Held()
        async with (
            DatagramPeer(at(tmp_path, "a"), {hold: held}) as a,
            DatagramPeer(at(tmp_path, "b")) as b,
        ):
            call = asyncio.create_task(b.call(a.address, hold, Text(text="x")))
            await held.begun.get()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await held.cancelled.get()

    run(main())


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_calls_of_a_user_are_bounded(run: Callable[[Any], Any], tmp_path: Path, count: int) -> None:
    async def main() -> None:
        held = Held()
        async with (
            DatagramPeer(at(tmp_path, "a"), {hold: held}, calls_of_user=3) as a,
            DatagramPeer(at(tmp_path, "b")) as b,
        ):
            calls = [asyncio.create_task(b.call(a.address, hold, Text(text="x"))) for _ in range(count)]
            for _ in range(min(count, 3)):
                await held.begun.get()
            if count > 3:
                with pytest.raises(ResourceExhausted):
                    await calls.pop()
            held.go.set()
            assert await asyncio.gather(*calls) == [Text(text="x")] * min(count, 3)

    run(main())


def test_a_full_receiver_and_a_silent_one(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
            deaf.bind(f"{tmp_path}/deaf")
            async with DatagramPeer(at(tmp_path, "a")) as a:
                with pytest.raises(CallTimeout, match="no reply") as unknown:
                    await a.call(at(tmp_path, "deaf"), echo, Text(text="x"), timeout=SOON)
                assert unknown.value.outcome is Outcome.UNKNOWN
                with pytest.raises(CallTimeout, match="the receiver was full") as unsent:
                    await asyncio.gather(
                        *(
                            a.notify(at(tmp_path, "deaf"), echo, Text(text="x"), timeout=SOON)
                            for _ in range(1000)
                        )
                    )
                assert unsent.value.outcome is Outcome.NOT_SENT
                waiting = asyncio.create_task(a.notify(at(tmp_path, "deaf"), echo, Text(text="late")))
                deaf.setblocking(True)
                while b"late" not in await asyncio.to_thread(deaf.recv, 1000):
                    pass
                await waiting

    run(main())


def test_closing_ends_what_runs(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        held = Held()
        a = DatagramPeer(at(tmp_path, "a"), {hold: held})
        async with DatagramPeer(at(tmp_path, "b"), {hold: held}) as b, a:
            asked = asyncio.create_task(a.call(b.address, hold, Text(text="x")))
            asks = asyncio.create_task(b.call(a.address, hold, Text(text="x")))
            for _ in range(2):
                await held.begun.get()
            held.go.set()
            await a.aclose()
            assert await asks == Text(text="x"), "what was asked of it is answered"
            with pytest.raises(ConnectionLost):
                await asked
            with pytest.raises(ClientClosed):
                await a.call(b.address, echo, Text(text="x"))
        with pytest.raises(RuntimeError, match="make another"):
            await a.__aenter__()

    run(main())


# --- its path ------------------------------------------------------------------------------------------------------


def test_a_live_path_is_not_taken_and_a_stale_one_is(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with DatagramPeer(at(tmp_path, "a"), {echo: handle_echo}) as a:
            with pytest.raises(OSError, match="another process listens there"):
                await DatagramPeer(at(tmp_path, "a")).__aenter__()
            assert await a.call(a.address, echo, Text(text="to itself")) == Text(text="to itself")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
            stale.bind(f"{tmp_path}/a")
        async with DatagramPeer(at(tmp_path, "a"), mode=0o660):
            assert os.stat(f"{tmp_path}/a").st_mode & 0o777 == 0o660  # noqa: PTH116 - ruff takes a Path's for blocking
        (tmp_path / "a").write_text("a file")
        with pytest.raises(OSError, match="something that is not a socket"):
            await DatagramPeer(at(tmp_path, "a")).__aenter__()
        assert (tmp_path / "a").read_text() == "a file"

    run(main())


def test_a_path_that_became_anothers_stays(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            async with DatagramPeer(at(tmp_path, "a")):
                (tmp_path / "a").unlink()
                other.bind(f"{tmp_path}/a")
            assert (tmp_path / "a").exists()

    run(main())


# --- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "handlers", "error", "text"),
    [
        ("unix:/a", {}, ValueError, "is no datagram socket"),
        ("/a", {}, ValueError, "is not an address"),
        ("unix-dgram:/a", {Stream("a.b", Text, int): handle_echo}, TypeError, "datagrams do not have"),
        (
            "unix-dgram:/a",
            {echo: handle_echo, Method("echo.echo", Text, int): handle_echo},
            ValueError,
            "methods of one name",
        ),
    ],
)
def test_arguments_that_make_no_peer(own: str, handlers: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        DatagramPeer(own, handlers)


def test_streams_are_not_called(run: Callable[[Any], Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with DatagramPeer(at(tmp_path, "a")) as a:
            with pytest.raises(TypeError):
                await a.call(a.address, Stream("a.b", Text, int), Text(text="x"))
            with pytest.raises(ValueError, match="is no datagram socket"):
                await a.call("unix:/a", echo, Text(text="x"))

    run(main())


def test_a_peer_that_is_not_open_calls_nobody(run: Callable[[Any], Any], tmp_path: Path) -> None:
    peer = DatagramPeer(at(tmp_path, "a"))

    async def ask() -> None:
        with pytest.raises(ClientClosed):
            await peer.call(at(tmp_path, "b"), echo, Text(text="x"))

    run(ask())
