"""Runs side by side as lines of a table: settings, training, figures with their intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from defectseg.bundle import Gate
from defectseg.evaluation.degradation import breaking_point
from defectseg.evaluation.figures import Evaluation, Figures, Rate, rate
from defectseg.evaluation.intervals import auroc_interval, mean_interval
from defectseg.evaluation.run_comparison import differing_settings
from defectseg.evaluation.run_records import RunRecord
from defectseg.evaluation.tables import show
from defectseg.inference.verdict import Outcome

SETTINGS, TRAINING, TEST = "Settings in which they differ", "Training", "Test images"
_SPLITS = {"test": TEST, "val": "Validation images"}
_BRIEF = {
    "IoU, defective: mean": "IoU",
    "AUROC": "AUROC",
    "escape": "escapes",
    "overkill": "overkill",
}


@dataclass(frozen=True)
class Mean:
    """A figure that is no share of counted things, with its 95 % interval where it is known."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes
    ----------
    section, label : str
    values : tuple
        Of each run; None where it is not known.
    brief : str
        What it is called where there is little room; empty: it is not shown there.
    """

    section: str
    label: str
    values: tuple[Any, ...]
    brief: str = ""

    @property
    def texts(self) -> list[str]:
        """The values for people."""
        return [show_value(value) for value in self.values]

    @property
    def brief_texts(self) -> list[str]:
        """The same where there is little room: no intervals."""
        return [
            show(value.value)
            if isinstance(value, Mean)
            else f"{value.count}/{value.total}"
            if isinstance(value, Rate) and value.total
            else show_value(value)
            for value in self.values
        ]


def comparison_lines(runs: Sequence[RunRecord]) -> list[Line]:
    """Return all that is shown of runs side by side, section by section."""
    lines = [
        Line(SETTINGS, name, tuple(values), brief=name.rpartition(".")[2])
        for name, values in differing_settings(runs).items()
    ]
    lines += _training_lines(runs)
    for split, title in _SPLITS.items():
        lines += _figure_lines(runs, split, title)
    return lines


def _training_lines(runs: Sequence[RunRecord]) -> list[Line]:
    def line(label: str, *values: Any, brief: str = "") -> Line:
        return Line(TRAINING, label, values, brief)

    bundles = [run.bundle for run in runs]
    return [
        line(
            "state",
            *(run.state for run in runs),
            brief="state" if any(run.remark for run in runs) else "",
        ),
        line("epochs", *(len(run.history) for run in runs), brief="epochs"),
        line("minutes", *(_tenth(run.minutes) for run in runs), brief="minutes"),
        line("best epoch", *(run.best_epoch for run in runs), brief="best"),
        line("engine", *(own.calibration.engine if own else None for own in bundles)),
        line("trained in", *(run.settings.get("train.precision") for run in runs)),
        line(
            "distortions believed, levels",
            *(believed_levels(own.calibration.gate) if own else None for own in bundles),
        ),
    ]


def _tenth(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _figure_lines(runs: Sequence[RunRecord], split: str, title: str) -> Iterator[Line]:
    evaluations = [run.figures.get(split) for run in runs]
    own = [
        _estimates(run, evaluation, split)
        for run, evaluation in zip(runs, evaluations, strict=True)
    ]
    brief = _BRIEF if split == "test" else {}
    yield from _side_by_side(title, own, brief)
    products = sorted(
        {name for evaluation in evaluations if evaluation for name in evaluation.products}
    )
    for product in products if len(products) > 1 else ():
        own = [
            _estimates(run, evaluation, split, product)
            for run, evaluation in zip(runs, evaluations, strict=True)
        ]
        yield from _side_by_side(f"{title}, {product}", own, {})


def _side_by_side(
    title: str, columns: Sequence[Mapping[str, Any]], brief: Mapping[str, str]
) -> Iterator[Line]:
    for label in dict.fromkeys(label for column in columns for label in column):
        values = tuple(column.get(label) for column in columns)
        yield Line(title, label, values, brief=brief.get(label, ""))


def _estimates(
    run: RunRecord, evaluation: Evaluation | None, split: str, product: str | None = None
) -> dict[str, Mean | Rate]:
    """Return the figures of a run on some images, each with its interval; none if not measured."""
    if evaluation is None or (product is not None and product not in evaluation.products):
        return {}
    own = (evaluation.overall if product is None else evaluation.products[product]).model
    answers = run.answers
    if answers is not None:
        answers = answers[answers["split"] == split]
        answers = answers if product is None else answers[answers["product"] == product]
    stopped = {
        name: outcomes.get(Outcome.RETAKE.value, 0)
        for name, outcomes in (("good", own.good_outcomes), ("defective", own.defective_outcomes))
    }
    return {
        "IoU, defective: mean": _mean_iou(own, answers),
        "IoU, defective: worst": Mean(own.iou_worst),
        "AUROC": _auroc(own),
        "escape": own.escape,
        "overkill": own.overkill,
        "defects hit": own.defects_hit,
        "stopped by the gate: good": rate(stopped["good"], own.good_images),
        "stopped by the gate: defective": rate(stopped["defective"], own.defective_images),
    }


def _mean_iou(own: Figures, answers: pd.DataFrame | None) -> Mean:
    """Return the mean IoU; its interval is known where the answers were kept."""
    if answers is None:
        return Mean(own.iou_mean)
    read = answers[answers["defective"] & (answers["outcome"] != Outcome.ERROR)]
    union = read["true_px"] + read["predicted_px"] - read["overlap_px"]
    low, high = mean_interval(read["overlap_px"] / union)
    if low is None or high is None:
        return Mean(own.iou_mean)
    # Student's t knows no bounds.
    return Mean(own.iou_mean, max(0.0, low), min(1.0, high))


def _auroc(own: Figures) -> Mean:
    if own.auroc is None:
        return Mean(None)
    return Mean(own.auroc, *auroc_interval(own.auroc, own.good_images, own.defective_images))


def believed_levels(gate: Gate) -> Rate:
    """Return at how many of the tried levels of distortion a model is believed, of all products."""
    believed = tried = 0
    for product in gate.products.values():
        for _, points in groupby(product.curve, key=lambda point: point.kind):
            curve = list(points)
            broken = breaking_point(curve, gate)
            believed += curve.index(broken) if broken else len(curve)
            tried += len(curve)
    return Rate(believed, tried, None, None, None)


def show_value(value: object) -> str:
    """Return a value of a `Line` for people."""
    if isinstance(value, Mean):
        if value.low is None or value.high is None:
            return show(value.value)
        return f"{show(value.value)} ({value.low:.3f}–{value.high:.3f})"
    if isinstance(value, Rate) and value.share is None and value.total:
        return f"{value.count} of {value.total}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return show(value)


def comparison_table(runs: Sequence[RunRecord], lines: Sequence[Line]) -> pd.DataFrame:
    """Return a row a run for programs: folder, state, hashes, and every line with its parts."""
    rows: list[dict[str, Any]] = []
    for place, run in enumerate(runs):
        row: dict[str, Any] = {
            "run": run.name,
            "folder": str(run.folder),
            "remark": run.remark,
            "trained_on_sha256": run.trained_on,
            "measured_on_sha256": run.measured_on,
        }
        for line in lines:
            name = (
                line.label
                if line.section in (SETTINGS, TRAINING)
                else f"{line.section}: {line.label}"
            )
            row |= _columns(name, line.values[place], line.values)
        rows.append(row)
    return pd.DataFrame(rows)


def _columns(name: str, value: Any, others: Sequence[Any]) -> dict[str, Any]:
    """Return the columns of a value; a share or a mean has several, whether it is known or not."""
    example = next((own for own in others if own is not None), None)
    parts: tuple[str, ...]
    if isinstance(example, Mean):
        parts = ("value", "low", "high")
    elif isinstance(example, Rate):
        parts = ("count", "total", "share", "low", "high")
    else:
        return {name: value}
    return {f"{name}, {part}": getattr(value, part, None) for part in parts}
