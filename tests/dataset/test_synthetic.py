from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from defectseg.annotations.ellipse import Ellipse
from defectseg.dataset.masks import rasterise
from defectseg.dataset.synthetic import PRODUCTS, generate_sample, write_dataset
from defectseg.errors import ConfigError
from defectseg.image_io import read_image

Image = npt.NDArray[np.uint8]


def draw(
    product: str, seed: int = 0, size: int = 128, *, defective: bool = False
) -> tuple[Image, tuple[Ellipse, ...]]:
    rng = np.random.default_rng(seed)
    return generate_sample(product, defective=defective, rng=rng, size=size)


def mean_gradient(image: Image) -> float:
    return float(np.mean(np.abs(np.gradient(image.astype(np.float64)))))


def files(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def test_layout_is_that_of_dagm(tmp_path: Path) -> None:
    ticks: list[int] = []
    written = write_dataset(
        tmp_path,
        good=2,
        defective=1,
        products=["Class2", "Class6"],
        size=64,
        on_image=lambda: ticks.append(1),
    )
    expected = {
        f"{product}{rest}"
        for product in ("Class2", "Class6")
        for rest in ("/1.png", "/2.png", "_def/1.png", "_def/labels.txt")
    }
    assert set(files(tmp_path)) == expected
    # 2 products × (2 good + 1 defective).
    assert written == len(ticks) == 6
    image = read_image(tmp_path / "Class2" / "1.png")
    assert (image.shape, image.dtype) == ((64, 64), np.uint8)


def test_label_rows_give_back_the_ellipses(tmp_path: Path) -> None:
    write_dataset(tmp_path, good=0, defective=3, products=["Class4"], size=96, seed=5)
    rows = (tmp_path / "Class4_def" / "labels.txt").read_text().splitlines()
    assert len(rows) == 3
    for index, row in enumerate(rows, start=1):
        cells = row.split("\t")
        assert cells[0] == str(index)
        # semi_major, semi_minor, angle, x, y, each with 2 decimals.
        assert [len(cell.partition(".")[2]) for cell in cells[1:]] == [2] * 5
        # The documented seed of an image: seed, place of the product, 1 for defective, index.
        rng = np.random.default_rng([5, 3, 1, index])
        image, ellipses = generate_sample("Class4", defective=True, rng=rng, size=96)
        assert (Ellipse(*map(float, cells[1:])),) == ellipses
        np.testing.assert_array_equal(read_image(tmp_path / "Class4_def" / f"{index}.png"), image)


def test_same_seed_same_bytes_and_other_seed_other_images(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dataset(tmp_path / folder, good=1, defective=1, size=64, seed=seed)
    first, again, other = (files(tmp_path / folder) for folder in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_more_images_leave_the_earlier_as_they_were(tmp_path: Path) -> None:
    write_dataset(tmp_path / "few", good=1, defective=2, products=["Class3"], size=64)
    # More of each kind, and other products before it.
    products = ["Class5", "Class3"]
    write_dataset(tmp_path / "many", good=3, defective=4, products=products, size=64)
    few, many = files(tmp_path / "few"), files(tmp_path / "many")
    labels = "Class3_def/labels.txt"
    assert many[labels].startswith(few[labels])
    assert len(many[labels].splitlines()) == 4
    del few[labels]
    assert few.items() <= many.items()


def test_each_image_of_a_product_is_another() -> None:
    for product in PRODUCTS:
        assert (draw(product, 0)[0] != draw(product, 1)[0]).mean() > 0.5


@pytest.mark.parametrize("size", [64, 512])
def test_class_6_is_always_of_one_size(size: int) -> None:
    for seed in range(10):
        (ellipse,) = draw("Class6", seed, size, defective=True)[1]
        # 260 × 30 at 512; an eighth at 64.
        assert ellipse.semi_major == round(260 * size / 512, 2)
        assert ellipse.semi_minor == round(30 * size / 512, 2)


def test_class_5_has_one_ratio() -> None:
    # 4 / 7 = 0.571 in DAGM's labels; rounding to 2 decimals moves it by 0.01 / 18 at the most.
    for seed in range(10):
        (ellipse,) = draw("Class5", seed, 256, defective=True)[1]
        assert ellipse.semi_minor / ellipse.semi_major == pytest.approx(4 / 7, abs=6e-4)


@pytest.mark.parametrize("product", PRODUCTS)
def test_ellipses_are_visible(product: str) -> None:
    for seed in range(20):
        (ellipse,) = draw(product, seed, defective=True)[1]
        inside = rasterise([ellipse], (128, 128)).sum()
        # 0.3 as promised, less what rounding to 2 decimals takes from an axis of a few pixels.
        assert inside >= 0.29 * np.pi * ellipse.semi_major * ellipse.semi_minor


def test_some_ellipses_cross_the_border_and_the_first_axis_may_be_the_shorter() -> None:
    ellipses = [draw("Class5", seed, defective=True)[1][0] for seed in range(40)]
    areas = [rasterise([e], (128, 128)).sum() for e in ellipses]
    whole = [np.pi * e.semi_major * e.semi_minor for e in ellipses]
    assert any(area < 0.8 * full for area, full in zip(areas, whole, strict=True))
    round_ones = [draw("Class1", seed, defective=True)[1][0] for seed in range(40)]
    # A quarter of DAGM's class 1 has a ratio above 0.99.
    assert any(e.semi_minor > e.semi_major for e in round_ones)


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_defect_changes_only_the_inside_of_its_ellipse(product: str) -> None:
    for seed in range(5):
        good, none = draw(product, seed, 256)
        bad, ellipses = draw(product, seed, 256, defective=True)
        assert none == ()
        inside = rasterise(ellipses, good.shape).astype(bool)
        changed = good != bad
        assert not changed[~inside].any()
        # It fills the ellipse to 0.75 to 0.98 of its radius (0.56 to 0.96 of its area); a few
        # changed pixels happen to keep their gray level, and few are cut by the border.
        assert 0.4 < changed[inside].mean() < 0.97


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_defect_can_be_seen(product: str) -> None:
    for seed in range(5):
        good = draw(product, seed, 256)[0].astype(float)
        bad, ellipses = draw(product, seed, 256, defective=True)
        inside = rasterise(ellipses, bad.shape).astype(bool)
        # Texture, light and noise are the same, so the difference is the defect alone: far
        # beyond the noise of 2 gray levels, and no more than the textures' own contrast allows.
        assert 5 < np.abs(bad - good)[inside].mean() < 60


@pytest.mark.parametrize("product", PRODUCTS)
def test_blur_lowers_the_gradient_and_sharp_images_are_alike(product: str) -> None:
    sharp, blurred = [], []
    for seed in range(12):
        image = draw(product, seed, 256, defective=seed % 2 == 1)[0]
        sharp.append(mean_gradient(image))
        blurred.append(mean_gradient(cv2.GaussianBlur(image, (0, 0), 1.5)))
    # A limit at 0.6 of the median parts the two, with room on both sides: measured at 0.3, and
    # from 0.86 to 1.15.
    median = np.median(sharp)
    assert max(blurred) < 0.5 * median
    assert 0.8 * median < min(sharp)
    assert max(sharp) < 1.2 * median


@pytest.mark.parametrize("product", PRODUCTS)
def test_gray_levels_are_well_inside_the_range(product: str) -> None:
    for seed in range(5):
        image = draw(product, seed, 256, defective=True)[0]
        assert 70 < image.mean() < 170
        assert np.isin(image, (0, 255)).mean() < 0.002


def test_the_six_textures_differ() -> None:
    # The correlation of a pixel with others near it tells textures apart whatever their gray
    # level and contrast; between two images of one product it hardly moves.
    def fingerprint(product: str) -> npt.NDArray[np.float64]:
        values = []
        for seed in range(6):
            image = draw(product, seed, 256)[0].astype(float)
            image = (image - image.mean()) / image.std()
            spectrum = np.abs(np.fft.fft2(image)) ** 2
            near = np.fft.ifft2(spectrum).real / image.size
            values.append(near[[0, 0, 1, 3, 8], [1, 3, 0, 0, 0]])
        return np.mean(values, axis=0)

    prints = sorted((fingerprint(product) for product in PRODUCTS), key=lambda print_: print_[2])
    for one, next_ in pairwise(prints):
        assert np.abs(one - next_).max() > 0.15


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"products": ["Class1", "Class7"]}, r"'Class7'; expected one of Class1, .*Class6"),
        ({"products": ["Class1", "Class1"]}, r"'Class1', 'Class1'.*each product once"),
        ({"size": 63}, r"size=63; expected 64"),
        ({"good": -1}, r"good=-1; expected 0 or more"),
        ({"defective": -2}, r"defective=-2; expected 0 or more"),
        ({"seed": -3}, r"seed=-3; expected 0 or more"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    arguments: dict[str, object] = {"good": 1, "defective": 1, "size": 64} | change
    with pytest.raises(ConfigError, match=told):
        write_dataset(tmp_path, **arguments)  # type: ignore[arg-type]
    assert files(tmp_path) == {}


def test_generate_sample_refuses_the_same() -> None:
    with pytest.raises(ConfigError, match="'class1'"):
        draw("class1")
    with pytest.raises(ConfigError, match="size=8"):
        draw("Class1", size=8)
