"""The database's writing thread: groups, errors, a disk that is stuck."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from defectseg.line import store as store_module
from defectseg.line.store import Store, StoreError

SCHEMA = "CREATE TABLE IF NOT EXISTS own (value INTEGER);"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    own = Store(tmp_path, SCHEMA)
    yield own
    own.close()


def add(store: Store, value: int, then: Exception | None = None) -> "Future[int]":
    def write(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO own VALUES (?)", (value,))
        if then:
            raise then
        return value

    return store.write(write)


def values(store: Store) -> list[int]:
    return [row["value"] for row in store.read("SELECT value FROM own ORDER BY value")]


def test_what_is_answered_can_be_read(store: Store) -> None:
    assert store.write(lambda connection: 7).result() == 7
    add(store, 1).result()
    assert values(store) == [1]


def test_a_write_that_fails_is_undone_and_costs_no_other(store: Store) -> None:
    blocked = threading.Event()
    store.write(lambda connection: blocked.wait(10))  # so that the next ones are one group
    futures = [add(store, 1), add(store, 2, ValueError("no")), add(store, 3)]
    blocked.set()
    assert futures[0].result() == 1
    with pytest.raises(ValueError, match="no"):
        futures[1].result()
    assert futures[2].result() == 3
    assert values(store) == [1, 3]


def test_an_error_of_the_disk_is_one_of_the_whole_group(store: Store) -> None:
    blocked = threading.Event()
    store.write(lambda connection: blocked.wait(10))
    futures = [add(store, 1), add(store, 2, sqlite3.OperationalError("disk is full"))]
    blocked.set()
    for future in futures:
        with pytest.raises(StoreError, match="disk is full"):
            future.result()
    assert values(store) == []
    assert add(store, 3).result() == 3


def test_a_disk_that_is_stuck_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MOST_WAITING", 2)
    monkeypatch.setattr(store_module, "_WAIT_S", 0.05)
    store = Store(tmp_path, SCHEMA)
    stuck, begun = threading.Event(), threading.Event()

    def hang(connection: sqlite3.Connection) -> None:
        begun.set()
        stuck.wait(10)

    store.write(hang)
    assert begun.wait(10)
    futures = [add(store, 1), add(store, 2)]
    with pytest.raises(StoreError, match="stuck"):
        add(store, 3)
    stuck.set()
    assert [future.result() for future in futures] == [1, 2]
    store.close()


def test_a_query_that_fails_is_an_error_in_words(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        store.read("SELECT * FROM nowhere")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written to"):
        Store(tmp_path / "file" / "station", SCHEMA)
