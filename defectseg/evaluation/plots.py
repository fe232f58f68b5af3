"""Plots and pictures of a model's answers."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve

from defectseg.bundle import Thresholds
from defectseg.dataset.manifest import Sample
from defectseg.evaluation.figures import Figures
from defectseg.image_io import read_image, read_mask
from defectseg.inference.predictor import Predictor
from defectseg.pictures import GREEN, RED, contact_sheet, draw_outline

MAX_TILES = 12
_RED, _BLUE, _GRAY = "#c62828", "#1565c0", "0.55"


def answer_sheet(predictor: Predictor, samples: Sequence[Sample]) -> npt.NDArray[np.uint8]:
    """Draw label (green) and answer (red) over the first twelve samples.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
    """
    tiles, captions = [], []
    for sample in samples[:MAX_TILES]:
        image = read_image(sample.image)
        found = predictor.inspect(image, sample.product)
        picture = draw_outline(image, read_mask(sample.mask), GREEN) if sample.mask else image
        tiles.append(draw_outline(picture, found.mask, RED))
        captions.append(f"{found.verdict.outcome}  {sample.kind}/{sample.image.name}")
    return contact_sheet(tiles, captions, columns=4)


def plot_precision_recall(frame: pd.DataFrame, figures: Figures) -> Figure:
    """Plot precision against recall of the image score, over all limits."""
    figure, axes = _axes("Defective images by score", "recall", "precision")
    precision, recall, _ = precision_recall_curve(frame["defective"], frame["score"])
    axes.step(recall, precision, where="post", color=_BLUE)
    prevalence = frame["defective"].mean()
    axes.axhline(prevalence, color=_GRAY, ls="--", label=f"empty answer: {prevalence:.2f}")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.plot([], [], color=_BLUE, label=f"average precision {figures.average_precision:.3f}")
    axes.legend(loc="lower left")
    return figure


def plot_error_rates(frame: pd.DataFrame, thresholds: Thresholds) -> Figure:
    """Plot escape and overkill against a single threshold, and where the two thresholds stand.

    By the score alone: what the gate sends to RETAKE is counted as any other image.
    """
    figure, axes = _axes(
        "What a threshold costs, by score alone", "score threshold", "share of the images"
    )
    levels = np.linspace(0, 1, 501)
    good = np.sort(frame.loc[~frame["defective"], "score"])
    defective = np.sort(frame.loc[frame["defective"], "score"])
    escape = np.searchsorted(defective, levels, side="left") / len(defective)
    overkill = 1 - np.searchsorted(good, levels, side="left") / len(good)
    axes.plot(levels, escape, color=_RED, label="escape: defective, below")
    axes.plot(levels, overkill, color=_BLUE, label="overkill: good, at or above")
    axes.axvspan(thresholds.review, thresholds.fail, color="#f0ab4a", alpha=0.35, label="REVIEW")
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.legend()
    return figure


def plot_iou(frame: pd.DataFrame, figures: Figures) -> Figure:
    """Plot how the IoU of the defective images is spread."""
    figure, axes = _axes("IoU of each defective image", "IoU", "images")
    own = frame[frame["defective"]]
    union = own["true_px"] + own["predicted_px"] - own["overlap_px"]
    axes.hist(own["overlap_px"] / union, bins=20, range=(0, 1), color=_BLUE, ec="white")
    axes.axvline(figures.iou_mean or 0, color=_RED, label=f"mean {figures.iou_mean:.3f}")
    axes.axvline(0, color=_GRAY, ls="--", label="empty answer: 0")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlim=(-0.02, 1))
    axes.legend(loc="upper left")
    return figure


def to_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _axes(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 3.9), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    return figure, axes
