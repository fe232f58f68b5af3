"""The ledger: a row an inspection, a decision, an event; none is ever changed.

Each row holds the hash of itself and of the row before it, so that a change shows. Whoever can
rewrite the whole file can make a new chain: the last hash, noted elsewhere, tells even that.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from defectseg.errors import DefectsegError
from defectseg.inference.verdict import Outcome
from defectseg.line.chain import Chain, Table
from defectseg.line.records import DECISIONS, Decision, Event, Inspection, now
from defectseg.line.store import DATABASE, Store, StoreError, connect_to_read


class SameImageError(DefectsegError):
    """An image is already in the ledger, of another part."""


class DecidedError(DefectsegError):
    """An inspection waits for no decision."""


_INSPECTIONS = Table(Inspection, "inspections")
_DECISIONS = Table(Decision, "decisions")
_EVENTS = Table(Event, "events")
TABLES: tuple[Table[Any], ...] = (_INSPECTIONS, _DECISIONS, _EVENTS)
# Beside an inspection, the decision on it.
DECISION_COLUMNS = {
    "decision": "decisions.decision",
    "decided_outcome": "decisions.outcome",
    "decided_by": "decisions.name",
    "decided_at": "decisions.decided_at",
    "decision_note": "decisions.note",
}
_SCHEMA = (
    "".join(table.schema() for table in TABLES)
    + """
CREATE UNIQUE INDEX IF NOT EXISTS one_final
    ON inspections (image_sha256, recipe) WHERE final;
CREATE INDEX IF NOT EXISTS by_outcome ON inspections (outcome, id);
CREATE INDEX IF NOT EXISTS by_camera ON inspections (camera_id, id);
CREATE INDEX IF NOT EXISTS by_camera_outcome ON inspections (camera_id, outcome, id);
CREATE INDEX IF NOT EXISTS by_part ON inspections (part_id, id);
CREATE UNIQUE INDEX IF NOT EXISTS one_decision ON decisions (inspection_id);
-- What follows can be made again from the above, or is no record: it may change.
CREATE TABLE IF NOT EXISTS hours (
    hour TEXT, outcome TEXT, count INTEGER, PRIMARY KEY (hour, outcome)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS undecided (inspection_id INTEGER PRIMARY KEY);
"""
)


class Ledger:
    """The ledger of a station, and the database that it lies in.

    Parameters
    ----------
    folder : Path
        The station's.
    more : str
        Statements that make further tables, which are not of the ledger.

    Raises
    ------
    StoreError
        See `store.Store`.
    """

    def __init__(self, folder: Path, more: str = "") -> None:
        self.store = Store(folder, _SCHEMA + more)

    def record(self, inspection: Inspection) -> "Future[tuple[Inspection, bool]]":
        """Add an inspection; the future has it with its id, and whether it is new.

        A final one of the same image and recipe is there only once: the first stays, and is what
        comes back.

        Raises
        ------
        StoreError
            Also from the future.
        """

        def write(connection: sqlite3.Connection) -> tuple[Inspection, bool]:
            if inspection.final:
                key = (inspection.image_sha256, inspection.recipe)
                row = connection.execute(_FIND, key).fetchone()
                if row is not None:
                    return _INSPECTIONS.from_row(row), False
            recorded = _INSPECTIONS.append(connection, inspection)
            connection.execute(
                "INSERT INTO hours VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
                (recorded.received_at[:13], recorded.outcome),
            )
            if recorded.outcome == Outcome.REVIEW:
                connection.execute("INSERT INTO undecided VALUES (?)", (recorded.id,))
            return recorded, True

        return self.store.write(write)

    def find(self, image_sha256: str) -> list[Inspection]:
        """Return the final inspections of an image, one a recipe, the oldest first.

        Every image is asked for before it is inspected: whoever looks at pages holds up none.
        """
        rows = self.store.read(
            "SELECT * FROM inspections WHERE image_sha256 = ? AND final ORDER BY id",
            (image_sha256,),
            urgent=True,
        )
        return [_INSPECTIONS.from_row(row) for row in rows]

    def inspection(self, number: int) -> Inspection | None:
        """Return an inspection by its id."""
        rows = self.store.read("SELECT * FROM inspections WHERE id = ?", (number,))
        return _INSPECTIONS.from_row(rows[0]) if rows else None

    def latest(
        self,
        count: int,
        *,
        before: int | None = None,
        after: int | None = None,
        outcome: str | None = None,
        camera_id: str | None = None,
        part_id: str | None = None,
        undecided: bool = False,
    ) -> list[Inspection]:
        """Return the last inspections, the newest first.

        Parameters
        ----------
        count : int
        before : int or None
            Only those with a smaller id.
        after : int or None
            Only those with a larger id: the first of them, the oldest first.
        outcome, camera_id, part_id : str or None
            Only theirs.
        undecided : bool
            Only those that wait for a person's decision.
        """
        # Few rows are of one part: they are found by its index, the plus keeps others out.
        plus = "" if part_id is None else "+"
        conditions = {
            f"{plus}outcome = ?": outcome,
            f"{plus}camera_id = ?": camera_id,
            "part_id = ?": part_id,
            "id < ?": before,
            "id > ?": after,
        }
        chosen = {text: value for text, value in conditions.items() if value is not None}
        texts = [*chosen, *(["id IN (SELECT inspection_id FROM undecided)"] if undecided else [])]
        where = f"WHERE {' AND '.join(texts)}" if texts else ""
        order = "DESC" if after is None else "ASC"
        rows = self.store.read(
            f"SELECT * FROM inspections {where} ORDER BY id {order} LIMIT ?",
            [*chosen.values(), count],
        )
        return [_INSPECTIONS.from_row(row) for row in rows]

    def decide(self, number: int, decision: str, name: str, note: str) -> "Future[Decision]":
        """Add a person's decision on an inspection.

        Parameters
        ----------
        number : int
            Its id.
        decision : str
            One of `DECISIONS`.
        name, note : str

        Raises
        ------
        DecidedError
            From the future: if it is not there, is no REVIEW, or is decided already.
        """

        def write(connection: sqlite3.Connection) -> Decision:
            waiting = connection.execute(
                "DELETE FROM undecided WHERE inspection_id = ?", (number,)
            ).rowcount
            if not waiting:
                raise DecidedError(self._why_decided(connection, number))
            return _DECISIONS.append(
                connection,
                Decision(
                    decided_at=now(),
                    inspection_id=number,
                    decision=decision,
                    outcome=DECISIONS[decision].value,
                    name=name,
                    note=note,
                ),
            )

        return self.store.write(write)

    @staticmethod
    def _why_decided(connection: sqlite3.Connection, number: int) -> str:
        found = connection.execute(
            "SELECT inspections.outcome, decision, decided_at, decisions.name FROM inspections "
            "LEFT JOIN decisions ON inspection_id = inspections.id WHERE inspections.id = ?",
            (number,),
        ).fetchone()
        if found is None:
            return f"There is no inspection {number}."
        if found["decision"] is None:
            return f"Inspection {number} is {found['outcome']}; only REVIEW waits for a decision."
        return (
            f"Inspection {number} was decided by {found['name']} at {found['decided_at']}: "
            f"{found['decision']}."
        )

    def decision(self, number: int) -> Decision | None:
        """Return the decision on an inspection, if there is one."""
        rows = self.store.read("SELECT * FROM decisions WHERE inspection_id = ?", (number,))
        return _DECISIONS.from_row(rows[0]) if rows else None

    def decisions(self, numbers: Sequence[int]) -> dict[int, Decision]:
        """Return the decisions on some inspections, by their id."""
        marks = ", ".join("?" * len(numbers))
        rows = self.store.read(
            f"SELECT * FROM decisions WHERE inspection_id IN ({marks})", list(numbers)
        )
        return {row["inspection_id"]: _DECISIONS.from_row(row) for row in rows}

    def report(self, kind: str, message: str, camera_id: str = "") -> "Future[Event]":
        """Add an event."""
        event = Event(time=now(), kind=kind, camera_id=camera_id, message=message)
        return self.store.write(lambda connection: _EVENTS.append(connection, event))

    def events(self, count: int) -> list[Event]:
        """Return the last events, the newest first."""
        rows = self.store.read("SELECT * FROM events ORDER BY id DESC LIMIT ?", (count,))
        return [_EVENTS.from_row(row) for row in rows]

    def hours(self, since: str) -> dict[str, dict[str, int]]:
        """Return how many inspections had each outcome, by hour (``2026-01-31T08``) since one."""
        table: dict[str, dict[str, int]] = {}
        for row in self.store.read("SELECT * FROM hours WHERE hour >= ? ORDER BY hour", (since,)):
            table.setdefault(row["hour"], {})[row["outcome"]] = row["count"]
        return table

    def count_undecided(self) -> int:
        """Return how many inspections wait for a person."""
        return int(self.store.read("SELECT COUNT(*) FROM undecided")[0][0])

    def close(self) -> None:
        """Write what waits, and close."""
        self.store.close()


_FIND = "SELECT * FROM inspections WHERE image_sha256 = ? AND recipe = ? AND final"


def verify(folder: Path, heads: Sequence[str] = ()) -> list[Chain]:
    """Check that no row of a station's ledger was changed, removed or put in.

    Parameters
    ----------
    folder : Path
        The station's; it may be at work.
    heads : sequence of str
        Hashes that were noted before: each must be in one of the chains.

    Returns
    -------
    list of Chain
        One a table; what is wrong is in their `problems`.

    Raises
    ------
    StoreError
        If there is no ledger, or it cannot be read.
    """
    wanted = set(heads)
    try:
        connection = open_ledger(folder)
        try:
            damage = [row[0] for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"]
            connection.execute("BEGIN")  # all tables as they are at one moment
            chains = [table.check(connection, wanted) for table in TABLES]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{folder / DATABASE} cannot be read: {error}.") from error
    more = [f"{DATABASE} is damaged: {text}" for text in damage]
    more += [
        f"no row has the hash {head}: the end was cut off, or all rewritten"
        for head in sorted(wanted)
    ]
    first, *others = chains
    return [replace(first, problems=(*first.problems, *more)), *others]


def open_ledger(folder: Path) -> sqlite3.Connection:
    """Return a connection that reads the ledger of a station, which may be at work.

    Raises
    ------
    StoreError
        If there is none.
    """
    if not (folder / DATABASE).is_file():
        raise StoreError(f"{folder} holds no {DATABASE}; expected the folder of a station.")
    return connect_to_read(folder / DATABASE)


def walk_inspections(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Yield all inspections in their order, with `DECISION_COLUMNS`, as flat records."""
    decided = ", ".join(f"{column} AS {name}" for name, column in DECISION_COLUMNS.items())
    rows = connection.execute(
        f"SELECT inspections.*, {decided} FROM inspections "
        "LEFT JOIN decisions ON inspection_id = inspections.id ORDER BY inspections.id"
    )
    for row in rows:
        yield dict(row)
