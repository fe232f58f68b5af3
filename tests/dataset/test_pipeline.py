import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from defectseg.config import AugmentSettings
from defectseg.dataset.augment import UNCHANGED
from defectseg.dataset.manifest import Sample
from defectseg.dataset.pipeline import (
    PairCache,
    Share,
    place_window,
    training_batches,
    validation_batches,
)
from defectseg.image_io import write_gray, write_mask


def make_samples(folder: Path, sizes_hw: list[tuple[int, int]]) -> list[Sample]:
    """Dark images whose bright column tells their number; every second one has a white defect."""
    samples = []
    for number, (height, width) in enumerate(sizes_hw):
        image = np.zeros((height, width), np.uint8)
        image[:, number] = 200
        mask_path = None
        if number % 2:
            mask = np.zeros((height, width), np.uint8)
            mask[3:9, 4:12] = 1
            image[mask == 1] = 255
            mask_path = folder / f"mask-{number}.png"
            write_mask(mask_path, mask)
        path = folder / f"{number}.png"
        write_gray(path, image)
        sample = Sample(path, mask_path, "p", bool(number % 2), "train", width, height, str(number))
        samples.append(sample)
    return samples


def numbers_of(images: tf.Tensor) -> list[int]:
    """Which images of `make_samples` a batch shows."""
    return images.numpy()[:, 0, :, 0].argmax(axis=1).tolist()


def test_batches_hold_the_samples_asked_for(tmp_path: Path) -> None:
    cache = PairCache(make_samples(tmp_path, [(32, 32)] * 4), 1, megabytes=1)
    batches = np.array([[3, 0], [1, 2]])
    got = list(
        training_batches(cache, batches, multiple=32, crop_px=None, augment=UNCHANGED, seed=(0, 1))
    )
    assert [images.shape for images, _ in got] == [(2, 32, 32, 1)] * 2
    assert [numbers_of(images) for images, _ in got] == [[3, 0], [1, 2]]
    for images, masks in got:
        for number, image, mask in zip(numbers_of(images), images, masks, strict=True):
            white = image.numpy() == image.numpy().max()
            np.testing.assert_array_equal(mask.numpy() == 1, white & (number % 2 == 1))


def test_a_patch_is_standardised_by_the_numbers_of_its_whole_image(tmp_path: Path) -> None:
    (sample,) = make_samples(tmp_path, [(64, 64)])
    image = np.zeros((64, 64), np.uint8)
    image[:, 32:] = 200
    write_gray(sample.image, image)  # mean 100, standard deviation 100
    cache = PairCache([sample], 1, megabytes=1)
    batches = np.zeros((20, 1), np.int64)
    dataset = training_batches(
        cache, batches, multiple=32, crop_px=32, augment=UNCHANGED, seed=(0, 0)
    )
    patches = [images.numpy() for images, _ in dataset]
    assert set(np.unique(patches)) == {-1, 1}
    assert len({patch.mean() for patch in patches}) > 5  # windows of their own


def test_validation_images_are_standardised_before_they_are_padded(tmp_path: Path) -> None:
    (sample,) = make_samples(tmp_path, [(32, 48)])
    image = np.zeros((32, 48), np.uint8)
    image[:, :32] = 200
    write_gray(sample.image, image)
    ((images, _),) = validation_batches(
        PairCache([sample], 1, megabytes=1), multiple=32, batch_size=1
    )
    # 32 of 48 columns are bright. 16 are added, those from 46 back to 31: the last is bright.
    mean = 200 * 32 / 48
    deviation = 200 * np.sqrt(32 / 48 * 16 / 48)
    assert images[0, 0, 0, 0].numpy() == pytest.approx((200 - mean) / deviation)
    assert images[0, 0, 62, 0].numpy() == pytest.approx(-mean / deviation)


def test_same_seed_same_batches_other_epoch_other_batches(tmp_path: Path) -> None:
    cache = PairCache(make_samples(tmp_path, [(64, 64)] * 4), 1, megabytes=1)
    batches = np.array([[1, 3, 1, 3]])

    def draw(epoch: int) -> np.ndarray:
        dataset = training_batches(
            cache, batches, multiple=32, crop_px=32, augment=AugmentSettings(), seed=(5, epoch)
        )
        return next(iter(dataset))[0].numpy()

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_images_of_many_sizes_are_cropped_to_one(tmp_path: Path) -> None:
    sizes = [(40, 90), (64, 20), (100, 33), (5, 300)]
    cache = PairCache(make_samples(tmp_path, sizes[:3]), 3, megabytes=0)
    dataset = training_batches(
        cache,
        np.array([[0, 1, 2]]),
        multiple=32,
        crop_px=32,
        augment=AugmentSettings(),
        seed=(0, 0),
    )
    images, masks = next(iter(dataset))
    assert images.shape == (3, 32, 32, 3)
    assert masks.shape == (3, 32, 32, 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_window_around_a_defect_holds_some_of_it_and_lies_inside(seed: int) -> None:
    mask = np.zeros((100, 150), np.uint8)
    mask[90:92, 145:149] = 1
    top, left = place_window(mask, (32, 32), np.random.default_rng(seed))
    assert mask[top : top + 32, left : left + 32].any()
    assert 0 <= top <= 100 - 32
    assert 0 <= left <= 150 - 32


def test_a_window_that_is_turned_and_scaled_still_holds_some_of_the_defect(tmp_path: Path) -> None:
    (sample,) = make_samples(tmp_path, [(96, 96)])
    mask = np.zeros((96, 96), np.uint8)
    mask[50:53, 40:43] = 1
    write_mask(tmp_path / "mask.png", mask)
    cache = PairCache(
        [dataclasses.replace(sample, mask=tmp_path / "mask.png", defective=True)], 1, megabytes=1
    )
    free = AugmentSettings(rotate_deg=180, scale=0.25, liquify=0.4)
    batches = np.zeros((50, 4), np.int64)
    dataset = training_batches(cache, batches, multiple=32, crop_px=32, augment=free, seed=(0, 0))
    assert all(mask.any() for _, masks in dataset for mask in masks.numpy())


def test_no_epoch_waits_for_the_tuning_thread_of_tf_data(tmp_path: Path) -> None:
    cache = PairCache(make_samples(tmp_path, [(32, 32)] * 2), 1, megabytes=1)
    training = training_batches(
        cache, np.array([[0, 1]]), multiple=32, crop_px=None, augment=UNCHANGED, seed=(0, 0)
    )
    for dataset in (training, validation_batches(cache, multiple=32, batch_size=2)):
        assert dataset.options().autotune.enabled is False


def test_a_window_larger_than_the_image_begins_where_the_image_does() -> None:
    mask = np.ones((20, 200), np.uint8)
    places = [place_window(mask, (32, 32), np.random.default_rng(seed)) for seed in range(20)]
    assert {top for top, _ in places} == {0}
    assert len({left for _, left in places}) > 10


def test_good_images_get_a_defect_of_their_product_pasted(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [(64, 64)] * 2)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 1
    write_mask(tmp_path / "mask-1.png", mask)
    write_gray(samples[1].image, mask * np.uint8(200))
    other = dataclasses.replace(samples[0], product="q")
    cache = PairCache([*samples, other], 1, megabytes=1)
    pasting = UNCHANGED.model_copy(update={"paste": 1.0})
    batches = np.array([[0, 2]])
    (_, masks), *_ = training_batches(
        cache, batches, multiple=32, crop_px=None, augment=pasting, seed=(0, 0)
    )
    # The other product has no defect to give.
    assert masks.numpy().sum(axis=(1, 2, 3)).tolist() == [400, 0]


def test_cache_keeps_what_fits_and_reads_the_rest_again(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [(512, 1024), (512, 1024)])  # 0.5 MB image + 0.5 MB mask each
    cache = PairCache(samples, 1, megabytes=1)
    cache.load(0)
    cache.load(1)
    for sample in samples:
        write_gray(sample.image, np.full((512, 1024), 99, np.uint8))
    assert cache.load(0)[0].max() == 200  # from memory
    assert cache.load(1)[0].max() == 99  # no room was left: from the file


def test_validation_batches_are_of_one_padded_size_and_hold_each_image_once(
    tmp_path: Path,
) -> None:
    sizes = [(30, 30), (40, 70), (32, 20), (9, 32)]
    cache = PairCache(make_samples(tmp_path, sizes), 1, megabytes=1)
    got = list(validation_batches(cache, multiple=32, batch_size=2))
    # Padded to 32×32, 64×96, 32×32, 32×32: images 0 and 2, then 3 alone, then 1 alone.
    assert [images.shape for images, _ in got] == [(2, 32, 32, 1), (1, 32, 32, 1), (1, 64, 96, 1)]
    assert [numbers_of(images) for images, _ in got] == [[0, 2], [3], [1]]


def test_shared_validation_batches_are_filled_by_what_counts_for_nothing(tmp_path: Path) -> None:
    cache = PairCache(make_samples(tmp_path, [(32, 32)] * 6), 1, megabytes=1)
    second = Share(2, range(1, 2))
    got = list(validation_batches(cache, multiple=32, batch_size=4, share=second))
    # Of 0, 1, 2, 3 and of 4, 5, 4, 4 the second half.
    assert [numbers_of(images) for images, _ in got] == [[2, 3], [4, 4]]
    assert got[0][1].numpy().min() == 0
    assert set(got[1][1].numpy().flat) == {-1}


def test_a_share_is_that_part_of_the_same_batches(tmp_path: Path) -> None:
    cache = PairCache(make_samples(tmp_path, [(64, 64)] * 4), 1, megabytes=1)
    batches = np.array([[0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 3, 2]])

    def draw(share: Share) -> list[np.ndarray]:
        dataset = training_batches(
            cache,
            batches,
            multiple=32,
            crop_px=32,
            augment=AugmentSettings(),
            seed=(5, 1),
            share=share,
        )
        return [images.numpy() for images, _ in dataset]

    # Two devices of the second worker, of three in all: rows 2 to 5 of each batch.
    whole, parts = draw(Share()), draw(Share(3, range(1, 3)))
    for batch, one, other in zip(whole, parts[::2], parts[1::2], strict=True):
        np.testing.assert_array_equal(batch[2:4], one)
        np.testing.assert_array_equal(batch[4:], other)
