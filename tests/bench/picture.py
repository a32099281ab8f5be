"""A run as a picture: a panel for each scenario, a bar for each system, on a scale of powers of ten.

Where raw-uvloop did the same, a bar is the ratio to it in the same round, and its absolute figure stands beside it.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.bench.judging import Run, figures, is_quiet, ratio_to_reference, rounds_of, summarise
from tests.bench.matrix import REFERENCE, SCENARIOS, SYSTEMS, VARIANTS, Scenario
from tests.bench.report import number
from tests.bench.targets import TARGETS

_COLORS: Final = {"superd": "#c0392b", REFERENCE: "#2c3e50", "c-pingpong": "#2c3e50"}
_OTHERS: Final = "#a9b4b6"
_TARGET: Final = "#1e8449"

#: Panels beside each other; inches of their width, of a bar, and of what stands around the bars.
_ACROSS: Final = 3
_WIDTH: Final = 6.6
_BAR: Final = 0.24
_AROUND: Final = 1.25

#: Of a panel's width, on its logarithmic scale, what the longest bar leaves free for its label.
_LABEL_SHARE: Final = 0.30

#: A row with fewer bars than this would have a title larger than its contents.
_LEAST_BARS: Final = 4


class Bar(NamedTuple):
    """A system; its length, and what is written beside it."""

    name: str
    length: float
    label: str


def draw(run: Run, path: Path) -> None:
    """Write a PNG; raises ImportError where matplotlib is not installed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [(each, bars) for each in SCENARIOS.values() if (bars := bars_of(run, each))]
    # Panels of a height stand beside each other.
    shown.sort(key=lambda panel: -max(_LEAST_BARS, len(panel[1])))
    rows = [shown[first : first + _ACROSS] for first in range(0, len(shown), _ACROSS)]
    heights = [max(_LEAST_BARS, *(len(bars) for _, bars in row)) * _BAR + _AROUND for row in rows]
    figure, panels = plt.subplots(
        max(1, len(rows)),
        _ACROSS,
        figsize=(_WIDTH * _ACROSS, sum(heights) + 1),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights or [1]},
    )
    for panel in panels.flat:
        panel.set_axis_off()
    for row, line in zip(rows, panels, strict=False):
        for (scenario, bars), panel in zip(row, line, strict=False):
            panel.set_axis_on()
            _panel(panel, run, scenario, bars)
            # All bars of a row are of one thickness, at the top of their panels.
            panel.set_ylim(max(_LEAST_BARS, *(len(each) for _, each in row)) - 0.5, -0.5)
    figure.suptitle(
        f"superd (red) beside its peers: ratio to {REFERENCE} (dark) in the same round, and the figure itself\n"
        "logarithmic scales; the dotted lines are superd's targets; ~ was disturbed",
        fontsize=15,
    )
    figure.get_layout_engine().set(hspace=0.04, wspace=0.03)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def bars_of(run: Run, scenario: Scenario) -> list[Bar]:
    """The systems with their figures, the best first."""
    if not rounds_of(run, scenario.key):
        return []
    found = [bar for name in (*SYSTEMS, *VARIANTS) if (bar := _bar(run, scenario, name))]
    return sorted(found, key=lambda bar: bar.length, reverse=scenario.unit == "calls/s")


def is_relative(run: Run, scenario: Scenario) -> bool:
    """Whether bars are ratios to raw-uvloop: where it was measured, and is not nothing."""
    return bool(summarise([each for each in figures(run, scenario.key, REFERENCE).values() if each]))


def _bar(run: Run, scenario: Scenario, name: str) -> Bar | None:
    found = summarise(list(figures(run, scenario.key, name).values()))
    if found is None:
        return None
    quiet = "" if is_quiet(run, scenario.key, name) else " ~"
    if not is_relative(run, scenario):
        return Bar(name, found.middle, f"{number(found.middle)} {scenario.unit}{quiet}")
    ratio = ratio_to_reference(run, scenario.key, name)
    if ratio is None:
        return None
    return Bar(name, ratio.middle, f"{number(ratio.middle)}  ({number(found.middle)}){quiet}")


def _panel(panel: Any, run: Run, scenario: Scenario, bars: list[Bar]) -> None:
    lengths = [bar.length for bar in bars]
    colors = [_COLORS.get("superd" if bar.name.startswith("superd") else bar.name, _OTHERS) for bar in bars]
    drawn = panel.barh([bar.name for bar in bars], lengths, color=colors, height=0.72)
    labels = panel.bar_label(drawn, [bar.label for bar in bars], padding=3, fontsize=8)
    for label in labels:  # legible where a target's line goes through it
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.5})
    relative = is_relative(run, scenario)
    targets = targets_of(scenario) if relative else []
    _scale(panel, [*lengths, *targets])
    for target in targets:
        panel.axvline(target, color=_TARGET, linestyle=":", linewidth=1.6)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    better = "more is better" if scenario.unit == "calls/s" else "less is better"
    what = f"ratio to {REFERENCE} ({scenario.unit})" if relative else scenario.unit
    panel.set_title(f"{scenario.title}\n{what}; {better}", fontsize=10)


def _scale(panel: Any, lengths: list[float]) -> None:
    """Powers of ten, with room for labels at the right; from nothing where something is nothing."""
    least, most = min(lengths), max(lengths)
    if least <= 0:
        panel.set_xlim(0, (most or 1) * 1.6)
        return
    panel.set_xscale("log")
    panel.xaxis.set_minor_formatter("")
    left = least / 2
    panel.set_xlim(left, left * (most / left) ** (1 / (1 - _LABEL_SHARE)))


def targets_of(scenario: Scenario) -> list[float]:
    """What superd is to reach against raw-uvloop."""
    return [
        target.bound
        for target in TARGETS
        if target.left[0] == scenario.key and target.right == (scenario.key, REFERENCE)
    ]
