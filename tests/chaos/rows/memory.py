"""Under load memory stays what it was."""

import math
import re
from collections.abc import Iterator
from typing import Final

from tests.chaos.stage import Stage, pause
from tests.chaos.table import Finding

#: How much more may be resident at the end than was after the first tenth.
GROWTH_MAX: Final = 0.1

#: Looks at the daemon's memory.
LOOKS: Final = 10

#: Seconds in which what is bounded fills up: the window of keys takes most of them.
WARM_UP: Final = 60.0


def memory(stage: Stage) -> Iterator[Finding]:
    """What is resident after the load, and after a minute of it, or a tenth where it is short."""
    stage.start()
    step = stage.scale.memory_seconds / LOOKS
    resident: list[int] = []
    with stage.load(pace=0.02) as load:
        for _ in range(LOOKS):
            pause(step)
            resident.append(_resident(stage))
    judgement = stage.judge(load, strict=True)
    growth = resident[-1] / resident[first_look(stage.scale.memory_seconds)] - 1
    losses = [str(each) for each in judgement.losses]
    if growth > GROWTH_MAX:
        losses.append(f"memory grew by {growth:.0%}: {[kib // 1024 for kib in resident]} MiB")
    yield Finding(
        "memory",
        f"{stage.scale.memory_seconds:g} s of load",
        f"RSS after each tenth {', '.join(f'{kib / 1024:.1f}' for kib in resident)} MiB: {growth:+.1%}; "
        f"{judgement.figures()}",
        tuple(losses),
        judgement.longest,
    )


def first_look(seconds: float) -> int:
    """Which of the looks in so many seconds is the one that the last is compared with."""
    return math.ceil(WARM_UP * LOOKS / seconds) - 1 if seconds >= 2 * WARM_UP else 0


def _resident(stage: Stage) -> int:
    """KiB of the daemon."""
    status = stage.guest.path(f"/proc/{stage.pid}/status").read_text()
    (found,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found)
