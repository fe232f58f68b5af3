from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from defectseg.inference.tiling import _plan_spans, map_windows

GRID, WINDOW = 4, 48  # an overlap of half a window: 24, the middle sixth of which is a passage
LENGTHS = (4, 32, 44, 48, 52, 72, 76, 96, 100, 132)

Part = npt.NDArray[np.uint8]
Answer = npt.NDArray[np.float32]


def noise(*shape: int) -> Part:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def blurred(image: Part, reach: int) -> Answer:
    """A function that looks `reach` pixels far."""
    return cv2.blur(image.astype(np.float32), (2 * reach + 1, 2 * reach + 1))


@pytest.mark.parametrize("width", LENGTHS)
@pytest.mark.parametrize("height", LENGTHS)
def test_windows_cover_the_image_and_are_all_of_one_size(height: int, width: int) -> None:
    image = noise(height, width)
    shapes = []

    def run(parts: Sequence[Part]) -> Iterator[Answer]:
        for part in parts:
            shapes.append(part.shape)
            yield part.astype(np.float32) / 255

    # Weights add up to 1 at every pixel.
    answer = map_windows(run, image, WINDOW, GRID)
    np.testing.assert_allclose(answer, image / np.float32(255), atol=1e-6)
    assert set(shapes) == {(min(height, WINDOW), min(width, WINDOW))}
    assert (len(shapes) == 1) == (max(height, width) <= WINDOW)


@pytest.mark.parametrize(
    ("length", "window", "grid", "count"),
    # Overlaps of 24: each window but the first adds 24, so 3 reach to 48 + 24 + 24 = 96.
    # Overlaps of 12 squares of 64: 2304 + (2304 − 768) = 3840.
    [(96, 48, 4, 3), (100, 48, 4, 4), (3840, 2304, 64, 2), (3904, 2304, 64, 3)],
)
def test_no_more_windows_than_needed_each_on_the_grid(
    length: int, window: int, grid: int, count: int
) -> None:
    spans = _plan_spans(length, window, grid)
    assert len(spans) == count
    assert all(span.seen.start % grid == 0 for span in spans)
    assert (spans[0].seen.start, spans[-1].seen.stop) == (0, length)


@pytest.mark.parametrize("scale", [2, 4])
def test_coarser_answers_are_blended_as_what_they_are_taken_from(scale: int) -> None:
    image = noise(100, 132)

    def run(parts: Sequence[Part], scale: int = scale) -> list[Answer]:
        # It sees no further than its window: the blend depends on the weights.
        return [blurred(part, 16)[::scale, ::scale] for part in parts]

    np.testing.assert_allclose(
        map_windows(run, image, WINDOW, GRID),
        map_windows(lambda parts: run(parts, 1), image, WINDOW, GRID)[::scale, ::scale],
        rtol=1e-5,
    )


def test_what_lies_within_the_overlap_is_seen_as_in_the_whole_image() -> None:
    # The passage is 4 of 24 pixels: what reaches (24 − 4) / 2 = 10 pixels far shows no seam.
    image = noise(100, 76)

    def answer(reach: int) -> Answer:
        run = lambda parts: [blurred(part, reach) for part in parts]  # noqa: E731
        return map_windows(run, image, WINDOW, GRID)

    np.testing.assert_allclose(answer(10), blurred(image, 10), atol=1e-3)
    assert np.abs(answer(16) - blurred(image, 16)).max() > 0.1


def test_one_answer_passes_into_the_other_in_the_middle_of_the_overlap() -> None:
    image = np.zeros((48, 72), np.uint8)  # two windows: columns 0 to 47 and 24 to 71
    answers = [np.zeros((48, 48), np.float32), np.ones((48, 48), np.float32)]
    answer = map_windows(lambda parts: answers[: len(parts)], image, WINDOW, GRID)
    # The overlap's middle is at 35.5; a passage of 4 pixels, at its centres ⅛, ⅜, ⅝ and ⅞.
    np.testing.assert_allclose(answer[0, 33:39], [0, 0.125, 0.375, 0.625, 0.875, 1])
    assert (answer == answer[:1]).all()
    assert not answer[:, :34].any()
    assert (answer[:, 38:] == 1).all()


def test_colour_is_cut_along_its_first_two_axes() -> None:
    image = noise(72, 92, 3)
    result = map_windows(
        lambda parts: [part[..., 2].astype(np.float32) for part in parts], image, WINDOW, GRID
    )
    np.testing.assert_allclose(result, image[..., 2], rtol=1e-6)
