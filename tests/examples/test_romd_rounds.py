"""romd's rounds: when it asks, and what it logs of the answers."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from inventoryd.api import Item, UnknownSku
from romd.log import logger
from romd.rounds import ask_round, run_rounds
from romd.settings import Settings
from superd_client.errors import (
    ApplicationError,
    CallTimeout,
    Cancelled,
    ConnectFailed,
    ConnectionLost,
    InternalError,
    InvalidResult,
    SuperdError,
    Unavailable,
)

HAMMER = Item(sku="A-1", name="claw hammer", quantity=3)
NAIL = Item(sku="B-2", name="wire nail", quantity=500)


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    propagate, logger.propagate = logger.propagate, True
    with caplog.at_level(logging.INFO, logger="romd"):
        yield caplog
    logger.propagate = propagate


class Inventory:
    """Answers by sku, and remembers who asked."""

    def __init__(self, answers: dict[str, Item | SuperdError]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def lookup(self, sku: str) -> Item:
        self.asked.append(sku)
        answer = self.answers[sku]
        if isinstance(answer, SuperdError):
            raise answer
        return answer


def test_a_round_logs_each_item(lines: pytest.LogCaptureFixture) -> None:
    inventory = Inventory({"A-1": HAMMER, "B-2": NAIL})
    asyncio.run(ask_round(Settings(("A-1", "B-2")), inventory.lookup))
    assert lines.messages == ["A-1: 3 of claw hammer", "B-2: 500 of wire nail"]


def test_all_skus_are_asked_for_at_once(lines: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        both = asyncio.Barrier(2)

        async def lookup(sku: str) -> Item:
            await both.wait()
            return {"A-1": HAMMER, "B-2": NAIL}[sku]

        async with asyncio.timeout(30):
            await ask_round(Settings(("A-1", "B-2")), lookup)

    asyncio.run(main())
    assert lines.messages == ["A-1: 3 of claw hammer", "B-2: 500 of wire nail"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_count_rounds(count: int) -> None:
    inventory = Inventory({"A-1": HAMMER})
    asyncio.run(run_rounds(Settings(("A-1",), interval=0.001, count=count), inventory.lookup))
    assert inventory.asked == ["A-1"] * count


def test_the_last_round_is_not_waited_for() -> None:
    inventory = Inventory({"A-1": HAMMER})

    async def main() -> None:
        async with asyncio.timeout(30):
            await run_rounds(Settings(("A-1",), interval=3600, count=1), inventory.lookup)

    asyncio.run(main())


def test_an_unknown_sku_does_not_hide_the_others(lines: pytest.LogCaptureFixture) -> None:
    unknown = ApplicationError(UnknownSku(sku="Z-9"), method="inventory.lookup", call_id="c-1")
    inventory = Inventory({"Z-9": unknown, "A-1": HAMMER})
    asyncio.run(ask_round(Settings(("Z-9", "A-1")), inventory.lookup))
    assert lines.messages == ["Z-9: unknown to the inventory [call c-1]", "A-1: 3 of claw hammer"]
    assert lines.records[0].levelno == logging.WARNING


@pytest.mark.parametrize(
    "error",
    [
        InternalError("internal error", method="inventory.lookup", call_id="c-1"),
        InvalidResult("does not fit", method="inventory.lookup", call_id="c-1"),
        ApplicationError(None, "something new", method="inventory.lookup", call_id="c-1"),
    ],
)
def test_other_failures_name_outcome_and_call(error: SuperdError, lines: pytest.LogCaptureFixture) -> None:
    inventory = Inventory({"A-1": error})
    asyncio.run(ask_round(Settings(("A-1",)), inventory.lookup))
    assert lines.messages == [f"A-1: inventory.lookup: {error.message} (outcome: failed) [call c-1]"]
    assert lines.records[0].levelno == logging.ERROR


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectFailed("nobody listens"), "not sent"),
        (ConnectionLost("connection lost"), "unknown"),
        (CallTimeout("no reply", sent=True), "unknown"),
        (CallTimeout("no reply", sent=False), "not sent"),
        (Unavailable("stopping"), "refused"),
        (Cancelled("stopping"), "failed"),
    ],
)
def test_superd_away_is_one_line(error: SuperdError, outcome: str, lines: pytest.LogCaptureFixture) -> None:
    inventory = Inventory(dict.fromkeys(("A-1", "B-2", "C-3"), error))
    asyncio.run(ask_round(Settings(("A-1", "B-2", "C-3"), interval=30), inventory.lookup))
    said = f"superd is away: {error.message} (outcome: {outcome}) (and 2 more); next try in 30 s"
    assert lines.messages == [said]
    assert lines.records[0].levelno == logging.WARNING


def test_superd_that_goes_away_in_the_middle(lines: pytest.LogCaptureFixture) -> None:
    inventory = Inventory({"A-1": HAMMER, "B-2": ConnectionLost("connection lost", call_id="c-2")})
    asyncio.run(ask_round(Settings(("A-1", "B-2"), interval=5), inventory.lookup))
    assert lines.messages == [
        "A-1: 3 of claw hammer",
        "superd is away: connection lost (outcome: unknown) [call c-2]; next try in 5 s",
    ]


def test_it_goes_on_after_superd_was_away(lines: pytest.LogCaptureFixture) -> None:
    inventory = Inventory({"A-1": ConnectFailed("nobody listens")})

    async def lookup(sku: str) -> Item:
        try:
            return await inventory.lookup(sku)
        finally:
            inventory.answers["A-1"] = HAMMER

    asyncio.run(run_rounds(Settings(("A-1",), interval=0.001, count=2), lookup))
    assert [message.partition(":")[0] for message in lines.messages] == ["superd is away", "A-1"]


def test_a_mistake_in_romd_itself_is_not_swallowed() -> None:
    async def lookup(_sku: str) -> Item:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_rounds(Settings(("A-1",), interval=0.001), lookup))
