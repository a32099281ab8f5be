"""What malloc does with large buffers.

glibc takes memory for a large one from the kernel and gives it back with each free: a fault and a page of zeros for every
4 KiB, which costs more than all else that is done with a large message. What counts as large it learns from what is freed
(M_MMAP_THRESHOLD in mallopt(3)), up to 32 MiB.
"""

from functools import cache
from typing import Final

#: Bytes up to which freed buffers are used again. What is free at the end of the heap goes back to the kernel when it is
#: twice as much, so this is also what a process keeps after a large message; a larger one costs more than its faults.
REUSED_MAX: Final = 8 * 1024 * 1024


@cache
def reuse_large_buffers() -> None:
    """Teach malloc so, once: a few microseconds, and no memory, since what is only zeros was never touched."""
    bytes(REUSED_MAX)
