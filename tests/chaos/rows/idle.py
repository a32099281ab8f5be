"""An idle superd ends while peers come, again and again: none of them is lost."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Final

from superd.journal import MessageId
from tests.chaos.stage import SERVICES, Stage
from tests.chaos.table import Finding
from tests.system.guest import now

#: Peers who come at about the same time, one of whom finds the exit at each of its steps.
AT_ONCE: Final = 40

#: Seconds for a round: superd is idle for one, and starts.
ROUND_PATIENCE: Final = 10


def idle(stage: Stage) -> Iterator[Finding]:
    """Peers that try nothing twice, at the moment when superd goes."""
    stage.stop()
    stage.guest.write("/etc/superd/superd.d/90-test.toml", 'idle_exit = "1s"\n')
    stage.guest.systemctl("start", "superd.socket")
    since, rounds = now(), stage.scale.idle_rounds
    program = f"{SERVICES}/tests/system/inside/racing.py"
    seed = str(stage.random("idle").getrandbits(32))
    command = ["/usr/bin/python3", "-I", program, str(rounds), str(AT_ONCE), seed]
    outcomes = Counter[str](json.loads(stage.guest.exec(*command, timeout=rounds * ROUND_PATIENCE).stdout))
    stage.guest.wait_for_state("superd.service", "inactive")
    exits = len(stage.guest.journal(f"MESSAGE_ID={MessageId.IDLE_EXIT}", since=since))
    answered = outcomes.pop("answered", 0)
    losses = [f"{count} x {outcome}" for outcome, count in outcomes.items()]
    yield Finding(
        "idle exit",
        f"{rounds * AT_ONCE:,} peers without a retry, {AT_ONCE} at once, as superd goes",
        f"{exits:,} exits; {answered:,} answered",
        tuple(losses),
    )
