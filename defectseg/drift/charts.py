"""The control charts of a camera's medians: a moving average, and a cumulative sum of falls."""

import math
from dataclasses import dataclass

from defectseg.drift.records import DriftBaseline, Settings


@dataclass(frozen=True)
class Charts:
    """What the charts say after some medians.

    Attributes
    ----------
    baseline : DriftBaseline
        What the medians are compared with.
    ewma, ewma_low, ewma_high : float
        Moving average, and its limits.
    cusum : float
        As `Point.cusum`.
    count : int
        Medians since the charts were begun.
    falling : int
        Medians in the sum: the first of them is where the fall began.
    degrading : bool
        From an alarm until both charts are at the baseline again.
    away : int
        Medians in a row, the last ones, that were not at the baseline.
    """

    baseline: DriftBaseline
    ewma: float
    ewma_low: float
    ewma_high: float
    cusum: float = 0.0
    count: int = 0
    falling: int = 0
    degrading: bool = False
    away: int = 0


def begin_charts(baseline: DriftBaseline) -> Charts:
    """Return the charts before the first median."""
    centre = baseline.centre
    return Charts(baseline, ewma=centre, ewma_low=centre, ewma_high=centre)


def update_charts(charts: Charts, median: float, likeness: float, settings: Settings) -> Charts:
    """Return the charts after one more median.

    Parameters
    ----------
    charts : Charts
    median : float
    likeness : float
        Correlation of the wander at one median and the next, in [0, 1).
    settings : Settings

    Notes
    -----
    Page 1954, doi:10.1093/biomet/41.1-2.100 (cumulative sum); Roberts 1959,
    doi:10.1080/00401706.1959.10489860 (moving average).
    """
    baseline, count = charts.baseline, charts.count + 1
    below = baseline.centre - median - baseline.centre_error
    below /= long_run_deviation(baseline, likeness)
    cusum = max(0.0, charts.cusum + below - settings.cusum_k)
    cusum = min(cusum, 2 * settings.cusum_h)
    ewma = charts.ewma + settings.ewma_lambda * (median - charts.ewma)
    width = settings.ewma_width * _average_error(baseline, likeness, settings.ewma_lambda, count)
    low, high = baseline.centre - width, baseline.centre + width
    alarm = cusum > settings.cusum_h or ewma < low
    degrading = alarm or (charts.degrading and cusum > 0)
    return Charts(
        baseline=baseline,
        ewma=ewma,
        ewma_low=low,
        ewma_high=high,
        cusum=cusum,
        count=count,
        falling=charts.falling + 1 if charts.cusum > 0 else 1,
        degrading=degrading,
        away=0 if low <= ewma <= high and not degrading else charts.away + 1,
    )


def long_run_deviation(baseline: DriftBaseline, likeness: float) -> float:
    """Return the unit of the sum: √n of it is the standard deviation of n medians' sum."""
    return math.sqrt(_long_run_variance(baseline, likeness))


def _average_error(baseline: DriftBaseline, likeness: float, weight: float, count: int) -> float:
    """Return the standard deviation of a moving average of so many medians."""
    variance = _long_run_variance(baseline, likeness * (1 - weight))
    variance *= weight / (2 - weight) * (1 - (1 - weight) ** (2 * count))
    return math.sqrt(variance + baseline.centre_error**2)


def _long_run_variance(baseline: DriftBaseline, likeness: float) -> float:
    noise = baseline.deviation**2 - baseline.wander**2
    return noise + baseline.wander**2 * (1 + likeness) / (1 - likeness)
