import shutil
from pathlib import Path

import pytest

from defectseg.inference.regions import Region
from defectseg.inference.results import PREDICTION_COLUMNS, make_error_row
from defectseg.inference.shards import make_record, read_records, write_shard

REGION = Region(4, (1, 2, 2, 2), (1.5, 2.5), 1.1547, 1.1547, -0.1234, 0.9)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    known = {"image": "a.png", "outcome": "FAIL", "defect_score": 0.9, "defect_regions": 1}
    row = dict.fromkeys(PREDICTION_COLUMNS, "") | known
    path = tmp_path / "part-0000000.parquet"
    records = [
        make_record(row, [REGION], b"\x89PNG"),
        make_record(make_error_row("b", "", 1), [], b""),
    ]
    write_shard(path, records)
    return path


def test_what_was_written_is_read_and_what_is_not_there_is_nothing(shard: Path) -> None:
    records = read_records(shard)
    assert list(records) == ["a.png", "b"]
    assert records["a.png"]["regions"][0]["semi_major"] == 1.15
    assert records["a.png"]["mask_png"] == b"\x89PNG"
    assert (records["b"]["outcome"], records["b"]["defect_score"]) == ("ERROR", None)
    assert read_records(shard.with_name("absent")) == {}
    shutil.copy(__file__, shard)
    assert read_records(shard) == {}


def test_of_a_shard_with_a_flipped_bit_no_other_row_is_believed(shard: Path) -> None:
    expected, data = read_records(shard), shard.read_bytes()
    refused = 0
    for place in range(0, len(data), 31):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        shard.write_bytes(damaged)
        found = read_records(shard)
        assert found in ({}, expected), place  # the same: what nobody reads was hit
        refused += not found
    assert refused > 100


def test_a_shard_without_its_hash_or_with_other_columns_is_not_believed(shard: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = parquet.read_table(shard)
    place = table.column_names.index("error")
    as_bytes = table.set_column(place, "error", table["error"].cast(pyarrow.binary()))
    assert as_bytes.schema.metadata == table.schema.metadata
    for other in (as_bytes, table.drop_columns("mean_luma"), table.replace_schema_metadata(None)):
        parquet.write_table(other, shard)
        assert read_records(shard) == {}
    parquet.write_table(table, shard)
    assert len(read_records(shard)) == 2
