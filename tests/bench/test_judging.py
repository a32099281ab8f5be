"""The programme's own judgement: which rounds count, and what is made of them."""

from typing import Any

import pytest

from tests.bench.judging import (
    failures,
    figures,
    is_quiet,
    ratio_to_reference,
    ratios,
    reason,
    summarise,
    thrown_away,
    waits,
)
from tests.bench.running import FOREIGN_GRAIN, FOREIGN_MAX, Again, disturbance, needs_more, turned
from tests.bench.runs import a_run, cell, rounds


def test_a_summary_is_the_median_and_the_spread() -> None:
    found = summarise([3.0, 1.0, 10.0])
    assert found == (3.0, 1.0, 10.0, 3)
    assert found is not None
    assert found.spread == 3.0
    assert summarise([]) is None


@pytest.mark.parametrize(("over", "counts"), [(-0.001, True), (0.0, True), (0.001, False)])
def test_a_cell_in_which_others_used_the_machine_does_not_count(over: float, counts: bool) -> None:
    foreign = FOREIGN_GRAIN + FOREIGN_MAX + over
    assert (disturbance(cell(10, foreign=round(foreign, 6))) is None) is counts


def test_on_two_cores_the_kernel_only_takes_samples() -> None:
    noisy = cell(10, foreign=FOREIGN_GRAIN + FOREIGN_MAX + 0.001)
    assert disturbance(noisy)
    assert disturbance(noisy, split=True) is None
    assert disturbance(cell(10, foreign=0.5), split=True)


def test_what_a_hypervisor_took_is_said() -> None:
    assert disturbance(cell(1, foreign=0.92)) == "others used 90% of a processor"
    stolen = cell(1, foreign=0.92) | {"stolen": 0.4}
    assert disturbance(stolen) == "others used 90% of a processor, 40% of it other guests of the host"
    assert disturbance({"cannot": "so it is"}) is None


class Tries:
    """Cells that come one after the other, each after ten seconds."""

    def __init__(self, *foreign: float) -> None:
        self.now = 0.0
        self._cells = [cell(number, foreign=share) for number, share in enumerate(foreign, 1)]

    def __call__(self) -> dict[str, Any]:
        self.now += 10
        return self._cells.pop(0)

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("foreign", "seconds", "calls", "thrown", "quiet"),
    [
        ((0, 0), 300, 1, 0, True),
        ((1, 0, 0), 300, 2, 1, True),
        ((1, 1, 1, 0, 0), 300, 4, 3, True),
        ((1, 1, 1, 1, 0), 300, 4, 3, False),  # TRIES
        ((1, 1, 0), 10, 2, 1, False),  # no time is left
        ((1, 1, 0), 11, 3, 2, True),
        ((1, 0), 0, 1, 0, False),
    ],
)
def test_a_disturbed_cell_is_measured_again_at_once_within_bounds(
    foreign: tuple[float, ...], seconds: float, calls: int, thrown: int, quiet: bool
) -> None:
    tries = Tries(*foreign)
    found = Again(seconds, tries.clock).until_quiet(tries, split=False)
    assert found["calls"] == calls
    assert found["thrown_away"] == thrown
    assert (found["disturbed"] is None) is quiet


def test_cells_that_do_not_count_are_left_out_and_counted() -> None:
    run = a_run(
        sequential=rounds({"superd": cell(10)}, {"superd": cell(90)}, {"superd": cell(20)}, disturbed=[1])
    )
    assert figures(run, "sequential", "superd") == {0: 10, 2: 20}
    assert is_quiet(run, "sequential", "superd")
    assert thrown_away(run, "sequential") == (3, 0, 1, "superd: by somebody")


def test_a_disturbed_system_costs_the_others_nothing() -> None:
    noisy = cell(90) | {"disturbed": "by somebody", "thrown_away": 3}
    run = a_run(sequential=rounds({"superd": cell(10), "rpyc": noisy}))
    assert is_quiet(run, "sequential", "superd")
    assert not is_quiet(run, "sequential", "rpyc")
    assert thrown_away(run, "sequential") == (5, 3, 1, "rpyc: by somebody")


def test_rounds_are_added_where_a_system_has_too_few_cells_that_count() -> None:
    def of(disturbed: int) -> list[dict[str, Any]]:
        return rounds(*[{"superd": cell(1)}] * 5, disturbed=range(disturbed))

    assert [needs_more(of(count), 5) for count in range(5)] == [False, False, False, True, True]
    assert needs_more(of(0)[:4], 5)
    assert not needs_more(rounds({}), 1)
    assert needs_more(rounds({"superd": cell(1)}, disturbed=[0]), 1)


def test_where_no_cell_counts_all_are_shown() -> None:
    run = a_run(sequential=rounds({"superd": cell(10)}, disturbed=[0]))
    assert figures(run, "sequential", "superd") == {0: 10}
    assert not is_quiet(run, "sequential", "superd")


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is twice as fast in a round changes no ratio."""
    run = a_run(
        sequential=rounds(
            {"superd": cell(10), "raw-uvloop": cell(20)},
            {"superd": cell(200), "raw-uvloop": cell(400)},
            {"superd": cell(5)},
        )
    )
    found = ratio_to_reference(run, "sequential", "superd")
    assert found == (0.5, 0.5, 0.5, 2)


def test_ratios_between_scenarios_need_a_round_that_counts_in_both() -> None:
    run = a_run(
        in_flight=rounds({"superd-aio": cell(10)}, {"superd-aio": cell(20)}, disturbed=[0]),
        stream=rounds({"superd-aio": cell(30)}, {"superd-aio": cell(50)}),
    )
    assert ratios(run, ("stream", "superd-aio"), ("in-flight", "superd-aio")) == [2.5]


def test_on_one_core_processor_time_counts_and_on_two_the_clock() -> None:
    half_idle = cell(10) | {"client_cpu": 0.25, "server_cpu": 0.25}
    run = a_run(sequential=rounds({"superd": half_idle}), sequential_split=rounds({"superd": half_idle}))
    assert figures(run, "sequential", "superd") == {0: 20}
    assert figures(run, "sequential-split", "superd") == {0: 10}
    assert waits(run, "sequential", "superd")
    assert not waits(run, "sequential-split", "superd")


def test_an_empty_cell_has_its_reason() -> None:
    run = a_run(
        in_flight=rounds(
            {"Pyro5": {"cannot": "one at a time"}, "rpyc": {"failed": "Traceback\n  it broke\n"}}
        )
    )
    assert reason(run, "in-flight", "Pyro5") == "one at a time"
    assert reason(run, "in-flight", "rpyc") == "FAILED:   it broke"
    assert reason(run, "in-flight", "superd") == ""
    assert failures(run) == ["in-flight: rpyc:   it broke"]


def test_each_round_begins_with_another_system() -> None:
    assert ["".join(turned("abc", number)) for number in range(4)] == ["abc", "bca", "cab", "abc"]
    assert list(turned("", 3)) == []
