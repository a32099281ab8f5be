"""What a call leaves behind in memory: nothing, and no cycles that a garbage collector has to find."""

import gc
import sys
from typing import Final

import pytest

from superd_client.builtin import Nothing
from tests.daemon.process import Superd
from tests.hot_path.bounds import BLOCKS, COLLECTIONS_PER_HUNDRED, CYCLIC_PER_HUNDRED
from tests.hot_path.conftest import calling
from tests.hot_path.probe import Garbage, memory

WARM_UP: Final = 300
CALLS: Final = 500


def check(side: str, blocks: int, cyclic: int, collections: int) -> None:
    """Compare what CALLS calls have left behind."""
    assert blocks / CALLS <= BLOCKS[side]
    assert cyclic * 100 <= CYCLIC_PER_HUNDRED * CALLS, "a call makes cycles"
    assert collections * 100 <= COLLECTIONS_PER_HUNDRED * CALLS


@pytest.mark.parametrize("handler", ["inline", "async"])
def test_the_daemon(handler: str, request: pytest.FixtureRequest) -> None:
    daemon: Superd = request.getfixturevalue("daemon" if handler == "inline" else "async_daemon")
    with calling("blocking", daemon, WARM_UP) as caller:
        caller.ask(memory, Nothing())
        before = caller.ask(memory, Nothing())
        caller.lookups(CALLS)
        after = caller.ask(memory, Nothing())
    check(
        "daemon",
        after.blocks - before.blocks,
        after.cyclic - before.cyclic,
        after.collections - before.collections,
    )


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_client(kind: str, daemon: Superd) -> None:
    with calling(kind, daemon, WARM_UP) as caller:
        gc.collect()
        with Garbage() as garbage:
            before = sys.getallocatedblocks()
            caller.lookups(CALLS)
            gc.collect()
            after = sys.getallocatedblocks()
    check("client", after - before, garbage.cyclic, garbage.collections - 1)
