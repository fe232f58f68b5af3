import numpy as np
import pytest
import tensorflow as tf

from defectseg.config import AugmentSettings
from defectseg.dataset.augment import UNCHANGED, augment_pair, degrade, liquify

TURNS = AugmentSettings(flip=True, quarter_turns=True)
MOVES = {
    "turns": TURNS,
    "rotation": AugmentSettings(rotate_deg=180),
    "scale": AugmentSettings(scale=0.3),
    "liquify": AugmentSettings(liquify=0.6),
    "elastic": AugmentSettings(elastic_px=3),
    "all": AugmentSettings(rotate_deg=180, scale=0.3, liquify=0.6, elastic_px=3),
}


def blob() -> np.ndarray:
    """A mask without any symmetry, 32×32."""
    mask = np.zeros((32, 32), np.uint8)
    mask[8:22, 10:15] = 1
    mask[18:22, 10:24] = 1
    return mask


def smooth_blob() -> tuple[np.ndarray, np.ndarray]:
    """A picture of 128×128 that falls smoothly through level 100 at the border of its mask."""
    rows, columns = np.mgrid[:128, :128]
    inside = 1 - np.hypot((rows - 50) / 30, (columns - 70) / 20)
    image = np.clip(100 + 150 * inside, 0, 255).astype(np.uint8)
    return image[..., None], (image >= 100).astype(np.uint8)


def augment(
    image: np.ndarray, mask: np.ndarray, settings: AugmentSettings, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return augment_pair(image, mask, (0, 0), mask.shape, rng, settings)


@pytest.mark.parametrize("seed", range(12))
def test_flips_and_quarter_turns_keep_every_pixel_value(seed: int) -> None:
    mask = blob()
    image, moved = augment(200 * mask[..., None], mask, TURNS, seed)
    # A mask painted into the image stays exactly on it, and no pixel is mixed or lost.
    np.testing.assert_array_equal(image[..., 0], 200 * moved)
    assert moved.sum() == mask.sum()


def test_all_eight_orientations_occur() -> None:
    mask = blob()
    turned = [np.rot90(flipped, k) for flipped in (mask, mask[:, ::-1]) for k in range(4)]
    seen = set()
    for seed in range(80):
        moved = augment(mask[..., None], mask, TURNS, seed)[1]
        match = [i for i, wanted in enumerate(turned) if np.array_equal(moved, wanted)]
        assert len(match) == 1
        seen.update(match)
    assert seen == set(range(8))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", MOVES)
def test_every_movement_keeps_the_mask_on_what_it_marks(name: str, seed: int) -> None:
    image, mask = smooth_blob()
    picture, moved = augment(image, mask, MOVES[name], seed)
    # The level of the border is 100 wherever it comes to lie. The steepest slope is 7.5 levels a
    # pixel, 150 / 20; the mask is rounded to the nearest pixel: at most 0.71 of one, enlarged.
    level = picture[..., 0]
    assert np.all(moved[level > 110] == 1)
    assert np.all(moved[level < 90] == 0)
    assert set(np.unique(moved)) <= {0, 1}


@pytest.mark.parametrize("name", sorted(MOVES.keys() - {"turns"}))
def test_every_movement_moves_more_than_turns_do(name: str) -> None:
    image, mask = smooth_blob()
    alone = MOVES[name].model_copy(update={"flip": False, "quarter_turns": False})
    moved = [augment(image, mask, alone, seed)[1] for seed in range(8)]
    assert sum(not np.array_equal(one, mask) for one in moved) >= 6


@pytest.mark.parametrize("name", MOVES)
def test_the_same_inside_tf_data_as_outside(name: str) -> None:
    image, mask = smooth_blob()

    def load(seed: int) -> tuple[np.ndarray, np.ndarray]:
        return augment(image, mask, MOVES[name], int(seed))

    dataset = tf.data.Dataset.range(3).map(
        lambda seed: tf.numpy_function(load, (seed,), (tf.float32, tf.uint8)),
        num_parallel_calls=2,
    )
    for seed, (picture, moved) in enumerate(dataset):
        eager_picture, eager_mask = load(seed)
        np.testing.assert_array_equal(picture, eager_picture)
        np.testing.assert_array_equal(moved, eager_mask)


def test_nothing_asked_nothing_changed() -> None:
    image, mask = smooth_blob()
    picture, moved = augment(image, mask, UNCHANGED, 9)
    np.testing.assert_array_equal(picture, image)
    np.testing.assert_array_equal(moved, mask)


def test_a_window_shows_its_part_and_beyond_the_border_the_reflection() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    mask = (image[..., 0] >= 6).astype(np.uint8)
    picture, moved = augment_pair(image, mask, (1, 2), (3, 3), np.random.default_rng(0), UNCHANGED)
    # Rows 1 2 | 1, columns 2 3 | 2.
    expected = np.array([[6, 7, 6], [10, 11, 10], [6, 7, 6]])
    np.testing.assert_array_equal(picture[..., 0], expected)
    np.testing.assert_array_equal(moved, expected >= 6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("top_left", [(0, 0), (-20, 300), (90, 370), (40, 150)])
def test_only_the_part_that_is_looked_at_is_resampled(seed: int, top_left: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (120, 400, 1), np.uint8)
    mask = (image[..., 0] > 100).astype(np.uint8)
    # Around it a frame of what reflection gives; from there no border is in reach.
    frame = ((110, 110), (390, 390))
    wide = np.pad(image, (*frame, (0, 0)), mode="reflect")
    shifted = top_left[0] + 110, top_left[1] + 390
    cut, whole = (
        augment_pair(*pair, place, (32, 48), np.random.default_rng(seed), MOVES["all"])
        for pair, place in (
            ((image, mask), top_left),
            ((wide, np.pad(mask, frame, mode="reflect")), shifted),
        )
    )
    np.testing.assert_allclose(cut[0], whole[0], atol=2)
    assert (cut[1] != whole[1]).mean() < 0.01


def test_an_image_longer_than_opencv_takes_is_cut_as_any_other() -> None:
    image = np.zeros((40_000, 40, 1), np.uint8)
    image[39_990:] = 200
    mask = (image[..., 0] > 0).astype(np.uint8)
    picture, moved = augment_pair(
        image, mask, (39_968, 4), (32, 32), np.random.default_rng(0), UNCHANGED
    )
    np.testing.assert_array_equal(picture[..., 0], image[39_968:, 4:36, 0])
    np.testing.assert_array_equal(moved, mask[39_968:, 4:36])


def test_not_square_colour_images_keep_their_shape() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    picture, moved = augment(image, np.zeros((16, 32), np.uint8), MOVES["all"], 2)
    assert picture.shape == (16, 32, 3)
    assert moved.shape == (16, 32)


@pytest.mark.parametrize("seed", range(20))
def test_liquify_is_continuous_and_never_folds(seed: int) -> None:
    y, x = np.mgrid[:65, :65].astype(np.float32) - 32
    moved_x, moved_y = liquify(x, y, 0.9, np.random.default_rng(seed))
    # A fold would turn the picture over: somewhere the determinant of the map would be negative.
    xx, xy = np.gradient(moved_x, axis=1), np.gradient(moved_x, axis=0)
    yx, yy = np.gradient(moved_y, axis=1), np.gradient(moved_y, axis=0)
    assert (xx * yy - xy * yx).min() > 0
    assert np.hypot(np.diff(moved_x, axis=1), np.diff(moved_y, axis=1)).max() < 3


def test_liquify_of_full_strength_takes_r_from_r_squared_over_its_reach() -> None:
    class Fixed:
        """In the order of the draws: centre x and y, reach as a share of the side, strength."""

        def __init__(self) -> None:
            self.draws = iter([0.0, 0.0, 0.5, 1.0])

        def uniform(self, low: float, high: float) -> float:
            return next(self.draws)

    x = np.full((16, 16), 100, np.float32)
    x[0, :3] = 3, 4, 8
    moved_x, _ = liquify(x, np.zeros_like(x), 1.0, Fixed())  # type: ignore[arg-type]
    # The side is 16, so the reach is 8: 3 from 9/8, 4 from 16/8, 8 from 8; 100 is out of reach.
    assert moved_x[0, :4].tolist() == [1.125, 2.0, 8.0, 100.0]


def test_light_focus_noise_and_jpeg_change_the_picture_and_stay_in_range() -> None:
    picture = np.random.default_rng(1).uniform(0, 255, (64, 64, 1)).astype(np.float32)
    for settings in ({"light": 0.3}, {"blur_px": 2.0}, {"noise": 20.0}, {"jpeg": 10}):
        changed = [
            degrade(picture, np.random.default_rng(seed), AugmentSettings(**settings))
            for seed in range(8)
        ]
        assert any(not np.allclose(one, picture, atol=1) for one in changed), settings
        assert all(one.min() >= 0 and one.max() <= 255 for one in changed)
        assert all(one.shape == picture.shape and one.dtype == np.float32 for one in changed)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_the_worse_the_lower_its_quality(channels: int) -> None:
    picture = np.random.default_rng(1).uniform(0, 255, (64, 64, channels)).astype(np.float32)

    def error(quality: int) -> float:
        settings = AugmentSettings(jpeg=quality)
        changed = [degrade(picture, np.random.default_rng(s), settings) for s in range(10)]
        return float(np.mean([np.abs(one - picture).mean() for one in changed]))

    assert error(0) == 0
    assert 0 < error(90) < error(5)


def test_blur_lowers_and_noise_raises_the_difference_of_neighbours() -> None:
    picture = np.random.default_rng(1).normal(128, 20, (64, 64, 1)).astype(np.float32)

    def roughness(settings: AugmentSettings) -> float:
        changed = [degrade(picture, np.random.default_rng(s), settings) for s in range(10)]
        return float(np.mean([np.abs(np.diff(one, axis=1)).mean() for one in changed]))

    plain = roughness(UNCHANGED)
    assert roughness(AugmentSettings(blur_px=2)) < plain < roughness(AugmentSettings(noise=20))
