"""The curves of several trainings in one picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defectseg.evaluation.run_records import RunRecord

# Okabe & Ito's colours, told apart by every kind of colour vision; without the yellow, which is
# hardly seen on white. What follows the seventh run is told apart by its dashes.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))


def plot_run_curves(runs: Sequence[RunRecord]) -> Figure:
    """Plot the loss and IoU of each run against the epoch, the best epoch marked.

    Runs without an epoch are left out; each curve has its name at its end.
    """
    shown = [run for run in runs if len(run.history)]
    height = max(4.4, 0.26 * len(shown) + 1.2)
    figure = Figure(figsize=(13, height), layout="constrained")
    loss, iou = figure.subplots(1, 2)
    last = max((run.history["epoch"].max() for run in shown), default=1)
    for place, run in enumerate(shown):
        colour = _COLOURS[place % len(_COLOURS)]
        dashes = _DASHES[place // len(_COLOURS) % len(_DASHES)]
        rows = run.history
        best = rows[rows["epoch"] == run.best_epoch]
        # Dots where lines of one epoch would not be seen.
        style = {"color": colour, "ls": dashes, "lw": 1.8, "marker": "." if len(rows) < 3 else ""}
        loss.plot(rows["epoch"], rows["loss"], color=colour, lw=0.8, alpha=0.5)
        loss.plot(rows["epoch"], rows["val_loss"], **style)
        iou.plot(rows["epoch"], rows["val_defective_iou"], **style)
        for axes, column in ((loss, "val_loss"), (iou, "val_defective_iou")):
            axes.plot(best["epoch"], best[column], "o", ms=8, mfc="white", mec=colour, mew=2)
    loss.set(title="Loss: validation; faint: training", ylabel="loss", ylim=_loss_limits(shown))
    iou.set(title="IoU over defective validation images, mean", ylabel="IoU", ylim=(0, 1))
    for axes in (loss, iou):
        axes.set(xlabel="epoch; ring: the epoch that is kept", xlim=(0.5, last + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    _name_curves(iou, shown, last, height)
    return figure


def _loss_limits(runs: Sequence[RunRecord]) -> tuple[float, float]:
    """Return limits that a first epoch gone astray does not rule."""
    losses = [np.r_[run.history["loss"], run.history["val_loss"]] for run in runs]
    if not losses:
        return 0, 1
    known = np.concatenate(losses)
    known = known[np.isfinite(known)]
    return 0, 1.05 * float(min(known.max(), 2 * np.percentile(known, 90))) if len(known) else 1.0


def _name_curves(axes: Axes, runs: Sequence[RunRecord], last: float, height: float) -> None:
    """Write each run's name at the right of its curve's end, one above the other."""
    ends = [float(np.nan_to_num(run.history["val_defective_iou"].iloc[-1])) for run in runs]
    step = 0.24 / height  # of a line of text
    for place, level in zip(np.argsort(ends), _spread(sorted(ends), step), strict=True):
        run = runs[place]
        axes.annotate(
            run.name if len(run.name) < 40 else f"…{run.name[-38:]}",
            xy=(run.history["epoch"].iloc[-1], ends[place]),
            xytext=(last + 0.5 + 0.03 * last, level),
            color=_COLOURS[place % len(_COLOURS)],
            va="center",
            fontsize=9,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "lw": 0.7,
                "color": _COLOURS[place % len(_COLOURS)],
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def _spread(levels: Sequence[float], step: float) -> list[float]:
    """Return ascending levels moved apart by at least a step, none above 1."""
    apart: list[float] = []
    for level in levels:
        apart.append(max(level, apart[-1] + step) if apart else level)
    # All of them down, so that they stay about where they were.
    down = float(np.mean(np.subtract(apart, levels))) if apart else 0.0
    ceiling = 1.0
    for place in reversed(range(len(apart))):
        apart[place] = min(apart[place] - down, ceiling)
        ceiling = apart[place] - step
    return apart
