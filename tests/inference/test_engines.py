from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from defectseg.bundle import load_bundle
from defectseg.config import InferenceSettings
from defectseg.image_io import read_image
from defectseg.inference.engines import FlippedEngine, load_engine


class FirstPixel:
    """An engine that is sure of one corner only, wherever the picture shows it."""

    name, precision = "corner", "float32"

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        answer = image[..., 0].astype(np.float32) / 255
        answer[0, 0] = 1
        return answer


def test_mirrored_answers_are_turned_back_before_the_mean() -> None:
    image = np.zeros((3, 4, 3), np.uint8)
    image[1, 2] = 204
    answer = FlippedEngine(FirstPixel()).probability(image)
    expected = np.zeros((3, 4), np.float32)
    expected[1, 2] = 0.8  # the same in all four
    expected[[0, 0, -1, -1], [0, -1, 0, -1]] = 0.25  # each corner is the first pixel of one
    np.testing.assert_allclose(answer, expected, atol=1e-6)
    assert answer.dtype == np.float32


def test_the_bundle_says_whether_mirror_images_are_asked(
    bundle_folder: Path, prepared: Path
) -> None:
    bundle = load_bundle(bundle_folder)
    plain = load_engine(bundle.model_path, bundle.config)
    flips = bundle.config.model_copy(update={"inference": InferenceSettings(flips=True)})
    flipped = load_engine(bundle.model_path, flips)
    assert (plain.name, flipped.name) == ("keras", "keras, mirrored")
    image = read_image(next((prepared.parent / "raw").rglob("*.png")))
    answer = flipped.probability(image)
    # Mirroring the image mirrors the answer, which a single network does not promise.
    mirrored = flipped.probability(np.ascontiguousarray(image[:, ::-1]))
    np.testing.assert_allclose(mirrored[:, ::-1], answer, atol=1e-5)
    assert not np.allclose(plain.probability(image), answer, atol=1e-3)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_gray_and_colour_keep_their_size(shape: tuple[int, ...]) -> None:
    class Flat(FirstPixel):
        def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            assert image.shape == shape
            return np.full(image.shape[:2], 0.5, np.float32)

    np.testing.assert_array_equal(FlippedEngine(Flat()).probability(np.zeros(shape, np.uint8)), 0.5)
