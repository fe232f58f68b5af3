"""The way of the data through the rooms of the package."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from style import BLUE, GRAY, save

_WIDTH, _HEIGHT = 2.6, 0.86
_Box = tuple[float, float]  # the middle
_ROOMS: dict[str, tuple[_Box, str]] = {
    "annotations": ((1.5, 6.0), "labels → shapes"),
    "dataset": ((1.5, 4.6), "shapes → masks, batches"),
    "segmentation": ((1.5, 3.2), "batches → network"),
    "evaluation": ((1.5, 1.8), "network → limits, figures"),
    "quality": ((7.7, 3.2), "can it be believed?"),
    "inference": ((7.7, 1.8), "image → verdict"),
    "line": ((7.7, 0.4), "folder, HTTP → ledger"),
    "drift": ((7.7, -1.0), "cameras over time"),
}
_THINGS: dict[str, tuple[_Box, str]] = {
    "images, labels": ((1.5, 7.4), ""),
    "bundle": ((4.6, 1.8), "network, limits"),
    "image": ((7.7, 4.6), "file, or camera"),
    "results": ((4.6, 0.4), "masks, tables, report"),
}
_WAYS = (
    ("images, labels", "annotations"),
    ("annotations", "dataset"),
    ("dataset", "segmentation"),
    ("segmentation", "evaluation"),
    ("evaluation", "bundle"),
    ("bundle", "inference"),
    ("image", "quality"),
    ("quality", "inference"),
    ("inference", "results"),
    ("inference", "line"),
    ("line", "drift"),
)


def draw(path: Path) -> None:
    """Draw two columns: what is done once, and what is done with every image."""
    figure = Figure(figsize=(8, 8.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 9.2), ylim=(-1.5, 8.5), aspect="equal")
    axes.axis("off")
    for place, title in ((1.5, "once"), (7.7, "for every image")):
        axes.text(place, 8.15, title, ha="center", fontsize=13, color=GRAY)
    boxes = {**_ROOMS, **_THINGS}
    for name, (middle, what) in boxes.items():
        _draw_box(axes, name, middle, what, is_room=name in _ROOMS)
    for start, end in _WAYS:
        _draw_arrow(axes, boxes[start][0], boxes[end][0])
    save(figure, path)


def _draw_box(axes: Axes, name: str, middle: _Box, what: str, *, is_room: bool) -> None:
    x, y = middle
    box = FancyBboxPatch(
        (x - _WIDTH / 2, y - _HEIGHT / 2),
        _WIDTH,
        _HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.12",
        fc="#e8f0fa" if is_room else "white",
        ec=BLUE if is_room else GRAY,
        ls="-" if is_room else "--",
    )
    axes.add_patch(box)
    axes.text(x, y + (0.17 if what else 0), name, ha="center", va="center", weight="bold")
    axes.text(x, y - 0.2, what, ha="center", va="center", fontsize=10)


def _draw_arrow(axes: Axes, start: _Box, end: _Box) -> None:
    """Draw from border to border: down in a column, aside in a row, else from the lower corner."""
    (x0, y0), (x1, y1) = start, end
    aside = _WIDTH / 2 if x1 > x0 else -_WIDTH / 2
    if x0 == x1:
        ends = (x0, y0 - _HEIGHT / 2), (x1, y1 + _HEIGHT / 2)
    elif y0 == y1:
        ends = (x0 + aside, y0), (x1 - aside, y1)
    else:
        ends = (x0 + 0.8 * aside, y0 - _HEIGHT / 2), (x1 - aside, y1)
    axes.add_patch(
        FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=14, color=GRAY, shrinkA=0)
    )
