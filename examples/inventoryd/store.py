"""The shelf: an SQLite file. It knows SQL and the models, nothing of calls.

One connection and one lock: SQLite admits one writer at a time anyway, and handlers come from several threads.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from inventoryd.api import Item

#: Marks the file as ours ("invt"), so that a mistaken path does not add our tables to another program's database.
APPLICATION_ID: Final = 0x696E7674

#: Entry N brings a file from schema version N to N + 1. Never change one that was released: add another.
MIGRATIONS: Final = (
    """
    CREATE TABLE item (
        sku      TEXT    NOT NULL PRIMARY KEY,
        name     TEXT    NOT NULL,
        quantity INTEGER NOT NULL CHECK (quantity >= 0)
    ) STRICT, WITHOUT ROWID
    """,
)
SCHEMA_VERSION: Final = len(MIGRATIONS)

#: Seconds to wait for another process that writes to the file, such as a backup or sqlite3(1).
BUSY_TIMEOUT: Final = 5.0


class StoreError(Exception):
    """The store cannot be opened; the text names the path and says why."""


class NoSuchItem(LookupError):
    """There is no item of this sku."""


class NotEnough(Exception):
    """There are only `available`; nothing was taken."""

    def __init__(self, available: int) -> None:
        super().__init__(f"only {available} there")
        self.available: Final = available


class Store:
    """The items of one file, made if it is not there. Its methods block, and may be called from any thread.

    What a method returned is on the disk. Raises StoreError if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path,
                timeout=BUSY_TIMEOUT,
                isolation_level=None,  # transactions are begun here, not by the module
                check_same_thread=False,  # the lock sees to it
            )
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise StoreError(f"{path}: {error}") from error
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; waits for a running method. Closing twice does nothing."""
        with self._lock:
            self._connection.close()

    def get(self, sku: str) -> Item:
        """Return the item; raises NoSuchItem."""
        with self._lock:
            return self._read(sku)

    def add(self, sku: str, quantity: int, name: str | None = None) -> Item:
        """Put `quantity` on the shelf and return what is there now."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO item (sku, name, quantity) VALUES (:sku, coalesce(:name, :sku), :quantity)"
                " ON CONFLICT (sku) DO UPDATE"
                " SET name = coalesce(:name, name), quantity = quantity + excluded.quantity",
                {"sku": sku, "name": name, "quantity": quantity},
            )
            return self._read(sku)

    def take(self, sku: str, quantity: int) -> Item:
        """Take all of `quantity` or nothing, and return what is left; raises NoSuchItem, NotEnough."""
        with self._transaction():
            there = self._read(sku)
            if there.quantity < quantity:
                raise NotEnough(there.quantity)
            self._connection.execute("UPDATE item SET quantity = quantity - ? WHERE sku = ?", (quantity, sku))
            return self._read(sku)

    def _read(self, sku: str) -> Item:
        row = self._connection.execute(
            "SELECT sku, name, quantity FROM item WHERE sku = ?", (sku,)
        ).fetchone()
        if row is None:
            raise NoSuchItem(sku)
        return Item(sku=row[0], name=row[1], quantity=row[2])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. IMMEDIATE, since a reader that turns writer would fail where another process wrote meanwhile."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:  # an exception, or a COMMIT that failed
                    self._connection.execute("ROLLBACK")

    def _prepare(self) -> None:
        """Bring the file to this version's schema, and set the connection up. Another program's file stays as it is."""
        with self._transaction():
            self._check_owner()
            version = self._pragma("user_version")
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path} has schema version {version}; this inventoryd knows {SCHEMA_VERSION} at most"
                )
            for migration in MIGRATIONS[version:]:
                self._connection.execute(migration)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        # Readers do not wait for a writer, and a commit is one fsync of the log. FULL: a reply must outlive a power cut.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")

    def _check_owner(self) -> None:
        """Take an empty file over; refuse another program's."""
        owner = self._pragma("application_id")
        if owner == APPLICATION_ID:
            return
        tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if owner or tables:
            raise StoreError(f"{self.path} is a database of another program")
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _pragma(self, name: str) -> int:
        value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value
