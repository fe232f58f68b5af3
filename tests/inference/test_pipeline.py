import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from defectseg.image_io import FoundFile, find_images, write_gray
from defectseg.inference import pipeline
from defectseg.inference.pipeline import Inspected, inspect_files
from defectseg.inference.predictor import Inspection, Predictor
from defectseg.inference.results import OutputError
from tests.engines import Brightness
from tests.inference.test_predictor import CALIBRATION, picture

Image = npt.NDArray[np.uint8]


def no_pictures(name: str, image: Image, inspection: Inspection) -> None:
    pass


def write_images(folder: Path, count: int) -> list[tuple[FoundFile, str | None]]:
    folder.mkdir()
    for i in range(count):
        write_gray(folder / f"{i:03}.png", picture(204 if i % 3 else 51))
    return [(file, "P") for file in find_images(folder)[0]]


class Together(Brightness):
    """Notes how many images are answered at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def probabilities(self, images: list[Image]) -> list[npt.NDArray[np.float32]]:  # type: ignore[override]
        self.sizes.append(len(images))
        return [self.probability(image) for image in images]


def run(
    files: list[tuple[FoundFile, str | None]], engine: Brightness, save: pipeline.Save = no_pictures
) -> list[Inspected]:
    return list(inspect_files(files, Predictor(engine, CALIBRATION), save))


def test_rows_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    class Slow(Brightness):
        """Takes longest for the first."""

        def probability(self, image: Image) -> npt.NDArray[np.float32]:
            time.sleep(0.02 if image.max() > 100 else 0)
            return super().probability(image)

    files = write_images(tmp_path / "in", 40)
    rows = [own.row for own in run(files, Slow())]
    assert [row["image"] for row in rows] == [f"{i:03}.png" for i in range(40)]
    assert [row["outcome"] for row in rows] == ["FAIL" if i % 3 else "PASS" for i in range(40)]


def test_small_images_of_one_size_are_answered_together(tmp_path: Path) -> None:
    files = write_images(tmp_path / "in", 20)
    write_gray(tmp_path / "in" / "zzz.png", picture(51)[:30])
    files = [(file, "P") for file in find_images(tmp_path / "in")[0]]
    engine = Together()
    run(files, engine)
    assert sorted(engine.sizes) == [1, 4, 16]


def test_one_image_that_the_engine_cannot_answer_costs_no_other(tmp_path: Path) -> None:
    files = write_images(tmp_path / "in", 12)
    write_gray(tmp_path / "in" / "005.png", picture(51, corner=1))
    (tmp_path / "in" / "007.png").write_bytes(b"no image")
    (tmp_path / "in" / "009.png").unlink()
    rows = [own.row for own in run(files, Together())]
    errors = {row["image"]: row["error"] for row in rows if row["outcome"] == "ERROR"}
    assert errors.keys() == {"005.png", "007.png", "009.png"}
    assert "the network" in errors["005.png"]
    assert "cannot identify image file" in errors["007.png"]
    assert "No such file" in errors["009.png"]


def test_large_images_go_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_MOST_PX", 40 * 60)
    monkeypatch.setattr(pipeline, "_TOGETHER_PX", 1)
    at_once, most, lock = 0, 0, threading.Lock()

    class Counting(Brightness):
        def probability(self, image: Image) -> npt.NDArray[np.float32]:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.005)
            with lock:
                at_once -= 1
            return super().probability(image)

    assert len(run(write_images(tmp_path / "in", 12), Counting())) == 12
    assert most == 1
    monkeypatch.setattr(pipeline, "_MOST_PX", 100 * 40 * 60)
    run([(file, "P") for file in find_images(tmp_path / "in")[0]], Counting())
    assert most > 1


def test_no_more_is_read_than_is_under_way(tmp_path: Path) -> None:
    files = write_images(tmp_path / "in", 300)
    taken = 0

    def taking() -> object:
        nonlocal taken
        for file in files:
            taken += 1
            yield file

    results = inspect_files(taking(), Predictor(Brightness(), CALIBRATION), no_pictures)  # type: ignore[arg-type]
    next(results)
    assert taken < 200
    results.close()  # type: ignore[attr-defined]


def test_what_cannot_be_written_any_more_stops_the_folder(tmp_path: Path) -> None:
    def save(name: str, image: Image, inspection: Inspection) -> None:
        if name == "150.png":
            raise OutputError("the disk is full")

    files = write_images(tmp_path / "in", 300)
    results = inspect_files(files, Predictor(Brightness(), CALIBRATION), save)
    rows: list[str] = []
    with pytest.raises(OutputError, match="the disk is full"):
        rows.extend(own.row["image"] for own in results)
    assert rows == [f"{i:03}.png" for i in range(len(rows))]
    assert 100 < len(rows) <= 150


def test_a_picture_that_has_no_place_is_a_problem_of_its_image_alone(tmp_path: Path) -> None:
    def save(name: str, image: Image, inspection: Inspection) -> None:
        if name == "1.png".zfill(7):
            raise OSError(36, "File name too long")

    rows = [own.row for own in run(write_images(tmp_path / "in", 3), Brightness(), save)]
    assert [row["outcome"] for row in rows] == ["PASS", "ERROR", "FAIL"]
    assert "File name too long" in rows[1]["error"]
