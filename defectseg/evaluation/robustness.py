"""How a model's answers degrade as its images do: the sweep, and the curves of it."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import isotonic_regression
from scipy.stats import t

from defectseg.bundle import CurvePoint, Thresholds
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.evaluation.scores import count_pixels, iou
from defectseg.image_io import to_gray
from defectseg.inference.engines import Engine
from defectseg.inference.predictor import find_defects
from defectseg.quality.distortions import SWEEP, Kind, distort
from defectseg.quality.gate import UNTOUCHED
from defectseg.quality.measures import MEASURES, measure

Levels = Mapping[str, Sequence[float]]
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


REFINEMENTS = 2
_RESAMPLINGS = 200
_BOUND_PERCENT = 10  # one-sided
_LEAST_SPREAD, _LEAST_SCORE = 1e-3, 1e-4  # of margins; of scores, from 0 and 1
# Of fewer defective images no curve of a product's own is drawn.
_FEWEST_DEFECTIVE, _FEWEST_GOOD = 3, 2


def choose_sweep_images(samples: Sequence[Sample], defective: int) -> list[Sample]:
    """Choose the images to distort: defective ones, and half as many good ones.

    Parameters
    ----------
    samples : sequence of Sample
        In any order: the first by their content's hash are taken, of each kind of defect in turn.
    defective : int
        How many in all, shared evenly among the products, but at least three of each.
    """
    products = sorted({sample.product for sample in samples})
    each = max(_FEWEST_DEFECTIVE, defective // len(products))
    chosen = []
    for product in products:
        own = sorted(
            (sample for sample in samples if sample.product == product),
            key=lambda sample: sample.sha256,
        )
        bad = _take_in_turn([sample for sample in own if sample.defective])[:each]
        good = [sample for sample in own if not sample.defective]
        chosen += [*bad, *good[: max(_FEWEST_GOOD, len(bad) // 2)]]
    return chosen


def _take_in_turn(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples with one of each kind first, then the second of each, and so on."""
    count: Counter[str] = Counter()
    turns = []
    for sample in samples:
        turns.append(count[sample.kind])
        count[sample.kind] += 1
    return [samples[place] for place in np.argsort(turns, kind="stable")]


def count_answers(samples: Sequence[Sample]) -> int:
    """Return how many answers a coarse sweep of some samples takes."""
    return len(samples) * (1 + sum(len(kind.levels) for kind in SWEEP.values()))


def sweep(
    engine: Engine,
    samples: Sequence[Sample],
    thresholds: Thresholds,
    *,
    ellipses: bool,
    kinds: Mapping[str, Kind] = SWEEP,
    levels: Levels | None = None,
    untouched: bool = True,
    on_image: Callable[[], None] = lambda: None,
) -> pd.DataFrame:
    """Distort labelled images at each level of each kind, and let the network answer.

    Parameters
    ----------
    engine : Engine
    samples : sequence of Sample
    thresholds : Thresholds
    ellipses : bool
        As `inference.predictor.find_defects`.
    kinds : mapping of str to Kind
    levels : mapping of str to sequence of float, optional
        By kind; all of them by default.
    untouched : bool
        Answer the images as they are, too.
    on_image : callable
        Called after each answer.

    Returns
    -------
    DataFrame
        A row an image and level: image, product, defective, kind, level (0 where untouched),
        height, width, score, margin (log-odds by which the score is above the threshold of
        REVIEW), missed (defective, and no more than a PASS by its score), alarmed (good, and not a
        PASS), rejected (good, and a FAIL), iou (NaN where good), and the columns of
        `measures.MEASURES`.

    Raises
    ------
    DataError
        If an image or a label cannot be read.
    """
    places = [(UNTOUCHED, 0.0)] if untouched else []
    if levels is None:
        levels = {name: kind.levels for name, kind in kinds.items()}
    places += [(kind, level) for kind, own in levels.items() for level in own]
    rows: list[dict[str, Any]] = []
    for sample in samples:
        image = read_sample_image(sample)
        label = read_label(sample, image.shape[:2])
        for kind, level in places:
            picture = image
            if kind != UNTOUCHED:
                picture = distort(image, kind, level, sample.sha256, kinds)
            answer = find_defects(engine, picture, thresholds, sample.product, ellipses=ellipses)
            # Written so that a score which is no number is the worst of each.
            stopped = answer.score >= thresholds.review
            passed, kept = answer.score < thresholds.review, answer.score < thresholds.fail
            rows.append(
                {
                    "image": str(sample.image),
                    "product": sample.product,
                    "defective": sample.defective,
                    "kind": kind,
                    "level": level,
                    "height": picture.shape[0],
                    "width": picture.shape[1],
                    "score": answer.score,
                    "margin": _log_odds(answer.score) - _log_odds(thresholds.review),
                    "missed": sample.defective and not stopped,
                    "alarmed": not sample.defective and not passed,
                    "rejected": not sample.defective and not kept,
                    "iou": iou(count_pixels(label, answer.mask)) if sample.defective else np.nan,
                }
                | dict(zip(MEASURES, np.array(measure(to_gray(picture))), strict=True))
            )
            on_image()
    return pd.DataFrame(rows)


def sweep_closely(
    engine: Engine,
    samples: Sequence[Sample],
    thresholds: Thresholds,
    *,
    ellipses: bool,
    promise: Promise,
    on_image: Callable[[], None] = lambda: None,
) -> pd.DataFrame:
    """Sweep coarsely, then twice more between the last good level and the first bad one.

    Parameters as in `sweep` and `refine_levels`; returns the rows of all.
    """
    rows = sweep(engine, samples, thresholds, ellipses=ellipses, on_image=on_image)
    products = sorted({sample.product for sample in samples})
    for _ in range(REFINEMENTS):
        parts = [rows]
        for product in products:
            levels = refine_levels(fit_curves(rows, product), promise)
            own = [sample for sample in samples if sample.product == product]
            parts.append(
                sweep(
                    engine,
                    own,
                    thresholds,
                    ellipses=ellipses,
                    levels=levels,
                    untouched=False,
                    on_image=on_image,
                )
            )
        rows = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return rows


def has_own_curve(rows: pd.DataFrame, product: str) -> bool:
    """Return whether enough defective images of a product were swept for a curve of its own."""
    own = rows[(rows["product"] == product) & rows["defective"]]
    return own["image"].nunique() >= _FEWEST_DEFECTIVE


def fit_curves(rows: pd.DataFrame, product: str, *, seed: int = 0) -> list[CurvePoint]:
    """Return the degradation curve of each kind, the weakest level first.

    Parameters
    ----------
    rows : DataFrame
        Of `sweep`.
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


def _log_odds(score: float) -> float:
    # In this order a score that is no number is the least.
    score = min(max(_LEAST_SCORE, score), 1 - _LEAST_SCORE)
    return math.log(score / (1 - score))


def _monotone(values: npt.ArrayLike, *, falling: bool) -> npt.NDArray[np.float64]:
    return np.asarray(isotonic_regression(values, increasing=not falling).x)
