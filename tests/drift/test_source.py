import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from defectseg.drift.source import read_folder, read_table
from defectseg.errors import DataError
from defectseg.quality.focus import mean_gradient

# |∂/∂column| is 4 everywhere, |∂/∂row| is 0.
SLOPE = np.tile(np.arange(0, 80, 4, dtype=np.uint8), (10, 1))


def write(folder: Path, text: str) -> Path:
    path = folder / "series.csv"
    path.write_text(text, encoding="utf-8")
    return path


def write_image(path: Path, taken: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(0x8769)[0x9003] = taken  # DateTimeOriginal
    Image.fromarray(SLOPE).save(path, exif=exif)


def test_a_table_of_several_cameras(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "when,who,sharp,more\n"
        "2024-01-02T10:00:00,left,1.5,x\n"
        "2024-01-02 09:00,right,2,y\n"
        "\n"
        "2024-01-01,left,1e-3,z\n",
    )
    series = read_table(path, time="when", camera="who", value="sharp")
    assert list(series) == ["left", "right"]
    assert list(series["left"].values) == [1.5, 0.001]
    assert list(series["left"].times.astype(str)) == [
        "2024-01-02T10:00:00.000000",
        "2024-01-01T00:00:00.000000",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_one_camera(tmp_path: Path, delimiter: str) -> None:
    lines = ("\ufefftime,value", "2024-01-01,1.4", '2024-01-02,"0.8"')
    path = write(tmp_path, "\r\n".join(lines).replace(",", delimiter))
    series = read_table(path)
    assert list(series) == ["camera"]
    assert list(series["camera"].values) == [1.4, 0.8]


def test_times_with_a_zone_are_put_into_one(tmp_path: Path) -> None:
    path = write(tmp_path, "time,value\n2024-01-01T10:00:00+02:00,1\n2024-01-01T10:00:00Z,2\n")
    times = read_table(path)["camera"].times.astype(str)
    assert list(times) == ["2024-01-01T08:00:00.000000", "2024-01-01T10:00:00.000000"]


def test_all_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "time,camera,value\n"
        "2024-01-01,a,1\n"
        "yesterday,a,1\n"  # line 3
        "2024-01-02,,1\n"
        "2024-01-03,a,nan\n"
        ",a,1e999\n"
        "2024-01-04,a,1,4\n"  # a decimal comma
        "2024-01-05T10:00:00Z,a,1\n",
    )
    with pytest.raises(DataError) as caught:
        read_table(path, camera="camera")
    found = [(problem.where, problem.found) for problem in caught.value.problems]
    assert found == [
        (f"{path}:3", "time 'yesterday'"),
        (f"{path}:4", "no camera"),
        (f"{path}:5", "value 'nan'"),
        (f"{path}:6", "time ''"),
        (f"{path}:6", "value '1e999'"),
        (f"{path}:7", "4 columns: '2024-01-04,a,1,4'"),
        (f"{path}:8", "time 2024-01-05T10:00:00+00:00 with a time zone"),
    ]
    assert all(problem.expected and problem.fix for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'time', 'value'; its columns are "),
        ("time,sharpness\n2024-01-01,1\n", "'value'; its columns are 'time', 'sharpness'"),
        ("time,time,value\n", "'time'; its columns"),
        ("time,value\n", "has no rows"),
        ("time,value\n2024-01-01,1\n20240102\x00,1\n", "20240102"),
        ('time,value\n"' + "x" * 200_000, "cannot be read as a table"),
    ],
)
def test_what_is_no_such_table(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, text))


def test_a_parquet_table_is_told_by_its_content(tmp_path: Path) -> None:
    times = pd.to_datetime(["2024-01-01 10:00", "2024-01-02 10:00"])
    frame = pd.DataFrame({"t": times, "camera": [1, 2], "value": [1.5, 2.0]})
    path = tmp_path / "series.data"
    frame.to_parquet(path)
    series = read_table(path, time="t", camera="camera")
    assert {name: list(own.values) for name, own in series.items()} == {"1": [1.5], "2": [2.0]}
    assert str(series["1"].times[0]) == "2024-01-01T10:00:00.000000"


def test_bad_rows_of_a_parquet_table(tmp_path: Path) -> None:
    path = tmp_path / "series.parquet"
    times = pd.to_datetime(["2024-01-01", None, "2024-01-03"])
    cameras, values = ["a", "b", None], [1.0, 2.0, np.nan]
    pd.DataFrame({"time": times, "camera": cameras, "value": values}).to_parquet(path)
    with pytest.raises(DataError) as caught:
        read_table(path, camera="camera")
    assert [(problem.where, problem.found) for problem in caught.value.problems] == [
        (f"{path}: row 2", "time missing"),
        (f"{path}: row 3", "value missing"),
        (f"{path}: row 3", "no camera"),
    ]


def test_a_damaged_parquet_table(tmp_path: Path) -> None:
    path = tmp_path / "series.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_table(path)


def test_a_folder_of_images(tmp_path: Path) -> None:
    write_image(tmp_path / "left" / "deep" / "1.jpg", "2024:01:31 10:20:30")
    write_image(tmp_path / "left" / "2.png")
    write_image(tmp_path / "3.png", "0000:00:00 00:00:00")
    changed = datetime(2023, 5, 6, 7, 8, 9)
    for name in ("left/2.png", "3.png"):
        os.utime(tmp_path / name, (changed.timestamp(), changed.timestamp()))
    (tmp_path / "right").mkdir()
    (tmp_path / "right" / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "notes.txt").write_text("x")
    totals: list[int] = []
    folder = read_folder(tmp_path, on_image=totals.append)
    assert {name: list(own.times.astype(str)) for name, own in folder.series.items()} == {
        "camera": ["2023-05-06T07:08:09.000000"],
        "left": ["2023-05-06T07:08:09.000000", "2024-01-31T10:20:30.000000"],
    }
    assert folder.series["camera"].values == pytest.approx([mean_gradient(SLOPE)])
    ((name, why),) = folder.unreadable
    assert name == "right/broken.png"
    assert "cannot be decoded" in why
    assert folder.by_file_time == 2
    assert totals == [4] * 4


def test_a_folder_whose_images_are_all_broken_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    folder = read_folder(tmp_path)
    assert folder.series == {}
    assert len(folder.unreadable) == 1


def test_what_is_no_folder_of_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_folder(tmp_path / "absent")
    with pytest.raises(DataError, match=r"holds no images .* 0 other"):
        read_folder(tmp_path)
