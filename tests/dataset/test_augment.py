import numpy as np
import pytest
import tensorflow as tf

from defectseg.dataset.augment import augment_pair

OPTIONS = {"flip": True, "quarter_turns": True, "rotate_deg": 0.0, "scale": 0.0}
FREE = {"flip": True, "quarter_turns": True, "rotate_deg": 180.0, "scale": 0.25}


def blob() -> np.ndarray:
    """A mask without any symmetry, 32×32×1."""
    mask = np.zeros((32, 32, 1), np.float32)
    mask[8:22, 10:15] = 1
    mask[18:22, 10:24] = 1
    return mask


@pytest.mark.parametrize("seed", range(12))
def test_flips_and_quarter_turns_keep_every_pixel_value(seed: int) -> None:
    mask = blob()
    image, moved = augment_pair(200 * mask, mask, tf.constant([1, seed]), **OPTIONS)
    # A mask painted into the image stays exactly on it, and no pixel is mixed or lost.
    np.testing.assert_allclose(image, 200 * moved.numpy(), atol=0.05)
    assert moved.numpy().sum() == mask.sum()


def test_all_eight_orientations_occur() -> None:
    mask = blob()
    turned = [np.rot90(flipped, k) for flipped in (mask, mask[:, ::-1]) for k in range(4)]
    seen = set()
    for seed in range(80):
        moved = augment_pair(mask, mask, tf.constant([0, seed]), **OPTIONS)[1].numpy()
        match = [i for i, wanted in enumerate(turned) if np.array_equal(moved, wanted)]
        assert len(match) == 1
        seen.update(match)
    assert seen == set(range(8))


@pytest.mark.parametrize("seed", range(8))
def test_free_rotation_and_scale_move_image_and_mask_together(seed: int) -> None:
    mask = blob()
    image, moved = augment_pair(mask, mask, tf.constant([seed, 5]), **FREE)
    # The image is interpolated, the mask is not: they differ by half a pixel at the border.
    assert np.abs(image.numpy() - moved.numpy()).max() <= 0.75
    assert set(np.unique(moved)) <= {0.0, 1.0}


def test_same_seed_same_result_also_inside_tf_data() -> None:
    mask = blob()
    seeds = np.array([[3, 1], [3, 2], [3, 3]])
    dataset = tf.data.Dataset.from_tensor_slices(seeds)
    mapped = dataset.map(lambda seed: augment_pair(mask, mask, seed, **FREE), num_parallel_calls=2)
    for seed, (image, moved) in zip(seeds, mapped, strict=True):
        eager_image, eager_mask = augment_pair(mask, mask, tf.constant(seed), **FREE)
        np.testing.assert_allclose(image, eager_image, atol=1e-4)
        np.testing.assert_array_equal(moved, eager_mask)


def test_nothing_asked_nothing_changed() -> None:
    mask = blob()
    still = {"flip": False, "quarter_turns": False, "rotate_deg": 0.0, "scale": 0.0}
    image, moved = augment_pair(7 * mask, mask, tf.constant([9, 9]), **still)
    np.testing.assert_array_equal(image, 7 * mask)
    np.testing.assert_array_equal(moved, mask)


def test_not_square_images_keep_their_shape() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (16, 32, 1)).astype(np.float32)
    moved, _ = augment_pair(image, np.zeros_like(image), tf.constant([2, 0]), **OPTIONS)
    assert moved.shape == (16, 32, 1)
