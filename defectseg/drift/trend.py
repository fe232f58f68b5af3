"""Whether a level rises or falls, and when it reaches a limit: by the median slope of all pairs."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from defectseg.drift.records import DaysLeft
from defectseg.drift.series import Values

_FEWEST = 5  # medians that a slope is taken from


def estimate_days_left(
    times: Sequence[datetime], medians: Values, limit: float, widening: float = 1
) -> DaysLeft | None:
    """Return when a falling level reaches its limit, from the last time on.

    Parameters
    ----------
    times : sequence of datetime, n of them
        In order.
    medians : ndarray of shape (n,), float
    limit : float
    widening : float
        What the slope's interval is widened by, at least 1: medians that wander together tell
        less than as many that do not.

    Returns
    -------
    DaysLeft or None
        By the median slope of all pairs (Sen 1968, doi:10.1080/01621459.1968.10480934). None for
        fewer than five medians, and unless all of the slope's 95 % interval is below 0.
    """
    from scipy.stats import theilslopes  # 1 s: not for those who only look at --help

    days = np.array([(time - times[-1]).total_seconds() / 86_400 for time in times])
    if len(days) < _FEWEST or days[0] == days[-1]:
        return None
    slope, _, *interval = theilslopes(medians, days, alpha=0.95)
    steepest, flattest = (slope + widening * (end - slope) for end in interval)
    if flattest >= 0:
        return None
    # All three lines go through the middle of the medians.
    middle, above = float(np.median(days)), float(np.median(medians)) - limit
    left = [max(0.0, middle - above / float(line)) for line in (slope, steepest, flattest)]
    return DaysLeft(*left)


def has_trend(medians: Sequence[float]) -> bool:
    """Whether medians, taken as equally far apart, rise or fall beyond doubt."""
    from scipy.stats import theilslopes

    _, _, low, high = theilslopes(medians, alpha=0.95)
    return bool(low > 0 or high < 0)
