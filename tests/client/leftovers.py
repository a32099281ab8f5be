"""What a client could leave behind in its process."""

import os
import threading
from pathlib import Path


def leftovers() -> set[str]:
    """The threads, the open descriptors and the children of this process."""
    found = {f"thread {thread.name}" for thread in threading.enumerate()}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"descriptor {entry.name} {entry.readlink()}")
        except FileNotFoundError:  # that of the listing itself
            continue
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    return found | {f"child {pid}" for pid in children.read_text().split()}
