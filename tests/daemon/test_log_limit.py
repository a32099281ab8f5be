"""Log lines that one user may cause."""

import asyncio

import pytest

from superd.log_limit import LINES_MAX, LogLimit
from superd.quota import Quotas, Totals
from superd.stats import Stats
from tests.daemon.logs import Changes, captured_logs
from tests.daemon.raw import frame
from tests.daemon.running import LoopFactory, running_server


@pytest.mark.parametrize("count", [LINES_MAX - 1, LINES_MAX, LINES_MAX + 1, 3 * LINES_MAX])
def test_so_many_lines_in_a_window(count: int) -> None:
    async def main() -> None:
        stats = Stats()
        limit = LogLimit(stats)
        with captured_logs(Changes()) as logs:
            allowed = [limit.allows(1000) for _ in range(count)]
            assert limit.allows(1001), "of another user nothing is left out"
            limit.end_window()
            left_out = max(0, count - LINES_MAX)
            assert allowed == [True] * (count - left_out) + [False] * left_out
            assert stats.log_lines_left_out == left_out
            assert [(line["peer_uid"], line["lines"]) for line in logs.lines] == [(1000, left_out)] * bool(
                left_out
            )
            assert limit.allows(1000), "a new window"
            limit.end_window()
            assert len(logs.lines) == bool(left_out)

    asyncio.run(main())


def test_errors_are_counted_apart_and_some_users_not_at_all() -> None:
    async def main() -> None:
        limit = LogLimit(Stats(), trusted=[0])
        with captured_logs(Changes()) as logs:
            assert all(limit.allows(0) for _ in range(10 * LINES_MAX))
            assert [limit.allows(1000) for _ in range(2 * LINES_MAX)].count(True) == LINES_MAX
            assert [limit.allows(1000, error=True) for _ in range(LINES_MAX + 1)] == [True] * LINES_MAX + [
                False
            ]
            limit.end_window()
            assert [line["lines"] for line in logs.lines] == [LINES_MAX, 1]

    asyncio.run(main())


def test_a_window_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superd.log_limit.WINDOW", 0.01)
    with captured_logs(Changes()) as logs:

        async def main() -> None:
            limit = LogLimit(Stats())
            for _ in range(LINES_MAX + 5):
                limit.allows(1000)
            await asyncio.to_thread(logs.wait, 1, event="log lines were left out", lines=5)

        asyncio.run(main())


def test_refusals_beyond_the_limit_are_answered_and_counted(loop_factory: LoopFactory) -> None:
    nobody_trusted = Quotas(Totals(), privileged=())
    with running_server(loop=loop_factory, quotas=nobody_trusted) as server, server.client() as client:
        client.send_raw(frame(b"{}") * 200)
        assert [client.receive()["error"]["code"] for _ in range(200)] == [-32600] * 200
        assert server.stats.calls_refused == 200
        lines = len(server.logs.about(event="call refused"))
        assert lines + server.stats.log_lines_left_out == 200
        assert LINES_MAX <= lines <= 3 * LINES_MAX, "the windows of the seconds that it took"


def test_of_root_every_line_is_written() -> None:
    limit = LogLimit(stats := Stats(), trusted={0})
    assert all(limit.allows(0) for _ in range(2 * LINES_MAX))
    assert stats.log_lines_left_out == 0
