import numpy as np
import pytest

from defectseg.dataset.paste import paste_defect


def donor() -> tuple[np.ndarray, np.ndarray]:
    """A gray picture of 100 with a bright square of 180, and its mask."""
    mask = np.zeros((80, 80), np.uint8)
    mask[30:45, 20:40] = 1
    image = np.full((80, 80, 1), 100, np.uint8)
    image[mask == 1] = 180
    return image, mask


@pytest.mark.parametrize("seed", range(10))
def test_the_mask_lies_on_the_pasted_defect(seed: int) -> None:
    good = np.full((90, 70, 1), 60, np.uint8)
    image, mask = paste_defect(good, *donor(), np.random.default_rng(seed))
    assert mask.sum() == 15 * 20
    # Brought to the darker place: 180 − 100 + 60 = 140, also at the border of the label.
    assert image[..., 0][mask == 1].max() == 140
    assert image[..., 0][mask == 1].min() >= 136
    np.testing.assert_array_equal(image[..., 0][mask == 0], 60)
    np.testing.assert_array_equal(good, 60)  # the original is left as it was


def test_a_small_defect_is_copied_whole() -> None:
    image = np.full((80, 80, 1), 100, np.uint8)
    mask = np.zeros((80, 80), np.uint8)
    mask[40, 40] = 1
    image[mask == 1] = 180
    good = np.full((90, 70, 1), 60, np.uint8)
    pasted, own = paste_defect(good, image, mask, np.random.default_rng(0))
    # Of 140: what is lost is the tail of the fading.
    assert pasted[..., 0][own == 1].tolist() == [136]


def test_places_differ() -> None:
    good = np.full((200, 200, 1), 60, np.uint8)
    places = {
        tuple(np.argwhere(paste_defect(good, *donor(), np.random.default_rng(s))[1])[0])
        for s in range(10)
    }
    assert len(places) == 10


def test_a_defect_that_is_cut_by_the_border_is_not_taken() -> None:
    image, mask = donor()
    mask[:] = 0
    mask[0:20, 20:40] = 1
    good = np.full((90, 90, 1), 60, np.uint8)
    pasted, nothing = paste_defect(good, image, mask, np.random.default_rng(0))
    assert not nothing.any()
    np.testing.assert_array_equal(pasted, good)


def test_a_defect_beside_another_is_not_taken() -> None:
    image, mask = donor()
    mask[30:45, 43:46] = 1  # three pixels from the square
    image[mask == 1] = 180
    good = np.full((90, 90, 1), 60, np.uint8)
    pasted, nothing = paste_defect(good, image, mask, np.random.default_rng(0))
    assert not nothing.any()
    np.testing.assert_array_equal(pasted, good)


def test_a_defect_that_does_not_fit_leaves_the_image_as_it_is() -> None:
    good = np.full((20, 90, 1), 60, np.uint8)
    pasted, nothing = paste_defect(good, *donor(), np.random.default_rng(0))
    assert nothing.shape == (20, 90)
    assert not nothing.any()
    np.testing.assert_array_equal(pasted, good)
