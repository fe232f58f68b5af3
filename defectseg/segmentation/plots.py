"""The curves of a training."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure


def plot_curves(history: pd.DataFrame, best_epoch: int, path: Path) -> None:
    """Plot loss and IoU against the epoch into a PNG, the epoch that is kept marked."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    loss, iou = figure.subplots(1, 2)
    loss.plot(history["epoch"], history["loss"], label="training")
    loss.plot(history["epoch"], history["val_loss"], label="validation")
    loss.set(xlabel="epoch", ylabel="loss", title="Loss")
    iou.plot(history["epoch"], history["defective_iou"], label="training, augmented")
    iou.plot(history["epoch"], history["val_defective_iou"], label="validation")
    iou.plot(history["epoch"], history["val_iou"], ":", label="validation, all pixels together")
    iou.axvline(best_epoch, color="0.6", lw=1, label=f"kept: epoch {best_epoch}")
    iou.set(xlabel="epoch", ylabel="IoU", ylim=(0, 1), title="IoU over defective images, mean")
    for axes in (loss, iou):
        axes.grid(alpha=0.3)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
