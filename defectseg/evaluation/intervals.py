"""Intervals of 95 % for what is no counted share; those have `figures.rate`."""

from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import t

_NEAR = 1e-9


def mean_interval(
    values: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of a mean by Student's t; None, None for fewer than two values."""
    array = np.asarray(values, float)
    if len(array) < 2:
        return None, None
    half = float(
        t.ppf((1 + confidence) / 2, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5
    )
    middle = float(array.mean())
    return middle - half, middle + half


def auroc_interval(
    auroc: float, good: int, defective: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of an area under the ROC curve, from the area and the counts alone.

    Method 5 of Newcombe 2006 (doi:10.1002/sim.2324): as Wilson's of a share, it stays within
    [0, 1] and leaves room below an area of 1.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def least(area: float) -> float:
        if area <= _NEAR:
            return 0.0
        return float(
            brentq(
                lambda true: (area - true) ** 2 - z**2 * _auroc_variance(true, good, defective),
                0,
                area - _NEAR,
            )
        )

    return least(auroc), 1 - least(1 - auroc)


def _auroc_variance(area: float, good: int, defective: int) -> float:
    pairs = (good + defective) / 2 - 1
    spread = 1 + pairs * (1 - area) / (2 - area) + pairs * area / (1 + area)
    return area * (1 - area) * spread / (good * defective)
