"""Whether a camera loses sharpness: control charts on medians, against the camera's good days.

Values are taken in the order of time, and each N of them give one median: a single odd part does
not move it. Images that are known to be good, or else the first medians, are the baseline. Every
later median is compared with it by a cumulative sum and a moving average, and with its neighbours
to find a cleaning. While a baseline is learned, a camera is watched for a fall that is beyond doubt
without one. No event is dated before the median that shows it.
"""

import math
from dataclasses import replace
from datetime import datetime

import numpy as np

from defectseg.drift.baseline import is_level, learn_baseline
from defectseg.drift.charts import Charts, begin_charts, long_run_deviation, update_charts
from defectseg.drift.fall import Fall, estimate_fall_days, find_fall, learn_start
from defectseg.drift.records import (
    MIN_IMAGES,
    DaysLeft,
    Drift,
    DriftBaseline,
    Event,
    Kind,
    Point,
    Settings,
    Status,
)
from defectseg.drift.series import Times, Values, check_series
from defectseg.drift.step import AFTER, find_step
from defectseg.drift.trend import estimate_days_left, has_trend

_FEWEST_BEFORE = 3  # medians before a step, once there is a baseline
_END_OF_LOW = 8  # medians in a row at the limit or above
_MOST = 60  # medians that a slope is taken from


def watch(times: Times, values: Values, settings: Settings | None = None) -> Drift:
    """Watch the sharpness of one camera.

    Parameters
    ----------
    times : ndarray of shape (n,), datetime64
        In any order; images of the same time are taken in the order they have.
    values : ndarray of shape (n,), float
        Sharpness of each image: any measure that grows with it.
    settings : Settings, optional

    Returns
    -------
    Drift
        Also of an empty series: its status says that there is too little to judge by.

    Raises
    ------
    ValueError
        If the lengths differ, a time is missing, or a value is not finite.
    """
    stamps, numbers = check_series(times, values)
    watcher = Watcher(settings or Settings())
    size = watcher.settings.median_of
    order = np.argsort(stamps, kind="stable")
    for start in range(0, len(order) - size + 1, size):
        group = order[start : start + size]
        watcher.add(stamps[group], numbers[group])
    return watcher.finish(images=len(order))


class Watcher:
    """What is known of one camera between two medians."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limit = settings.limit
        self.baseline: DriftBaseline | None = None  # the last one
        self.charts: Charts | None = None  # None while a baseline is learned
        self.fall: Fall | None = None  # that of the medians so far, while a baseline is learned
        self.fall_told = False
        self.times: list[Times] = []  # of the images of each median
        self.groups: list[Values] = []
        self.medians: list[float] = []
        self.dates: set[object] = set()
        self.points: list[Point] = []
        self.events: list[Event] = []
        self.start = 0  # the first median after the last cleaning
        self.low = False
        if settings.baseline is not None:
            self.adopt(settings.baseline)

    def adopt(self, baseline: DriftBaseline) -> None:
        """Judge by this baseline from now on."""
        self.baseline = baseline
        self.charts = begin_charts(baseline)
        if self.settings.limit is None:
            # It never sinks: a dirty camera must not become the measure of itself.
            self.limit = baseline.limit if self.limit is None else max(self.limit, baseline.limit)

    def add(self, times: Times, group: Values) -> None:
        """Take the next images and judge their median."""
        self.time: datetime = times[-1].astype(object)
        self.median = float(np.median(group))
        self.times.append(times)
        self.groups.append(group)
        self.medians.append(self.median)
        self.dates.add(self.time.date())
        self.find_cleaning()
        self.judge_limit()
        if self.charts is None:
            self.points.append(Point(self.time, self.median, self.limit))
            self.learn()
        else:
            self.judge_level(self.charts)

    def find_cleaning(self) -> None:
        """Look for a step since the last cleaning; after it, a baseline may have to be learned."""
        end = len(self.medians) - AFTER
        before = end - self.start
        if self.charts is not None:
            if before < _FEWEST_BEFORE:
                return
            deviation = self.charts.baseline.deviation
        elif before * self.settings.median_of >= MIN_IMAGES:
            deviation = self.learn_from(self.start, end).deviation
        else:
            return
        step = find_step(self.medians, self.start, self.settings.step * deviation)
        if step is None:
            return
        levels = f"from {_show(step.before)} to {_show(step.after)}"
        self.report(Kind.CLEANED, f"rose by a step, {levels}")
        self.start = step.start
        self.low = self.low and self.limit is not None and step.after < self.limit
        self.charts = self.fall = None
        self.fall_told = False
        if self.baseline is not None and is_level(step.after, self.baseline):
            self.charts = begin_charts(self.baseline)

    def judge_limit(self) -> None:
        """Report the first median below the limit, and forget it after some that are not."""
        if self.limit is None:
            return
        if self.median < self.limit and not self.low:
            self.low = True
            self.report(Kind.LOW, f"{_show(self.median)} is below the limit {_show(self.limit)}")
        elif min(self.medians[-_END_OF_LOW:]) >= self.limit:
            self.low = False

    def judge_level(self, before: Charts) -> None:
        """Add the median to the charts, and report what they say."""
        self.charts = charts = update_charts(before, self.median, self.likeness(), self.settings)
        baseline = charts.baseline
        self.points.append(
            Point(
                self.time,
                self.median,
                self.limit,
                ewma=charts.ewma,
                ewma_low=charts.ewma_low,
                ewma_high=charts.ewma_high,
                cusum=charts.cusum,
                centre=baseline.centre,
                deviation=baseline.deviation,
            )
        )
        if charts.degrading and not before.degrading:
            level = _compare(charts.ewma, baseline.centre)
            since = _show_time(self.points[-charts.falling].time)
            self.report(Kind.DEGRADING, f"{level}, falling since {since}")
        last = self.settings.stale_medians
        if charts.away >= last and not has_trend(self.medians[-last:]):
            end = len(self.medians)
            self.replace(baseline, self.learn_from(end - last, end))

    def likeness(self) -> float:
        """Return the correlation of the wander at one median and the next: 0.5 for a day."""
        return float(0.5 ** (len(self.dates) / len(self.medians)))

    def learn(self) -> None:
        """Report a fall of the medians since the last cleaning; once enough, learn from them."""
        end = len(self.medians)
        self.fall = find_fall(self.groups[self.start : end], self.likeness(), self.settings)
        if self.fall and not self.fall_told:
            self.fall_told = True
            since = _show_time(self.points[self.start].time)
            level = _compare(self.fall.end, self.fall.start, "start")
            self.report(Kind.DEGRADING, f"{level}, falling since {since}; no baseline yet")
        if end - self.start < self.settings.baseline_medians:
            return
        learned = self.learn_from(self.start, end)
        if self.baseline is None:
            self.adopt(learned)
        elif is_level(learned.centre, self.baseline):
            self.adopt(self.baseline)
        else:
            self.replace(self.baseline, learned)
        if self.fall and self.charts:
            for median in self.medians[self.start :]:
                self.charts = update_charts(self.charts, median, self.likeness(), self.settings)
            self.charts = replace(self.charts, degrading=True)  # reported: the episode goes on
        self.fall = None

    def learn_from(self, first: int, end: int) -> DriftBaseline:
        """Learn a baseline from some of the medians: where they fall, that of their start."""
        times, groups = np.concatenate(self.times[first:end]), self.groups[first:end]
        fall = find_fall(groups, self.likeness(), self.settings)
        if fall:
            return learn_start(times, groups, fall, self.settings)
        return learn_baseline(times, np.concatenate(groups), self.settings)

    def replace(self, old: DriftBaseline, new: DriftBaseline) -> None:
        """Report that a baseline no longer holds, and judge by another."""
        level = _compare(new.centre, old.centre)
        did = "fell from" if self.fall else "settled at"
        self.report(Kind.BASELINE_STALE, f"{did} {level}; this is the baseline now")
        self.adopt(new)

    def report(self, kind: Kind, message: str) -> None:
        """Add an event of this median."""
        self.events.append(Event(kind, self.time, self.median, message))

    def finish(self, images: int) -> Drift:
        """Return the record."""
        left = self.estimate_days_left()
        status, reason = self.describe(left, images)
        return Drift(
            status=status,
            reason=reason,
            points=tuple(self.points),
            events=tuple(self.events),
            baseline=self.baseline,
            limit=self.limit,
            days_left=left,
            images=images,
        )

    def estimate_days_left(self) -> DaysLeft | None:
        """Estimate them from the stretch that is falling."""
        charts, fall = self.charts, self.fall
        if self.low:
            return DaysLeft(0, 0, 0)
        if self.limit is not None and fall:
            days = (self.time - self.points[self.start].time).total_seconds() / 86_400
            return estimate_fall_days(fall, days, self.limit) if days else None
        if self.limit is None or charts is None or not charts.degrading:
            return None
        count = min(charts.falling, _MOST)
        times = [point.time for point in self.points[-count:]]
        widening = long_run_deviation(charts.baseline, self.likeness()) / charts.baseline.deviation
        return estimate_days_left(times, np.array(self.medians[-count:]), self.limit, widening)

    def describe(self, left: DaysLeft | None, images: int) -> tuple[Status, str]:
        """Return the status, and why."""
        size, wanted = self.settings.median_of, self.settings.baseline_medians
        if self.low and self.limit is not None:
            last = f"the last median is {_show(self.median)}"
            return Status.LOW, f"{last}, the limit {_show(self.limit)}"
        if self.fall:
            level = _compare(self.fall.end, self.fall.start, "start")
            return Status.DEGRADING, self.describe_slope(level, left)
        degrading = self.charts is not None and self.charts.degrading
        if not degrading and all(point.centre is None for point in self.points):  # none was judged
            needed = f"{size:,}"
            if self.settings.baseline is None:
                needed = f"{size * (self.start + wanted + 1):,}, or {needed} with a given baseline"
            return Status.TOO_FEW, f"{images:,} images; the first verdict takes {needed}"
        if self.charts is None:
            learned = len(self.medians) - self.start
            return Status.LEARNING, f"{learned} of {wanted} medians of a new baseline"
        level = _compare(self.charts.ewma, self.charts.baseline.centre)
        if not degrading:
            return Status.STEADY, level
        return Status.DEGRADING, self.describe_slope(level, left)

    def describe_slope(self, level: str, left: DaysLeft | None) -> str:
        """Return the level of a camera that is falling, and when it will be at the limit."""
        if self.limit is None:
            return f"{level}; no limit yet"
        if left is None:
            return f"{level}; no slope beyond doubt"
        if not math.isfinite(left.days):
            return f"{level}; so slowly that nobody can say when it is at the limit"
        end = f" to {left.high:.0f})" if math.isfinite(left.high) else " or more)"
        days = f"{left.days:.0f} days ({left.low:.0f}{end}"
        return f"{level}; at the limit {_show(self.limit)} in {days}"


def _show(value: float) -> str:
    return f"{value:#.3g}".rstrip(".") if abs(value) < 999.5 else f"{value:,.0f}"


def _show_time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def _compare(level: float, centre: float, name: str = "baseline") -> str:
    if centre <= 0:
        return f"{_show(level)}, the {name} {_show(centre)}"
    side = "below" if level < centre else "above"
    share = abs(100 * level / centre - 100)
    return f"{_show(level)}, {share:.1f} % {side} the {name} {_show(centre)}"
