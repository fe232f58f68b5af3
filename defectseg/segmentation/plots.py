"""Pictures of a training: its curves, and its answers on validation images."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from defectseg.config import ModelSettings
from defectseg.dataset.manifest import Sample
from defectseg.image_io import pad_to_multiple, read_image, read_mask, to_channels, write_picture
from defectseg.pictures import GREEN, RED, contact_sheet, draw_outline

_MAX_TILES = 12


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


def plot_validation(
    model: keras.Model, samples: Sequence[Sample], settings: ModelSettings, path: Path
) -> None:
    """Draw label (green) and answer (red) over up to twelve validation images, defective first."""
    chosen = sorted(samples, key=lambda sample: not sample.defective)[:_MAX_TILES]
    tiles, captions = [], []
    for sample in chosen:
        image = read_image(sample.image)
        height, width = image.shape[:2]
        inputs = pad_to_multiple(to_channels(image, settings.channels), settings.multiple)
        probability = np.asarray(model(inputs[None].astype(np.float32), training=False))
        answer = (probability[0, :height, :width, 0] >= 0.5).astype(np.uint8)
        picture = draw_outline(image, read_mask(sample.mask), GREEN) if sample.mask else image
        tiles.append(draw_outline(picture, answer, RED))
        captions.append(f"{sample.product}/{sample.image.name}")
    write_picture(path, contact_sheet(tiles, captions, columns=4))
