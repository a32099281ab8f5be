"""Fair turns of the loop: by user, and not by connection."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from superd.pace import ALONE, DEBT_MAX, QUANTUM, SHARED, UNASKED_MAX, Lane, Pace
from tests.daemon.raw import echo, frame
from tests.daemon.running import LoopFactory, running_server
from tests.daemon.strangers import Abstract, Stranger, needs_root


class Worker:
    """A connection that has so much to do, and does it when it may."""

    def __init__(self, pace: Pace, lane: Lane, work: int, done: Callable[[int], None]) -> None:
        self.pace, self.lane, self.work, self.done = pace, lane, work, done

    def run(self) -> None:
        while self.work and self.lane.left > 0:
            self.work -= 1
            self.lane.left -= 1
            self.done(self.lane.uid)
        if self.work:
            self.pace.wait(self.lane, self.run)

    def start(self) -> None:
        if self.pace.may_work(self.lane):
            self.run()
        else:
            self.pace.wait(self.lane, self.run)


async def turns(count: int = 1) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_alone_a_user_has_a_whole_turn() -> None:
    async def main() -> None:
        pace, done = Pace(asyncio.get_running_loop()), Counter[int]()
        lane = pace.join(1)
        Worker(pace, lane, ALONE - 1, lambda uid: done.update([uid])).start()
        assert done[1] == ALONE - 1
        assert pace.may_work(lane)
        Worker(pace, lane, 2, lambda uid: done.update([uid])).start()
        assert done[1] == ALONE
        assert not pace.may_work(lane)
        await turns(2)
        assert done[1] == ALONE + 1

    asyncio.run(main())


def test_a_user_with_many_connections_gets_no_more_than_one_with_one() -> None:
    async def main() -> None:
        pace, order = Pace(asyncio.get_running_loop()), list[int]()
        many, one = pace.join(1), pace.join(2)
        for _ in range(50):
            Worker(pace, many, ALONE, order.append).start()
        Worker(pace, one, ALONE + 400, order.append).start()
        await turns(3)  # by then it is known that the turns are shared
        assert pace.is_shared
        del order[:]
        await turns(60)
        counts = Counter(order)
        assert abs(counts[1] - counts[2]) <= SHARED
        assert counts[1] > 100

    asyncio.run(main())


def test_a_shared_turn_is_short_and_a_newcomer_need_not_wait_for_a_further_one() -> None:
    async def main() -> None:
        pace, order = Pace(asyncio.get_running_loop()), list[int]()
        hog, modest = pace.join(1), pace.join(2)
        for _ in range(20):
            Worker(pace, hog, 1000, order.append).start()
        await turns()
        Worker(pace, modest, 1, order.append).start()
        await turns(2)  # by then it is known that somebody waits beside others
        before = len(order)
        await turns()
        assert len(order) - before <= SHARED
        Worker(pace, modest, QUANTUM, order.append).start()
        assert order[-QUANTUM:] == [2] * QUANTUM

    asyncio.run(main())


def test_when_the_others_have_gone_the_turns_are_long_again() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        now = [100.0]
        loop.time = lambda: now[0]  # type: ignore[method-assign]
        pace, order = Pace(loop), list[int]()
        hog, other = pace.join(1), pace.join(2)
        Worker(pace, hog, 100_000, order.append).start()
        Worker(pace, other, ALONE + 100, order.append).start()
        await turns(40)
        states = [pace.is_shared]
        now[0] += 1.1
        await turns()
        assert [*states, pace.is_shared] == [True, False]
        before = len(order)
        await turns()
        assert ALONE - 1 <= len(order) - before <= ALONE

    asyncio.run(main())


@pytest.mark.parametrize("cost", [DEBT_MAX - 1, DEBT_MAX, DEBT_MAX + 1, 100 * DEBT_MAX])
def test_what_was_too_much_is_paid_by_waiting_and_not_for_ever(cost: int) -> None:
    async def main() -> None:
        pace, order = Pace(asyncio.get_running_loop()), list[int]()
        debtor, other = pace.join(1), pace.join(2)
        assert pace.may_work(debtor)
        debtor.left = -cost
        Worker(pace, debtor, 1, order.append).start()
        Worker(pace, other, 100_000, order.append).start()
        while 1 not in order:
            await turns()
        owed = min(cost, DEBT_MAX)
        assert owed - 2 * ALONE <= order.index(1) <= owed + 2 * ALONE

    asyncio.run(main())


def test_a_debt_is_forgiven_where_nobody_else_waits() -> None:
    async def main() -> None:
        pace, order = Pace(asyncio.get_running_loop()), list[int]()
        lane = pace.join(1)
        assert pace.may_work(lane)
        lane.left = -10_000
        Worker(pace, lane, 1, order.append).start()
        await turns(2)
        assert order == [1]

    asyncio.run(main())


@pytest.mark.parametrize("users", [UNASKED_MAX - 1, UNASKED_MAX, UNASKED_MAX + 1])
def test_so_many_users_may_work_in_a_turn_without_having_waited(users: int) -> None:
    async def main() -> None:
        pace = Pace(asyncio.get_running_loop())
        assert sum(pace.may_work(pace.join(uid)) for uid in range(users)) == min(users, UNASKED_MAX)

    asyncio.run(main())


def test_reads_cost_by_their_size_and_their_descriptors() -> None:
    lane = Lane(1)
    lane.charge_read(100, 0)
    assert lane.left == -1
    lane.charge_read(64 * 1024, 0)
    assert lane.left == -6
    lane.charge_read(100, 253)
    assert lane.left == -38


def test_a_lane_is_forgotten_with_its_last_connection() -> None:
    async def main() -> None:
        pace = Pace(asyncio.get_running_loop())
        lane = pace.join(1)
        assert pace.join(1) is lane
        pace.leave(lane)
        assert pace.join(1) is lane
        pace.leave(lane)
        pace.leave(lane)
        assert pace.join(1) is not lane

    asyncio.run(main())


@needs_root
def test_a_flood_of_one_user_leaves_the_calls_of_another(loop_factory: LoopFactory) -> None:
    """They are answered while most of the other's messages still wait."""
    abstract = Abstract()
    with (
        running_server(loop=loop_factory, listeners=abstract.listeners) as server,
        Stranger(abstract.name, 65534, 65534) as hostile,
        server.client() as modest,
    ):
        assert modest.ask(echo())["id"] == 1
        hostile.fill(frame(b'{"no": "call"}'))
        for number in range(20):
            assert modest.ask(echo(str(number)))["result"] == {"text": str(number)}
        assert server.stats.calls_refused < 2000
