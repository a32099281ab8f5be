"""A run as Markdown: every target with its verdict, the whole table, and what was thrown away."""

from collections.abc import Iterator, Sequence

from tests.bench.judging import (
    Run,
    failures,
    figures,
    is_quiet,
    ratio_to_reference,
    reason,
    rounds_of,
    summarise,
    thrown_away,
    waits,
)
from tests.bench.matrix import SCENARIOS, SYSTEMS, VARIANTS, Scenario
from tests.bench.targets import Judgement, judge

#: Columns of one table: more do not fit a page.
_COLUMNS = 5


def markdown(run: Run) -> str:
    """The whole report."""
    parts = [_how(run), _targets(judge(run)), *_tables(run), _empty(run), _thrown_away(run), _failed(run)]
    return "\n".join(part for part in parts if part)


def _how(run: Run) -> str:
    rows = "".join(f"| {name} | {value} |\n" for name, value in run["machine"].items())
    rounds = [len(rounds_of(run, key)) for key in run["scenarios"]]
    took = f", in {run['minutes']:.0f} minutes" if "minutes" in run else ""
    return (
        f"Made by `{run['command']}`{_on(run)}{took}. Rounds: {min(rounds)} to {max(rounds)} of each scenario.\n\n"
        f"| machine | |\n|---|---|\n{rows}\n| package | version |\n|---|---|\n"
        + "".join(f"| {name} | {version} |\n" for name, version in run["versions"].items())
    )


def _on(run: Run) -> str:
    return f" on {run['date']}" if "date" in run else ""


def _targets(judgements: Sequence[Judgement]) -> str:
    lines = ["### Targets\n", "| scenario | target | figure | from-to | verdict |", "|---|---|---|---|---|"]
    for target, verdict, found, why in judgements:
        figure = number(found.middle) if found else "–"
        spread = f"{number(found.least)}-{number(found.most)}" if found else "–"
        says = f"{verdict}: {why}" if why else f"**{verdict}**" if verdict == "missed" else verdict
        lines.append(f"| {target.scenario} | {target.text} | {figure} | {spread} | {says} |")
    return "\n".join(lines) + "\n"


def _tables(run: Run) -> Iterator[str]:
    """Some columns each; in each cell the median, its ratio to raw-uvloop, and the spread."""
    keys = [key for key in SCENARIOS if rounds_of(run, key)]
    for first in range(0, len(keys), _COLUMNS):
        yield _table(run, [SCENARIOS[key] for key in keys[first : first + _COLUMNS]])


def _table(run: Run, scenarios: Sequence[Scenario]) -> str:
    heads = [f"{each.title}, {each.unit}" for each in scenarios]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in (*SYSTEMS, *VARIANTS):
        cells = [_cell(run, each, name) for each in scenarios]
        if any(cell != "" for cell in cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(run: Run, scenario: Scenario, name: str) -> str:
    found = summarise(list(figures(run, scenario.key, name).values()))
    if found is None:
        why = reason(run, scenario.key, name)
        return ("!" if why.startswith("FAILED") else "–") if why else ""
    against = ratio_to_reference(run, scenario.key, name)
    ratio = f" ({number(against.middle)})" if against else ""
    spread = f" ±{found.spread / 2:.0%}" if found.rounds > 1 else ""
    marks = (" w" if waits(run, scenario.key, name) else "") + (
        "" if is_quiet(run, scenario.key, name) else " ~"
    )
    return number(found.middle) + ratio + spread + marks


def number(value: float) -> str:
    """A figure with as many digits as mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _empty(run: Run) -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for key in run["scenarios"]:
        for name in (*SYSTEMS, *VARIANTS):
            why = reason(run, key, name)
            if why and not why.startswith("FAILED"):
                reasons.setdefault((name, why), []).append(SCENARIOS[key].title)
    lines = [f"* {name}: {why} ({', '.join(titles)})" for (name, why), titles in reasons.items()]
    return "Empty cells (–):\n\n" + "\n".join(lines) + "\n" if lines else ""


def _thrown_away(run: Run) -> str:
    thrown = {key: thrown_away(run, key) for key in run["scenarios"]}
    tries, away, left = (
        sum(getattr(each, name) for each in thrown.values()) for name in ("tries", "away", "left")
    )
    if not away + left:
        return f"None of {tries} cells was thrown away: nothing else used the machine.\n"
    head = (
        f"Of {tries} measured cells {away + left} were disturbed, because something else used the machine. {away} were measured"
        f" again at once; {left} stayed disturbed, and count nowhere. Where a figure has no other cells it is marked ~, is for a"
        " look, and judged by nothing."
    )
    lines = [
        f"* {SCENARIOS[key].title}: {each.away} again, {each.left} left"
        + (f"; {each.worst}" if each.worst else "")
        for key, each in thrown.items()
        if each.away + each.left
    ]
    return f"{head}\n\n" + "\n".join(lines) + "\n"


def _failed(run: Run) -> str:
    lines = failures(run)
    return "**Failed (!):**\n\n" + "\n".join(f"* {line}" for line in lines) + "\n" if lines else ""


def compare(run: Run, saved: Run) -> str:
    """What changed against a saved run, as ratios to raw-uvloop in each: machines differ, and days do."""
    lines = []
    for key in run["scenarios"]:
        for name in SYSTEMS:
            now = ratio_to_reference(run, key, name)
            then = ratio_to_reference(saved, key, name) if key in saved["scenarios"] else None
            if now and then and then.middle and name.startswith("superd"):
                sure = "" if is_quiet(run, key, name) and is_quiet(saved, key, name) else " ~"
                change = now.middle / then.middle - 1
                lines.append(
                    f"| {SCENARIOS[key].title} | {name} | {number(then.middle)} | {number(now.middle)} | {change:+.0%}{sure} |"
                )
    head = "### Against the saved run\n\n| scenario | | then | now | change |\n|---|---|---|---|---|\n"
    return head + "\n".join(lines) + "\n" if lines else "The saved run has nothing to compare with.\n"


#: Between these lines of the page stands what a command wrote.
BEGIN = "<!-- make bench PUBLISH=1 wrote this -->"
END = "<!-- to here -->"


def publish(page: str, text: str) -> str:
    """The page with the report in its place; raises ValueError for a page without one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        message = f"the page has no place for the report: {BEGIN} ... {END}"
        raise ValueError(message)
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"
