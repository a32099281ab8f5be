"""What holds for every test of the client: it leaves no thread, no descriptor and no child behind."""

from collections.abc import Iterator

import pytest
import uvloop

from tests.client.leftovers import leftovers


@pytest.fixture(autouse=True, scope="session")
def uvloop_has_its_pipe() -> None:
    """The first loop of uvloop opens a pipe that the process keeps."""
    uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = leftovers()
    yield
    assert leftovers() - before == set()
