import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from defectseg.dataset.synthetic import PRODUCTS, generate_sample
from defectseg.errors import DefectsegError
from defectseg.quality.blur_classifier import (
    PACKAGED,
    Rates,
    blur_rates,
    from_json,
    load_general_classifier,
    to_json,
)
from defectseg.quality.distortions import (
    Image,
    add_noise,
    blur_defocus,
    blur_gaussian,
    blur_motion,
    compress_jpeg,
    darken,
    lower_contrast,
)

GENERAL = load_general_classifier()


def draw(product: str, seed: int = 1, size: int = 256) -> Image:
    rng = np.random.default_rng(seed)
    return generate_sample(product, defective=False, rng=rng, size=size)[0]


@pytest.mark.parametrize("product", PRODUCTS)
def test_blurrier_is_lower(product: str) -> None:
    image = draw(product)
    copies = [image, *(blur_gaussian(image, sigma) for sigma in (0.7, 1, 1.5))]
    values = [GENERAL.sharp_probability(copy) for copy in copies]
    assert all(sharper > blurrier for sharper, blurrier in pairwise(values))
    assert values[0] > 0.9
    # Once the texture is gone there is nothing left to fall.
    for copy in (blur_gaussian(image, 5), blur_defocus(image, 4), blur_motion(image, 15, 1)):
        assert GENERAL.sharp_probability(copy) < 0.1


@pytest.mark.parametrize("product", PRODUCTS)
def test_noise_and_jpeg_are_not_focus(product: str) -> None:
    image, rng = draw(product), np.random.default_rng(2)
    blurred = blur_gaussian(image, 2)
    for worsen in (
        lambda copy: add_noise(copy, 10, rng),
        lambda copy: add_noise(copy, 20, rng),
        lambda copy: compress_jpeg(copy, 30),
    ):
        assert GENERAL.sharp_probability(worsen(blurred)) < 0.5
        assert GENERAL.sharp_probability(worsen(image)) > 0.5


@pytest.mark.parametrize("product", PRODUCTS)
def test_contrast_and_light_do_not_matter(product: str) -> None:
    for image in (draw(product), blur_gaussian(draw(product), 1)):
        expected = GENERAL.sharp_probability(image)
        for change in (lower_contrast, darken):
            # Not the same, as the gray levels are rounded.
            value = GENERAL.sharp_probability(change(image, 0.5))
            assert value == pytest.approx(expected, abs=0.05)


def test_floats_are_judged_as_uint8() -> None:
    image = draw("Class6")
    value = GENERAL.sharp_probability(image)
    assert GENERAL.sharp_probability(image.astype(np.float32)) == value
    assert GENERAL.sharp_probability(image.astype(np.float64)) == value


def test_a_part_on_a_plain_ground_is_judged_by_the_part() -> None:
    for part in (draw("Class5", size=128), blur_gaussian(draw("Class5", size=128), 2)):
        image = np.full((640, 640), 30, np.uint8)
        image[256:384, 256:384] = part
        alone = GENERAL.sharp_probability(part)
        assert (GENERAL.sharp_probability(image) > 0.5) == (alone > 0.5)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0), np.uint8),
        np.zeros((0, 50), np.float64),
        np.zeros((1, 1), np.uint8),
        np.eye(31, dtype=np.uint8),
        np.zeros((200, 200), np.uint8),
        np.full((200, 200), 255, np.uint8),
        np.full((40, 2000), 77.5),
        np.full((64, 64), np.nan),
        np.where(np.eye(64, dtype=bool), np.inf, 100.0),
    ],
)
def test_what_cannot_be_judged_is_never_sharp(image: np.ndarray) -> None:
    assert GENERAL.sharp_probability(image) == 0


def test_noise_alone_is_not_sharp() -> None:
    for sigma in (2, 10, 30):
        image = add_noise(np.full((256, 256), 100, np.uint8), sigma, np.random.default_rng(0))
        assert GENERAL.sharp_probability(image) < 0.5


@pytest.mark.parametrize("shape", [(32, 32), (33, 700), (700, 33), (127, 129)])
def test_any_shape_from_32_pixels_on(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    assert 0 < GENERAL.sharp_probability(image) < 1
    # A view from the other side is the same image, however it lies in memory.
    assert GENERAL.sharp_probability(image[::-1, ::-1]) == pytest.approx(
        GENERAL.sharp_probability(image[::-1, ::-1].copy())
    )


def test_round_trip() -> None:
    read = from_json(to_json(GENERAL))
    assert to_json(read) == to_json(GENERAL)
    image = draw("Class2")
    assert read.sharp_probability(image) == GENERAL.sharp_probability(image)


def test_packaged_classifier_is_small() -> None:
    assert PACKAGED.stat().st_size < 100_000
    assert PACKAGED.read_text(encoding="utf-8") == to_json(GENERAL)


def _spoiled(**changes: object) -> str:
    return json.dumps(json.loads(to_json(GENERAL)) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        b"\x89PNG\r\n",
        to_json(GENERAL)[:-100],
        _spoiled(format="another"),
        _spoiled(center=[0.0]),
        _spoiled(center=["a"] * 30),
        _spoiled(scale=[0.0] * 30),
        _spoiled(scale=[float("nan")] * 30),
        _spoiled(layers=[]),
        _spoiled(layers=3),
        _spoiled(layers=[[[[1.0]] * 30, [0.0]], [[[1.0, 2.0]], [0.0, 0.0]]]),
    ],
)
def test_bad_file_is_a_clear_error(text: str | bytes) -> None:
    with pytest.raises(DefectsegError, match=r"own\.json is not a blur classifier .*Fit it anew"):
        from_json(text, "own.json")


def test_rates_by_hand() -> None:
    # From 0.5 on: of the blurred 0.5 and 0.7 of four, of the sharp all four but 0.4.
    # From 0.9 on: no blurred one; of the sharp 0.9 itself, and 1.
    found = blur_rates([0.4, 0.6, 0.9, 1.0], [0.1, 0.2, 0.5, 0.7], thresholds=(0.5, 0.9))
    assert found == (Rates(0.5, 2 / 4, 3 / 4), Rates(0.9, 0.0, 2 / 4))
    assert [rates.threshold for rates in blur_rates([1], [0])] == [0.5, 0.7, 0.8, 0.9, 0.95]


def test_rates_of_nothing_are_an_error() -> None:
    with pytest.raises(ValueError, match="Received: 0 and 1"):
        blur_rates([], [0.5])


def test_scoring_starts_without_scikit_learn_and_scipy() -> None:
    code = (
        "import sys; from defectseg.quality.blur_classifier import load_general_classifier; "
        "import numpy as np; load_general_classifier().sharp_probability(np.eye(64)); "
        "sys.exit(bool({'sklearn', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
