"""Targets and their verdicts, and the page that they end up on."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import PAGE, main, parser, plan_of
from tests.bench.matrix import FEW, REFERENCE, SCENARIOS, SYSTEMS, VARIANTS
from tests.bench.picture import bars_of, targets_of
from tests.bench.report import BEGIN, END, compare, markdown, number, publish
from tests.bench.running import MORE_ROUNDS
from tests.bench.runs import a_run, cell, rounds
from tests.bench.targets import TARGETS, Target, judge

AT_LEAST = Target("s", "t", ("sequential", "superd"), ">=", 0.6, ("sequential", REFERENCE))
AT_MOST = Target("s", "t", ("connects", "superd"), "<=", 1.4, ("connects", REFERENCE))


@pytest.mark.parametrize(
    ("target", "figure", "verdict"),
    [
        (AT_LEAST, 59, "missed"),
        (AT_LEAST, 60, "met"),
        (AT_LEAST, 61, "met"),
        (AT_MOST, 139, "met"),
        (AT_MOST, 140, "met"),
        (AT_MOST, 141, "missed"),
    ],
)
def test_met_and_missed(target: Target, figure: int, verdict: str) -> None:
    of_superd, of_reference = cell(figure), cell(100)
    if target is AT_MOST:  # a time
        of_superd, of_reference = cell(1, seconds=figure), cell(1, seconds=100)
    found = {"superd": of_superd, REFERENCE: of_reference}
    run = a_run(sequential=rounds(found), connects=rounds(found))
    [judgement] = judge(run, [target])
    assert judgement.verdict == verdict
    assert judgement.found is not None
    assert judgement.found.middle == pytest.approx(figure / 100)


def test_no_verdict_by_cells_that_do_not_count() -> None:
    run = a_run(sequential=rounds({"superd": cell(99), REFERENCE: cell(100)}, disturbed=[0]))
    [judgement] = judge(run, [AT_LEAST])
    why = "superd was disturbed in each round of sequential"
    assert (judgement.verdict, judgement.why) == ("not judged", why)
    assert judgement.found is not None


def test_no_verdict_without_a_round_in_which_both_count() -> None:
    quiet, noisy = cell(100), cell(100) | {"disturbed": "by somebody"}
    run = a_run(sequential=rounds({"superd": quiet, REFERENCE: noisy}, {"superd": noisy, REFERENCE: quiet}))
    [judgement] = judge(run, [AT_LEAST])
    assert (judgement.verdict, judgement.why) == ("not judged", "there is no round in which both count")


def test_no_verdict_without_a_figure() -> None:
    [failed] = judge(
        a_run(sequential=rounds({"superd": {"failed": "it\nbroke"}, REFERENCE: cell(1)})), [AT_LEAST]
    )
    assert (failed.verdict, failed.why) == ("not judged", "superd: FAILED: broke")
    [absent] = judge(a_run(), [AT_LEAST])
    assert (absent.verdict, absent.why) == ("not judged", "superd was not measured in sequential")


@pytest.mark.parametrize(("more", "verdict"), [(-1.0, "met"), (0.2, "met"), (0.21, "missed")])
def test_nothing_against_nothing_is_judged_by_its_difference(more: float, verdict: str) -> None:
    def using(milliseconds: float) -> dict[str, Any]:
        return cell(1) | {"client_cpu": 0.0, "server_cpu": milliseconds / 1000}

    target = Target("s", "t", ("paced-0", "superd-low"), "<=", 0.2, ("paced-0", "superd"), difference=True)
    run = a_run(paced_0=rounds({"superd": using(1.0), "superd-low": using(1.0 + more)}))
    [judgement] = judge(run, [target])
    assert judgement.found is not None
    assert judgement.found.middle == pytest.approx(more)
    assert judgement.verdict == verdict


def test_a_target_may_be_of_some_versions_of_python() -> None:
    of_311, of_later = AT_LEAST._replace(pythons=(11,)), AT_LEAST._replace(pythons=(12, 13))
    run = a_run()
    assert [each.target for each in judge(run, [AT_MOST, of_311, of_later])] == [AT_MOST, of_311]
    run["machine"]["python"] = "CPython 3.13.0"
    assert [each.target for each in judge(run, [of_311, of_later])] == [of_later]


def test_every_target_is_of_something_that_is_measured() -> None:
    for target in TARGETS:
        for place in filter(None, (target.left, target.right)):
            key, system = place
            assert system in SCENARIOS[SCENARIOS[key].same_as or key].systems, target


def test_every_scenario_is_of_systems_that_there_are() -> None:
    known = {*SYSTEMS, *VARIANTS}
    for scenario in SCENARIOS.values():
        assert set(scenario.systems) <= known
        assert set(scenario.quick) <= set(scenario.systems), scenario.key
    assert set(FEW) <= set(SYSTEMS)


def test_the_report_shows_each_target_each_cell_and_what_was_thrown_away() -> None:
    found = {"superd": cell(50), REFERENCE: cell(100), "Pyro5": {"cannot": "no such thing"}}
    text = markdown(a_run(sequential=rounds(found, found, disturbed=[1])))
    assert "| not judged: superd-async was not measured in sequential |" in text
    assert "| sequential, blocking client | ≥ 0.6 × raw-uvloop | 0.5 | 0.5-0.5 | **missed** |" in text
    assert "| superd | 50 (0.5) |" in text
    assert "| Pyro5 | – |" in text
    assert "* Pyro5: no such thing (sequential)" in text
    assert "Of 4 measured cells 2 were disturbed" in text
    assert "* sequential: 0 again, 2 left; raw-uvloop: by somebody" in text


def test_bars_are_ratios_where_there_is_something_to_be_a_ratio_of() -> None:
    run = a_run(
        sequential=rounds({"superd": cell(50), REFERENCE: cell(100), "rpyc": cell(200)}),
        stream=rounds({"superd": cell(50) | {"disturbed": "by somebody"}}),
    )
    assert bars_of(run, SCENARIOS["sequential"]) == [
        ("rpyc", 2.0, "2  (200)"),
        (REFERENCE, 1.0, "1  (100)"),
        ("superd", 0.5, "0.5  (50)"),
    ]
    assert bars_of(run, SCENARIOS["stream"]) == [("superd", 50.0, "50 calls/s ~")]
    assert bars_of(run, SCENARIOS["echo-1m"]) == []


def test_the_picture_shows_superds_targets_against_the_reference() -> None:
    assert targets_of(SCENARIOS["sequential"]) == [0.6, 0.52]
    assert targets_of(SCENARIOS["stream"]) == []


def test_a_saved_run_is_compared_by_ratios() -> None:
    then = a_run(sequential=rounds({"superd": cell(50), REFERENCE: cell(100)}))
    now = a_run(sequential=rounds({"superd": cell(120), REFERENCE: cell(200)}))
    assert "| sequential | superd | 0.5 | 0.6 | +20% |" in compare(now, json.loads(json.dumps(then)))
    assert "nothing to compare" in compare(now, a_run())


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.01234, "0.0123"), (9.876, "9.88"), (99.96, "100"), (12345.6, "12,346")]
)
def test_a_figure_has_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_publishing_changes_the_report_alone() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = publish(page, "new\n")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert publish(once, "new\n") == once
    with pytest.raises(ValueError, match="no place"):
        publish("before", "new")


def test_the_page_has_a_place_for_the_report() -> None:
    assert publish(PAGE.read_text("utf-8"), "| no page has this |\n").count("| no page has this |") == 1


def test_the_command_line() -> None:
    full = plan_of(parser().parse_args([]))
    assert (full.rounds, full.more, full.quick) == (5, MORE_ROUNDS, False)
    assert {each.key for each in full.scenarios} == {k for k, s in SCENARIOS.items() if not s.same_as}
    words = ["--quick", "--only", "sequential", "--systems", "superd,raw-uvloop", "--rounds", "2"]
    quick = plan_of(parser().parse_args(words))
    assert (quick.rounds, quick.more, quick.quick) == (2, 0, True)
    assert [quick.of(each) for each in quick.scenarios] == [["raw-uvloop", "superd", "superd-async"]]


def test_a_full_run_takes_less_than_25_minutes_and_a_quick_one_less_than_three_minutes() -> None:
    """By the forecast, which is checked against nothing but experience."""
    minutes = {words: plan_of(parser().parse_args(words)).forecast()[1] / 60 for words in ((), ("--quick",))}
    assert minutes[()] < 25
    assert minutes["--quick",] < 3


def test_who_is_in_no_target_is_measured_in_every_other_round() -> None:
    plan = plan_of(parser().parse_args([]))
    first, second = (plan.of(SCENARIOS["in-flight"], number) for number in (0, 1))
    assert set(second) < set(first) == set(SYSTEMS)
    assert set(second) == {"raw-uvloop", "superd-aio", "multiprocessing", "dbus-fast/broker", "grpc.aio"}


@pytest.mark.parametrize(
    "words", [["--systems", "corba"], ["--only", "nothing"], ["--rounds", "0"], ["--publish", "--quick"]]
)
def test_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_no_peer_is_needed_to_read_a_run() -> None:
    """The modules of the peers are imported by the processes of their cells alone."""
    for path in Path(__file__).parent.glob("*.py"):
        assert "from tests.bench.systems" not in path.read_text("utf-8") or path.name.startswith("test_"), (
            path
        )
