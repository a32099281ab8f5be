"""The functions of a sequential call: how many are called, in the daemon and in each client."""

from typing import Final

import pytest

from superd_client.builtin import Nothing
from superd_client.strictjson import LAST_NAME_WINS
from tests.daemon.process import Superd
from tests.hot_path.bounds import FUNCTIONS, Functions
from tests.hot_path.conftest import calling
from tests.hot_path.probe import Counter, functions

pytestmark = pytest.mark.skipif(
    not LAST_NAME_WINS, reason="pydantic before 2.11: every message is read twice, which takes more functions"
)

WARM_UP: Final = 50
CALLS: Final = 200


def check(where: tuple[str, str], python: int, builtin: int) -> None:
    """Compare the counts of CALLS calls, and of some more functions that begin and end them."""
    found, bound = Functions(round(python / CALLS), round(builtin / CALLS)), FUNCTIONS[where]
    assert found.python <= bound.python, f"{where}: {found}"
    assert found.builtin <= bound.builtin, f"{where}: {found}"


@pytest.mark.parametrize("handler", ["inline", "async"])
def test_the_daemon(handler: str, request: pytest.FixtureRequest) -> None:
    daemon: Superd = request.getfixturevalue("daemon" if handler == "inline" else "async_daemon")
    with calling("blocking", daemon, WARM_UP) as caller:
        caller.ask(functions, Nothing())
        caller.lookups(CALLS)
        found = caller.ask(functions, Nothing())
    check(("daemon", handler), found.python, found.builtin)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_client(kind: str, daemon: Superd) -> None:
    counter = Counter()
    with calling(kind, daemon, WARM_UP) as caller:
        counter.start()
        try:
            caller.lookups(CALLS)
        finally:
            counter.stop()
    check(("client", kind), counter.python, counter.builtin)
