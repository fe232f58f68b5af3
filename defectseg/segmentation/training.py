"""The training of a run, read from top to bottom.

Each epoch draws its images anew, trains on them, measures the batch-norm statistics and the
validation images, and leaves a checkpoint. The weights with the highest IoU over the defective
validation images become the bundle's network, false alarms on the good ones counted (see
`state.selection_iou`). Validation images are measured whole, in batches, also where prediction
will see them through windows (``inference.window_px``), whose overlaps cost up to four times as
much: it ranks the epochs, and the calibration measures the network as it is deployed.
"""

import csv
import functools
import io
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from defectseg.atomic import write_atomically
from defectseg.bundle import CALIBRATION, CONFIG, HISTORY, MODEL, PLOTS
from defectseg.config import Config, ModelSettings, TrainSettings, dump_config
from defectseg.dataset import balance, manifest
from defectseg.dataset.augment import UNCHANGED
from defectseg.dataset.pipeline import PairCache, training_batches, validation_batches
from defectseg.errors import ConfigError
from defectseg.segmentation import checkpoint
from defectseg.segmentation.batch_norm import BatchNormStatistics, synchronise
from defectseg.segmentation.distribution import Workers, join_workers
from defectseg.segmentation.losses import MaskLoss
from defectseg.segmentation.metrics import AccumulatedIoU, DefectiveIoU
from defectseg.segmentation.pace import Monitor, Pace, is_finished
from defectseg.segmentation.plots import plot_curves
from defectseg.segmentation.precision import choose_precision, use_precision
from defectseg.segmentation.start import check_samples, starting_state, training_settings
from defectseg.segmentation.state import Row, TrainingState, selection_iou
from defectseg.segmentation.steps import Steps, averaged_weights
from defectseg.segmentation.unet import build_trainable, build_unet


def train(
    config: Config, monitor: Monitor, *, resume: bool = False, workers: Workers | None = None
) -> TrainingState:
    """Train the network of a run.

    Parameters
    ----------
    config : Config
    monitor : Monitor
    resume : bool
        Go on from the last finished epoch of the run, if there is one.
    workers : Workers or None
        By default those of `join_workers`: all GPUs of this machine together, or its CPU.

    Returns
    -------
    TrainingState

    Raises
    ------
    DataError
        If the prepared data cannot be trained on.
    ConfigError
        If the run exists and `resume` is False, or was made with other settings; if the workers'
        settings or data differ.
    """
    workers = workers or join_workers()
    config = _settle(config)
    samples = manifest.read_manifest(config.data)
    split = manifest.divide(samples, config.train.leave_out)
    train_samples, val_samples = split["train"], split["val"]
    check_samples(config, train_samples, val_samples)
    # In the order of their hashes, so that each validation batch holds both kinds, as in training.
    val_samples.sort(key=lambda sample: sample.sha256)
    data_sha256 = manifest.data_sha256(samples)
    state = starting_state(config, resume, data_sha256)
    if config.train.batch_size % workers.devices:
        raise ConfigError(
            f"train.batch_size = {config.train.batch_size} cannot be shared out evenly to the "
            f"{workers.devices} devices that train; expected a multiple of {workers.devices}."
        )
    if config.train.xla and workers.devices > 1:
        raise ConfigError(
            f"train.xla = true compiles a step for one device, but {workers.devices} train "
            "together; expected train.xla=false."
        )
    if config.train.precision == "float16" and workers.devices > 1:
        # Keras scales the loss back where gradients overflow, by each device's own ones.
        raise ConfigError(
            f"train.precision = float16 is for one device, but {workers.devices} train together; "
            "expected bfloat16 or float32."
        )
    workers.check_agreement(
        training_settings(config) | {f"finished.{name}": own for name, own in asdict(state).items()}
    )

    model = _open_model(config, state, workers)
    if workers.is_chief:
        # From here on the run is no bundle, until it is calibrated again.
        (config.run / CALIBRATION).unlink(missing_ok=True)
        write_atomically(config.run / CONFIG, dump_config(config))
    train_cache, val_cache = (
        PairCache(own, config.model.channels, config.train.cache_mb)
        for own in (train_samples, val_samples)
    )
    validation = validation_batches(
        val_cache,
        multiple=config.model.multiple,
        batch_size=config.train.batch_size,
        share=workers.share,
    )
    try:
        state = _run_epochs(config, model, train_cache, validation, state, monitor, workers)
    except tf.errors.OpError as error:
        if failure := train_cache.failure or val_cache.failure:
            raise failure from error
        raise

    if workers.is_chief:
        _leave_network(config, state)
    return state


def _leave_network(config: Config, state: TrainingState) -> None:
    """Save the best network, and plot how the training went."""
    best = checkpoint.load_best(config.run, state)
    _save_network(best, config.model, config.run / MODEL)
    history = pd.read_csv(config.run / HISTORY)
    plot_curves(history, state.best_epoch, config.run / PLOTS / "curves.png")


def _settle(config: Config) -> Config:
    """Replace what depends on the machine by what it is here, so that the run records it."""
    precision = choose_precision(config.train.precision)
    train_settings = config.train.model_copy(update={"precision": precision})
    return config.model_copy(update={"train": train_settings})


def _open_model(config: Config, state: TrainingState, workers: Workers) -> keras.Model:
    """Return the network of the last finished epoch, or a new one; seeds are set."""
    keras.utils.set_random_seed(config.train.seed)
    use_precision(config.train.precision)
    with workers.strategy.scope():
        if state.epoch:
            model = checkpoint.load_last(config.run, state)
        else:
            model = build_trainable(config.model)
            compile_model(model, config.train)
    synchronise(model)
    return model


def compile_model(model: keras.Model, settings: TrainSettings) -> None:
    """Give the network its optimiser, loss and metrics."""
    model.compile(
        optimizer=keras.optimizers.Adam(
            settings.learning_rate,
            use_ema=settings.ema_momentum > 0,
            ema_momentum=settings.ema_momentum,
        ),
        loss=MaskLoss(settings.loss, settings.border_px),
        metrics=[AccumulatedIoU(), DefectiveIoU()],
        jit_compile=settings.xla,
    )
    # Left to the first step, its variables would have TensorFlow trace the step twice.
    model.optimizer.build(model.trainable_variables)


def _run_epochs(
    config: Config,
    model: keras.Model,
    cache: PairCache,
    validation: tf.data.Dataset,
    state: TrainingState,
    monitor: Monitor,
    workers: Workers,
) -> TrainingState:
    settings = config.train
    defective = np.array([sample.defective for sample in cache.samples])
    writer = tf.summary.create_noop_writer()
    if workers.is_chief:
        writer = tf.summary.create_file_writer(str(config.run / "tensorboard"))
    rows = _read_history(config.run, state.epoch)
    steps, statistics = Steps(model), BatchNormStatistics(model)
    validation = workers.distribute(validation)
    started = time.monotonic() - state.seconds

    def clock() -> float:
        return workers.chief_says(time.monotonic() - started)

    while not is_finished(settings, state):
        epoch = state.epoch + 1
        batches = balance.draw_epoch(
            defective,
            batch_size=settings.batch_size,
            good_per_defective=settings.good_per_defective,
            passes=settings.passes_per_epoch,
            rng=np.random.default_rng((settings.seed, epoch)),
        )
        draw = functools.partial(
            training_batches,
            cache,
            multiple=config.model.multiple,
            crop_px=settings.crop_px,
            seed=(settings.seed, epoch),
            share=workers.share,
        )
        pace = Pace(settings, state, len(batches), monitor, clock)
        row: Row = {"epoch": epoch}
        row |= steps.train(workers.distribute(draw(batches, augment=config.augment)), pace)
        _check_loss(row, settings)
        with averaged_weights(model):
            if settings.statistics_batches:
                # Cut and mixed as in training, since the weights expect that share of defects, but
                # not augmented.
                unchanged = draw(batches[: settings.statistics_batches], augment=UNCHANGED)
                statistics.measure(images for images, _ in workers.distribute(unchanged))
            row |= {f"val_{name}": value for name, value in steps.measure(validation).items()}
            row |= {"learning_rate": pace.rate}
            iou = selection_iou(row)
            better = epoch == 1 or iou > state.best_iou
            if better and workers.is_chief:
                checkpoint.save_best(config.run, model, epoch)
        seconds = clock()
        row["seconds"] = round(seconds, 1)
        rows.append(row)
        state = TrainingState(
            epoch=epoch,
            best_epoch=epoch if better else state.best_epoch,
            best_iou=iou if better else state.best_iou,
            seconds=seconds,
            data_sha256=state.data_sha256,
        )
        if workers.is_chief:
            _write_history(config.run, rows)
            checkpoint.save_last(config.run, model, state)
        _log(writer, row)
        monitor.epoch(row, better)
    return state


def _check_loss(row: Row, settings: TrainSettings) -> None:
    if not math.isfinite(row["loss"]):
        raise ConfigError(
            f"The loss became {row['loss']} in epoch {row['epoch']}. Lower train.learning_rate "
            f"(now {settings.learning_rate:g})"
            + (" or set train.precision=float32." if settings.precision != "float32" else ".")
        )


def _read_history(run: Path, epochs: int) -> list[Row]:
    """Return the rows of the finished epochs; a later one is of an epoch without checkpoint."""
    if not epochs:
        return []
    with (run / HISTORY).open(newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return rows[:epochs]


def _write_history(run: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    table = pd.DataFrame(rows).astype({"epoch": int})
    table.to_csv(text, index=False, float_format="%.6g", na_rep="nan", lineterminator="\n")
    write_atomically(run / HISTORY, text.getvalue())


def _log(writer: Any, row: Row) -> None:
    with writer.as_default():
        for name, value in row.items():
            tf.summary.scalar(name, value, step=int(row["epoch"]))
    writer.flush()


def _save_network(model: keras.Model, settings: ModelSettings, path: Path) -> None:
    """Save the network alone, in float32: without optimiser, loss and metrics.

    Float16 is for the training on a GPU; a CPU computes slowly with it, and less well.
    """
    use_precision("float32")
    bare = build_unet(settings, pretrained=False)
    bare.set_weights(model.get_weights())
    temporary = path.with_name(f"part-{path.name}")
    bare.save(temporary)
    temporary.replace(path)
