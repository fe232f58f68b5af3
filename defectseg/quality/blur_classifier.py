"""Sharp or blurred: a small network that has learned focus apart from noise and compression.

It is fitted on sharp images alone and on copies of them, see `blur_fitting`; what it sees of an
image is told by `blur_features`. A `Gray` is as in `focus`: an array of shape (H, W), uint8, or of
floats on the same scale of 0 to 255.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defectseg.errors import DefectsegError
from defectseg.quality.blur_features import FEATURES, Array, describe
from defectseg.quality.focus import Gray

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)
PACKAGED = Path(__file__).with_name("blur_classifier.json")

_FORMAT = "defectseg blur classifier 1"


class BlurClassifierError(DefectsegError):
    """A file is not a blur classifier."""


@dataclass(frozen=True, eq=False)
class BlurClassifier:
    """A network on standardised features, small enough for a page of JSON.

    Attributes
    ----------
    center, scale : ndarray of shape (FEATURES,), float64
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
        features = describe(gray)
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
    widths = [FEATURES, *(biases.size for _, biases in layers)]
    shapes: list[tuple[int, ...]] = [(FEATURES,)] * 2
    for inputs, outputs in pairwise(widths):
        shapes += [(inputs, outputs), (outputs,)]
    found = [array.shape for array in arrays]
    if found != shapes or widths[-1] != 1 or not layers:
        raise ValueError(f"its arrays are of shape {found}")
