"""The sweep: labelled images distorted at each level of each kind, and the model's answers."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from defectseg.bundle import Thresholds
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.errors import ConfigError
from defectseg.evaluation.degradation import (
    FEWEST_DEFECTIVE,
    Promise,
    fit_curves,
    refine_levels,
)
from defectseg.evaluation.scores import count_pixels, iou
from defectseg.image_io import to_gray
from defectseg.inference.cores import one_core_each
from defectseg.inference.engines import Engine
from defectseg.inference.predictor import find_defects
from defectseg.quality.distortions import SWEEP, Kind, distort
from defectseg.quality.gate import UNTOUCHED
from defectseg.quality.measures import MEASURES, measure

Levels = Mapping[str, Sequence[float]]
Image = npt.NDArray[np.uint8]
Row = dict[str, Any]

REFINEMENTS = 2
_FEWEST_GOOD = 2
_LEAST_SCORE = 1e-4  # from 0 and 1


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
    each = max(FEWEST_DEFECTIVE, defective // len(products))
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


def choose_kinds(names: Sequence[str] | None) -> Mapping[str, Kind]:
    """Return the kinds of distortion of these names; all of them where none are given.

    Raises
    ------
    ConfigError
        Naming those that are not known; or if Gaussian blur is not among them, from which people
        are told at what sharpness the promise breaks.
    """
    if names is None:
        return SWEEP
    wrong = sorted(set(names) - set(SWEEP))
    if wrong or "gaussian_blur" not in names:
        found = f"{', '.join(wrong)} is not known" if wrong else "gaussian_blur is missing"
        raise ConfigError(
            f"calibration.sweep_kinds: {found}; expected gaussian_blur and any of "
            f"{', '.join(name for name in SWEEP if name != 'gaussian_blur')}."
        )
    return {name: kind for name, kind in SWEEP.items() if name in names}


def count_answers(samples: Sequence[Sample], kinds: Mapping[str, Kind] = SWEEP) -> int:
    """Return how many answers a coarse sweep of some samples takes."""
    return len(samples) * (1 + sum(len(kind.levels) for kind in kinds.values()))


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

    def answer(sample: Sample, image: Image, label: Image, kind: str, level: float) -> Row:
        picture = image
        if kind != UNTOUCHED:
            picture = distort(image, kind, level, sample.sha256, kinds)
        probability = engine.probability(picture)
        found = find_defects(probability, thresholds, sample.product, ellipses=ellipses)
        # Written so that a score which is no number is the worst of each.
        stopped = found.score >= thresholds.review
        passed, kept = found.score < thresholds.review, found.score < thresholds.fail
        return {
            "image": str(sample.image),
            "product": sample.product,
            "defective": sample.defective,
            "kind": kind,
            "level": level,
            "height": picture.shape[0],
            "width": picture.shape[1],
            "score": found.score,
            "margin": _log_odds(found.score) - _log_odds(thresholds.review),
            "missed": sample.defective and not stopped,
            "alarmed": not sample.defective and not passed,
            "rejected": not sample.defective and not kept,
            "iou": iou(count_pixels(label, found.mask)) if sample.defective else np.nan,
        } | dict(zip(MEASURES, np.array(measure(to_gray(picture))), strict=True))

    rows: list[Row] = []
    with one_core_each() as cores, ThreadPoolExecutor(cores) as pool:
        for sample in samples:
            image = read_sample_image(sample)
            label = read_label(sample, image.shape[:2])
            for row in pool.map(partial(answer, sample, image, label), *zip(*places, strict=True)):
                rows.append(row)
                on_image()
    return pd.DataFrame(rows)


def sweep_closely(
    engine: Engine,
    samples: Sequence[Sample],
    thresholds: Thresholds,
    *,
    ellipses: bool,
    promise: Promise,
    kinds: Mapping[str, Kind] = SWEEP,
    on_image: Callable[[], None] = lambda: None,
) -> pd.DataFrame:
    """Sweep coarsely, then twice more between the last good level and the first bad one.

    Parameters as in `sweep` and `refine_levels`; returns the rows of all.
    """
    rows = sweep(engine, samples, thresholds, ellipses=ellipses, kinds=kinds, on_image=on_image)
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


def _log_odds(score: float) -> float:
    # In this order a score that is no number is the least.
    score = min(max(_LEAST_SCORE, score), 1 - _LEAST_SCORE)
    return math.log(score / (1 - score))
