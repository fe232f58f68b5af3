"""Degradation curves: what is left of a model's answers at each level of each distortion."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import isotonic_regression
from scipy.stats import t

from defectseg.bundle import CurvePoint
from defectseg.quality.distortions import SWEEP
from defectseg.quality.gate import UNTOUCHED

# Of fewer defective images no curve of a product's own is drawn.
FEWEST_DEFECTIVE = 3
_RESAMPLINGS = 200
_BOUND_PERCENT = 10  # one-sided
_LEAST_SPREAD = 1e-3  # of margins

_Answers = Mapping[str, npt.NDArray[np.float64]]


class Expected(Protocol):
    """What is expected of a model's answers at some level of a distortion."""

    @property
    def iou_share_low(self) -> float:
        """Share of the IoU of the untouched images, by its lower bound."""

    @property
    def escape_rise_high(self) -> float:
        """Rise of the escape rate, by its upper bound."""


class Promise(Protocol):
    """What must be left of a model's answers for it to be believed."""

    @property
    def min_iou_share(self) -> float:
        """Share of the IoU of the untouched images."""

    @property
    def max_escape_rise(self) -> float:
        """Rise of the escape rate."""


def has_own_curve(rows: pd.DataFrame, product: str) -> bool:
    """Return whether enough defective images of a product were swept for a curve of its own."""
    own = rows[(rows["product"] == product) & rows["defective"]]
    return own["image"].nunique() >= FEWEST_DEFECTIVE


def fit_curves(rows: pd.DataFrame, product: str, *, seed: int = 0) -> list[CurvePoint]:
    """Return the degradation curve of each kind, the weakest level first.

    Parameters
    ----------
    rows : DataFrame
        Of `robustness.sweep`.
    product : str
        Whose curve; where it cannot have its own, that of all products.
    seed : int
        Of the bootstrap: 200 draws of the defective images, with 80 % between the bounds. Where
        more escapes are to be expected from how near the scores of others came to the threshold,
        these are the upper bound.

    Raises
    ------
    ValueError
        If no image is defective.
    """
    own = rows[rows["product"] == product] if has_own_curve(rows, product) else rows
    defective, good = own[own["defective"]], own[~own["defective"]]
    if defective.empty:
        raise ValueError("Expected defective images. Received none.")
    images = sorted(set(defective["image"]))
    overkill = good.groupby(["kind", "level"])["rejected"].mean()
    untouched = _tabulate(defective, images, [(UNTOUCHED, 0.0)])
    points = []
    for kind in SWEEP:
        places = [(kind, level) for level in _weakest_first(defective, kind)]
        if not places:
            continue
        levels = _tabulate(defective, images, places)
        shares, rises = _resample(untouched, levels, np.random.default_rng(seed))
        low = np.percentile(shares, _BOUND_PERCENT, axis=0)
        high = np.maximum(
            np.percentile(rises, 100 - _BOUND_PERCENT, axis=0),
            _expect_escapes(untouched["margin"], levels["margin"]),
        )
        points += [
            CurvePoint(
                kind=kind,
                level=level,
                iou_share=float(shares[0][place]),
                iou_share_low=float(low[place]),
                escape_rise=float(rises[0][place]),
                escape_rise_high=float(high[place]),
                missed=int(levels["missed"][:, place].sum()),
                defective=len(images),
                overkill=float(overkill.get((kind, level), 0.0)),
            )
            for place, (_, level) in enumerate(places)
        ]
    return points


def _resample(
    untouched: _Answers, levels: _Answers, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return share of the IoU and rise of escapes at each level: of all images, then of draws."""
    count = len(levels["iou"])
    draws = [np.arange(count), *rng.integers(0, count, (_RESAMPLINGS, count))]
    shares, rises = [], []
    for draw in draws:
        base = float(untouched["iou"][draw].mean())
        # What is better than untouched, by chance, must not make up for what is worse; and
        # where nothing was found, nothing can be left.
        left = np.minimum(levels["iou"][draw].mean(axis=0), base) / (base or 1.0)
        shares.append(_monotone([1.0, *left], falling=True)[1:])
        missed = [untouched["missed"][draw].mean(), *levels["missed"][draw].mean(axis=0)]
        rises.append(_monotone(missed, falling=False)[1:] - missed[0])
    return np.array(shares), np.array(rises)


def _expect_escapes(
    untouched: npt.NDArray[np.float64], levels: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return by how much escapes of further images rise at each level, told from the margins.

    That none of six was missed says little; that one came near says more. The margin of a further
    image follows Student's t, about the mean of those that are known (a normal predictive
    distribution). What is not known, of one image or of no number, escapes.
    """
    margins = np.hstack([untouched, levels])
    count = len(margins)
    if count < 2:
        return np.ones(levels.shape[1])
    spread = np.maximum(margins.std(axis=0, ddof=1), _LEAST_SPREAD) * math.sqrt(1 + 1 / count)
    escapes = np.nan_to_num(t.cdf(-margins.mean(axis=0) / spread, count - 1), nan=1.0)
    rising = _monotone(escapes, falling=False)
    return np.asarray(rising[1:] - rising[0])


def keeps_promise(expected: Expected, promise: Promise) -> bool:
    """Return whether the model is believed at a level: whether the bounds keep the promise."""
    return (
        expected.iou_share_low >= promise.min_iou_share
        and expected.escape_rise_high <= promise.max_escape_rise
    )


def breaking_point(curve: Sequence[CurvePoint], promise: Promise) -> CurvePoint | None:
    """Return the weakest level of a kind at which the model is not believed, if there is one.

    Parameters
    ----------
    curve : sequence of CurvePoint
        Of one kind, the weakest first.
    promise : Promise
        As `keeps_promise`.
    """
    return next((point for point in curve if not keeps_promise(point, promise)), None)


def refine_levels(curve: Sequence[CurvePoint], promise: Promise) -> dict[str, list[float]]:
    """Return, for each kind that breaks the promise, the level between the last good and first bad.

    The geometric mean of both; none where already the weakest level breaks it.
    """
    between: dict[str, list[float]] = {}
    for kind, points in groupby(curve, key=lambda point: point.kind):
        own = list(points)
        broken = breaking_point(own, promise)
        if broken is not None and broken is not own[0]:
            last_good = own[own.index(broken) - 1]
            between[kind] = [math.sqrt(last_good.level * broken.level)]
    return between


def _weakest_first(rows: pd.DataFrame, kind: str) -> list[float]:
    """Return the levels of a kind that all images have; others were refined for one product."""
    counts = rows.loc[rows["kind"] == kind].groupby("level")["image"].nunique()
    levels = sorted(float(level) for level in counts.index[counts == rows["image"].nunique()])
    weakest, strongest = SWEEP[kind].levels[0], SWEEP[kind].levels[-1]
    return levels if weakest < strongest else levels[::-1]


def _tabulate(
    rows: pd.DataFrame, images: Sequence[str], places: Sequence[tuple[str, float]]
) -> _Answers:
    """Return ``iou``, ``missed``, ``margin``, each with a row an image and a column a place."""
    tables = {}
    for column in ("iou", "missed", "margin"):
        table = rows.pivot_table(
            index="image", columns=["kind", "level"], values=column, aggfunc="mean", observed=True
        )
        tables[column] = table.loc[list(images)][list(places)].to_numpy(float)
    return tables


def _monotone(values: npt.ArrayLike, *, falling: bool) -> npt.NDArray[np.float64]:
    return np.asarray(isotonic_regression(values, increasing=not falling).x)
