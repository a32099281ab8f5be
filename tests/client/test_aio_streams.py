"""Streams and uploads of the asyncio client: tasks beside them, cancellation, and what is forgotten."""

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from superd_client import AsyncClient, CallTimeout, ConnectionLost, InternalError, Outcome
from superd_client.wire.control import Cancel
from superd_client.wire.envelope import Notification
from superd_client.wire.server import Item
from tests.client.conftest import Run
from tests.client.models import Text, echo, load, watch
from tests.client.scripts import open_stream, open_upload, receive_items, serve_all, serve_numbers
from tests.client.server import PATIENCE, Peer, serving
from tests.client.test_aio import LARGE, happened

A = Text(text="a")


# --- tasks ------------------------------------------------------------------------------------------------------


def test_streams_uploads_and_calls_of_many_tasks_share_one_connection(run: Run) -> None:
    async def consume(client: AsyncClient) -> int:
        async with client.stream(watch, A, credit=3) as items:
            return sum([await anext(items) for _ in range(100)])

    async def produce(client: AsyncClient) -> int:
        async with client.open_upload(load, A) as sink:
            return sum([await sink.send(1) for _ in range(50)])

    async def call(client: AsyncClient) -> int:
        return sum([(await client.call(echo, A)) == A for _ in range(50)])

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            work = [each(client) for each in (consume, produce, call) * 5]
            assert await asyncio.gather(*work) == [100, 50, 50] * 5

    with serving(serve_all) as server:
        run(main())
        assert server.connections == 1


def test_a_slow_consumer_holds_up_nobody(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client, AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(client.stream(watch, A, credit=2)) for _ in range(100)]
            for _ in range(20):
                assert await client.call(echo, A) == A
            for items in streams:
                assert [await anext(items) for _ in range(5)] == [1] * 5

    with serving(serve_all) as server:
        run(main())
        assert server.connections == 1


def test_an_upload_from_an_async_iterable(run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(5):
            await asyncio.sleep(0)
            yield number

    def script(peer: Peer) -> None:
        request = open_upload(peer, 2)
        peer.answer(request, {"text": str(receive_items(peer, request, 2))})
        peer.await_end()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            assert await client.upload(load, A, numbers()) == Text(text="[0, 1, 2, 3, 4]")

    with serving(script) as server:
        run(main())


def test_an_upload_step_by_step(run: Run) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 1)
        peer.answer(request, {"text": str(receive_items(peer, request, 1))})
        peer.await_end()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            async with client.open_upload(load, A) as sink:
                assert await sink.send(1)
                with pytest.raises(ValueError, match="int"):
                    await sink.send("no item")  # type: ignore[arg-type]
                assert await sink.send(2)
                assert await sink.result() == Text(text="[1, 2]")
            assert await sink.result() == Text(text="[1, 2]")
            with pytest.raises(ValueError, match="this upload is over"):
                await sink.send(3)

    with serving(script) as server:
        run(main())


def test_a_server_that_takes_everything_leaves_other_tasks_their_turn(run: Run) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 1_000_000)
        while isinstance(event := peer.next_event(), Item):
            pass
        assert isinstance(event, Notification)
        peer.answer(request, {"text": "enough"})
        peer.await_rest()

    async def main() -> None:
        async with (
            AsyncClient(server.address) as client,
            asyncio.TaskGroup() as group,
            client.open_upload(load, A) as sink,
        ):
            assert await sink.send(1)
            group.create_task(client.notify("x.y"))
            while await sink.send(1):
                pass
            assert await sink.result() == Text(text="enough")

    with serving(script) as server:
        run(main())


# --- cancellation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["call", "stream", "upload"])
def test_cancelling_the_task_cancels_at_the_server(run: Run, what: str) -> None:
    is_read = threading.Event()

    def script(peer: Peer) -> None:
        request = peer.expect()
        is_read.set()
        peer.expect_control(Cancel(request.id))
        peer.fail(request, -32004)
        peer.echo()

    async def use(client: AsyncClient) -> None:
        if what == "call":
            await client.call(echo, A)
        elif what == "stream":
            async for _ in client.stream(watch, A):
                pass
        else:
            await client.upload(load, A, [1])

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            task = asyncio.create_task(use(client))
            await asyncio.sleep(0)
            await happened(is_read)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await client.call(echo, A) == A
            link = client._exchange.link
            assert link is not None
            assert link.calls_in_flight == 0

    with serving(script) as server:
        run(main())
        assert server.connections == 1


def test_a_call_that_was_not_written_is_withdrawn_and_one_in_part_is_cancelled_behind_its_end(
    run: Run,
) -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        assert gate.wait(PATIENCE)
        request = peer.expect()
        assert len(request.params["text"]) == len(LARGE)
        peer.expect_control(Cancel(request.id))
        peer.echo()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            tasks = [
                asyncio.create_task(client.call(echo, Text(text=text))) for text in (LARGE, "never seen")
            ]
            for _ in range(3):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)
            gate.set()
            assert await client.call(echo, A) == A

    with serving(script) as server:
        run(main())
        assert server.connections == 1


def test_a_request_for_a_stream_that_is_written_in_part_when_its_time_is_over(run: Run) -> None:
    gate = threading.Event()

    def script(peer: Peer) -> None:
        assert gate.wait(PATIENCE)
        request = peer.expect()
        peer.expect_control(Cancel(request.id))
        peer.echo()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(CallTimeout) as caught:
                await anext(client.stream(watch, Text(text=LARGE), timeout=0.05))
            assert caught.value.outcome is Outcome.UNKNOWN
            gate.set()
            assert await client.call(echo, A) == A

    with serving(script) as server:
        run(main())
        assert server.connections == 1


def test_close_ends_streams_and_uploads(run: Run) -> None:
    async def main() -> None:
        client = AsyncClient(server.address)
        items = client.stream(watch, A)
        sink = client.open_upload(load, A)
        tasks = [asyncio.create_task(anext(items)), asyncio.create_task(sink.send(1))]
        for _ in range(3):
            await asyncio.sleep(0)
        await client.aclose()
        for task in tasks:
            with pytest.raises(ConnectionLost, match="the client was closed"):
                await task
        assert [item async for item in items] == []

    with serving(Peer.await_end) as server:
        run(main())


# --- beginning and ending ---------------------------------------------------------------------------------------


def test_a_stream_begins_with_its_first_use(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            items = client.stream(watch, A)
            assert repr(items) == "<AsyncItemStream not begun>"
            await asyncio.sleep(0)
            assert server.connections == 0
            async with items as same:
                assert same is items
                assert repr(items).startswith("<AsyncItemStream shop.watch [call ")
                assert [item async for item in items] == [0, 1]
            assert [item async for item in items] == []
            await items.aclose()

    with serving(serve_numbers(2)) as server:
        run(main())


def test_an_error_of_the_body_passes_through(run: Run) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 1)
        peer.expect_control(Cancel(request.id))
        peer.await_end()

    async def fail(client: AsyncClient) -> None:
        async with client.stream(watch, A) as items:
            async for _ in items:
                raise LookupError

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(LookupError):
                await fail(client)

    with serving(script) as server:
        run(main())


def test_what_is_forgotten_warns_and_is_cancelled(run: Run) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 1)
        peer.expect_control(Cancel(request.id))
        upload = open_upload(peer, 1)
        assert peer.next_event() == Item(upload.id, 1)
        peer.expect_control(Cancel(upload.id))
        peer.echo()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.warns(ResourceWarning, match=r"unclosed <AsyncItemStream shop\.watch"):  # noqa: PT031
                async for _ in client.stream(watch, A):
                    break
                gc.collect()
            await asyncio.sleep(0)
            sink = client.open_upload(load, A)
            assert await sink.send(1)
            with pytest.warns(ResourceWarning, match=r"unclosed <AsyncItemSink shop\.load"):  # noqa: PT031
                del sink
                gc.collect()
            await asyncio.sleep(0)
            assert await client.call(echo, A) == A
            assert client._exchange.link is not None
            assert client._exchange.link.calls_in_flight == 0

    with serving(script) as server:
        run(main())


def test_a_stream_that_is_forgotten_in_another_thread_is_cancelled_by_its_loop(run: Run) -> None:
    def script(peer: Peer) -> None:
        request = open_stream(peer)
        peer.send_item(request, 1)
        peer.expect_control(Cancel(request.id))
        cancelled.set()
        peer.await_end()

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            streams = [client.stream(watch, A)]
            assert await anext(streams[0]) == 1

            def forget() -> None:
                with pytest.warns(ResourceWarning, match="unclosed"):  # noqa: PT031
                    streams.clear()
                    gc.collect()

            await asyncio.to_thread(forget)
            await happened(cancelled)

    cancelled = threading.Event()
    with serving(script) as server:
        run(main())


def test_a_stream_that_outlives_its_loop_warns() -> None:
    async def main() -> tuple[AsyncClient, Any]:
        client = AsyncClient(server.address)
        items = client.stream(watch, A)
        assert await anext(items) == 0
        return client, items

    def script(peer: Peer) -> None:
        peer.send_item(open_stream(peer), 0)
        peer.await_end()

    with serving(script) as server:
        client, items = asyncio.run(main())
        with pytest.warns(ResourceWarning, match="unclosed <AsyncItemStream"):  # noqa: PT031
            del items
            gc.collect()
        with pytest.warns(ResourceWarning, match="unclosed <AsyncClient"):  # noqa: PT031
            del client
            gc.collect()


def test_many_streams_that_are_abandoned_leave_nothing(run: Run) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            for _ in range(5):
                async with AsyncExitStack() as stack:
                    for _ in range(100):
                        items = await stack.enter_async_context(client.stream(watch, A, credit=2))
                        assert await anext(items) == 1
            assert await client.call(echo, A) == A
            link = client._exchange.link
            assert link is not None
            assert link.calls_in_flight == 0
            assert link._wire.pending == ()
            assert link._wire._inflows == {}
            assert not link.has_unwritten

    with serving(serve_all) as server:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        run(main())
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208
        assert server.connections == 1


def test_a_failure_of_the_server_reaches_whoever_sends(run: Run) -> None:
    def script(peer: Peer) -> None:
        request = open_upload(peer, 1)
        peer.next_event()
        peer.fail(request, -32603, "no more")
        peer.await_end()

    async def main() -> None:
        async with AsyncClient(server.address) as client, client.open_upload(load, A) as sink:
            assert await sink.send(1)
            with pytest.raises(InternalError, match="no more"):
                await sink.send(2)
            with pytest.raises(InternalError, match="no more"):
                await sink.result()

    with serving(script) as server:
        run(main())
