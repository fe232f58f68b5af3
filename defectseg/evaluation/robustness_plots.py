"""Degradation curves, and risk against coverage, as figures."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from defectseg.bundle import CurvePoint, Gate
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.evaluation.degradation import breaking_point
from defectseg.evaluation.trust import risk_coverage
from defectseg.image_io import to_rgb
from defectseg.quality.distortions import SWEEP, distort

_RED, _BLUE, _GRAY = "#c62828", "#1565c0", "0.45"


def plot_curves(
    curve: Sequence[CurvePoint], gate: Gate, example: npt.NDArray[np.uint8] | None
) -> Figure:
    """Plot each kind's curve, with an example of each level beneath where one is given.

    Parameters
    ----------
    curve : sequence of CurvePoint
    gate : Gate
        Its promise is drawn.
    example : ndarray of shape (H, W) or (H, W, 3), uint8, or None
    """
    kinds = [kind for kind in SWEEP if any(point.kind == kind for point in curve)]
    columns = min(4, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = Figure(figsize=(16, 4.4 * lines), layout="constrained")
    grid = figure.add_gridspec(2 * lines, columns, height_ratios=[3.2, 1] * lines)
    for number, kind in enumerate(kinds):
        line, column = divmod(number, columns)
        own = [point for point in curve if point.kind == kind]
        axes = figure.add_subplot(grid[2 * line, column])
        places = np.arange(len(own))
        shares = [point.iou_share for point in own]
        axes.fill_between(
            places, [point.iou_share_low for point in own], shares, color=_BLUE, alpha=0.15, lw=0
        )
        axes.plot(places, shares, "o-", ms=3, color=_BLUE, label="IoU that is left")
        rises = [point.escape_rise for point in own]
        axes.fill_between(
            places, rises, [point.escape_rise_high for point in own], color=_RED, alpha=0.15, lw=0
        )
        axes.plot(places, rises, "o-", ms=3, color=_RED, label="more escapes")
        axes.plot(places, [point.overkill for point in own], ":", color=_GRAY, label="overkill")
        axes.axhline(gate.min_iou_share, color=_BLUE, lw=0.8, ls="--")
        broken = breaking_point(own, gate)
        if broken is not None:
            axes.axvspan(own.index(broken) - 0.5, len(own) - 0.5, color=_RED, alpha=0.08, lw=0)
        axes.set(ylim=(-0.04, 1.12), xlim=(-0.5, len(own) - 0.5))
        axes.set_xticks(places, [f"{point.level:.3g}" for point in own], fontsize=8)
        axes.set_title(f"{kind.replace('_', ' ')} ({SWEEP[kind].unit})", fontsize=10, loc="left")
        axes.grid(alpha=0.3)
        if not number:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3)
        if example is not None:
            strip = figure.add_subplot(grid[2 * line + 1, column])
            strip.imshow(_strip(example, own), aspect="equal")
            strip.axis("off")
    figure.suptitle("What is left of the model's answers; on a red ground it is not believed")
    return figure


def plot_risk_coverage(rows: pd.DataFrame) -> Figure:
    """Plot risk against coverage, by the gate's belief and by Laplacian variance."""
    figure = Figure(figsize=(5.6, 4), layout="constrained")
    axes = figure.subplots()
    wrong = ~rows["right"].to_numpy(bool)
    for label, column, colour in (
        ("by the gate's belief", "belief", _BLUE),
        ("by Laplacian variance", "laplacian_variance", _RED),
    ):
        coverage, risk = risk_coverage(wrong, rows[column].to_numpy())
        axes.plot(coverage, risk, color=colour, label=f"{label}: area {risk.mean():.3f}")
    axes.axhline(wrong.mean(), color=_GRAY, ls="--", label=f"without a gate: {wrong.mean():.3f}")
    trusted = rows["trusted"].to_numpy(bool)
    if trusted.any():
        axes.plot(
            trusted.mean(), wrong[trusted].mean(), "o", color=_BLUE, label="where the gate stands"
        )
    axes.set(
        title="Wrong answers among the believed",
        xlabel="coverage: share of the images believed",
        ylabel="risk: share of them wrong",
        xlim=(0, 1),
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def example_of(samples: Sequence[Sample], product: str) -> npt.NDArray[np.uint8] | None:
    """Return a square around the defect of the first defective image of a product."""
    for sample in samples:
        if sample.product == product and sample.defective:
            image = read_sample_image(sample)
            rows, columns = np.nonzero(read_label(sample, image.shape[:2]))
            extent = max(int(np.ptp(rows)), int(np.ptp(columns)), 32)
            side = min(*image.shape[:2], 2 * extent)
            top, left = (
                int(np.clip(middle - side // 2, 0, length - side))
                for middle, length in zip(
                    (rows.mean(), columns.mean()), image.shape[:2], strict=True
                )
            )
            return np.ascontiguousarray(image[top : top + side, left : left + side])
    return None


def _strip(example: npt.NDArray[np.uint8], own: Sequence[CurvePoint]) -> npt.NDArray[np.uint8]:
    tiles = []
    for point in own:
        tile = to_rgb(distort(example, point.kind, point.level, "0" * 8))
        gap = np.full((tile.shape[0], max(1, tile.shape[1] // 20), 3), 255, np.uint8)
        tiles += [tile, gap]
    return np.hstack(tiles[:-1])
