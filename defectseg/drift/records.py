"""The records of `monitor`: what a camera is watched by, and what is said of it."""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from defectseg.drift.series import TOO_LARGE
from defectseg.errors import ConfigError

MIN_IMAGES = 20  # from which a scatter can be told


class Kind(StrEnum):
    """What is reported: once when it begins, and again only after it has ended."""

    DEGRADING = "DEGRADING"
    LOW = "LOW"
    CLEANED = "CLEANED"
    BASELINE_STALE = "BASELINE_STALE"


class Status(StrEnum):
    """How a camera stands after its last median, the worst first."""

    LOW = "LOW"
    DEGRADING = "DEGRADING"
    TOO_FEW = "TOO_FEW"
    LEARNING = "LEARNING"
    STEADY = "STEADY"


@dataclass(frozen=True)
class DriftBaseline:
    """What a camera's medians are while it is good.

    Attributes
    ----------
    centre : float
        Median of the images.
    deviation : float
        Standard deviation of one median around the centre, wander included; above 0.
    wander : float
        Standard deviation of the level from day to day; at most `deviation`.
    centre_error : float
        Standard error of the centre.
    limit : float
        1 % of good images are below it, and a good median hardly ever is.

    Raises
    ------
    ConfigError
        If a number is not finite, or out of its range.
    """

    centre: float
    deviation: float
    wander: float
    centre_error: float
    limit: float

    def __post_init__(self) -> None:
        numbers = (self.centre, self.deviation, self.wander, self.centre_error, self.limit)
        fine = all(abs(number) < TOO_LARGE for number in numbers)
        if not (fine and 0 <= self.wander <= self.deviation > 0 <= self.centre_error):
            raise ConfigError(
                f"{self} cannot be; expected finite numbers, the deviation above 0, the wander "
                "from 0 to the deviation, and the centre's error at least 0."
            )


@dataclass(frozen=True)
class Settings:
    """How a series is watched.

    Attributes
    ----------
    median_of : int
        Consecutive images that make one median; at least 1, where every odd image counts.
    baseline_medians : int
        First medians that a baseline is learned from; at least 5, and of 20 images or more. If
        they fall beyond doubt, it is the level that they fall from.
    ewma_lambda : float
        Weight of the newest median in the moving average, in (0, 1].
    ewma_width : float
        Half the width of its limits, in its standard deviations; above 0.
    cusum_k : float
        How far medians may be below the baseline without being summed, beyond the centre's
        standard error; at least 0. In long-run standard deviations of a median: larger than a
        single one's, as the medians of a day wander together.
    cusum_h : float
        Sum that is an alarm, in the same unit; above 0.
    step : float
        Rise between neighbouring medians that is a cleaning, in standard deviations of a median;
        above 0.
    stale_medians : int
        Medians away from the baseline, without trend, after which it is given up; at least 10,
        and of 20 images or more.
    wander : float
        Standard deviation of a clean camera's level from day to day, as a share of its centre, in
        (0, 1). A baseline has too few days to tell it; set too low, it costs false alarms.
    limit : float or None
        What a median must not fall below; by default taken from the baseline.
    baseline : DriftBaseline or None
        Of images that are known to be good; by default learned from the first medians.

    Raises
    ------
    ConfigError
        If settings are out of range; all of them at once.
    """

    median_of: int = 50
    baseline_medians: int = 40
    ewma_lambda: float = 0.1
    ewma_width: float = 3.5
    cusum_k: float = 0.5
    cusum_h: float = 4.5
    step: float = 5.0
    stale_medians: int = 40
    wander: float = 0.004
    limit: float | None = None
    baseline: DriftBaseline | None = None

    def __post_init__(self) -> None:
        images = math.ceil(MIN_IMAGES / max(self.median_of, 1))
        rules = {
            "median_of": (self.median_of >= 1, "at least 1"),
            "baseline_medians": _at_least(max(5, images), self.baseline_medians),
            "ewma_lambda": (0 < self.ewma_lambda <= 1, "above 0 and at most 1"),
            "ewma_width": (0 < self.ewma_width < math.inf, "above 0"),
            "cusum_k": (0 <= self.cusum_k < math.inf, "at least 0"),
            "cusum_h": (0 < self.cusum_h < math.inf, "above 0"),
            "step": (0 < self.step < math.inf, "above 0"),
            "stale_medians": _at_least(max(10, images), self.stale_medians),
            "wander": (0 < self.wander < 1, "above 0 and below 1"),
            "limit": (self.limit is None or math.isfinite(self.limit), "a finite number"),
        }
        wrong = [
            f"{name} is {getattr(self, name)}; expected {expected}."
            for name, (fine, expected) in rules.items()
            if not fine
        ]
        if wrong:
            raise ConfigError(" ".join(wrong))


@dataclass(frozen=True)
class Point:
    """One median, and what the charts said after it; None where there was no baseline to judge by.

    Attributes
    ----------
    time : datetime
        Of the last image in it.
    median : float
    limit : float or None
    ewma, ewma_low, ewma_high : float or None
        Moving average of the medians, and its limits.
    cusum : float or None
        Sum of what the medians were below the baseline, at least 0. It is held at twice the
        alarm, so that a recovery shows within days.
    centre, deviation : float or None
        Of the baseline.
    """

    time: datetime
    median: float
    limit: float | None
    ewma: float | None = None
    ewma_low: float | None = None
    ewma_high: float | None = None
    cusum: float | None = None
    centre: float | None = None
    deviation: float | None = None


@dataclass(frozen=True)
class Event:
    """What a person should know: what it is, when it was found and at which median, in words."""

    kind: Kind
    time: datetime
    value: float
    message: str


@dataclass(frozen=True)
class DaysLeft:
    """Days until the limit is reached, and their 95 % interval; all at least 0."""

    days: float
    low: float
    high: float


@dataclass(frozen=True)
class Drift:
    """What came of one camera's series.

    Attributes
    ----------
    status : Status
    reason : str
        The status in words.
    points : tuple of Point
        One a median, by time.
    events : tuple of Event
        By time.
    baseline : DriftBaseline or None
        The last one.
    limit : float or None
        The last one.
    days_left : DaysLeft or None
        0 if the level is low already, None unless it is falling beyond doubt.
    images : int
        All of them; of the last, if they are too few for a median, nothing is said.
    """

    status: Status
    reason: str
    points: tuple[Point, ...]
    events: tuple[Event, ...]
    baseline: DriftBaseline | None
    limit: float | None
    days_left: DaysLeft | None
    images: int


def _at_least(fewest: int, given: int) -> tuple[bool, str]:
    return given >= fewest, f"at least {fewest}"
