"""The programme's own judgement: which rounds count, and what is made of them."""

import pytest

from tests.bench.judging import (
    disturbed,
    failures,
    figures,
    is_quiet,
    ratio_to_reference,
    ratios,
    reason,
    summarise,
    waits,
)
from tests.bench.running import FOREIGN_GRAIN, FOREIGN_MAX, disturbance, needs_more, turned
from tests.bench.runs import a_run, cell, rounds


def test_a_summary_is_the_median_and_the_spread() -> None:
    found = summarise([3.0, 1.0, 10.0])
    assert found == (3.0, 1.0, 10.0, 3)
    assert found is not None
    assert found.spread == 3.0
    assert summarise([]) is None


@pytest.mark.parametrize(("over", "counts"), [(-0.001, True), (0.0, True), (0.001, False)])
def test_a_round_in_which_others_used_the_machine_does_not_count(over: float, counts: bool) -> None:
    foreign = FOREIGN_GRAIN + FOREIGN_MAX + over
    cells = {"superd": cell(10), "raw-uvloop": cell(10, foreign=round(foreign, 6))}
    assert (disturbance(cells) is None) is counts


def test_the_worst_is_named() -> None:
    cells = {"superd": cell(1, foreign=0.5), "rpyc": cell(1, foreign=0.9), "Pyro5": {"cannot": "so it is"}}
    assert disturbance(cells) == "rpyc: others used 88% of a processor"


def test_rounds_that_do_not_count_are_left_out_and_counted() -> None:
    run = a_run(
        sequential=rounds({"superd": cell(10)}, {"superd": cell(90)}, {"superd": cell(20)}, disturbed=[1])
    )
    assert figures(run, "sequential", "superd") == {0: 10, 2: 20}
    assert disturbed(run, "sequential") == ["somebody"]
    assert is_quiet(run, "sequential")


def test_rounds_that_do_not_count_are_done_again() -> None:
    of_three = rounds({}, {}, {}, disturbed=[1])
    assert [needs_more(of_three, wanted) for wanted in (1, 2, 3)] == [False, False, True]
    assert needs_more([], 1)


def test_where_no_round_counts_all_are_shown() -> None:
    run = a_run(sequential=rounds({"superd": cell(10)}, disturbed=[0]))
    assert figures(run, "sequential", "superd") == {0: 10}
    assert not is_quiet(run, "sequential")


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
