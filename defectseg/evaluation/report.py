"""What `defectseg evaluate` leaves: a page, plots, and the figures for programs."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from defectseg.atomic import write_atomically
from defectseg.bundle import Bundle
from defectseg.dataset.manifest import Sample
from defectseg.evaluation.figures import Evaluation, Figures, Rate
from defectseg.evaluation.plots import (
    MAX_TILES,
    answer_sheet,
    plot_error_rates,
    plot_iou,
    plot_precision_recall,
)
from defectseg.image_io import encode_picture, write_picture
from defectseg.inference.predictor import Predictor
from defectseg.inference.verdict import Outcome
from defectseg.page import render

PAGE, FIGURES, IMAGES = "evaluation.html", "evaluation.json", "images.csv"

# How each figure is called for people, in the order of the page.
_LABELS: Mapping[str, str] = {
    "good_images": "good images",
    "defective_images": "defective images",
    "escape": "escape (defective PASS)",
    "overkill": "overkill (good FAIL)",
    "good_alarmed": "good alarmed, by score",
    "defects_hit": "defects hit",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "iou_mean": "IoU, defective: mean",
    "iou_median": "IoU, defective: median",
    "iou_worst": "IoU, defective: worst",
    "dice_mean": "Dice, defective: mean",
    "dice_median": "Dice, defective: median",
    "dice_worst": "Dice, defective: worst",
    "pixel_iou": "IoU, all pixels",
    "pixel_dice": "Dice, all pixels",
    "defective_outcomes": "defective images are",
    "good_outcomes": "good images are",
}


def write_evaluation(
    folder: Path,
    predictor: Predictor,
    samples: Sequence[Sample],
    frame: pd.DataFrame,
    evaluation: Evaluation,
    *,
    title: str,
    bundle: Bundle,
) -> None:
    """Write ``evaluation.html``, ``evaluation.json``, ``images.csv`` and ``plots/``.

    Parameters
    ----------
    folder : Path
        Written into directly: stage it if it must appear as a whole.
    predictor : Predictor
    samples, frame : sequence of Sample, DataFrame
        What was inspected, and the rows of `evaluate.evaluate` in the same order.
    evaluation : Evaluation
    title : str
        Of the page: what was evaluated.
    bundle : Bundle
    """
    calibration = bundle.calibration
    write_atomically(folder / IMAGES, frame.to_csv(index=False, lineterminator="\n"))
    record = {
        "evaluated": title,
        "bundle": str(bundle.folder),
        "model_sha256": calibration.model_sha256,
        "thresholds": calibration.thresholds.model_dump(),
        **asdict(evaluation),
    }
    write_atomically(folder / FIGURES, json.dumps(record, indent=2) + "\n")
    plots = _plots(frame, evaluation.overall, predictor)
    for name, png in plots.items():
        write_atomically(folder / "plots" / f"{name}.png", png)
    worst = _worst(samples, frame)
    sheet = answer_sheet(predictor, worst) if worst else None
    if sheet is not None:
        write_picture(folder / "plots" / "worst.jpg", sheet)
    columns = {
        "all": evaluation.overall,
        **(evaluation.products if len(evaluation.products) > 1 else {}),
        "empty answer": evaluation.empty_answer,
    }
    page = render(
        "evaluation.html.jinja",
        title=title,
        bundle=bundle.folder.name,
        thresholds=calibration.thresholds,
        overall=evaluation.overall,
        rows=figure_rows(columns),
        kinds=figure_rows(evaluation.kinds) if len(evaluation.kinds) > 1 else [],
        plots={name: base64.b64encode(png).decode() for name, png in plots.items()},
        worst=base64.b64encode(encode_picture(sheet)).decode() if sheet is not None else "",
        unreadable=frame.loc[frame["outcome"] == Outcome.ERROR, ["image", "error"]].to_dict(
            "records"
        ),
    )
    write_atomically(folder / PAGE, page)


def figure_rows(columns: Mapping[str, Figures]) -> list[dict[str, str]]:
    """Return figures as texts: a row a figure, with its name and each column's value."""
    return [
        {"": label} | {column: show(getattr(own, name)) for column, own in columns.items()}
        for name, label in _LABELS.items()
    ]


def show(value: object) -> str:
    """Return a figure for people; a rate with its interval."""
    if value is None:
        return "—"
    if isinstance(value, Rate):
        if value.share is None:
            return "—"
        interval = f"{100 * (value.low or 0):.1f}–{100 * (value.high or 0):.1f}"
        return f"{value.count} of {value.total}: {100 * value.share:.1f} % ({interval})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "—"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plots(frame: pd.DataFrame, overall: Figures, predictor: Predictor) -> dict[str, bytes]:
    read = frame[frame["outcome"] != Outcome.ERROR]
    plots = {}
    if overall.auroc is not None:
        thresholds = predictor.calibration.thresholds
        plots["error_rates"] = plot_error_rates(read, thresholds)
        plots["precision_recall"] = plot_precision_recall(read, overall)
    if overall.iou_mean is not None:
        plots["iou"] = plot_iou(read, overall)
    return {name: _png(figure) for name, figure in plots.items()}


def _worst(samples: Sequence[Sample], frame: pd.DataFrame) -> list[Sample]:
    """Return the images a person should look at first.

    Escapes first, then rejected good images, then the defects that were met least well.
    """
    read = frame[frame["outcome"] != Outcome.ERROR]
    union = read["true_px"] + read["predicted_px"] - read["overlap_px"]
    iou: npt.NDArray[np.float64] = np.asarray(read["overlap_px"] / union.clip(lower=1))
    defective = read["defective"]
    escaped = defective & (read["outcome"] == Outcome.PASS)
    rejected = ~defective & read["alarmed"]
    order = read.assign(rank=np.select([escaped, rejected, defective], [0, 1, 2], 3), iou=iou)
    order = order[order["rank"] < 3].sort_values(["rank", "iou"], kind="stable")
    return [samples[int(index)] for index in order.index[:MAX_TILES]]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
