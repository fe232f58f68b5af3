"""The ledger as a table, CSV or Parquet, for other programs."""

import csv
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from defectseg.atomic import staged_file
from defectseg.errors import ConfigError, DataError
from defectseg.line.ledger import DECISION_COLUMNS, open_ledger, walk_inspections

_BATCH = 10_000


def write_inspections(station: Path, output: Path) -> int:
    """Write all inspections, with the decision on each, to a new file.

    Parameters
    ----------
    station : Path
        A station's folder; it may be at work.
    output : Path
        ``.csv`` or ``.parquet``.

    Returns
    -------
    int
        How many they are.

    Raises
    ------
    ConfigError
        If the name ends otherwise.
    DataError
        If the file is there already.
    StoreError
        If there is no ledger.
    """
    write = {".csv": _write_csv, ".parquet": _write_parquet}.get(output.suffix.lower())
    if write is None:
        raise ConfigError(f"--output {output}: expected a name that ends in .csv or .parquet.")
    if output.exists():
        raise DataError(f"{output} is there already; it is left as it is. Name another file.")
    connection = open_ledger(station)
    try:
        with staged_file(output) as stage:
            return write(stage, connection)
    finally:
        connection.close()


def _write_csv(path: Path, connection: sqlite3.Connection) -> int:
    count = 0
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, list(_columns(connection)))
        writer.writeheader()
        for row in walk_inspections(connection):
            writer.writerow(row)
            count += 1
    return count


def _write_parquet(path: Path, connection: sqlite3.Connection) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"INTEGER": pa.int64(), "REAL": pa.float64(), "TEXT": pa.string()}
    schema = pa.schema([(name, types[kind]) for name, kind in _columns(connection).items()])
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for rows in _batches(walk_inspections(connection)):
            writer.write_table(pa.Table.from_pylist(rows, schema))
            count += len(rows)
    return count


def _columns(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the names of the columns of `walk_inspections`, and their types in SQLite."""
    own = {row["name"]: row["type"] for row in connection.execute("PRAGMA table_info(inspections)")}
    return own | dict.fromkeys(DECISION_COLUMNS, "TEXT")


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch
