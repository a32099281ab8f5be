"""`systemctl restart` under load, again and again: nobody notices but by a pause."""

from collections.abc import Iterator

from tests.chaos.load import CLIENTS
from tests.chaos.stage import Stage, pause
from tests.chaos.table import Finding


def restarts(stage: Stage) -> Iterator[Finding]:
    """Every call succeeds, once, on the connection that its client has."""
    chance = stage.random("restarts")
    stage.start()
    with stage.load() as load:
        for _ in range(stage.scale.restarts):
            stage.restart()
            pause(chance.uniform(0, 0.5))
    judgement = stage.judge(load, strict=True)
    lost = load.connects - CLIENTS
    losses = [str(each) for each in judgement.losses]
    if lost:
        losses.append(f"{lost} connections lost")
    yield Finding(
        row="restarts",
        done=f"{stage.scale.restarts:,} x systemctl restart under {stage.crowd}",
        figures=f"{judgement.figures()}; {lost:,} connections lost; p99 {judgement.p99 * 1000:.1f} ms",
        losses=tuple(losses),
        pause=judgement.longest,
    )
