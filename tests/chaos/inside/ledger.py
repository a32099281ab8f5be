"""The ledger: one row for each execution of each call, committed before the call can be answered.

SQLite without synchronous writes: what is committed survives the death of the process, and the host does not die here.
"""

import sqlite3
import threading
from pathlib import Path
from typing import Final

EXECUTED: Final = """
CREATE TABLE IF NOT EXISTS executed (
    op INTEGER NOT NULL,
    kind TEXT NOT NULL,
    uid INTEGER NOT NULL,
    pid INTEGER NOT NULL
)
"""


class Ledger:
    """Who carried out what, for whom. For any thread."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it."""
        # No transactions but those of single statements: execute() returns when the row is committed.
        self._connection: Final = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        # KiB: a cache that fills would look like superd's memory growing.
        self._connection.execute("PRAGMA cache_size=-64")
        self._connection.execute(EXECUTED)
        self._lock: Final = threading.Lock()

    def enter(self, op: int, kind: str, uid: int, pid: int) -> None:
        """Commit one execution; raises sqlite3.Error where it could not, and then nothing is entered."""
        with self._lock:
            self._connection.execute("INSERT INTO executed VALUES (?, ?, ?, ?)", (op, kind, uid, pid))

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._connection.close()
