"""What `defectseg evaluate` leaves: a page, plots, and the figures for programs."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from defectseg.atomic import write_atomically
from defectseg.bundle import Bundle, Calibration, Thresholds
from defectseg.dataset.manifest import Sample
from defectseg.evaluation.blur_check import blur_rows
from defectseg.evaluation.figures import Evaluation, Figures
from defectseg.evaluation.plots import (
    MAX_TILES,
    answer_sheet,
    plot_error_rates,
    plot_iou,
    plot_precision_recall,
    to_png,
)
from defectseg.evaluation.tables import EMPTY, compared_columns, figure_rows
from defectseg.image_io import encode_picture, write_picture
from defectseg.inference.predictor import Predictor
from defectseg.inference.verdict import Outcome
from defectseg.page import render
from defectseg.quality.blur_classifier import Rates

PAGE, FIGURES, IMAGES = "evaluation.html", "evaluation.json", "images.csv"


def write_evaluation(
    folder: Path,
    predictor: Predictor,
    samples: Sequence[Sample],
    frame: pd.DataFrame,
    evaluation: Evaluation,
    blur: Sequence[Rates],
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
    blur : sequence of Rates
        Of `blur_check.rate_blur_classifier`; none if it was not measured.
    title : str
        Of the page: what was evaluated.
    bundle : Bundle
    """
    calibration = bundle.calibration
    seen = count_seen(samples, calibration)
    table = frame.to_csv(index=False, lineterminator="\n")
    write_atomically(folder / IMAGES, table.encode("utf-8", "backslashreplace"))
    record = {
        "evaluated": title,
        "seen_in_training": seen,
        "bundle": str(bundle.folder),
        "model_sha256": calibration.model_sha256,
        "images_sha256": [sample.sha256 for sample in samples],
        "thresholds": calibration.thresholds.model_dump(),
        **asdict(evaluation),
        "blur_classifier": [asdict(own) for own in blur],
    }
    write_atomically(folder / FIGURES, json.dumps(record, indent=2) + "\n")
    overall = evaluation.overall.model
    plots = _plots(frame, overall, calibration.thresholds)
    for name, png in plots.items():
        write_atomically(folder / "plots" / f"{name}.png", png)
    worst = [samples[index] for index in worst_first(frame)[:MAX_TILES]]
    sheet = answer_sheet(predictor, worst) if worst else None
    if sheet is not None:
        write_picture(folder / "plots" / "worst.jpg", sheet)
    several = evaluation.products if len(evaluation.products) > 1 else {}
    page = render(
        "evaluation.html.jinja",
        title=title,
        bundle=bundle.folder.name,
        thresholds=calibration.thresholds,
        overall=overall,
        tables={
            "": figure_rows(compared_columns({"all": evaluation.overall})),
            "By product": figure_rows(compared_columns(several)) if several else [],
            "By kind of defect": figure_rows(compared_columns(evaluation.kinds))
            if len(evaluation.kinds) > 1
            else [],
            "Blur classifier, on these images and blurred copies": blur_rows(blur),
        },
        empty=EMPTY,
        seen=seen,
        plots={name: base64.b64encode(png).decode() for name, png in plots.items()},
        worst=base64.b64encode(encode_picture(sheet)).decode() if sheet is not None else "",
        unreadable=frame.loc[frame["outcome"] == Outcome.ERROR, ["image", "error"]].to_dict(
            "records"
        ),
    )
    write_atomically(folder / PAGE, page)


def count_seen(samples: Sequence[Sample], calibration: Calibration) -> int:
    """Return how many images the network was trained with, or its limits set."""
    return len({sample.sha256 for sample in samples} & set(calibration.seen_sha256))


def _plots(frame: pd.DataFrame, overall: Figures, thresholds: Thresholds) -> dict[str, bytes]:
    read = frame[frame["outcome"] != Outcome.ERROR]
    plots = {}
    if overall.auroc is not None:
        plots["error_rates"] = plot_error_rates(read, thresholds)
        plots["precision_recall"] = plot_precision_recall(read, overall)
    if overall.iou_mean is not None:
        plots["iou"] = plot_iou(read, overall)
    return {name: to_png(figure) for name, figure in plots.items()}


def worst_first(frame: pd.DataFrame) -> list[int]:
    """Return the rows of the images that a person should look at first.

    Escapes, then good images that were alarmed, the highest score first, then the defects that
    were met least well. Good images that were passed are left out, and what could not be judged.
    """
    read = frame[frame["outcome"] != Outcome.ERROR]
    union = read["true_px"] + read["predicted_px"] - read["overlap_px"]
    iou = read["overlap_px"] / union.clip(lower=1)
    defective = read["defective"]
    escaped = defective & (read["outcome"] == Outcome.PASS)
    rejected = ~defective & read["alarmed"]
    rank = pd.Series(np.select([escaped, rejected, defective], [0, 1, 2], 3), read.index)
    badness = np.where(defective, iou, -read["score"])
    order = read.assign(rank=rank, badness=badness).sort_values(["rank", "badness"], kind="stable")
    return [int(index) for index in order.index[order["rank"] < 3]]
