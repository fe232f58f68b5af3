"""Predictions as a folder of Parquet files, each written whole by whoever inspected its images."""

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from defectseg.atomic import TEMPORARY, staged_file
from defectseg.image_io import printable
from defectseg.inference.regions import Region
from defectseg.inference.results import (
    DEFECT_COLUMNS,
    PREDICTION_COLUMNS,
    Row,
    make_defect_row,
)

_WHOLE = frozenset({"defect_regions", "defect_area_px", "width", "height"})
_TEXT = frozenset({"image", "outcome", "reasons", "sha256", "error"})
_REGION = pa.struct(
    [
        (name, pa.int64() if name.startswith(("region", "area", "bbox")) else pa.float64())
        for name in DEFECT_COLUMNS[1:]
    ]
)
_TYPES = dict.fromkeys(_TEXT, pa.string()) | dict.fromkeys(_WHOLE, pa.int64())
SCHEMA = pa.schema(
    [(name, _TYPES.get(name, pa.float64())) for name in PREDICTION_COLUMNS]
    + [("regions", pa.list_(_REGION)), ("mask_png", pa.binary())]
)
_HASH = b"defectseg.sha256"


def shard_path(folder: Path, number: int) -> Path:
    """Return where a shard lies, numbered from 0; by name they are in the order of the images."""
    return folder / f"part-{number:07}.parquet"


def make_record(row: Row, regions: Iterable[Region], mask_png: bytes) -> dict[str, Any]:
    """Return the record of an image; what is not known of it is null."""
    known = {name: None if row[name] == "" and name not in _TEXT else row[name] for name in row}
    defects = [make_defect_row("", n, region) for n, region in enumerate(regions, 1)]
    return known | {
        "image": printable(row["image"]),
        "regions": [{name: own[name] for name in DEFECT_COLUMNS[1:]} for own in defects],
        "mask_png": mask_png or None,
    }


def write_shard(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records as a Parquet file, atomically, with a hash of what it says."""
    table = pa.Table.from_pylist(list(records), SCHEMA)
    table = table.replace_schema_metadata({_HASH: _hash_records(table.to_pylist())})
    with staged_file(path) as stage:
        parquet.write_table(table, stage, compression="zstd", write_page_checksum=True)


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """Return the records of a shard, by image; none if there is no such shard, or it is damaged."""
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
        records = table.to_pylist()
    except (OSError, ValueError, pa.ArrowException):  # not there, or no such file any more
        return {}
    # Parquet's own check sums spare the footer, by which a column may lose its name or its type.
    if not table.schema.equals(SCHEMA):
        return {}
    if (table.schema.metadata or {}).get(_HASH) != _hash_records(records):
        return {}
    return {record["image"]: record for record in records}


def _hash_records(records: Sequence[Mapping[str, Any]]) -> bytes:
    digest = sha256()
    for record in records:  # one by one: together their masks are large
        digest.update(json.dumps(record, default=bytes.hex).encode())
    return digest.hexdigest().encode()


def to_row(record: Mapping[str, Any]) -> Row:
    """Return the row of ``predictions.csv`` that a record holds."""
    return {name: "" if record[name] is None else record[name] for name in PREDICTION_COLUMNS}


def remove_others(folder: Path, count: int) -> None:
    """Remove what an interrupted run left beyond the first shards, or was writing."""
    kept = {shard_path(folder, number) for number in range(count)}
    for path in [*folder.glob("part-*.parquet"), *folder.glob(TEMPORARY)]:
        if path not in kept:
            path.unlink(missing_ok=True)
