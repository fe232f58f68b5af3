"""The station's database: SQLite, written by one thread, in groups that are on disk at once."""

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, TypeVar

from defectseg.errors import DefectsegError
from defectseg.locks import open_locked

DATABASE = "ledger.sqlite"
_LOCK = "station.lock"
_VERSION = 1  # of the tables
_CHECKPOINT_PAGES = 10_000  # of 4 kB
_MOST_AT_ONCE = 64
_MOST_WAITING = 1024
_WAIT_S = 5.0  # for a place among those that wait, where the disk is slow

Result = TypeVar("Result")
Write = Callable[[sqlite3.Connection], Result]


class StoreError(DefectsegError):
    """The database cannot be opened, read or written."""


class Store:
    """A SQLite database in WAL mode, written by one thread of its own.

    Parameters
    ----------
    folder : Path
        Made if need be. One process at a time writes to it.
    schema : str
        Statements that make what is not there yet.

    Raises
    ------
    StoreError
        If the folder cannot be written to, another station is at work in it, or the database is
        damaged.
    """

    def __init__(self, folder: Path, schema: str) -> None:
        self._lock_file = _lock(folder)
        self.path = folder / DATABASE
        try:
            self._connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            # Whoever is answered "recorded" may lose power the next moment.
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("PRAGMA journal_mode=WAL")
            # A checkpoint keeps whoever commits just then waiting: once in some thousand rows.
            self._connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            self._check_version()
            self._connection.executescript(f"{schema}PRAGMA user_version={_VERSION};")
            self._reader, self._urgent_reader = _Reader(self.path), _Reader(self.path)
        except (sqlite3.Error, StoreError) as error:
            self._lock_file.close()
            raise StoreError(f"{self.path} cannot be used: {error}.") from error
        self._waiting: queue.Queue[tuple[Write[Any], Future[Any]] | None]
        self._waiting = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._write_all, name="store", daemon=True)
        self._thread.start()

    def write(self, statements: Write[Result]) -> Future[Result]:
        """Have a function write; its result comes when all that it wrote is on disk.

        Parameters
        ----------
        statements : callable
            Given the connection, in the writing thread, within a transaction. If it raises, what
            it wrote is undone, and the future has the error.

        Raises
        ------
        StoreError
            If so many wait already that the disk must be stuck. From the future, if SQLite fails.
        """
        future: Future[Result] = Future()
        try:
            self._waiting.put((statements, future), timeout=_WAIT_S)
        except queue.Full as error:
            raise StoreError(f"{self.path} is not written any more: the disk is stuck.") from error
        return future

    def read(
        self, query: str, values: Sequence[object] = (), *, urgent: bool = False
    ) -> list[sqlite3.Row]:
        """Return the rows of a query, of what is on disk.

        Parameters
        ----------
        query : str
        values : sequence
        urgent : bool
            Do not wait for those that are not: an inspection does not wait for a page.

        Raises
        ------
        StoreError
        """
        try:
            return (self._urgent_reader if urgent else self._reader).read(query, values)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {error}.") from error

    def close(self) -> None:
        """Write what waits, and close."""
        self._waiting.put(None)
        self._thread.join()
        self._reader.close()
        self._urgent_reader.close()
        self._connection.close()
        self._lock_file.close()

    def _check_version(self) -> None:
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found not in (0, _VERSION):
            raise StoreError(
                f"it is of version {found}, this defectseg writes {_VERSION}; name another folder "
                "for the station, or go on with the defectseg that made it"
            )

    def _write_all(self) -> None:
        ending = False
        while not ending:
            group = [self._waiting.get()]
            while len(group) < _MOST_AT_ONCE and not self._waiting.empty():
                group.append(self._waiting.get())
            ending = None in group
            self._write_group([own for own in group if own is not None])

    def _write_group(self, group: Sequence[tuple[Write[Any], Future[Any]]]) -> None:
        results: list[tuple[Future[Any], Any]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for statements, future in group:
                self._connection.execute("SAVEPOINT own")
                try:
                    results.append((future, statements(self._connection)))
                except sqlite3.OperationalError:  # the disk's, not this write's
                    raise
                except Exception as error:
                    self._connection.execute("ROLLBACK TO own")
                    results.append((future, error))
                self._connection.execute("RELEASE own")
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            problem = StoreError(f"{self.path} cannot be written: {error}.")
            results = [(future, problem) for _, future in group]
        for future, result in results:
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


class _Reader:
    """A connection that answers one query after the other."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_to_read(path)
        self._lock = threading.Lock()

    def read(self, query: str, values: Sequence[object]) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        self._connection.close()


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write, whose rows know their columns by name."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


def _lock(folder: Path) -> IO[bytes]:
    """Return an open file that no other station can have open at the same time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return open_locked(folder / _LOCK)
    except BlockingIOError as error:
        raise StoreError(
            f"Another station is at work in {folder}. Stop it, or name another folder."
        ) from error
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written to, or kept from other stations: {error.strerror}. Name a "
            "folder on a disk of this machine."
        ) from error
