"""Both clients on datagram sockets, against a server without a library."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import uvloop

from superd_client import (
    AsyncClient,
    CallTimeout,
    Client,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    Fd,
    MessageTooLarge,
    NotSent,
    Outcome,
    Stream,
)
from tests.client.datagram_server import DatagramServer, deaf_server, frame, result, serving
from tests.client.datagram_server import echo as echo_back
from tests.client.models import Text, echo

#: A timeout that is to pass.
SOON: Final = 0.05

Ask = Callable[..., Any]


def blocking(address: str, use: str, *arguments: Any, **options: Any) -> Any:
    with Client(address, wait_for_server=0) as client:
        return getattr(client, use)(*arguments, **options)


def on_loop(loop: Callable[[], asyncio.AbstractEventLoop]) -> Ask:
    def ask(address: str, use: str, *arguments: Any, **options: Any) -> Any:
        async def main() -> Any:
            async with AsyncClient(address, wait_for_server=0) as client:
                return await getattr(client, use)(*arguments, **options)

        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(main())

    return ask


ASKS: Final[dict[str, Ask]] = {
    "blocking": blocking,
    "asyncio": on_loop(asyncio.SelectorEventLoop),
    "uvloop": on_loop(uvloop.new_event_loop),
}


@pytest.fixture(params=sorted(ASKS))
def ask(request: pytest.FixtureRequest) -> Ask:
    return ASKS[request.param]


@pytest.fixture
def server() -> Iterator[DatagramServer]:
    with serving() as server:
        yield server


def test_a_call_has_an_address_of_the_kernels_an_id_of_chance_and_a_deadline(
    ask: Ask, server: DatagramServer
) -> None:
    before = time.monotonic_ns() // 1000
    for _ in range(2):
        assert ask(server.address, "call", echo, Text(text="a"), timeout=5) == Text(text="a")
    first, second = server.messages
    assert (len(first["id"]), first["id"] != second["id"]) == (32, True)
    assert before + 4_000_000 < first["meta"]["deadline_usec"] < before + 10_000_000
    assert all(sender.startswith(b"\0") for sender in server.senders)


def test_a_notification_has_no_address_and_no_id(ask: Ask, server: DatagramServer) -> None:
    ask(server.address, "notify", echo, Text(text="a"))
    (message,) = server.wait("echo.echo")
    assert "id" not in message
    assert server.senders == [None]


def test_an_abstract_address(ask: Ask) -> None:
    name = f"superd-test-clients-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        ask(f"unix-dgram:@{name}", "notify", "some.thing", {})
        assert b"some.thing" in sock.recv(1000)


def test_replies_that_are_not_its_own_are_ignored(ask: Ask) -> None:
    def answer(sock: socket.socket, request: Any, sender: Any) -> None:
        forged = {"jsonrpc": "2.0", "result": {"text": "forged"}}
        for message in (
            b"",
            b"\0",
            b"\0\0\0\1x",
            result(request, {"text": "cut"})[:-1],
            frame(forged | {"id": "0" * 32}),
            frame(forged | {"id": 1}),
            frame({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "forged", "data": {}}}),
            frame({"jsonrpc": "2.0", "method": "rpc.goaway", "params": {}}),
            result(request, {"text": "right"}),
        ):
            sock.sendto(message, sender)

    with serving(answer) as server:
        assert ask(server.address, "call", echo, Text(text="a")) == Text(text="right")


def test_a_reply_may_come_from_another_socket_and_with_nothing_else(ask: Ask) -> None:
    reader, writer = os.pipe()

    def answer(_sock: socket.socket, request: Any, sender: Any) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.connect(sender)
            socket.send_fds(other, [result(request, {"text": "with a descriptor"})], [writer])
            other.send(result(request, {"text": "right"}))

    with serving(answer) as server:
        assert ask(server.address, "call", echo, Text(text="a")) == Text(text="right")
        os.close(writer)
        assert os.read(reader, 1) == b"", "what came is closed"
    os.close(reader)


def test_what_cannot_be_reached(ask: Ask, tmp_path: Any) -> None:
    for use in ("call", "notify"):
        with pytest.raises(ConnectFailed, match="nothing listens at unix-dgram:"):
            ask(f"unix-dgram:{tmp_path}/none", use, "some.thing", {})
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(f"{tmp_path}/stream")
        with pytest.raises(ConnectFailed, match="a socket of another type"):
            ask(f"unix-dgram:{tmp_path}/stream", "call", "some.thing", {})


def test_a_server_that_stops_reads_no_more(ask: Ask) -> None:
    with deaf_server() as server:
        server.sock.shutdown(socket.SHUT_RD)
        with pytest.raises(ConnectFailed, match="the server is stopping"):
            ask(server.address, "call", "some.thing", {})


def test_what_no_datagram_holds(ask: Ask, server: DatagramServer) -> None:
    with pytest.raises(MessageTooLarge, match="a datagram holds no more: use a stream socket") as caught:
        ask(server.address, "call", echo, Text(text="x" * 300_000))
    assert caught.value.outcome is Outcome.NOT_SENT
    assert server.messages == []


@pytest.mark.parametrize("use", ["call", "notify"])
def test_a_full_server_within_the_deadline(ask: Ask, use: str) -> None:
    with deaf_server() as server:
        filled = server.fill()
        with pytest.raises(CallTimeout, match="the server was full") as caught:
            ask(server.address, use, echo, Text(text="a"), timeout=SOON)
        assert caught.value.outcome is Outcome.NOT_SENT
        reading = threading.Timer(SOON, server.serve, [echo_back])
        reading.start()
        ask(server.address, use, echo, Text(text="a"), timeout=5)
        server.wait("echo.echo")
        server.stop()
        reading.join()
        assert len(server.messages) == filled + 1, "what was not sent did not come"


def silent(_sock: socket.socket, _message: Any, _sender: Any) -> None:
    """Answer nothing."""


def test_a_call_without_a_reply(ask: Ask) -> None:
    with serving(silent) as server:
        with pytest.raises(CallTimeout, match="no reply") as caught:
            ask(server.address, "call", echo, Text(text="a"), timeout=SOON)
        assert caught.value.outcome is Outcome.UNKNOWN


def test_descriptors_are_refused_before_anything_is_sent(ask: Ask, server: DatagramServer) -> None:
    with (
        Fd(os.open(os.devnull, os.O_RDONLY)) as fd,
        pytest.raises(NotSent, match="takes no descriptors along"),
    ):
        ask(server.address, "call", "some.thing", {"file": fd})
    assert server.messages == []


def test_a_stream_is_refused_before_anything_is_sent(server: DatagramServer) -> None:
    watch = Stream("some.watch", Text, int)
    with (
        Client(server.address) as client,
        pytest.raises(NotSent, match="has no streams: use a stream or seqpacket socket"),
        client.stream(watch, Text(text="a")) as items,
    ):
        next(iter(items))
    assert server.messages == []


def test_streams_of_the_async_client_too(server: DatagramServer) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            async for _ in client.stream("some.watch"):
                pass

    with pytest.raises(NotSent, match="has no streams"):
        asyncio.run(main())
    assert server.messages == []


def test_many_threads_have_their_own_replies(server: DatagramServer) -> None:
    results: dict[int, str] = {}
    with Client(server.address) as client:

        def work(number: int) -> None:
            for turn in range(20):
                results[number * 100 + turn] = client.call(echo, Text(text=f"{number} {turn}")).text

        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {number * 100 + turn: f"{number} {turn}" for number in range(8) for turn in range(20)}


def test_closing_ends_the_calls_of_other_threads() -> None:
    errors: list[BaseException] = []
    with serving(silent) as server, Client(server.address) as client:

        def work() -> None:
            try:
                client.call(echo, Text(text="a"))
            except ConnectionLost as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        server.wait("echo.echo")
        client.close()
        thread.join()
        assert len(errors) == 1
        with pytest.raises(ClientClosed):
            client.call(echo, Text(text="a"))
        with pytest.raises(ClientClosed):
            client.notify(echo, Text(text="a"))


def test_closing_ends_the_calls_of_other_tasks() -> None:
    async def main(server: DatagramServer) -> None:
        client = AsyncClient(server.address)
        task = asyncio.create_task(client.call(echo, Text(text="a")))
        await asyncio.to_thread(server.wait, "echo.echo")
        await client.aclose()
        with pytest.raises(ConnectionLost):
            await task
        with pytest.raises(ClientClosed):
            await client.call(echo, Text(text="a"))

    with serving(silent) as server:
        asyncio.run(main(server))


def test_a_cancelled_task_cancels_the_call() -> None:
    async def main(server: DatagramServer) -> None:
        async with AsyncClient(server.address) as client:
            task = asyncio.create_task(client.call(echo, Text(text="a")))
            await asyncio.to_thread(server.wait, "echo.echo")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with serving(silent) as server:
        asyncio.run(main(server))
        (cancel,) = server.wait("rpc.cancel")
        assert cancel["params"] == {"id": server.messages[0]["id"]}
        assert server.senders[0] == server.senders[1]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Also where a shell has started the tests in the background, and so without SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_keyboard_interrupt_cancels_the_call() -> None:
    with serving(silent) as server, Client(server.address) as client:

        def interrupt() -> None:
            server.wait("echo.echo")
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.call(echo, Text(text="a"))
        thread.join()
        server.wait("rpc.cancel")


def test_a_forked_child_makes_calls_of_its_own(server: DatagramServer) -> None:
    with Client(server.address) as client:
        client.call(echo, Text(text="parent"))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if client.call(echo, Text(text="child")).text == "child" else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
