"""Large buffers are used again by malloc."""

import subprocess
import sys
from typing import Final

import pytest

#: Prints how many pages the kernel had to give for 100 buffers of 1 MiB, one after the other: 256 for each new one.
FAULTS: Final = """
import resource
from superd_client.heap import reuse_large_buffers
{before}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(100):
    kept = [b"x" * (1 << 20) for _ in range(4)]
    del kept
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_buffers_are_used_again() -> None:
    code = FAULTS.format(before="reuse_large_buffers()")
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(found.stdout) < 10 * 4 * 256


def test_to_say_so_costs_no_memory() -> None:
    code = (
        "import resource; from superd_client.heap import reuse_large_buffers\n"
        "def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = most(); reuse_large_buffers(); print(most() - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(found.stdout) < 1024  # KiB; 8 MiB were asked for
