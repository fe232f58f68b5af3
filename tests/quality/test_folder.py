from pathlib import Path

import numpy as np
import pytest

from defectseg.dataset.synthetic import generate_sample
from defectseg.errors import DataError
from defectseg.image_io import write_gray, write_picture
from defectseg.quality.distortions import blur_gaussian
from defectseg.quality.folder import measure_folder
from defectseg.quality.measures import UNMEASURABLE, measure
from defectseg.quality.regions import crop


@pytest.fixture
def texture() -> np.ndarray:
    return generate_sample("Class2", defective=False, rng=np.random.default_rng(0), size=96)[0]


@pytest.fixture
def folder(tmp_path: Path, texture: np.ndarray) -> Path:
    source = tmp_path / "in"
    write_gray(source / "b" / "sharp.png", texture)
    write_gray(source / "a.png", blur_gaussian(texture, 2))
    write_gray(source / "one.png", texture[:1, :1])
    write_gray(source / "flat.png", np.full((20, 30), 255, np.uint8))
    write_picture(source / "colour.png", np.dstack([texture] * 3))
    (source / "broken.png").write_text("no image")
    (source / "empty.png").touch()
    (source / "notes.txt").write_text("no image either")
    return source


def test_every_image_has_its_row_in_order(folder: Path, texture: np.ndarray) -> None:
    totals: list[int] = []
    rows = measure_folder(folder, on_image=totals.append)
    names = ["a.png", "b/sharp.png", "broken.png", "colour.png", "empty.png", "flat.png", "one.png"]
    assert [row.image for row in rows] == names
    assert totals == [7] * 7
    by_name = {row.image: row for row in rows}
    assert by_name["b/sharp.png"].measures == measure(texture)
    assert by_name["colour.png"].measures == measure(texture)
    assert by_name["a.png"].measures.mean_gradient < measure(texture).mean_gradient
    for name in ("broken.png", "empty.png"):
        assert by_name[name].measures == UNMEASURABLE
        assert by_name[name].problem
    for row in rows:
        assert all(np.isfinite(value) for value in list(row.row().values())[1:])


def test_a_region_alone_is_measured_and_an_image_too_small_for_it_is_named(
    folder: Path, texture: np.ndarray
) -> None:
    rows = {row.image: row for row in measure_folder(folder, region_xywh=(10, 20, 30, 40))}
    assert rows["b/sharp.png"].measures == measure(crop(texture, (10, 20, 30, 40)))
    assert "does not lie within the image of 30×20 pixels" in rows["flat.png"].problem


def test_a_grid_has_a_row_a_tile(folder: Path, texture: np.ndarray) -> None:
    rows = measure_folder(folder, grid=(2, 3))
    assert len(rows) == 7 * 6
    own = {row.tile: row for row in rows if row.image == "b/sharp.png"}
    assert own[1, 2].measures == measure(texture[48:, 64:])
    assert list(own[1, 2].row())[-2:] == ["tile_row", "tile_column"]
    # One pixel cannot be divided.
    assert all(row.problem for row in rows if row.image == "one.png")


@pytest.mark.parametrize("grid", [(0, 3), (2, 0)])
def test_a_grid_without_tiles_is_an_error(grid: tuple[int, int], folder: Path) -> None:
    with pytest.raises(DataError, match="has no tiles"):
        measure_folder(folder, grid=grid)


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        measure_folder(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        measure_folder(tmp_path / "absent")
