"""Fitting a blur classifier: copies of sharp images, sharp and blurred, and the network's training.

Sharp and blurred copies alike lose contrast and light, gain noise and go through JPEG, so that
nothing but focus tells them apart.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from defectseg.errors import DataError
from defectseg.quality import distortions
from defectseg.quality.blur_classifier import BlurClassifier
from defectseg.quality.blur_features import TILE_PX, Array, Levels, describe, to_levels
from defectseg.quality.focus import Gray

_HIDDEN = (32, 16)
_EPOCHS = 60
_NOISE_ALONE = 0.1  # share of the blurred copies
_FIT_PX = 384  # copies are made of parts of this size: enough for 8 crops, and quick


def draw_pair(gray: Gray, rng: np.random.Generator) -> tuple[Levels, Levels]:
    """Return a sharp and a blurred copy of a sharp image, each with flaws of its own.

    Blur is Gaussian of σ 0.9 to 5, defocus of radius 1.5 to 10 or motion of 3 to 25 pixels; one
    blurred copy in ten is noise alone, as far from focus as can be. Half of all copies lose
    contrast and light, half gain noise of σ 1.5 to 20, half go through JPEG of quality 20 to 95,
    in that order, whether sharp or blurred.
    """
    levels = to_levels(gray)
    return _add_flaws(levels, rng), _add_flaws(_blur(levels, rng), rng)


def fit_blur_classifier(
    sharp_images: Sequence[Gray], *, seed: int = 0, pairs: int = 600
) -> BlurClassifier:
    """Fit a classifier on sharp images, all of one product or of many kinds.

    Parameters
    ----------
    sharp_images : sequence of Gray
        At least one. Used in turn: a product's 30 to 150 good training images are enough.
    seed : int
        Of the copies and of the network.
    pairs : int
        Sharp and blurred copies to be drawn, each from a random part of 384 pixels a side. The
        time that a fit takes grows with them, and hardly with the images.

    Raises
    ------
    DataError
        If an image cannot be judged: see `BlurClassifier.sharp_probability`.
    """
    if not sharp_images:
        raise DataError("No images to fit a blur classifier on; expected sharp ones.")
    for number, gray in enumerate(sharp_images, 1):
        if describe(gray) is None:
            raise DataError(
                f"Image {number} of {len(sharp_images)} has shape {gray.shape} or shows nothing; "
                f"expected {TILE_PX} pixels a side or more, and a texture. Leave it out."
            )
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for number in range(pairs):
        part = cut_part(sharp_images[number % len(sharp_images)], rng)
        for is_sharp, copy in zip((1, 0), draw_pair(part, rng), strict=True):
            described = describe(copy)
            if described is not None:  # contrast can be lost altogether
                features.append(described)
                labels.append(is_sharp)
    return _fit_network(np.array(features), np.array(labels), seed)


def cut_part(gray: Gray, rng: np.random.Generator) -> Gray:
    """Return a random part of 384 pixels a side, or as much as there is."""
    height, width = (min(_FIT_PX, side) for side in gray.shape)
    top, left = rng.integers(gray.shape[0] - height + 1), rng.integers(gray.shape[1] - width + 1)
    return gray[top : top + height, left : left + width]


def _draw_log(low: float, high: float, rng: np.random.Generator) -> float:
    """Draw a number so that each doubling is as likely as the next."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _blur(levels: Levels, rng: np.random.Generator) -> Levels:
    if rng.random() < _NOISE_ALONE:
        plain = np.full_like(levels, round(float(levels.mean())))
        return distortions.add_noise(plain, _draw_log(1.5, 40, rng), rng)
    kind = rng.integers(3)
    if kind == 0:
        return distortions.blur_gaussian(levels, _draw_log(0.9, 5, rng))
    if kind == 1:
        return distortions.blur_defocus(levels, _draw_log(1.5, 10, rng))
    return distortions.blur_motion(levels, _draw_log(3, 25, rng), rng.uniform(0, math.pi))


def _add_flaws(levels: Levels, rng: np.random.Generator) -> Levels:
    if rng.random() < 0.5:
        levels = distortions.lower_contrast(levels, rng.uniform(0.3, 1))
        levels = distortions.darken(levels, rng.uniform(0.5, 1))
    if rng.random() < 0.5:
        levels = distortions.add_noise(levels, _draw_log(1.5, 20, rng), rng)
    if rng.random() < 0.5:
        levels = distortions.compress_jpeg(levels, rng.uniform(20, 95))
    return levels


def _fit_network(features: Array, labels: npt.NDArray[Any], seed: int) -> BlurClassifier:
    from sklearn.neural_network import MLPClassifier  # slow to import

    # Rounded first, so that the file holds what is fitted, in few digits.
    center, scale = features.mean(axis=0).round(4), (features.std(axis=0) + 1e-3).round(4)
    network = MLPClassifier(
        _HIDDEN,
        alpha=1.0,
        batch_size=min(128, len(labels)),
        learning_rate_init=2e-3,
        random_state=seed,
    )
    values = (features - center) / scale
    for _ in range(_EPOCHS):
        network.partial_fit(values, labels, classes=(0, 1))
    layers = zip(network.coefs_, network.intercepts_, strict=True)
    return BlurClassifier(center, scale, tuple((w.round(4), b.round(4)) for w, b in layers))
