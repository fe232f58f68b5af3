"""Where a camera's series comes from: a table with time stamps, or a folder of images."""

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from defectseg.drift.series import TOO_LARGE, Series
from defectseg.errors import DataError, ImageReadError, Problem
from defectseg.image_io import decode_image, read_bytes, read_time_taken, require_images, to_gray
from defectseg.quality.focus import mean_gradient

ONLY_CAMERA = "camera"  # where no column and no folder tells several apart


@dataclass(frozen=True)
class Source:
    """What a folder gave; of a table, the series alone.

    Attributes
    ----------
    series : dict of str to Series
        By camera.
    unreadable : tuple of (str, str)
        Path below the folder, and why, of each image that could not be read.
    by_file_time : int
        Images without a time of their own, so that the file's counts: after copying, it may be
        that of the copy.
    """

    series: dict[str, Series]
    unreadable: tuple[tuple[str, str], ...] = ()
    by_file_time: int = 0


@dataclass(frozen=True)
class _Cells:
    """A row as it stands in the table."""

    where: str
    time: object
    value: object
    camera: object = ONLY_CAMERA


@dataclass(frozen=True)
class _Image:
    """A row that was understood."""

    where: str
    time: datetime
    value: float
    camera: str


def read_table(
    path: Path, *, time: str = "time", value: str = "value", camera: str | None = None
) -> dict[str, Series]:
    """Read a CSV, TSV or Parquet table with a row an image.

    Parameters
    ----------
    path : Path
        What it is, is told by its content. The first line of a CSV names the columns.
    time, value : str
        Columns of ISO 8601 times, all with a time zone or all without, and of finite numbers.
    camera : str or None
        Column that tells cameras apart; None if there is only one.

    Returns
    -------
    dict of str to Series
        By camera, in the order in which they first occur.

    Raises
    ------
    DataError
        If a column is missing or there are no rows; and for all bad rows at once.
    OSError
        If the file cannot be opened.
    """
    data = path.read_bytes()
    columns = [time, value] if camera is None else [time, value, camera]
    read = _read_parquet if data.startswith(b"PAR1") else _read_csv
    problems: list[Problem] = []
    try:
        parsed = [_parse_row(cells, problems) for cells in read(path, data, columns, problems)]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table: {error}.") from error
    images = [image for image in parsed if image]
    problems += _check_time_zones(images)
    if problems:
        raise DataError(f"{path} cannot be used.", problems)
    if not images:
        raise DataError(f"{path} has no rows; expected one for each image.")
    return _by_camera(images)


def read_folder(root: Path, *, on_image: Callable[[int], None] = lambda total: None) -> Source:
    """Measure the sharpness of every image below a folder.

    Parameters
    ----------
    root : Path
        The folders in it are the cameras, and each is searched with its subfolders. Images that
        lie in `root` itself are of the camera ``"camera"``.
    on_image : callable
        Called after each image with the number of all images.

    Returns
    -------
    Source
        Values are `focus.mean_gradient`. The time of an image is its EXIF DateTimeOriginal or,
        where it has none, that of the file's last change, both local.

    Raises
    ------
    DataError
        If it is no folder, or there are no images.
    """
    found, _ = require_images(root)
    images: list[_Image] = []
    unreadable: list[tuple[str, str]] = []
    by_file_time = 0
    for file in found:
        try:
            if file.problem:
                raise ImageReadError(file.problem)
            data = read_bytes(file.path)
            sharpness = mean_gradient(to_gray(decode_image(data)))
            taken = read_time_taken(data)
            by_file_time += taken is None
            taken = taken or datetime.fromtimestamp(file.path.stat().st_mtime)
            camera = file.relative.split("/")[0] if "/" in file.relative else ONLY_CAMERA
            images.append(_Image(file.relative, taken, sharpness, camera))
        except (ImageReadError, OSError) as error:
            unreadable.append((file.relative, str(error)))
        on_image(len(found))
    return Source(_by_camera(images), tuple(unreadable), by_file_time)


def _read_csv(
    path: Path, data: bytes, columns: Sequence[str], problems: list[Problem]
) -> Iterator[_Cells]:
    text = data.decode("utf-8-sig", errors="replace")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    order = _find_columns(path, header, columns)
    for row in reader:
        where = f"{path}:{reader.line_num}"
        if not any(cell.strip() for cell in row):
            continue
        # More than there should be is no better than fewer: decimal commas make 3 out of 2.
        if len(row) != len(header):
            found = f"{len(row)} columns: {delimiter.join(row)[:60]!r}"
            fix = "Correct or remove the row."
            problems.append(Problem(where, found, f"{len(header)}, as in the first line", fix))
            continue
        yield _Cells(where, *(row[column].strip() for column in order))


def _read_parquet(
    path: Path, data: bytes, columns: Sequence[str], problems: list[Problem]
) -> Iterator[_Cells]:
    try:
        frame = pd.read_parquet(io.BytesIO(data))
    except Exception as error:  # the decoder's own kinds of error
        raise DataError(f"{path} cannot be read as Parquet: {error}.") from error
    order = _find_columns(path, [str(name) for name in frame.columns], columns)
    cells = (frame.iloc[:, column].tolist() for column in order)
    for number, row in enumerate(zip(*cells, strict=True), start=1):
        yield _Cells(f"{path}: row {number}", *row)


def _find_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    count = Counter(header)
    wrong = [name for name in columns if count[name] != 1]
    if wrong:
        raise DataError(
            f"{path} has not one column for each of {', '.join(map(repr, wrong))}; its columns are "
            f"{', '.join(map(repr, header))[:300]}. Name those of the time, the value, the camera."
        )
    return [header.index(name) for name in columns]


def _parse_row(cells: _Cells, problems: list[Problem]) -> _Image | None:
    time, value = _parse_time(cells.time), _parse_value(cells.value)
    camera = "" if _is_missing(cells.camera) else str(cells.camera).strip()
    before = len(problems)
    if time is None:
        expected = "a time as 2024-05-31T14:05:00"
        problems.append(Problem(cells.where, f"time {_quote(cells.time)}", expected, "Correct it."))
    if value is None:
        fix = "Correct it, or remove the row."
        found = f"value {_quote(cells.value)}"
        problems.append(Problem(cells.where, found, "a finite number, as 1.25", fix))
    if not camera:
        problems.append(Problem(cells.where, "no camera", "its name", "Add it."))
    if time is None or value is None or len(problems) > before:
        return None
    return _Image(cells.where, time, value, camera)


def _parse_time(cell: object) -> datetime | None:
    if isinstance(cell, pd.Timestamp):
        return cell.floor("us").to_pydatetime()
    try:
        return datetime.fromisoformat(cell) if isinstance(cell, str) else None
    except ValueError:
        return None


def _parse_value(cell: object) -> float | None:
    try:
        number = math.nan if isinstance(cell, bool) else float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if abs(number) < TOO_LARGE else None


def _is_missing(cell: object) -> bool:
    return cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell))


def _quote(cell: object) -> str:
    return "missing" if _is_missing(cell) or cell is pd.NaT else repr(cell)[:60]


def _check_time_zones(images: Sequence[_Image]) -> Iterator[Problem]:
    """Yield the times that name a zone where the first does not, or the other way round."""
    words = ("none", "a time zone")
    for image in images:
        zoned, wanted = (time.tzinfo is not None for time in (image.time, images[0].time))
        if zoned != wanted:
            found = f"time {image.time.isoformat()} with {words[zoned]}"
            expected = f"{words[wanted]}, as in {images[0].where}"
            yield Problem(image.where, found, expected, "Write all times the same way.")


def _by_camera(images: Iterable[_Image]) -> dict[str, Series]:
    rows: dict[str, list[_Image]] = {}
    for image in images:
        rows.setdefault(image.camera, []).append(image)
    return {
        camera: Series(
            np.array([_without_zone(image.time) for image in own], "datetime64[us]"),
            np.array([image.value for image in own], np.float64),
        )
        for camera, own in rows.items()
    }


def _without_zone(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
