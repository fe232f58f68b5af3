"""The baseline of a camera: what its medians are while it is good, and the limit that follows."""

import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist

import numpy as np

from defectseg.drift.records import MIN_IMAGES, DriftBaseline, Settings
from defectseg.drift.series import TOO_LARGE, Series, Times, Values, check_series
from defectseg.errors import ConfigError, DataError

_FEWEST_MEDIANS = 5  # whose own scatter is looked at
_SAME_LEVEL = 3  # standard deviations of a median
_LIMIT_SHARE, _LIMIT_DEVIATIONS = 0.01, 5  # of good images; of a median
SMALLEST = 1e-9  # standard deviation of a wander, so that a series of zeros has one too


def learn_baseline(times: Times, values: Values, settings: Settings) -> DriftBaseline:
    """Learn the baseline from images that are known to be good.

    Parameters
    ----------
    times : ndarray of shape (n,), datetime64
        When they were taken, in order: the level of one day is not that of all days.
    values : ndarray of shape (n,), float
        Their sharpness; at least 20.
    settings : Settings
        ``median_of`` and ``wander`` are used.

    Raises
    ------
    ConfigError
        If they are fewer.
    ValueError
        As `drift_series.check_series`.

    Notes
    -----
    From the images' scatter and the wander follows the deviation of a median; where the medians
    scatter more, it is theirs.
    """
    stamps, numbers = check_series(times, values)
    if len(numbers) < MIN_IMAGES:
        raise ConfigError(
            f"The baseline has {len(numbers)} images; expected at least {MIN_IMAGES}, of which "
            "each is known to be good."
        )
    size = settings.median_of
    count = len(numbers) // size
    medians = np.median(numbers[: count * size].reshape(count, size), axis=1)
    return _make_baseline(
        float(np.median(numbers)),
        estimate_scatter(numbers),
        settings,
        images=len(numbers),
        days=len(np.unique(stamps.astype("datetime64[D]"))),
        observed=observe_scatter(medians) if count >= _FEWEST_MEDIANS else 0,
    )


def learn_baselines(
    good: Mapping[str, Series], cameras: Iterable[str], settings: Settings
) -> dict[str, DriftBaseline]:
    """Learn the baseline of each camera from a time when it was good.

    Raises
    ------
    DataError
        If a camera has no such images.
    ConfigError
        If it has too few.
    """
    missing = sorted(set(cameras) - set(good))
    if missing:
        raise DataError(
            f"There are no good images of {', '.join(missing)}, but of {', '.join(sorted(good))}. "
            "Name cameras alike in both."
        )
    baselines = {}
    for camera in cameras:
        order = np.argsort(good[camera].times, kind="stable")
        own = good[camera]
        baselines[camera] = learn_baseline(own.times[order], own.values[order], settings)
    return baselines


def describe_baseline(mean: float, std: float, settings: Settings) -> DriftBaseline:
    """Return the baseline of good images with a known mean and standard deviation.

    Raises
    ------
    ConfigError
        If one of them is not finite, or the deviation is below 0.
    """
    if not (abs(mean) < TOO_LARGE and 0 <= std < TOO_LARGE):
        raise ConfigError(
            f"The baseline has mean {mean} and standard deviation {std}; expected finite numbers, "
            "the second at least 0."
        )
    return _make_baseline(mean, std, settings, images=math.inf, days=1, observed=0)


def is_level(level: float, baseline: DriftBaseline) -> bool:
    """Whether a level is that of the baseline, as far as a median can tell."""
    return abs(level - baseline.centre) <= _SAME_LEVEL * baseline.deviation


def observe_scatter(values: Values) -> float:
    """Return 1.4826 times the median absolute deviation: a normal sample's standard deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def estimate_scatter(images: Values) -> float:
    """Return the scatter of images, raised by its own standard error of 1.16/√n.

    Too small a scatter costs false alarms.
    """
    return observe_scatter(images) * (1 + 1.16 / math.sqrt(images.size))


def _make_baseline(
    centre: float,
    scatter: float,
    settings: Settings,
    *,
    images: float,
    days: int,
    observed: float,
) -> DriftBaseline:
    wander = max(settings.wander * abs(centre), SMALLEST)
    deviation = max(math.hypot(_median_error(scatter, settings.median_of), wander), observed)
    # The wander's correlation is taken to be 0.5 from day to day, an autoregression: the mean of n
    # days has about 3 / (n + 2) of its variance.
    centre_error = math.hypot(_median_error(scatter, images), wander * math.sqrt(3 / (days + 2)))
    share = -NormalDist().inv_cdf(_LIMIT_SHARE) * scatter
    limit = centre - max(share, _LIMIT_DEVIATIONS * deviation)
    return DriftBaseline(centre, deviation, wander, centre_error, limit)


def _median_error(scatter: float, count: float) -> float:
    """Return the standard error of the median of normal values: exact for 1, and for many."""
    return scatter * math.sqrt(math.pi / 2 / (count + math.pi / 2 - 1))
