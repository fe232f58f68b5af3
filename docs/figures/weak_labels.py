"""An ellipse is larger than the damage it is drawn around: what an exact answer would get."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.ndimage import binary_closing, binary_fill_holes
from style import BLUE, GRAY, RED, save

from defectseg.annotations.ellipse import Ellipse
from defectseg.dataset.masks import rasterise
from defectseg.dataset.synthetic import PRODUCTS, generate_sample
from defectseg.evaluation.scores import PixelCounts, iou

_SIDE, _IMAGES = 256, 15  # of each product
_SHOWN = ("Class1", "Class3", "Class5")
_Mask = npt.NDArray[np.bool_]


def draw(path: Path) -> None:
    """Draw three defects with label and damage, and the IoU of exact answers."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=[2.3, 1])
    for column, product in enumerate(_SHOWN):
        image, label, damage = make(product, 0)
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(_around(image, label), cmap="gray", vmin=0, vmax=255)
        for mask, colour in ((damage, BLUE), (label, RED)):
            axes.contour(_around(mask, label), levels=[0.5], colors=colour, linewidths=2)
        axes.set_title(f"IoU {exact_iou(label, damage):.2f}", fontsize=11)
        axes.axis("off")
    axes = figure.add_subplot(grid[1, :])
    ious = [
        exact_iou(*make(product, index)[1:]) for product in PRODUCTS for index in range(_IMAGES)
    ]
    axes.hist(ious, bins=np.arange(0, 1.01, 0.02), color=BLUE)
    mean = float(np.mean(ious))
    axes.axvline(mean, color=GRAY, ls="--")
    axes.text(mean - 0.03, axes.get_ylim()[1] * 0.7, f"mean {mean:.2f}", ha="right", color=GRAY)
    axes.set(xlim=(0, 1), yticks=[], xlabel=f"IoU of an exact answer, {len(ious)} synthetic images")
    axes.spines["left"].set_visible(False)
    lines = [Line2D([], [], color=colour, lw=2) for colour in (RED, BLUE)]
    figure.legend(lines, ["label", "damage"], loc="outside upper left", ncols=2, frameon=False)
    save(figure, path)


def make(product: str, index: int) -> tuple[npt.NDArray[np.uint8], _Mask, _Mask]:
    """Return an image, its label, and the damage: where it differs from itself without a defect."""
    with_defect, ellipses = _generate(product, index, defective=True)
    without, _ = _generate(product, index, defective=False)
    label = rasterise(ellipses, with_defect.shape).astype(bool)
    # Where broken and sound texture happen to have the same gray level, there is damage all the
    # same.
    damage = binary_fill_holes(binary_closing(with_defect != without, iterations=2))
    return with_defect, label, np.asarray(damage, bool)


def exact_iou(label: _Mask, damage: _Mask) -> float:
    """Return the IoU of the damage, taken for an answer."""
    overlap, true, predicted = (int(own.sum()) for own in (label & damage, label, damage))
    return iou(PixelCounts(overlap, true, predicted))


def _generate(
    product: str, index: int, *, defective: bool
) -> tuple[npt.NDArray[np.uint8], tuple[Ellipse, ...]]:
    rng = np.random.default_rng([PRODUCTS.index(product), index])
    return generate_sample(product, defective=defective, rng=rng, size=_SIDE)


def _around(array: npt.NDArray[np.generic], label: _Mask) -> npt.NDArray[np.uint8]:
    """Return a square of 96 pixels around the label, enlarged."""
    rows, columns = np.nonzero(label)
    top, left = (int(np.clip(own.mean() - 48, 0, _SIDE - 96)) for own in (rows, columns))
    part = np.ascontiguousarray(array[top : top + 96, left : left + 96], np.uint8)
    return np.asarray(cv2.resize(part, (384, 384), interpolation=cv2.INTER_LINEAR))
