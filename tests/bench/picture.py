"""A run as a picture: a panel for each scenario, a bar for each system, on a scale of powers of ten."""

from pathlib import Path
from typing import Any, Final

from tests.bench.judging import Run, figures, is_quiet, rounds_of, summarise
from tests.bench.matrix import REFERENCE, SCENARIOS, SYSTEMS, VARIANTS, Scenario
from tests.bench.report import number

_COLORS: Final = {"superd": "#c0392b", REFERENCE: "#2c3e50", "c-pingpong": "#2c3e50"}
_OTHERS: Final = "#95a5a6"

#: Panels beside each other.
_ACROSS: Final = 3


def draw(run: Run, path: Path) -> None:
    """Write a PNG; raises ImportError where matplotlib is not installed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [SCENARIOS[key] for key in SCENARIOS if _bars(run, SCENARIOS[key])]
    down = -(-len(shown) // _ACROSS)
    figure, panels = plt.subplots(down, _ACROSS, figsize=(6.4 * _ACROSS, 4.2 * down), squeeze=False)
    for panel, scenario in zip(panels.flat, shown, strict=False):
        _panel(panel, run, scenario)
    for panel in list(panels.flat)[len(shown) :]:
        panel.set_axis_off()
    figure.suptitle(
        "superd and its peers: red is superd, dark are the references; logarithmic scales", fontsize=16
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _bars(run: Run, scenario: Scenario) -> list[tuple[str, float]]:
    """The systems with their figures, the best first."""
    if not rounds_of(run, scenario.key):
        return []
    found = [
        (name, summary.middle)
        for name in (*SYSTEMS, *VARIANTS)
        if (summary := summarise(list(figures(run, scenario.key, name).values())))
    ]
    return sorted(found, key=lambda bar: bar[1], reverse=scenario.unit == "calls/s")


def _panel(panel: Any, run: Run, scenario: Scenario) -> None:
    bars = _bars(run, scenario)
    names = [name for name, _ in bars]
    values = [value for _, value in bars]
    colors = [_COLORS.get("superd" if name.startswith("superd") else name, _OTHERS) for name in names]
    drawn = panel.barh(names, values, color=colors)
    panel.bar_label(drawn, [number(value) for value in values], padding=3, fontsize=8)
    if min(values) > 0:
        panel.set_xscale("log")
        panel.xaxis.set_minor_formatter("")
        panel.set_xlim(min(values) / 3, max(values) * 4)
    panel.invert_yaxis()
    panel.tick_params(labelsize=8)
    better = "more is better" if scenario.unit == "calls/s" else "less is better"
    quiet = "" if is_quiet(run, scenario.key) else ", disturbed"
    panel.set_title(f"{scenario.title}\n{scenario.unit}, {better}{quiet}", fontsize=10)
