import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defectseg.inference.tables import GrowingTable

COLUMNS = ("image", "value")
# Names that a table has to quote: with commas, quotes, and ends of lines.
ROWS = [
    {"image": image, "value": i}
    for i, image in enumerate(["a", "b,c", 'd"e', "f\ng", "h\r\ni", "j\n", 'k"\n"l', "größer"])
]


def table(folder: Path, *, resume: bool = False) -> GrowingTable:
    return GrowingTable(folder / "table.csv", COLUMNS, resume=resume)


def read(folder: Path) -> list[tuple[str, str]]:
    text = (folder / "table.csv").read_bytes().decode()
    return [(own[0], own[1]) for own in csv.reader(io.StringIO(text, newline=""))][1:]


def as_text(rows: list[dict[str, object]]) -> list[tuple[str, str]]:
    return [(str(row["image"]), str(row["value"])) for row in rows]


def test_a_table_gets_its_name_when_it_is_published(tmp_path: Path) -> None:
    growing = table(tmp_path)
    growing.append(*ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv.part"]
    growing.publish()
    growing.close()
    assert read(tmp_path) == as_text(ROWS)


# Cut anywhere, within a name of several lines too.
@pytest.mark.parametrize("cut", range(77))
def test_what_is_cut_off_is_one_row_at_most_and_the_rest_goes_on(tmp_path: Path, cut: int) -> None:
    growing = table(tmp_path)
    growing.append(*ROWS)
    growing.close()
    path = tmp_path / "table.csv.part"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - cut])
    resumed = table(tmp_path, resume=True)
    kept = list(resumed.rows())
    assert [(own["image"], own["value"]) for own in kept] == as_text(ROWS[: len(kept)])
    # Of the rows that end before the cut none is lost.
    ends = [len(data) - len(growing._encode(ROWS[i:])) for i in range(len(ROWS) + 1)]
    assert len(kept) == max(0, sum(end <= len(data) - cut for end in ends) - 1)
    resumed.append(*ROWS[len(kept) :])
    resumed.publish()
    resumed.close()
    assert read(tmp_path) == as_text(ROWS)


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.integers())))
@settings(max_examples=50, deadline=None)
def test_any_name_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    rows = [dict(zip(COLUMNS, own, strict=True)) for own in values]
    growing = table(folder)
    growing.append(*rows)
    growing.close()
    resumed = table(folder, resume=True)
    assert [(own["image"], own["value"]) for own in resumed.rows()] == as_text(rows)
    resumed.close()


def test_a_published_table_can_be_gone_on_with(tmp_path: Path) -> None:
    first = table(tmp_path)
    first.append(ROWS[0])
    first.publish()
    first.close()
    second = table(tmp_path, resume=True)
    second.append(ROWS[1])
    assert read(tmp_path) == as_text(ROWS[:1])  # until the second is published
    second.publish()
    second.close()
    assert read(tmp_path) == as_text(ROWS[:2])


def test_rows_that_cannot_be_written_whole_are_not_begun(tmp_path: Path) -> None:
    class FullDisk:
        """Takes ten bytes more, then none."""

        def __init__(self, file: io.FileIO) -> None:
            self.file = file
            self.left = 10

        def write(self, data: bytes) -> int:
            if not self.left:
                raise OSError(28, "No space left on device")
            written = self.file.write(data[: self.left])
            self.left -= written
            return written

        def fileno(self) -> int:
            return self.file.fileno()

    growing = table(tmp_path)
    growing.append(ROWS[0])
    whole = (tmp_path / "table.csv.part").read_bytes()
    file = growing._file
    growing._file = FullDisk(file)  # type: ignore[assignment]
    with file, pytest.raises(OSError, match="No space left"):
        growing.append(*ROWS[1:])
    assert (tmp_path / "table.csv.part").read_bytes() == whole
