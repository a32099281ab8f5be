import asyncio
import gc
import socket
import threading
import warnings

import pytest

from superd_client import (
    AsyncClient,
    CallTimeout,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    InvalidResult,
    MessageTooLarge,
    Outcome,
)
from superd_client.calls import ATTEMPTS
from superd_client.wire.errors import RemoteProtocolError
from tests.client.conftest import Run
from tests.client.models import Text, echo, touchy
from tests.client.server import PATIENCE, Peer, full_backlog, serving

LARGE = "x" * (1 << 20)


async def happened(event: threading.Event) -> None:
    """Wait for what a script does."""
    assert await asyncio.to_thread(event.wait, PATIENCE)


# --- many calls -------------------------------------------------------------------------------------------------


def test_many_tasks_share_one_connection(run: Run) -> None:
    async def work(client: AsyncClient, worker: int) -> None:
        for turn in range(50):
            assert (await client.call(echo, Text(text=f"{worker}-{turn}"))).text == f"{worker}-{turn}"

    async def main() -> None:
        async with AsyncClient(server.address) as client, asyncio.TaskGroup() as group:
            for worker in range(32):
                group.create_task(work(client, worker))

    with serving() as server:
        run(main())
        assert server.connections == 1


def test_replies_in_reverse_order_reach_their_tasks(run: Run) -> None:
    def script(peer: Peer) -> None:
        for request in reversed([peer.expect() for _ in range(8)]):
            peer.answer(request, request.params)
        peer.await_end()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            results = await asyncio.gather(
                *(client.call(echo, Text(text=str(number))) for number in range(8))
            )
            assert [result.text for result in results] == [str(number) for number in range(8)]

    with serving(script) as server:
        run(main())


def test_large_messages_at_once_are_written_whole(run: Run) -> None:
    texts = [character * (1 << 20) for character in "abcd"]

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            results = await asyncio.gather(*(client.call(echo, Text(text=text)) for text in texts * 2))
            assert [result.text for result in results] == texts * 2
            assert (await client.call(echo, Text(text="a"))).text == "a"

    with serving() as server:
        run(main())


# --- time -------------------------------------------------------------------------------------------------------


def test_deadlines_end_calls_in_their_own_order(run: Run) -> None:
    async def end_of(client: AsyncClient, seconds: float) -> None:
        with pytest.raises(CallTimeout, match=f"no reply within {seconds:g} s") as caught:
            await client.call(echo, Text(text="a"), timeout=seconds)
        assert caught.value.outcome is Outcome.UNKNOWN
        ended.append(seconds)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await asyncio.gather(*(end_of(client, seconds) for seconds in (0.7, 0.5, 0.6)))

    ended: list[float] = []
    with serving(Peer.await_end) as server:
        run(main())
    assert ended == [0.5, 0.6, 0.7]


def test_calls_that_have_ended_are_not_kept_until_their_deadlines(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            for _ in range(200):
                await client.call(echo, Text(text="a"))
            assert client._exchange.link is not None
            assert not client._exchange.link._deadlines._calls

    with serving() as server:
        run(main())


def test_the_timer_skips_calls_that_have_ended(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await client.call(echo, Text(text="a"), timeout=0.8)
            with pytest.raises(CallTimeout):
                await client.call("hold.it", timeout=0.9)

    def script(peer: Peer) -> None:
        peer.answer(request := peer.expect(), request.params)
        peer.await_end()

    with serving(script) as server:
        run(main())


def test_a_late_reply_is_discarded(run: Run) -> None:
    def script(peer: Peer) -> None:
        late, request = peer.expect(), peer.expect()
        peer.answer(late, {"text": "late"})
        peer.answer(request, request.params)
        peer.await_end()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(CallTimeout):
                await client.call(echo, Text(text="a"), timeout=0.5)
            assert (await client.call(echo, Text(text="b"))).text == "b"

    with serving(script) as server:
        run(main())
        assert server.connections == 1


def test_a_full_backlog_ends_by_the_deadline(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(backlog.address) as client:
            ends = await asyncio.gather(
                *(client.call(echo, Text(text="a"), timeout=0.1) for _ in range(3)), return_exceptions=True
            )
            for end in ends:
                assert isinstance(end, CallTimeout)
                assert end.outcome is Outcome.NOT_SENT
                assert end.message == "no room in the server's backlog within 0.1 s"

    with full_backlog() as backlog:
        run(main())


def test_room_in_the_backlog_is_found_for_all(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(backlog.address) as client, asyncio.TaskGroup() as group:
            calls = [group.create_task(client.call(echo, Text(text="a"))) for _ in range(3)]
            while (trying := client._exchange._connecting) is None or not trying.locked():  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0)
            room.set()
            assert [(await call).text for call in calls] == ["a"] * 3

    def serve() -> None:
        assert room.wait(PATIENCE)
        peer = backlog.accept()
        peer.echo()
        peer.hang_up()

    room = threading.Event()
    with full_backlog() as backlog:
        thread = threading.Thread(target=serve)
        thread.start()
        run(main())
        thread.join(PATIENCE)


def test_a_peer_that_does_not_read_in_time_gets_the_rest_later(run: Run) -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        assert gate.wait(PATIENCE)
        peer.echo()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            begun = asyncio.create_task(client.call(echo, Text(text=LARGE), timeout=0.6))
            await asyncio.sleep(0)
            with pytest.raises(CallTimeout, match=r"not written within 0.3 s") as caught:
                await client.call(echo, Text(text="b"), timeout=0.3)
            assert caught.value.outcome is Outcome.NOT_SENT
            with pytest.raises(CallTimeout) as caught:
                await begun
            assert caught.value.outcome is Outcome.UNKNOWN
            gate.set()
            assert (await client.call(echo, Text(text="c"))).text == "c"

    with serving(script) as server:
        run(main())
        assert server.connections == 1


# --- cancellation -----------------------------------------------------------------------------------------------


def test_a_cancelled_call_is_given_up(run: Run) -> None:
    is_read = threading.Event()

    def script(peer: Peer) -> None:
        late = peer.expect()
        is_read.set()
        peer.answer(request := peer.expect(), request.params)
        peer.answer(late, {"text": "late"})
        peer.echo()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            task = asyncio.create_task(client.call(echo, Text(text="a")))
            await asyncio.sleep(0)
            await happened(is_read)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for text in ("b", "c"):
                assert (await client.call(echo, Text(text=text))).text == text
            assert client._exchange.link is not None
            assert client._exchange.link.calls_in_flight == 0

    with serving(script) as server:
        run(main())
        assert server.connections == 1


def test_a_call_cancelled_in_the_moment_of_its_failure_leaves_no_complaint(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            task = asyncio.create_task(client.call(echo, Text(text="a")))
            await asyncio.sleep(0)
            assert client._exchange.link is not None
            client._exchange.link.lose("a test says so")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with serving(Peer.await_end) as server:
        run(main())


def test_a_cancelled_connect_lets_the_next_one_try(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(backlog.address) as client:
            first = asyncio.create_task(client.call(echo, Text(text="a")))
            second = asyncio.create_task(client.call(echo, Text(text="a"), timeout=0.2))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(CallTimeout):
                await second
            assert first.cancelled()

    with full_backlog() as backlog:
        run(main())


# --- loss -------------------------------------------------------------------------------------------------------


def answer_one(peer: Peer) -> None:
    peer.answer(request := peer.expect(), request.params)


def lose_one(peer: Peer) -> None:
    peer.expect()


def test_a_server_that_restarted_is_found_again_without_an_error(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            for text in ("a", "b", "c"):
                assert (await client.call(echo, Text(text=text))).text == text
                await happened(gone)

    def first(peer: Peer) -> None:
        answer_one(peer)
        peer.hang_up()
        gone.set()

    gone = threading.Event()
    with serving(first, Peer.echo) as server:
        run(main())
        assert server.connections == 2


def test_a_hang_up_is_found_by_the_write_if_the_loop_had_no_turn(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await client.call(echo, Text(text="a"))
            assert gone.wait(PATIENCE)
            assert (await client.call(echo, Text(text="b"))).text == "b"

    def first(peer: Peer) -> None:
        answer_one(peer)
        peer.hang_up()
        gone.set()

    gone = threading.Event()
    with serving(first, Peer.echo) as server:
        run(main())
        assert server.connections == 2


def test_a_failed_write_finds_out_what_the_server_said_before(run: Run) -> None:
    def script(peer: Peer) -> None:
        answer_one(peer)
        assert answered.wait(PATIENCE)
        error = {"code": -32002, "message": "too many connections", "data": {}}
        peer.send_message({"jsonrpc": "2.0", "id": None, "error": error})
        peer.hang_up()
        gone.set()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await client.call(echo, Text(text="a"))
            answered.set()
            assert gone.wait(PATIENCE)
            with pytest.raises(ConnectFailed, match="too many connections"):
                await client.call(echo, Text(text="b"))

    answered, gone = threading.Event(), threading.Event()
    with serving(script, Peer.echo) as server:
        run(main())
        assert server.connections == 1


def test_a_server_that_always_hangs_up(run: Run) -> None:
    def script(peer: Peer) -> None:
        peer.socket.recv(1)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(ConnectFailed, match="before the call was sent") as caught:
                await client.call(echo, Text(text=LARGE))
            assert caught.value.outcome is Outcome.NOT_SENT

    with serving(script) as server:
        run(main())
        assert server.connections == 2


def test_a_server_that_hangs_up_again_and_again_is_tried_twice(run: Run) -> None:
    def first(peer: Peer) -> None:
        answer_one(peer)
        peer.hang_up()
        gone.set()

    def script(peer: Peer) -> None:
        peer.socket.recv(1)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await client.call(echo, Text(text="a"))
            assert gone.wait(PATIENCE)
            with pytest.raises(ConnectFailed, match="before the call was sent"):
                await client.call(echo, Text(text=LARGE))

    gone = threading.Event()
    with serving(first, script) as server:
        run(main())
        assert server.connections == ATTEMPTS


@pytest.mark.parametrize("text", ["b", LARGE])
def test_a_server_that_drains_answers_what_it_has_read_and_gets_no_more(run: Run, text: str) -> None:
    first_is_read, drains, second_is_answered = threading.Event(), threading.Event(), threading.Event()

    def draining(peer: Peer) -> None:
        first = peer.expect()
        first_is_read.set()
        if text == LARGE:
            peer.socket.recv(1)
        peer.socket.shutdown(socket.SHUT_RD)
        drains.set()
        peer.await_rest()
        assert second_is_answered.wait(PATIENCE)
        peer.answer(first, first.params)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            first = asyncio.create_task(client.call(echo, Text(text="a")))
            await asyncio.sleep(0)
            await happened(first_is_read if text == LARGE else drains)
            assert (await client.call(echo, Text(text=text))).text == text
            assert len(client._exchange.links) == 2
            second_is_answered.set()
            assert (await first).text == "a"
            assert client._exchange.links[0].lost
            assert (await client.call(echo, Text(text="c"))).text == "c"

    with serving(draining, Peer.echo) as server:
        run(main())
        assert server.connections == 2


def test_calls_in_flight_are_lost_with_their_connection(run: Run) -> None:
    def script(peer: Peer) -> None:
        for _ in range(5):
            peer.expect()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            ends = await asyncio.gather(
                *(client.call(echo, Text(text="a")) for _ in range(5)), return_exceptions=True
            )
            assert all(isinstance(end, ConnectionLost) and end.outcome is Outcome.UNKNOWN for end in ends)
            assert (await client.call(echo, Text(text="b"))).text == "b"

    with serving(script, Peer.echo) as server:
        run(main())


def test_a_server_that_breaks_the_protocol_is_left(run: Run) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.send(b"\0\0\0\0")
        peer.await_end()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(ConnectionLost, match="the server broke the protocol") as caught:
                await client.call(echo, Text(text="a"))
            assert isinstance(caught.value.__cause__, RemoteProtocolError)
            assert (await client.call(echo, Text(text="b"))).text == "b"

    with serving(script, Peer.echo) as server:
        run(main())


def test_a_frame_over_the_servers_limit(run: Run) -> None:
    def script(peer: Peer) -> None:
        length = int.from_bytes(peer.socket.recv(4), "big")
        data = {"limit": 1024, "length": length}
        error = {"code": -32006, "message": "over the limit of 1024 bytes", "data": data}
        peer.send_message({"jsonrpc": "2.0", "id": None, "error": error})

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(MessageTooLarge, match="over the limit of 1024 bytes"):
                await client.call(echo, Text(text=LARGE))

    with serving(script) as server:
        run(main())


def test_a_frame_over_a_limit_is_no_fault_of_other_calls(run: Run) -> None:
    def script(peer: Peer) -> None:
        length = int.from_bytes(peer.socket.recv(4), "big")
        data = {"limit": 1024, "length": length}
        error = {"code": -32006, "message": "over the limit of 1024 bytes", "data": data}
        peer.send_message({"jsonrpc": "2.0", "id": None, "error": error})

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            large = asyncio.create_task(client.call(echo, Text(text=LARGE)))
            behind = asyncio.create_task(client.call(echo, Text(text="b")))
            with pytest.raises(MessageTooLarge):
                await large
            with pytest.raises(ConnectFailed, match="before the call was sent"):
                await behind

    with serving(script) as server:
        run(main())


def test_a_reply_over_our_limit_is_no_fault_of_the_call_that_is_written(run: Run) -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.begin()
        peer.send((len(LARGE) + 1).to_bytes(4, "big"))

    async def main() -> None:
        async with AsyncClient(server.address, frame_limit=len(LARGE)) as client:
            first = asyncio.create_task(client.call(echo, Text(text="a")))
            await asyncio.sleep(0)
            second = asyncio.create_task(client.call(echo, Text(text=LARGE[1000:])))
            with pytest.raises(ConnectionLost):
                await first
            with pytest.raises(ConnectFailed, match="before the call was sent"):
                await second

    with serving(script) as server:
        run(main())


def test_a_method_name_that_is_not_unicode_costs_nothing(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await client.call(echo, Text(text="a"))
            with pytest.raises(ValueError, match="surrogates not allowed"):
                await client.call("echo.\ud800")
            await client.call(echo, Text(text="b"))

    with serving() as server:
        run(main())
        assert server.connections == 1


def test_a_validator_of_ours_that_fails_hurts_its_own_call_alone(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(InvalidResult) as caught:
                await client.call(touchy, Text(text="a"))
            assert isinstance(caught.value.__cause__, RuntimeError)
            assert (await client.call(echo, Text(text="b"))).text == "b"

    with serving() as server:
        run(main())


# --- close, and the loop ----------------------------------------------------------------------------------------


def test_close_ends_calls(run: Run) -> None:
    is_read = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect()
        is_read.set()
        peer.socket.recv(1)
        assert gate.wait(PATIENCE)

    async def main() -> None:
        client = AsyncClient(server.address)
        sent = asyncio.create_task(client.call(echo, Text(text="a")))
        await asyncio.sleep(0)
        await happened(is_read)
        cut = asyncio.create_task(client.call(echo, Text(text=LARGE)))
        unsent = asyncio.create_task(client.call(echo, Text(text="b")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await client.aclose()
        await client.aclose()
        with pytest.raises(ConnectionLost, match="the client was closed"):
            await sent
        for task in (cut, unsent):
            with pytest.raises(ClientClosed):
                await task
        with pytest.raises(ClientClosed):
            await client.call(echo, Text(text="c"))
        gate.set()

    gate = threading.Event()
    with serving(script) as server:
        run(main())


def test_close_ends_a_connect(run: Run) -> None:
    async def main() -> None:
        client = AsyncClient(backlog.address)
        task = asyncio.create_task(client.call(echo, Text(text="a")))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(ClientClosed):
            await task

    with full_backlog() as backlog:
        run(main())


def test_close_in_another_loop_while_its_own_lives() -> None:
    async def use(client: AsyncClient) -> None:
        await client.call(echo, Text(text="a"))

    with serving() as server, asyncio.Runner() as own, asyncio.Runner() as other:
        client = AsyncClient(server.address)
        own.run(use(client))
        with pytest.raises(RuntimeError, match="used in another event loop, which is not closed"):
            other.run(client.aclose())
        own.run(client.aclose())


def test_an_open_client_that_is_forgotten_warns(run: Run) -> None:
    async def main() -> None:
        client = AsyncClient(server.address)
        await client.call(echo, Text(text="a"))
        text = repr(client)
        with pytest.warns(ResourceWarning, match=f"unclosed {text}"):  # noqa: PT031
            del client
            gc.collect()

    with serving() as server:
        run(main())


def test_a_client_that_outlives_its_loop_warns() -> None:
    async def main() -> AsyncClient:
        client = AsyncClient(server.address)
        await client.call(echo, Text(text="a"))
        return client

    with serving() as server:
        client = asyncio.run(main())
        with pytest.warns(ResourceWarning, match="unclosed"):  # noqa: PT031
            del client
            gc.collect()


def test_a_client_that_is_forgotten_in_another_thread_is_closed_by_its_loop(run: Run) -> None:
    async def main() -> None:
        clients = [AsyncClient(server.address)]
        await clients[0].call(echo, Text(text="a"))
        link = clients[0]._exchange.link
        assert link is not None

        def forget() -> None:
            with pytest.warns(ResourceWarning, match="unclosed"):  # noqa: PT031
                clients.clear()
                gc.collect()

        await asyncio.to_thread(forget)
        while not link.lost:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)

    with serving() as server:
        run(main())


def test_a_client_that_is_closed_or_was_never_connected_does_not_warn(run: Run) -> None:
    async def main() -> None:
        with warnings.catch_warnings():
            client = AsyncClient(server.address)
            assert repr(client) == f"<AsyncClient {server.address} unconnected>"
            await client.call(echo, Text(text="a"))
            assert repr(client) == f"<AsyncClient {server.address} connected>"
            await client.aclose()
            assert repr(client) == f"<AsyncClient {server.address} closed>"
            AsyncClient(server.address)
            del client
            gc.collect()

    with serving() as server:
        run(main())
