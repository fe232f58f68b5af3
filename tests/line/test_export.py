"""The ledger as a table."""

from pathlib import Path

import pandas as pd
import pytest

from defectseg.errors import ConfigError, DataError
from defectseg.line.export import write_inspections
from defectseg.line.ledger import Ledger
from defectseg.line.store import StoreError
from tests.line.test_ledger import row


@pytest.fixture
def station(tmp_path: Path) -> Path:
    folder = tmp_path / "station"
    ledger = Ledger(folder)
    ledger.record(row(image_sha256="1", outcome="REVIEW", reasons=("a, b", 'c "d"'))).result()
    ledger.record(row(image_sha256="2", part_id="ü\nx", score=None)).result()
    ledger.decide(1, "overrule", "ada", "a hair").result()
    ledger.close()
    return folder


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_inspection_has_its_row_and_its_decision(
    station: Path, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"table.{suffix}"
    assert write_inspections(station, path) == 2
    table = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    assert list(table["id"]) == [1, 2]
    assert list(table["outcome"]) == ["REVIEW", "PASS"]
    assert table["part_id"][1] == "ü\nx"
    assert table["score"][0] == pytest.approx(0.1)
    assert pd.isna(table["score"][1])
    assert list(table[["decision", "decided_outcome", "decided_by"]].loc[0]) == [
        "overrule",
        "PASS",
        "ada",
    ]
    assert pd.isna(table["decision"][1])
    assert table["chain"].str.len().eq(64).all()


def test_an_empty_ledger_is_a_table_without_rows(tmp_path: Path) -> None:
    Ledger(tmp_path / "station").close()
    for suffix in ("csv", "parquet"):
        assert write_inspections(tmp_path / "station", tmp_path / f"t.{suffix}") == 0
    assert "outcome" in pd.read_parquet(tmp_path / "t.parquet").columns


def test_a_file_is_never_written_over(station: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("mine")
    with pytest.raises(DataError, match="left as it is"):
        write_inspections(station, path)
    assert path.read_text() == "mine"


def test_other_names_and_other_folders_are_errors(station: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.csv or \.parquet"):
        write_inspections(station, tmp_path / "table.xlsx")
    with pytest.raises(StoreError, match="holds no ledger"):
        write_inspections(tmp_path / "none", tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()
