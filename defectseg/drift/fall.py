"""A fall while a baseline is learned: of a camera that gathers dust from its first image on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from defectseg.drift.baseline import (
    SMALLEST,
    estimate_scatter,
    learn_baseline,
    observe_scatter,
)
from defectseg.drift.records import MIN_IMAGES, DaysLeft, DriftBaseline, Settings
from defectseg.drift.series import Times, Values

_FEWEST = 12  # medians that a fall is told from
# Standard errors of a drop. Of 4,000 simulated clean cameras (8 % noise, 0.3 % wander), tested at
# each of the medians 12 to 40, 1.2 % are alarmed.
_BEYOND_DOUBT = 2.7
_TRIMMED, _TRIMMING_COST = 0.1, 1.03  # share at either end; in standard errors of a normal mean
_CLIP, _CLIPPED_VARIANCE = 2, 0.92  # standard deviations of a level; what is left of normal ones'


@dataclass(frozen=True)
class Fall:
    """A line through levels that fall beyond doubt.

    Attributes
    ----------
    start, end : float
        Of the line, at the first and at the last of them.
    count : int
        How many they are.
    error : float
        Standard error of the drop from one to the next.
    """

    start: float
    end: float
    count: int
    error: float

    @property
    def drop(self) -> float:
        """From one level to the next; above 0."""
        return (self.start - self.end) / (self.count - 1)


def find_fall(groups: Sequence[Values], likeness: float, settings: Settings) -> Fall | None:
    """Return the fall of a camera whose good level is not known, if it is beyond doubt.

    Parameters
    ----------
    groups : sequence of ndarray of shape (settings.median_of,), float
        The images of each median, in the order of time.
    likeness : float
        Correlation of the wander at one median and the next, in [0, 1).
    settings : Settings
        ``median_of`` and ``wander`` are used.

    Returns
    -------
    Fall or None
        None also for fewer than 12 medians, or 20 images.

    Notes
    -----
    A median's images give a level: their mean without a tenth of them at either end, which of 50
    normal values is as sure as a median of 73. To the levels a straight line is fitted by least
    squares, once they are clipped at two standard deviations from a resistant line (Tukey 1977: by
    the medians of the outer thirds): a camera that was covered for an hour is no fall. The standard
    error follows from the images' scatter, or the levels' where it is larger, and from the wander
    with its correlation.
    """
    count = len(groups)
    if count < _FEWEST or count * settings.median_of < MIN_IMAGES:
        return None
    images = np.array(groups)
    levels = _trim(images)
    index = np.arange(count) - (count - 1) / 2
    third = count // 3
    slope = float(np.median(levels[-third:]) - np.median(levels[:third])) / (count - third)
    rest = levels - slope * index
    centre = float(np.median(rest))
    wander = max(settings.wander * abs(centre), SMALLEST)
    noise = estimate_scatter(images - slope * index[:, None]) / math.sqrt(settings.median_of)
    noise *= _TRIMMING_COST
    width = _CLIP * max(math.hypot(noise, wander), observe_scatter(rest))
    clipped = slope * index + np.clip(rest, centre - width, centre + width)

    weights = index / (index @ index)  # of the least squares' slope
    middle, slope = float(np.mean(clipped)), float(weights @ clipped)
    off = clipped - middle - slope * index
    variance = max(noise**2, float(off @ off) / (count - 2) / _CLIPPED_VARIANCE - wander**2)
    overlap = np.correlate(weights, weights, "full")[count - 1 :]  # by the medians between two
    together = 2 * float(overlap @ likeness ** np.arange(count)) - overlap[0]
    error = math.sqrt(variance * overlap[0] + wander**2 * together)
    if -slope <= _BEYOND_DOUBT * error:
        return None
    half = slope * (count - 1) / 2
    return Fall(middle - half, middle + half, count, error)


def learn_start(
    times: Times, groups: Sequence[Values], fall: Fall, settings: Settings
) -> DriftBaseline:
    """Learn the baseline that a camera had when it began to fall: its images without the fall.

    Parameters
    ----------
    times : ndarray of shape (n · settings.median_of,), datetime64
    groups : sequence of n ndarrays of shape (settings.median_of,), float
        The images that the fall was found in.
    fall : Fall
    settings : Settings
    """
    images = np.array(groups) + fall.drop * np.arange(fall.count)[:, None]
    learned = learn_baseline(times, images.ravel(), settings)
    # The first level is as sure as the middle one, and half the way from there by the drop.
    error = math.hypot(learned.centre_error, fall.error * (fall.count - 1) / 2)
    return replace(learned, centre_error=error)


def estimate_fall_days(fall: Fall, days: float, limit: float) -> DaysLeft:
    """Return when a fall reaches a limit, from its last level on.

    Parameters
    ----------
    fall : Fall
    days : float
        From its first level to its last, as if they were evenly apart.
    limit : float
    """
    half = (fall.count - 1) / 2
    above = (fall.start + fall.end) / 2 - limit
    # All three lines go through the middle.
    drops = (fall.drop + deviations * fall.error for deviations in (0, 1.96, -1.96))
    left = [max(0.0, (above / drop - half) * days / (fall.count - 1)) for drop in drops]
    return DaysLeft(*left)


def _trim(images: Values) -> Values:
    """Return the mean of each row of images without a tenth of them at either end."""
    cut = int(_TRIMMED * images.shape[1])
    means: Values = np.sort(images, axis=1)[:, cut : images.shape[1] - cut].mean(axis=1)
    return means
