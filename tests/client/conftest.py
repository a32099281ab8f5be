"""What holds for every test of the client: it leaves no thread, no descriptor and no child behind."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from tests.client.leftovers import leftovers
from tests.client.server import PATIENCE

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(autouse=True, scope="session")
def uvloop_has_its_pipe() -> None:
    """The first loop of uvloop opens a pipe that the process keeps."""
    uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = leftovers()
    yield
    assert leftovers() - before == set()


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on a loop of each kind, in debug mode, and finds what it leaves."""

    def run(main: Coroutine[Any, Any, None]) -> None:
        async def alone() -> None:
            async with asyncio.timeout(PATIENCE):
                await main
            assert asyncio.all_tasks() == {asyncio.current_task()}

        complaints: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=request.param, debug=True) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
            runner.run(alone())
        gc.collect()
        assert complaints == []

    return run
