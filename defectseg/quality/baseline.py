"""What known-good images of one product and camera measure, and how far another is from them.

Split conformal testing (Vovk, Gammerman & Shafer 2005, doi:10.1007/b106715): the share of good
images that it flags is at most α, whatever their distribution, as long as they are taken as those
that set it were.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from defectseg.bundle import Baseline
from defectseg.errors import DataError
from defectseg.quality.measures import Measures

_FITTED = 2  # a spread needs two
# 2 % of a measure, and of the widest direction's spread: closer is not told apart.
_LEAST_SPREAD, _LEAST_VARIANCE = 0.02, 1e-4
# Below it a measure is rounding of 8-bit levels; of a share, less than a pixel in a thousand.
_FLOORS = Measures(
    mean_gradient=0.05,
    laplacian_variance=0.5,
    tenengrad=1.0,
    tenengrad_compensated=1.0,
    brenner=0.1,
    wavelet_energy=0.02,
    high_frequency_ratio=1e-3,
    blur_effect=0.01,
    noise_sigma=0.05,
    mean_luma=1.0,
    clipped_low=1e-3,
    clipped_high=1e-3,
)


def least_size(alpha: float) -> int:
    """Return how many good images a false-alarm rate of at most `alpha` needs: 99 for 0.01."""
    # A hair less, so that 1 / 0.01 is 100 and not 100.000…1.
    return math.ceil(1 / alpha - 1e-9) - 1


def check_size(images: int, alpha: float, product: str) -> None:
    """Check that there are enough good images of a product for a false-alarm rate.

    Raises
    ------
    DataError
        Saying how many are missing, and which rate would do.
    """
    needed = least_size(alpha) + _FITTED
    if images < needed:
        fix = "Add some"
        if images > 2 * _FITTED:
            enough = math.ceil(1000 / (images - _FITTED + 1)) / 1000
            fix += f", or allow a higher rate: --set calibration.gate_alpha={enough:g}"
        raise DataError(
            f"A false-alarm rate of at most {alpha:g} needs {needed} good images of {product} that "
            f"are not for testing ({least_size(alpha)} to rank, {_FITTED} for their spread); found "
            f"{images}: {needed - images} missing. {fix}."
        )


def p_value(known: npt.ArrayLike, value: float) -> float:
    """Return the one-sided p-value of a value that is suspect where it is **low**.

    Parameters
    ----------
    known : array_like of shape (n,)
        Of known-good images, ascending.
    value : float

    Returns
    -------
    float
        ``(1 + #{known ≤ value}) / (n + 1)``, in (0, 1]; of a value that is no number, the least.
    """
    no_higher = 0 if math.isnan(value) else int(np.searchsorted(known, value, side="right"))
    return (1 + no_higher) / (1 + np.size(known))


def false_alarm_bound(images: int, alpha: float, confidence: float = 0.95) -> float:
    """Return what the realised false-alarm rate does not exceed, with some confidence.

    The rate is at most `alpha` on average over the draws of the known-good images; with those at
    hand it is Beta distributed (Vovk 2012, doi:10.1007/s10994-013-5355-6).

    Parameters
    ----------
    images : int
        Known-good images, at least `least_size`.
    alpha, confidence : float
        In (0, 1).
    """
    from scipy.stats import beta

    flagged = math.floor(alpha * (images + 1) + 1e-9)
    return float(beta.ppf(confidence, flagged, images + 1 - flagged))


def to_coordinates(measures: Measures) -> npt.NDArray[np.float64]:
    """Return the measures as coordinates, of which ratios are differences: shape (12,).

    Logarithms, so that what does not depend on contrast is a sum of some of them.
    """
    return np.asarray(np.log(np.array(measures) + np.array(_FLOORS)))


def fit_baseline(good: Sequence[Measures], alpha: float, product: str) -> Baseline:
    """Fit the baseline of a product from its known-good images.

    Parameters
    ----------
    good : sequence of Measures
        In an order that does not depend on what they measure. The first give centre and spread,
        the others rank the deviations: half of them, and at least as many as `alpha` needs.
    alpha : float
    product : str
        For the message.

    Raises
    ------
    DataError
        As `check_size`.
    """
    check_size(len(good), alpha, product)
    ranked = max(least_size(alpha), len(good) // 2)
    points = np.array([to_coordinates(measures) for measures in good])
    fitted, ranking = points[:-ranked], points[-ranked:]
    center = fitted.mean(axis=0)
    whiten = whitening(fitted - center)
    deviations = np.linalg.norm((ranking - center) @ whiten.T, axis=1)
    return Baseline(
        center=tuple(map(float, center)),
        whiten=tuple(tuple(map(float, row)) for row in whiten),
        deviations=tuple(sorted(map(float, deviations))),
    )


def open_deviation(baseline: Baseline) -> Callable[[npt.NDArray[np.float64]], float]:
    """Return what gives, of coordinates, how far they are from the center, to whichever side.

    In standard deviations of all measures together, as ``Baseline.deviations``.
    """
    center, whiten = np.array(baseline.center), np.array(baseline.whiten)
    return lambda coordinates: float(np.linalg.norm(whiten @ (coordinates - center)))


def open_baseline(baseline: Baseline) -> Callable[[npt.NDArray[np.float64]], float]:
    """Return what gives, of coordinates, the p-value of their deviation; see `open_deviation`."""
    deviation = open_deviation(baseline)
    farthest_first = -np.array(baseline.deviations)[::-1]

    def deviation_p_value(coordinates: npt.NDArray[np.float64]) -> float:
        return p_value(farthest_first, -deviation(coordinates))

    return deviation_p_value


def whitening(differences: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the matrix that turns differences of coordinates into standard deviations.

    Parameters
    ----------
    differences : ndarray of shape (N, D)
        With mean 0, N at least 1: their covariance is shrunk towards that of independent
        coordinates (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4).

    Returns
    -------
    ndarray of shape (D, D)
    """
    from sklearn.covariance import ledoit_wolf

    # Each coordinate by its own spread first: shrinking treats them alike then.
    scale = np.maximum(differences.std(axis=0), _LEAST_SPREAD)
    covariance, _ = ledoit_wolf(differences / scale, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors / np.sqrt(np.maximum(values, _LEAST_VARIANCE)) @ vectors.T
    return np.asarray(root / scale)
