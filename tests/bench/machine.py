"""What the kernel says of processes and of the machine: processor time, memory, wake-ups, and who else runs."""

import os
import platform
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")

#: Of a line of /proc/stat, what is busy: user, nice, system, irq, softirq, steal. Guests are in user already (proc(5)).
_BUSY: Final = (0, 1, 2, 5, 6, 7)
_STOLEN: Final = 7

#: clock_getcpuclockid(3) of another process: its number, inverted, and CPUCLOCK_SCHED.
_CPUCLOCK_SCHED: Final = 2


class Used(NamedTuple):
    """Processor time since the start of the machine, in seconds: of all processors and everybody, what a hypervisor stole
    included; and that part alone.
    """

    busy: float
    stolen: float


def processors_used(stat: str | None = None) -> Used:
    """What /proc/stat counts, in ticks."""
    line = (Path("/proc/stat").read_text("ascii") if stat is None else stat).partition("\n")[0]
    fields = line.split()[1:]
    return Used(sum(int(fields[place]) for place in _BUSY) * _TICK, int(fields[_STOLEN]) * _TICK)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process with all its threads: what getrusage(2) adds up, in nanoseconds and from outside."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


def family(pids: Iterable[int]) -> list[int]:
    """These processes and all that descend from them."""
    found = []
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            waiting += map(int, children.read_text("ascii").split())
    return found


def private_bytes(pid: int) -> int:
    """User memory that is the process's own."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    return 1024 * sum(map(int, re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.MULTILINE)))


def resident_bytes(pid: int) -> int:
    """The resident set, with what is shared."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def wakeups(pid: int) -> int:
    """How often its threads have gone to sleep, and so been woken, up to now."""
    texts = [each.read_text("ascii") for each in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in texts)


def describe() -> dict[str, str]:
    """The machine, as far as figures depend on it; nothing that names it."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    memory = re.search(r"^MemTotal: +(\d+)", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
    flags = Path("/proc/cpuinfo").read_text("utf-8")
    return {
        "processors": f"{os.cpu_count()} × {model[1] if model else platform.machine()}",
        "virtual": "yes" if " hypervisor" in flags else "no",
        "memory": f"{int(memory[1]) / 1024 / 1024:.0f} GiB" if memory else "unknown",
        "kernel": platform.release().partition("-")[0],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libc": " ".join(platform.libc_ver()),
    }
