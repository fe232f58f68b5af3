import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from defectseg.dataset.synthetic import generate_sample
from defectseg.image_io import read_image, write_gray
from defectseg.quality.distortions import blur_gaussian
from defectseg.quality.folder import MeasuredImage, measure_folder
from defectseg.quality.measures import MEASURES
from defectseg.quality.report import least_sharp, write_sharpness


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for number in range(5):
        image, _ = generate_sample("Class4", defective=False, rng=rng, size=64)
        write_gray(tmp_path / "in" / f"{number}.png", image)
    write_gray(tmp_path / "in" / "z_blurred.png", blur_gaussian(image, 3))
    (tmp_path / "in" / "broken.png").write_text("no image")
    return tmp_path / "in"


@pytest.fixture
def images(source: Path) -> list[MeasuredImage]:
    return measure_folder(source)


@pytest.mark.parametrize("table", ["csv", "parquet"])
def test_the_table_has_its_columns_and_no_gaps(
    table: str, source: Path, images: list[MeasuredImage], tmp_path: Path
) -> None:
    write_sharpness(tmp_path / "out", source, images, table=table)  # type: ignore[arg-type]
    path = tmp_path / "out" / f"sharpness.{table}"
    frame = pd.read_csv(path) if table == "csv" else pd.read_parquet(path)
    assert list(frame.columns) == ["image", *MEASURES]
    assert list(frame["image"]) == [own.image for own in images]
    assert not frame.isna().any().any()
    expected = [own.measures.mean_gradient for own in images]
    assert frame["mean_gradient"].to_list() == pytest.approx(expected, rel=1e-5)


def test_the_page_shows_the_least_sharp_first_and_what_could_not_be_read(
    source: Path, images: list[MeasuredImage], tmp_path: Path
) -> None:
    write_sharpness(tmp_path / "out", source, images)
    page = (tmp_path / "out" / "sharpness.html").read_text("utf-8")
    shown = re.findall(r'alt="([^"]+\.png)"', page)
    assert shown[0] == "z_blurred.png"
    assert len(shown) == 6
    assert "broken.png: cannot be decoded" in page
    assert "://" not in page
    assert read_image(tmp_path / "out" / "sharpness.png").shape[2] == 3


def test_a_folder_in_which_nothing_can_be_read_has_its_page_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.png").write_text("no image")
    write_sharpness(tmp_path / "out", tmp_path / "in", measure_folder(tmp_path / "in"))
    assert "broken.png" in (tmp_path / "out" / "sharpness.html").read_text("utf-8")


def test_the_least_sharp_comes_first(images: list[MeasuredImage]) -> None:
    order = [own.image for own in least_sharp([own for own in images if not own.problem])]
    assert order[0] == "z_blurred.png"
