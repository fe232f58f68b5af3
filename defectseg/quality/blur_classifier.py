"""Sharp or blurred: a small network that has learned focus apart from noise and compression.

It is fitted on sharp images alone. Copies of them are blurred by a lens out of focus, by motion or
by a Gaussian; sharp and blurred copies alike then lose contrast and light, gain noise and go
through JPEG, so that nothing but focus tells them apart. A `Gray` is as in `focus`: an array of
shape (H, W), uint8, or of floats on the same scale of 0 to 255.

What the network sees are ratios within crops at native resolution: shrinking an image would
destroy what is looked for, and contrast says nothing about focus.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import scipy.fft

from defectseg.errors import DataError, DefectsegError
from defectseg.quality import distortions
from defectseg.quality.focus import Gray

Array = npt.NDArray[np.float64]
Levels = npt.NDArray[np.uint8]

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)
PACKAGED = Path(__file__).with_name("blur_classifier.json")

_FORMAT = "defectseg blur classifier 1"
_CROP_PX, _CROPS = 128, 8
_GRID = 8  # crops are chosen from this many places along a side
_STEP = 8  # of the rows and columns that are looked at to choose them
_TILE_PX = 32  # of the spectrum; a smaller image is not judged
_LAGS = (1, 2, 4)
_BLOCK_PX = 8  # of JPEG
_HIDDEN = (32, 16)
_EPOCHS = 60
_NOISE_ALONE = 0.1  # share of the blurred copies
_FIT_PX = 384  # copies are made of parts of this size: enough for 8 crops, and quick


class BlurClassifierError(DefectsegError):
    """A file is not a blur classifier."""


@dataclass(frozen=True, eq=False)
class BlurClassifier:
    """A network on standardised features, small enough for a page of JSON.

    Attributes
    ----------
    center, scale : ndarray of shape (F,), float64
        Mean and standard deviation of the features that it was fitted on.
    layers : tuple of (weights, biases)
        Arrays of shape (inputs, outputs) and (outputs,), float64; ReLU between the layers, a
        logistic function after the last.
    """

    center: Array
    scale: Array
    layers: tuple[tuple[Array, Array], ...]

    def sharp_probability(self, gray: Gray) -> float:
        """Return how surely an image is sharp, in [0, 1]; it rises with focus.

        Of a large image 8 crops of 128×128 pixels, where most is to be seen, are looked at. 0
        where there is nothing to judge: a side of less than 32 pixels, no texture at all, a
        value that is no finite number.
        """
        features = _describe(gray)
        if features is None:
            return 0.0
        values = (features - self.center) / self.scale
        for weights, biases in self.layers[:-1]:
            values = np.maximum(values @ weights + biases, 0)
        weights, biases = self.layers[-1]
        # Beyond ±30 the logistic function is 0 or 1 for all that follows.
        return 1 / (1 + math.exp(-float(np.clip(values @ weights + biases, -30, 30)[0])))


@dataclass(frozen=True)
class Rates:
    """What is called sharp from a threshold on.

    Attributes
    ----------
    threshold : float
        Of the probability; equal counts as sharp.
    false_positive_rate : float
        Share of the blurred images that are let through.
    true_positive_rate : float
        Share of the sharp images that are.
    """

    threshold: float
    false_positive_rate: float
    true_positive_rate: float


def blur_rates(
    sharp: npt.ArrayLike, blurred: npt.ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> tuple[Rates, ...]:
    """Return the rates at each threshold, from the probabilities of sharp and blurred images.

    Raises
    ------
    ValueError
        If there is no sharp or no blurred image.
    """
    sharp, blurred = np.asarray(sharp), np.asarray(blurred)
    if not sharp.size or not blurred.size:
        raise ValueError(
            f"Expected one sharp and one blurred image at least. Received: {sharp.size} and "
            f"{blurred.size}."
        )
    return tuple(
        Rates(threshold, float(np.mean(blurred >= threshold)), float(np.mean(sharp >= threshold)))
        for threshold in thresholds
    )


def draw_pair(gray: Gray, rng: np.random.Generator) -> tuple[Levels, Levels]:
    """Return a sharp and a blurred copy of a sharp image, each with flaws of its own.

    Blur is Gaussian of σ 0.9 to 5, defocus of radius 1.5 to 10 or motion of 3 to 25 pixels; one
    blurred copy in ten is noise alone, as far from focus as can be. Half of all copies lose
    contrast and light, half gain noise of σ 1.5 to 20, half go through JPEG of quality 20 to 95,
    in that order, whether sharp or blurred.
    """
    levels = _to_levels(gray)
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
        if _describe(gray) is None:
            raise DataError(
                f"Image {number} of {len(sharp_images)} has shape {gray.shape} or shows nothing; "
                f"expected {_TILE_PX} pixels a side or more, and a texture. Leave it out."
            )
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for number in range(pairs):
        part = _cut_part(sharp_images[number % len(sharp_images)], rng)
        for is_sharp, copy in zip((1, 0), draw_pair(part, rng), strict=True):
            described = _describe(copy)
            if described is not None:  # contrast can be lost altogether
                features.append(described)
                labels.append(is_sharp)
    return _fit_network(np.array(features), np.array(labels), seed)


def to_json(classifier: BlurClassifier) -> str:
    """Return a classifier as the text of a JSON file."""
    record = {
        "format": _FORMAT,
        "center": classifier.center.tolist(),
        "scale": classifier.scale.tolist(),
        "layers": [[weights.tolist(), biases.tolist()] for weights, biases in classifier.layers],
    }
    return json.dumps(record, separators=(",", ":")) + "\n"


def from_json(text: str | bytes, source: str = "the text") -> BlurClassifier:
    """Read back what `to_json` returned.

    Parameters
    ----------
    text : str or bytes
    source : str
        The file that it is from, for the message of an error.

    Raises
    ------
    BlurClassifierError
        If it is no such text, or was made for other features.
    """
    try:
        record = json.loads(text)
        if record["format"] != _FORMAT:
            raise ValueError(f"its format is {record['format']!r}")
        center, scale = (np.array(record[name], np.float64) for name in ("center", "scale"))
        layers = tuple(
            (np.array(w, np.float64), np.array(b, np.float64)) for w, b in record["layers"]
        )
        _check_shapes(center, scale, layers)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise BlurClassifierError(
            f"{source} is not a blur classifier of this version ({error}); expected "
            f"{_FORMAT!r}. Fit it anew."
        ) from error
    return BlurClassifier(center, scale, layers)


def load_general_classifier() -> BlurClassifier:
    """Return the classifier that comes with the package, for images of any kind.

    Fitted on synthetic textures and on photographs of scikit-image, by
    ``benchmarks/blur_classifier.py``. Focus is relative to a texture: one that is fitted on a
    product's own images is the better judge of them.
    """
    return from_json(PACKAGED.read_bytes(), PACKAGED.name)


def _check_shapes(center: Array, scale: Array, layers: tuple[tuple[Array, Array], ...]) -> None:
    arrays = [center, scale, *(array for layer in layers for array in layer)]
    if not all(np.isfinite(array).all() for array in arrays) or not (scale > 0).all():
        raise ValueError("a number is not finite, or a scale not above 0")
    widths = [_FEATURES, *(biases.size for _, biases in layers)]
    shapes: list[tuple[int, ...]] = [(_FEATURES,)] * 2
    for inputs, outputs in pairwise(widths):
        shapes += [(inputs, outputs), (outputs,)]
    found = [array.shape for array in arrays]
    if found != shapes or widths[-1] != 1 or not layers:
        raise ValueError(f"its arrays are of shape {found}")


# How the copies are made.


def _cut_part(gray: Gray, rng: np.random.Generator) -> Gray:
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
    from sklearn.neural_network import MLPClassifier  # slow to import, and needed here alone

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


# What the network sees.


def _frequencies() -> tuple[Array, Array]:
    """Return radius and angle of each frequency that `rfft2` of a tile has."""
    rows, columns = scipy.fft.fftfreq(_TILE_PX)[:, None], scipy.fft.rfftfreq(_TILE_PX)
    return np.hypot(rows, columns), np.arctan2(rows, columns)


def _make_averages() -> tuple[Array, Array]:
    """Return what sums a spectrum up: to its total, and to means over rings and sectors.

    Of a real image half of the spectrum is computed; the other half mirrors it, and counts.
    """
    radius, angle = _frequencies()
    columns = scipy.fft.rfftfreq(_TILE_PX)
    mirrored = np.where((columns == 0) | (columns == 0.5), 1.0, 2.0) * np.ones_like(radius)
    # The last ring holds the corners, where only diagonals reach.
    ring = np.minimum(np.rint(radius * _TILE_PX), _TILE_PX // 2 + 1)
    rings = [ring == number for number in range(1, _TILE_PX // 2 + 2)]
    band = np.digitize(radius, _BANDS)
    quarter = np.rint(angle / (np.pi / 4)) % 4
    sectors = [(band == b) & (quarter == q) for b in (1, 2, 3) for q in range(4)]
    masks = mirrored * np.array(rings + sectors)
    means = masks / masks.sum(axis=(1, 2), keepdims=True)
    return mirrored.ravel(), means.reshape(len(means), -1).T


_BANDS = (0.14, 0.25, 0.38, 0.51)  # cycles a pixel
_RINGS = _TILE_PX // 2 + 1
_FEATURES = _RINGS + 2 * (len(_BANDS) - 1) + 2 * len(_LAGS) - 1 + 2
_TOTAL, _AVERAGES = (part.astype(np.float32) for part in _make_averages())
_WINDOW = np.outer(*[np.hanning(_TILE_PX + 2)[1:-1].astype(np.float32)] * 2)
_POWERS = np.arange(256.0)[:, None] ** (1, 4)


def _describe(gray: Gray) -> Array | None:
    """Return the features of an image, shape (F,), or None where there is nothing to judge.

    Means over the crops, weighted by their contrast: a part on a plain ground is judged by the
    part.
    """
    if min(gray.shape) < _TILE_PX or not (gray.dtype == np.uint8 or np.isfinite(gray).all()):
        return None
    crops = _choose_crops(_to_levels(gray))
    energy, spectrum = _describe_spectrum(crops)
    if not energy.any():
        return None
    features = np.concatenate([spectrum, _describe_differences(crops)], axis=1)
    contrast = np.sqrt(energy)
    return np.asarray(contrast @ features / contrast.sum())


def _to_levels(gray: Gray) -> Levels:
    return gray if gray.dtype == np.uint8 else np.rint(np.clip(gray, 0, 255)).astype(np.uint8)


def _choose_crops(levels: Levels) -> Levels:
    """Return the crops of an evenly spaced grid that differ most from themselves, shifted.

    Shape (C, h, w), sides a multiple of a tile's. Every eighth row and column is compared with
    the fourth after it, which is blur's and noise's affair less than its neighbour is.
    """
    height, width = (min(_CROP_PX, side // _TILE_PX * _TILE_PX) for side in levels.shape)
    tops, lefts = (
        np.linspace(0, side - crop, min(_GRID, side // crop)).astype(int)
        for side, crop in zip(levels.shape, (height, width), strict=True)
    )
    crops = [levels[top : top + height, left : left + width] for top in tops for left in lefts]
    if len(crops) > _CROPS:
        shift = _STEP // 2
        strength = [
            cv2.norm(crop[:-shift:_STEP], crop[shift::_STEP], cv2.NORM_L1)
            + cv2.norm(crop[::_STEP, :-shift], crop[::_STEP, shift:], cv2.NORM_L1)
            for crop in crops
        ]
        crops = [crops[place] for place in np.argsort(strength, kind="stable")[-_CROPS:]]
    return np.array(crops)


def _describe_spectrum(crops: Levels) -> tuple[Array, Array]:
    """Return energy, shape (C,), and spectral features, (C, ·), of crops.

    The features are logarithms of the power's share, the mean over the tiles (Welch 1967,
    doi:10.1109/TAU.1967.1161901): in each of 17 rings; and, in three bands, of the weakest of
    four directions over their mean, which motion lowers, and of across over down.
    """
    # One by one: what does not outgrow the processor's cache takes half the time.
    power = np.array([_power_spectrum(crop) for crop in crops])
    energy = power @ _TOTAL
    # Rounding leaves some energy even in a crop of one gray level.
    energy[np.ptp(crops, axis=(1, 2)) == 0] = 0
    shares = np.log(power @ _AVERAGES / np.maximum(energy, 1e-9)[:, None] + 1e-9)
    rings, sectors = shares[:, :_RINGS], shares[:, _RINGS:].reshape(len(crops), -1, 4)
    weakest = sectors.min(axis=2) - sectors.mean(axis=2)
    directed = sectors[..., 0] - sectors[..., 2]
    return energy.astype(np.float64), np.concatenate([rings, weakest, directed], axis=1)


def _power_spectrum(crop: Levels) -> npt.NDArray[np.float32]:
    """Return the power of `_frequencies`, flat, summed over the tiles of a crop."""
    down, across = (side // _TILE_PX for side in crop.shape)
    tiles = crop.reshape(down, _TILE_PX, across, _TILE_PX).swapaxes(1, 2)
    levels = tiles.astype(np.float32, order="C").reshape(-1, _TILE_PX, _TILE_PX)
    levels -= levels.mean(axis=(1, 2), keepdims=True)
    levels *= _WINDOW
    spectrum = scipy.fft.rfft2(levels)
    return np.asarray((spectrum.real**2 + spectrum.imag**2).sum(axis=0).ravel())


def _describe_differences(crops: Levels) -> Array:
    """Return the features of the differences of pixels 1, 2 and 4 apart in crops, shape (C, ·).

    Logarithms, means over both axes: of the mean difference over that twice as far apart, small
    where edges are soft; of the fourth-power mean over the mean, large where edges are few and
    steep, and small for noise. Last, of the largest over the middle of the eight places that a
    pixel can have in JPEG's blocks, along each axis.
    """
    moments = np.empty((len(crops), 2, len(_LAGS), 2))  # the last: of the first and fourth power
    phases = np.empty((len(crops), 2, _BLOCK_PX))
    for number, crop in enumerate(crops):
        for axis, lines in enumerate((crop, cv2.transpose(crop))):
            for place, lag in enumerate(_LAGS):
                difference = cv2.absdiff(lines[lag:], lines[:-lag])
                histogram = cv2.calcHist([difference], [0], None, [256], [0, 256]).ravel()
                moments[number, axis, place] = histogram @ _POWERS / difference.size
                if lag == 1:
                    sums = cv2.reduce(difference, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
                    # The last block lacks a difference to the next.
                    phases[number, axis] = sums[: -_BLOCK_PX + 1].reshape(-1, _BLOCK_PX).sum(axis=0)
    # A sixth of a gray level stands for what rounding hides.
    means, peaks = np.log(moments[..., 0] + 1 / 6), np.log(moments[..., 1] + 6.0**-4) / 4
    softness, steepness = means[..., :-1] - means[..., 1:], peaks - means
    blocks = np.log((phases.max(axis=2) + 1) / (np.median(phases, axis=2) + 1))
    return np.concatenate([softness.mean(axis=1), steepness.mean(axis=1), blocks], axis=1)
