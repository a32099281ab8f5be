"""The short way of a call through each client, against the general one: any answer, in any pieces, comes to the same."""

import asyncio
import contextlib
import linecache
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest

import superd_client.sockets
from superd_client import AsyncClient, Client, Method, SuperdError
from superd_client.sync_exchange import ThreadExchange
from superd_client.wire.client import ClientConnection
from superd_client.wire.control import dump_goaway
from superd_client.wire.envelope import Request, dump_failure, dump_id, dump_result
from superd_client.wire.errors import ErrorObject
from superd_client.wire.framing import encode_frame
from tests.client.conftest import Run
from tests.client.models import Text, echo, number, stock, touchy, watch
from tests.client.server import PATIENCE, Peer, Script, serving
from tests.client.test_sync import in_threads

#: Seconds of the calls that are not answered.
SHORT: Final = 0.05

GOOD: Final = b'{"text":"good"}'


def result(request: Request, value: bytes = GOOD, fds: int = 0) -> bytes:
    return encode_frame(dump_result(request.id, value, fds))


def failure(request: Request | None, code: int, **data: object) -> bytes:
    return encode_frame(dump_failure(request and request.id, ErrorObject(code, "no", data)))


def other(request: Request, ahead: int) -> bytes:
    """A result for a call that was made before, or never."""
    assert isinstance(request.id, int)
    return encode_frame(dump_result(request.id + ahead, GOOD))


#: What a server answers, and with which method it was asked.
ANSWERS: Final[dict[str, tuple[Method[Text, Any], Callable[[Request], bytes]]]] = {
    "a result": (echo, result),
    "a result and more": (echo, lambda request: result(request) + encode_frame(dump_goaway())),
    "more and a result": (echo, lambda request: encode_frame(dump_goaway()) + result(request)),
    "two results": (echo, lambda request: result(request) + result(request, b'{"text":"late"}')),
    "a result behind one for nobody": (echo, lambda request: other(request, -1) + result(request)),
    "a result for a call that was never made": (echo, lambda request: other(request, 1) + result(request)),
    "a result with descriptors that did not come": (echo, lambda request: result(request, fds=1)),
    "a result that does not fit": (number, result),
    "a result whose validator fails": (touchy, result),
    "a result that is written otherwise": (
        echo,
        lambda request: encode_frame(
            b'{"id": %b, "jsonrpc": "2.0", "result": %b}' % (dump_id(request.id), GOOD)
        ),
    ),
    "a result that is another's in the end": (
        echo,
        lambda request: encode_frame(
            b'{"jsonrpc":"2.0","id":%b,"result":%b,"id":0}' % (dump_id(request.id), GOOD)
        ),
    ),
    "no JSON": (echo, lambda request: result(request, b'{"text":')),
    "a notification": (
        echo,
        lambda request: encode_frame(b'{"jsonrpc":"2.0","method":"a.b"}') + result(request),
    ),
    "a failure": (echo, lambda request: failure(request, -32603)),
    "a declared failure": (
        stock,
        lambda request: failure(request, -32000, type="OutOfStock", detail={"available": 1}),
    ),
    "a deadline": (echo, lambda request: failure(request, -32003)),
    "a refusal of nobody's": (echo, lambda _: failure(None, -32600)),
    "an empty frame": (echo, lambda request: b"\0\0\0\0" + result(request)),
    "a frame over the limit": (echo, lambda request: b"\x7f\0\0\0" + result(request)),
    "nothing": (echo, lambda _: b""),
    "half of a result": (echo, lambda request: result(request)[:-1]),
}


def answering(answer: Callable[[Request], bytes], *, hangs_up: bool) -> Script:
    """A script that answers the second call so, and the others well."""

    def script(peer: Peer) -> None:
        peer.send(result(peer.expect()))
        peer.send(answer(peer.expect()))
        if hangs_up:
            return
        while (request := peer.next_request()) is not None:
            peer.send(result(request))

    return script


def told(error: SuperdError) -> object:
    """What an exception says, but for the call's own name."""
    cause = error.__cause__
    return type(error), error.message, error.outcome, getattr(error, "data", None), type(cause), str(cause)


def calls_of(client: Client, *methods: Method[Text, Any], seconds: float) -> Iterator[object]:
    """What comes of calls of these, the second of which may take so long."""
    for each, timeout in zip(methods, (PATIENCE, seconds, PATIENCE), strict=False):
        try:
            yield client.call(each, Text(text="a"), timeout=timeout)
        except SuperdError as error:
            yield told(error)


async def async_calls_of(client: AsyncClient, *methods: Method[Text, Any], seconds: float) -> list[object]:
    found: list[object] = []
    for each, timeout in zip(methods, (PATIENCE, seconds, PATIENCE), strict=False):
        try:
            found.append(await client.call(each, Text(text="a"), timeout=timeout))
        except SuperdError as error:
            found.append(told(error))
    return found


@contextmanager
def general_way() -> Iterator[None]:
    """No client takes the short way in this block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ThreadExchange, "_carry_out_alone", lambda *_: False)
        patch.setattr(ClientConnection, "take_result", lambda *_: None)
        patch.setattr(ClientConnection, "take_usual", lambda *_: ([], 0))
        yield


def seconds_for(name: str, *, hangs_up: bool) -> float:
    """A call that is not answered has little time, the others as much as a slow machine needs."""
    return SHORT if name in {"nothing", "half of a result"} and not hangs_up else PATIENCE


def methods_for(method: Method[Text, Any], *, hangs_up: bool) -> list[Method[Text, Any]]:
    """A call before, and one after, unless it may come before the client knows that the server has gone."""
    return [echo, method] if hangs_up else [echo, method, echo]


ENDS = pytest.mark.parametrize("hangs_up", [False, True], ids=["stays", "hangs up"])


@ENDS
@pytest.mark.parametrize("name", ANSWERS)
def test_any_answer_comes_to_the_same(name: str, hangs_up: bool) -> None:
    method, answer = ANSWERS[name]

    def found() -> list[object]:
        script = answering(answer, hangs_up=hangs_up)
        with serving(script, Peer.echo) as server, Client(server.address) as client:
            methods = methods_for(method, hangs_up=hangs_up)
            return list(calls_of(client, *methods, seconds=seconds_for(name, hangs_up=hangs_up)))

    usual = found()
    with general_way():
        assert usual == found()


@ENDS
@pytest.mark.parametrize("name", ANSWERS)
def test_any_answer_comes_to_the_same_in_a_loop(run: Run, name: str, hangs_up: bool) -> None:
    method, answer = ANSWERS[name]

    def found() -> list[object]:
        async def main() -> None:
            async with AsyncClient(server.address) as client:
                methods, seconds = (
                    methods_for(method, hangs_up=hangs_up),
                    seconds_for(name, hangs_up=hangs_up),
                )
                ends.extend(await async_calls_of(client, *methods, seconds=seconds))

        ends: list[object] = []
        with serving(answering(answer, hangs_up=hangs_up), Peer.echo) as server:
            run(main())
        return ends

    usual = found()
    with general_way():
        assert usual == found()


REPLY_SIZE: Final = len(encode_frame(dump_result(1, GOOD)))


@pytest.mark.parametrize("size", range(1, REPLY_SIZE + 2))
def test_any_cut_of_the_reply_comes_to_the_same(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads so many bytes at once, and the rest of them later."""
    monkeypatch.setattr(superd_client.sockets, "READ_SIZE", size)
    with serving() as server, Client(server.address) as client:
        assert [client.call(echo, Text(text=text)).text for text in ("a", "good", "")] == ["a", "good", ""]

        async def main() -> None:
            async with AsyncClient(server.address) as client:
                texts = ("a", "good", "")
                assert [(await client.call(echo, Text(text=text))).text for text in texts] == [*texts]
                calls = (client.call(echo, Text(text=text)) for text in texts)
                assert [each.text for each in await asyncio.gather(*calls)] == [*texts]

        asyncio.run(main())


@pytest.mark.parametrize("size", [1, 7, 64, 100, 1000])
def test_any_cut_of_items_comes_to_the_same(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(peer: Peer) -> None:
        peer.open_stream(request := peer.expect())
        for each in range(150):
            peer.send_item(request, each)
        peer.answer(request, None)
        peer.await_end()

    async def main() -> None:
        async with AsyncClient(server.address) as client, client.stream(watch, Text(text="a")) as items:
            assert [item async for item in items] == [*range(150)]

    monkeypatch.setattr(superd_client.sockets, "READ_SIZE", size)
    with serving(script) as server:
        with Client(server.address) as client, client.stream(watch, Text(text="a")) as items:
            assert [*items] == [*range(150)]
        asyncio.run(main())


@pytest.mark.parametrize("at_once", [False, True], ids=["in two writes", "in one write"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "in reverse"])
def test_a_second_thread_comes_while_the_first_waits(order: tuple[int, int], at_once: bool) -> None:
    """The first call waits on the short way when the second is begun; each gets its own."""
    is_sent = threading.Event()

    def script(peer: Peer) -> None:
        peer.answer(first := peer.expect(), first.params)
        requests = [peer.expect()]
        is_sent.set()
        requests.append(peer.expect())
        replies = [
            result(requests[each], b'{"text":"%b"}' % requests[each].params["text"].encode())
            for each in order
        ]
        for data in [b"".join(replies)] if at_once else replies:
            peer.send(data)
        peer.echo()

    with serving(script) as server, Client(server.address) as client, in_threads(1) as submit:
        client.call(echo, Text(text="the link is there"))
        first = submit(client.call, echo, Text(text="first"))
        assert is_sent.wait(PATIENCE)
        assert client.call(echo, Text(text="second")).text == "second"
        assert first.result(PATIENCE).text == "first"
        assert client.call(echo, Text(text="third")).text == "third"
        assert server.connections == 1


def test_a_request_that_the_kernel_takes_in_part_goes_on_in_general() -> None:
    """The first write of a large request is short, and nobody reads the rest before a second thread waits as well."""
    large = "x" * 1_000_000

    def script(peer: Peer) -> None:
        peer.answer(first := peer.expect(), first.params)
        peer.begin()
        is_begun.set()
        peer.echo()

    is_begun = threading.Event()
    with serving(script) as server, Client(server.address) as client, in_threads(1) as submit:
        client.call(echo, Text(text="the link is there"))
        first = submit(client.call, echo, Text(text=large))
        assert is_begun.wait(PATIENCE)
        assert client.call(echo, Text(text="second")).text == "second"
        assert first.result(PATIENCE).text == large
        assert server.connections == 1


class Interruption:
    """Raises KeyboardInterrupt where the client comes to its line of that number, as a signal may at any."""

    def __init__(self, lines: int) -> None:
        self._lines = lines

    def trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        path = frame.f_code.co_filename
        if "superd_client" not in path:
            return None
        # A trace function may raise between the end of a `with` block and the release of its lock; signals do not.
        if event == "line" and not linecache.getline(path, frame.f_lineno).lstrip().startswith("with "):
            self._lines -= 1
            if not self._lines:
                raise KeyboardInterrupt
        return self.trace

    def during(self, call: Callable[[], object]) -> bool:
        """Make `call`; returns whether it was interrupted."""
        before = sys.gettrace()  # of a measurement of coverage
        sys.settrace(self.trace)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


# An interrupt may come after the call has ended and before its exception is caught.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_interrupt_at_any_line_leaves_the_client_usable() -> None:
    def script(peer: Peer) -> None:
        with contextlib.suppress(BrokenPipeError):  # an interrupt in the middle of a read ends the connection
            peer.echo()

    lines = 0
    with serving(script) as server, Client(server.address) as client, in_threads(1) as submit:
        client.call(echo, Text(text="the link is there"))
        while Interruption(lines := lines + 1).during(
            lambda: client.call(echo, Text(text="a"), timeout=PATIENCE)
        ):
            assert submit(client.call, echo, Text(text="b"), timeout=PATIENCE).result(PATIENCE).text == "b"
            assert client.call(echo, Text(text="c"), timeout=PATIENCE).text == "c"
            assert client._exchange.writing.holder is None
            assert client._exchange.link is not None
            assert client._exchange.link._reading.holder is None
            assert not client._exchange.link.calls_in_flight
    assert lines > 50
