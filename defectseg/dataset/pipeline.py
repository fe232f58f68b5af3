"""From samples to batches: the tf.data input pipeline of training and validation."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from defectseg.config import AugmentSettings
from defectseg.dataset.augment import augment_pair
from defectseg.dataset.manifest import Sample
from defectseg.dataset.paste import paste_defect
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.errors import DataError
from defectseg.image_io import (
    measure_levels,
    pad_to_multiple,
    standardise,
    to_channels,
)

_THREADS = min(16, os.cpu_count() or 1)
_BATCHES_AHEAD = 2
_TRIES = 20
_UNKNOWN = -1

Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Share:
    """Which parts of each batch are made here, where several devices share a batch.

    Attributes
    ----------
    parts : int
        Of a batch, all of one size.
    own : range
        Those that are made.
    """

    parts: int = 1
    own: range = range(1)


_WHOLE = Share()


class PairCache:
    """Decodes samples through `image_io`, as prediction does, and keeps them while memory allows.

    Parameters
    ----------
    samples : sequence of Sample
    channels : int
        1 for gray, 3 for RGB.
    megabytes : int
        How much decoded data to keep; further samples are decoded each time.

    Attributes
    ----------
    failure : DataError or None
        Of the sample that could not be read: tf.data, in which it was raised, keeps its text only.
    """

    def __init__(self, samples: Sequence[Sample], channels: int, megabytes: int) -> None:
        self.samples = samples
        self.channels = channels
        self.failure: DataError | None = None
        self._free = megabytes * 2**20
        self._kept: dict[int, Pair] = {}
        self._defective: dict[str, list[int]] = defaultdict(list)
        for index, sample in enumerate(samples):
            if sample.defective:
                self._defective[sample.product].append(index)

    def defective_of(self, product: str) -> list[int]:
        """Return the indices of a product's defective samples."""
        return self._defective[product]

    def load(self, index: int) -> Pair:
        """Return image ``(H, W, C)`` and mask ``(H, W)``, both uint8, of a sample."""
        if index in self._kept:
            return self._kept[index]
        sample = self.samples[index]
        try:
            image = to_channels(read_sample_image(sample), self.channels)
            pair = image, read_label(sample, image.shape[:2])
        except DataError as error:
            self.failure = error
            raise
        size = sum(array.nbytes for array in pair)
        if size <= self._free:
            self._free -= size
            self._kept[index] = pair
        return pair


def training_batches(
    cache: PairCache,
    batches: npt.NDArray[np.int64],
    *,
    multiple: int,
    crop_px: int | None,
    augment: AugmentSettings,
    seed: tuple[int, int],
    share: Share = _WHOLE,
) -> tf.data.Dataset:
    """Return one epoch of augmented batches.

    Parameters
    ----------
    cache : PairCache
    batches : ndarray of shape (steps, batch), int64
        Which samples make up each batch; see `balance.draw_epoch`.
    multiple : int
        Height and width are padded by reflection to a multiple of this.
    crop_px : int or None
        Side of the square that is cut from each image, around a defect where there is one. None
        for whole images, which must then be of one size.
    augment : AugmentSettings
    seed : tuple of int
        The run's seed and the epoch. The same seed gives the same batches, on any number of
        threads and in any number of parts.
    share : Share
        Of each batch, that is made; by default all of it.

    Returns
    -------
    tf.data.Dataset
        Of ``(images, masks)``: ``(B, H, W, C)`` float32, standardised by mean and deviation of
        the whole image before it was changed, and ``(B, H, W, 1)`` float32, 0 or 1. Where batches
        are shared, each part is an element of its own.
    """
    positions = np.arange(batches.size).reshape(len(batches), share.parts, -1)[:, list(share.own)]
    indices = batches.reshape(-1)[positions]
    first = cache.samples[int(batches[0, 0])]
    size_hw = (crop_px, crop_px) if crop_px else padded_size(first, multiple)

    def load(index: int, position: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        rng = np.random.default_rng((*seed, int(position)))
        image, mask = cache.load(int(index))
        donors = cache.defective_of(cache.samples[int(index)].product)
        if donors and not mask.any() and rng.random() < augment.paste:
            image, mask = paste_defect(image, *cache.load(int(rng.choice(donors))), rng)
        for _ in range(_TRIES):
            top_left = place_window(mask, size_hw, rng) if crop_px else (0, 0)
            picture, moved = augment_pair(image, mask, top_left, size_hw, rng, augment)
            if moved.any() or not mask.any():
                break  # else the defect was turned out of the window: another place
        return standardise(picture, measure_levels(image)), moved[..., None]

    def to_tensors(index: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, mask = tf.numpy_function(load, (index, position), (tf.float32, tf.uint8))
        image = tf.ensure_shape(image, (*size_hw, cache.channels))
        return image, tf.cast(tf.ensure_shape(mask, (*size_hw, 1)), tf.float32)

    dataset = tf.data.Dataset.from_tensor_slices((indices.reshape(-1), positions.reshape(-1)))
    dataset = dataset.map(to_tensors, num_parallel_calls=_THREADS, deterministic=True)
    dataset = dataset.batch(indices.shape[-1], drop_remainder=True)
    dataset = dataset.prefetch(_BATCHES_AHEAD * len(share.own))
    return _without_autotuning(dataset)


def place_window(
    mask: npt.NDArray[np.uint8], size_hw: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Choose where a window is cut from an image.

    Where there is a defect, one of its pixels lies in the window, at a random place.

    Parameters
    ----------
    mask : ndarray of shape (H, W), uint8, 0 or 1
    size_hw : tuple of int
        Of the window; larger than the image, it begins at the image's first pixel.
    rng : numpy.random.Generator

    Returns
    -------
    tuple of int
        Row and column of the window's first pixel.
    """
    room = np.maximum(np.array(mask.shape) - size_hw, 0)
    defect = np.argwhere(mask)
    if len(defect):
        target = defect[rng.integers(len(defect))]
        top, left = np.clip(target - rng.integers(0, size_hw), 0, room)
    else:
        top, left = rng.integers(0, room + 1)
    return int(top), int(left)


def padded_size(sample: Sample, multiple: int) -> tuple[int, int]:
    """Return an image's height and width, rounded up to a multiple."""
    return sample.height + -sample.height % multiple, sample.width + -sample.width % multiple


def validation_batches(
    cache: PairCache, *, multiple: int, batch_size: int, share: Share = _WHOLE
) -> tf.data.Dataset:
    """Return whole images, padded by reflection; those of one padded size make batches.

    Parameters
    ----------
    cache : PairCache
    multiple : int
        Height and width are padded to a multiple of this.
    batch_size : int
        Images a batch at most.
    share : Share
        Of each batch, that is made; by default all of it. Batches that are shared are filled up by
        repeated images, since all devices must have some; their masks are -1, which counts for
        nothing in losses and metrics.

    Returns
    -------
    tf.data.Dataset
        Of ``(images, masks)``, as `training_batches`.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, sample in enumerate(cache.samples):
        groups[padded_size(sample, multiple)].append(index)
    batches = [
        [(index, True) for index in group[start : start + batch_size]]
        for group in groups.values()
        for start in range(0, len(group), batch_size)
    ]
    size = None  # may differ
    if share.parts > 1:
        size = batch_size // share.parts
        for batch in batches:
            batch += [(batch[0][0], False)] * (batch_size - len(batch))
        batches = [batch[p * size : (p + 1) * size] for batch in batches for p in share.own]

    def load(number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
        images, masks = [], []
        for index, counts in batches[int(number)]:
            image, mask = cache.load(index)
            standard = standardise(image, measure_levels(image))
            images.append(pad_to_multiple(standard, multiple))
            padded = pad_to_multiple(mask, multiple).astype(np.int8)
            masks.append(padded if counts else np.full_like(padded, _UNKNOWN))
        return np.stack(images), np.stack(masks)[..., None]

    def to_tensors(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, masks = tf.numpy_function(load, (number,), (tf.float32, tf.int8))
        images = tf.ensure_shape(images, (size, None, None, cache.channels))
        masks = tf.ensure_shape(masks, (size, None, None, 1))
        return images, tf.cast(masks, tf.float32)

    dataset = tf.data.Dataset.range(len(batches))
    # Whole batches of whole images are large: a few at a time.
    dataset = dataset.map(to_tensors, num_parallel_calls=_BATCHES_AHEAD, deterministic=True)
    return _without_autotuning(dataset.prefetch(1))


def _without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switch tf.data's own tuning off, at whose end every epoch would wait.

    Its thread sleeps ever longer, 10 ms to a minute, and an iterator that is used up waits until
    it wakes: an epoch of 28 s took 41.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
