"""What may be said of several trainings beside each other, and what may not."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from defectseg.evaluation.intervals import mean_interval
from defectseg.evaluation.run_records import RunRecord
from defectseg.inference.verdict import Outcome

# Where a run reads and writes; whether the data are the same is told by their hash.
_PLACES = ("data", "run")
_SEED = "train.seed"
# Of each pair of runs: of IoU, of escapes, of overkill, of stops by the gate.
_STATEMENTS = 4
# Student's t takes the differences for normal. Of fewer it claims too much: of two equal ones an
# interval without width, of three something false in 3.3 % of cases in place of 1.25 %.
_LEAST_IMAGES = 5

Item = TypeVar("Item")


@dataclass(frozen=True)
class Discordance:
    """How many images only the one of two runs gets wrong, or stops.

    Attributes
    ----------
    only_first, only_other : int
    p_value : float
        Of chance giving as uneven a share of them (exact binomial, as McNemar's test).
    """

    only_first: int
    only_other: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """A run beside the reference of its group, image by image, on the same test images.

    Attributes
    ----------
    first, other : str
        The reference, and the run beside it.
    confidence : float
        Of the interval, and of what is called a difference: more than 0.95, so that of all that is
        said of all runs, four statements of each, something is wrong in 5 % of cases at most
        (Bonferroni).
    iou_images : int
        Defective images that both could read.
    iou_mean : float or None
        Of the other's IoU less that of the first.
    iou_low, iou_high : float or None
        Its interval (Student's t, of the differences); None of fewer than five images.
    escapes, overkill, stops : Discordance
        Defective images passed, good ones rejected, and any that the gate stops: who stops all of
        them passes none, and inspects none.
    """

    first: str
    other: str
    confidence: float
    iou_images: int
    iou_mean: float | None
    iou_low: float | None
    iou_high: float | None
    escapes: Discordance
    overkill: Discordance
    stops: Discordance


def differing_settings(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Return the settings in which runs differ: by name, the value of each; None: it has none.

    A run whose settings could not be read differs from none.
    """
    read = [run.settings for run in runs if run.settings]
    names = dict.fromkeys(name for settings in read for name in settings if name not in _PLACES)
    return {
        name: [run.settings.get(name) for run in runs]
        for name in names
        if any(settings.get(name) != read[0].get(name) for settings in read)
    }


def seed_groups(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return the finished runs of equal settings, data and test images, but for the seed."""

    def key(run: RunRecord) -> Hashable:
        own = {n: v for n, v in run.settings.items() if n not in (*_PLACES, _SEED)}
        return repr(sorted(own.items())), run.trained_on, run.measured_on

    finished = [run for run in runs if run.figures]
    return [group for group in _group(finished, lambda a, b: key(a) == key(b)) if len(group) > 1]


def group_by_training_data(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return runs in groups that were trained on the same data; unknown ones are in none."""
    known = [run for run in runs if run.trained_on]
    return _group(known, lambda a, b: a.trained_on == b.trained_on)


def group_by_images(runs: Sequence[RunRecord], split: str) -> list[list[RunRecord]]:
    """Return runs in groups that were measured on the same images of a split, equally labelled.

    They are if all data are the same, and for other than test images what was left out of them; or,
    where answers were kept, if these are of the same images with the same number of labelled
    pixels.
    """
    measured = [run for run in runs if split in run.figures]

    def data(run: RunRecord) -> Hashable:
        left_out = () if split == "test" else run.settings.get("train.leave_out") or ()
        return run.measured_on, tuple(sorted(left_out))

    def same(one: RunRecord, other: RunRecord) -> bool:
        return data(one) == data(other) or _paired(one, other, split) is not None

    return _group(measured, same)


def _group(items: Sequence[Item], same: Callable[[Item, Item], bool]) -> list[list[Item]]:
    """Put together what is the same, be it by way of others."""
    groups: list[list[int]] = []
    for number, item in enumerate(items):
        homes = [group for group in groups if any(same(items[own], item) for own in group)]
        joined = sorted([number, *(own for group in homes for own in group)])
        groups = sorted([joined, *(group for group in groups if group not in homes)])
    return [[items[own] for own in group] for group in groups]


def compare_with_first(runs: Sequence[RunRecord]) -> list[Difference]:
    """Compare runs with the reference of those that were measured on the same test images.

    The reference is the first one of them that kept its answers.
    """
    able = [run for run in runs if run.answers is not None and "test" in run.figures]
    groups = _group(able, lambda one, other: _paired(one, other, "test") is not None)
    pairs = [(own[0], other, _paired(own[0], other, "test")) for own in groups for other in own[1:]]
    known = [(first, other, both) for first, other, both in pairs if both is not None]
    confidence = 1 - 0.05 / (_STATEMENTS * max(1, len(known)))
    return [_differ(first.name, other.name, both, confidence) for first, other, both in known]


def _differ(first: str, other: str, both: pd.DataFrame, confidence: float) -> Difference:
    defective, good = both[both["defective"]], both[~both["defective"]]
    rise = _iou(defective, "other") - _iou(defective, "first")
    enough = len(rise) >= _LEAST_IMAGES
    low, high = mean_interval(rise, confidence) if enough else (None, None)
    return Difference(
        first=first,
        other=other,
        confidence=confidence,
        iou_images=len(rise),
        iou_mean=float(rise.mean()) if len(rise) else None,
        iou_low=low,
        iou_high=high,
        escapes=_discordance(defective, Outcome.PASS),
        overkill=_discordance(good, Outcome.FAIL),
        stops=_discordance(both, Outcome.RETAKE),
    )


def _paired(first: RunRecord, other: RunRecord, split: str) -> pd.DataFrame | None:
    """Return the answers of two runs to each image of a split that both could read, or None.

    None if they kept none, or the images or their labels are not the same.
    """
    if first.answers is None or other.answers is None:
        return None
    one, two = (
        run.answers[run.answers["split"] == split].sort_values(["sha256", "product", "defective"])
        for run in (first, other)
        if run.answers is not None
    )
    images = ["sha256", "defective"]
    if one[images].to_numpy().tolist() != two[images].to_numpy().tolist():
        return None
    answered = ("outcome", "overlap_px", "predicted_px", "true_px")
    both = pd.DataFrame({"defective": one["defective"].to_numpy(bool)}).assign(
        **{
            f"{which}_{name}": rows[name].to_numpy()
            for which, rows in (("first", one), ("other", two))
            for name in answered
        }
    )
    error = Outcome.ERROR.value
    both = both[(both["first_outcome"] != error) & (both["other_outcome"] != error)]
    return both if (both["first_true_px"] == both["other_true_px"]).all() else None


def _iou(rows: pd.DataFrame, which: str) -> "np.ndarray[Any, np.dtype[np.float64]]":
    overlap, predicted, true = (
        rows[f"{which}_{name}_px"].to_numpy(float) for name in ("overlap", "predicted", "true")
    )
    return np.asarray(overlap / (true + predicted - overlap), np.float64)


def _discordance(rows: pd.DataFrame, wrong: Outcome) -> Discordance:
    first, other = rows["first_outcome"] == wrong, rows["other_outcome"] == wrong
    only_first, only_other = int((first & ~other).sum()), int((other & ~first).sum())
    uneven = only_first + only_other
    p_value = float(binomtest(only_first, uneven).pvalue) if uneven else 1.0
    return Discordance(only_first, only_other, p_value)
