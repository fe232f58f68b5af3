"""How a model fails under blur, noise and low contrast, and where the gate stops believing it."""

import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from style import BLUE, GREEN, RED, save

from defectseg.dataset.synthetic import generate_sample
from defectseg.quality.distortions import SWEEP, distort

_RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "gate.json"
_KINDS = ("gaussian_blur", "noise", "contrast")
_SHOWN = (0, 3, 5)  # of the levels
_TILE = 112  # pixels


def draw(path: Path) -> None:
    """Draw three kinds: examples above, what is left of the IoU, what is missed and believed."""
    result = json.loads(_RESULT.read_text())
    promise = result["promise"]["min_iou_share"]
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, len(_KINDS), height_ratios=[1, 2.4])
    for column, kind in enumerate(_KINDS):
        levels = [own for own in result["levels"] if own["kind"] in ("untouched", kind)][:6]
        strip = figure.add_subplot(grid[0, column])
        _draw_examples(strip, kind, [levels[number]["level"] for number in _SHOWN])
        strip.set_title(kind.replace("_", " "), loc="left", fontsize=12)
        axes = figure.add_subplot(grid[1, column])
        _draw_levels(axes, levels, promise)
        axes.set_xlabel(SWEEP[kind].unit)
        if column:
            axes.set_yticklabels([])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save(figure, path)


def _draw_levels(axes: Axes, levels: list[dict], promise: float) -> None:
    places = np.arange(len(levels))
    shares = [own["iou"] / levels[0]["iou"] for own in levels]
    believed = [own["believed"] for own in levels]
    missed = [own["missed"] for own in levels]
    axes.bar(places, believed, color=GREEN, alpha=0.2, width=0.9, label="images believed")
    axes.plot(places, shares, "o-", color=BLUE, label="IoU that is left")
    axes.plot(places, missed, "o-", color=RED, label="defects missed")
    axes.axhline(promise, color=BLUE, lw=0.8, ls="--")
    axes.set_xticks(places, [name_level(own["level"]) for own in levels])
    axes.set(ylim=(-0.04, 1.1), yticks=[0, 0.5, 0.8, 1])


def _draw_examples(axes: Axes, kind: str, levels: list[float]) -> None:
    """Draw an image untouched, and at two of the levels, named beneath."""
    rng = np.random.default_rng(5)
    image, (ellipse,) = generate_sample("Class1", defective=True, rng=rng, size=256)
    row, column = (
        int(np.clip(place - _TILE // 2, 0, 256 - _TILE)) for place in (ellipse.y, ellipse.x)
    )
    tiles = []
    for number, level in enumerate(levels):
        poor = distort(image, kind, level, "0" * 8) if level else image
        gap = np.full((_TILE, 8), 255, np.uint8)
        tiles += [poor[row : row + _TILE, column : column + _TILE], gap]
        place = number * (_TILE + 8) + _TILE / 2
        axes.text(place, _TILE + 4, name_level(level), ha="center", va="top", fontsize=9)
    axes.imshow(np.hstack(tiles[:-1]), cmap="gray", vmin=0, vmax=160)
    axes.axis("off")


def name_level(level: float) -> str:
    """Return a level as the axis names it."""
    return f"{level:.3g}" if level else "—"
