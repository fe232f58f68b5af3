"""A table of SQLite whose rows are chained by hashes: what is changed afterwards, shows."""

import hashlib
import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, TypeVar

from defectseg.line.records import Decision, Event, Inspection

# Of a column, by the type of its field; tuples are JSON.
_TYPES = {"int": "INTEGER", "bool": "INTEGER", "float": "REAL", "str": "TEXT", "tuple": "TEXT"}

Record = TypeVar("Record", bound=Inspection | Decision | Event)


class Table(Generic[Record]):
    """A table of records, each chained to the one before.

    Parameters
    ----------
    record : type
        A dataclass whose first field is ``id``.
    name : str
    """

    def __init__(self, record: type[Record], name: str) -> None:
        self.record = record
        self.name = name
        self._kinds = {own.name: _kind(str(own.type)) for own in fields(record)}

    def schema(self) -> str:
        """Return the statements that make the table, and forbid to change it."""
        columns = ", ".join(
            f"{name} {_TYPES[kind]}{' PRIMARY KEY' if name == 'id' else ''}"
            for name, kind in self._kinds.items()
        )
        forbidden = "".join(
            f"CREATE TRIGGER IF NOT EXISTS {self.name}_no_{verb.lower()} BEFORE {verb} "
            f"ON {self.name} BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;\n"
            for verb in ("UPDATE", "DELETE")
        )
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({columns}, chain TEXT);\n{forbidden}"

    def append(self, connection: sqlite3.Connection, record: Record) -> Record:
        """Write a record after the last one; return it with its id."""
        last = connection.execute(
            f"SELECT id, chain FROM {self.name} ORDER BY id DESC LIMIT 1"
        ).fetchone()
        number, chain = last or (0, self._start())
        numbered: Any = replace(record, id=number + 1)
        record = numbered
        values = self._to_row(record)
        marks = ", ".join("?" * (len(values) + 1))
        connection.execute(
            f"INSERT INTO {self.name} VALUES ({marks})", [*values, _link(chain, values)]
        )
        return record

    def from_row(self, row: sqlite3.Row) -> Record:
        """Return the record of a row."""
        values: Any = {name: _from_column(row[name], kind) for name, kind in self._kinds.items()}
        return self.record(**values)

    def check(self, connection: sqlite3.Connection, wanted: set[str]) -> "Chain":
        """Follow the chain from its start; `wanted` loses the hashes that were met."""
        chain, count = self._start(), 0
        problems: list[str] = []
        for row in connection.execute(f"SELECT * FROM {self.name} ORDER BY id"):
            *values, own = tuple(row)
            number = row["id"]
            if number != count + 1:
                problems.append(f"{self.name}: rows {count + 1} to {number - 1} are missing")
            if _link(chain, values) != own:
                problems.append(f"{self.name}: row {number} is not as it was written")
            count, chain = number, own
            wanted.discard(own)
        return Chain(self.name, count, chain, tuple(problems))

    def _start(self) -> str:
        return hashlib.sha256(f"defectseg {self.name}".encode()).hexdigest()

    def _to_row(self, record: Record) -> list[Any]:
        return [_to_column(getattr(record, name), kind) for name, kind in self._kinds.items()]


@dataclass(frozen=True)
class Chain:
    """What is known of a table's chain: its rows, its last hash, and what is wrong."""

    table: str
    rows: int
    head: str
    problems: tuple[str, ...] = field(default=())


def _kind(annotation: str) -> str:
    kind = annotation.removeprefix("<class '").removesuffix("'>")
    return kind.partition("[")[0].partition(" ")[0]


def _to_column(value: Any, kind: str) -> Any:
    """Return a value as SQLite gives it back: the chain is over what is read."""
    if kind == "tuple":
        return json.dumps(value, ensure_ascii=False)
    if value is None or kind == "str":
        return value
    if kind == "float":
        # SQLite keeps no sign of zero.
        return None if math.isnan(value) else float(value) + 0.0
    return int(value)


def _from_column(value: Any, kind: str) -> Any:
    if kind == "tuple":
        return tuple(json.loads(value))
    return bool(value) if kind == "bool" else value


def _link(before: str, values: Sequence[Any]) -> str:
    text = json.dumps([before, *values], ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
