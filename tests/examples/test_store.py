"""The SQLite store: what it keeps, what it refuses, from several threads and several processes."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from inventoryd.api import Item
from inventoryd.store import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    NoSuchItem,
    NotEnough,
    Store,
    StoreError,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inventory.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_what_was_added_is_there(store: Store) -> None:
    assert store.add("A-1", 3, "hammer") == Item(sku="A-1", name="hammer", quantity=3)
    assert store.get("A-1") == Item(sku="A-1", name="hammer", quantity=3)


def test_deliveries_add_up_and_a_later_name_replaces_the_first(store: Store) -> None:
    assert store.add("A-1", 1) == Item(sku="A-1", name="A-1", quantity=1)
    assert store.add("A-1", 2, "hammer") == Item(sku="A-1", name="hammer", quantity=3)
    assert store.add("A-1", 4) == Item(sku="A-1", name="hammer", quantity=7)


def test_an_item_that_never_came_is_unknown(store: Store) -> None:
    with pytest.raises(NoSuchItem):
        store.get("A-1")
    with pytest.raises(NoSuchItem):
        store.take("A-1", 1)


@pytest.mark.parametrize(("quantity", "left"), [(2, 1), (3, 0)])
def test_taking_leaves_the_rest(store: Store, quantity: int, left: int) -> None:
    store.add("A-1", 3)
    assert store.take("A-1", quantity).quantity == left
    assert store.get("A-1").quantity == left


def test_taking_more_than_there_is_takes_nothing(store: Store) -> None:
    store.add("A-1", 3)
    with pytest.raises(NotEnough, match="only 3 there") as caught:
        store.take("A-1", 4)
    assert caught.value.available == 3
    assert store.get("A-1").quantity == 3
    assert store.take("A-1", 3).quantity == 0  # the store works on after the failure


def test_it_survives_a_restart(path: Path) -> None:
    with Store(path) as store:
        store.add("A-1", 3, "hammer")
    with Store(path) as store:
        assert store.get("A-1") == Item(sku="A-1", name="hammer", quantity=3)


def test_what_a_method_returned_survives_sigkill(path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from inventoryd.store import Store;"
        "Store(Path(sys.argv[1])).add('A-1', 3); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert killed.returncode == -9
    with Store(path) as store:
        assert store.get("A-1").quantity == 3


def test_threads_neither_lose_nor_double(store: Store) -> None:
    threads, rounds = 8, 25
    start = threading.Barrier(threads)

    def work(_: int) -> int:
        start.wait()
        taken = 0
        for _round in range(rounds):
            store.add("A-1", 2)
            taken += 1
            store.take("A-1", 1)
        return taken

    with ThreadPoolExecutor(threads) as pool:
        taken = sum(pool.map(work, range(threads)))
    assert taken == threads * rounds
    assert store.get("A-1").quantity == threads * rounds


def test_the_last_one_is_taken_once(store: Store) -> None:
    store.add("A-1", 1)
    start = threading.Barrier(4)

    def work(_: int) -> bool:
        start.wait()
        try:
            store.take("A-1", 1)
        except NotEnough:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 1


def test_two_processes_may_share_the_file(path: Path, store: Store) -> None:
    with Store(path) as other:
        other.add("A-1", 1)
        store.add("A-1", 1)
        assert other.get("A-1").quantity == 2


def test_the_file_says_whose_it_is_and_which_schema_it_has(path: Path, store: Store) -> None:
    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "user_version") == SCHEMA_VERSION
    assert pragma(path, "journal_mode") == "wal"


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    with Store(path) as store:
        store.add("A-1", 3)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match=f"schema version {SCHEMA_VERSION + 1}"):
        Store(path)
    assert pragma(path, "user_version") == SCHEMA_VERSION + 1


def test_another_programs_database_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE moz_cookies (id INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Store(path)
    assert path.read_bytes() == before


def test_another_application_id_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 1")
    with pytest.raises(StoreError, match="another program"):
        Store(path)


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(path)
    assert path.read_bytes() == b"not a database " * 100


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing/inventory\.db: unable to open"):
        Store(tmp_path / "missing" / "inventory.db")


def test_the_schema_itself_refuses_nonsense(path: Path, store: Store) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for values in ("('A-1', 'hammer', -1)", "('A-1', 'hammer', 'three')", "('A-1', NULL, 1)"):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(f"INSERT INTO item VALUES {values}")


def test_a_closed_store_stays_closed(path: Path) -> None:
    store = Store(path)
    store.close()
    store.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        store.get("A-1")
