"""Time spans as systemd.time(7) writes them, for settings and for superctl."""

import math
import re
from collections.abc import Mapping
from typing import Final

_SECONDS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("usec", "us", "µs", "μs"), 1e-6),
    **dict.fromkeys(("msec", "ms"), 1e-3),
    **dict.fromkeys(("", "seconds", "second", "sec", "s"), 1.0),
    **dict.fromkeys(("minutes", "minute", "min", "m"), 60.0),
    **dict.fromkeys(("hours", "hour", "hr", "h"), 3600.0),
    **dict.fromkeys(("days", "day", "d"), 86_400.0),
    **dict.fromkeys(("weeks", "week", "w"), 604_800.0),
    **dict.fromkeys(("months", "month", "M"), 30.44 * 86_400),
    **dict.fromkeys(("years", "year", "y"), 365.25 * 86_400),
}
_PART: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Zµμ]*)\s*", re.ASCII)

_UNITS: Final = (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000))


def parse_span(text: str) -> float:
    """Seconds of "2.5", "500ms" or "1min 30s"; raises ValueError."""
    total, position = 0.0, 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None or match[2] not in _SECONDS:
            break
        total += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if not text.strip() or position < len(text) or not math.isfinite(total):
        raise ValueError(f"{text!r} is not a time span: write seconds, or one such as 500ms or '1min 30s'")
    return total


def format_span(usec: int) -> str:
    """The two largest units of a number of microseconds, for people: "2h 3min", "4.2ms"."""
    if usec < 1_000:
        return f"{usec}us"
    if usec < 1_000_000:
        return f"{usec / 1_000:.1f}ms"
    parts: list[str] = []
    for unit, size in _UNITS:
        count, usec = divmod(usec, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)
