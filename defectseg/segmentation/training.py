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
from defectseg.dataset.manifest import Sample
from defectseg.dataset.pipeline import PairCache, training_batches, validation_batches
from defectseg.errors import ConfigError, DataError
from defectseg.segmentation import checkpoint
from defectseg.segmentation.batch_norm import BatchNormStatistics
from defectseg.segmentation.losses import MaskLoss
from defectseg.segmentation.metrics import AccumulatedIoU, DefectiveIoU
from defectseg.segmentation.pace import Monitor, Pace, TrainedWeights, is_finished
from defectseg.segmentation.plots import plot_curves
from defectseg.segmentation.precision import choose_precision, use_precision
from defectseg.segmentation.start import starting_state
from defectseg.segmentation.state import Row, TrainingState, selection_iou
from defectseg.segmentation.unet import build_trainable, build_unet


def train(
    config: Config, monitor: Monitor, *, resume: bool = False, strategy: Any = None
) -> TrainingState:
    """Train the network of a run.

    Parameters
    ----------
    config : Config
    monitor : Monitor
    resume : bool
        Go on from the last finished epoch of the run, if there is one.
    strategy : tf.distribute.Strategy or None
        By default all GPUs of the machine together, or the CPU.

    Returns
    -------
    TrainingState

    Raises
    ------
    DataError
        If the prepared data cannot be trained on.
    ConfigError
        If the run exists and `resume` is False, or was made with other settings.
    """
    config = _settle(config)
    samples = manifest.read_manifest(config.data)
    split = manifest.divide(samples, config.train.leave_out)
    train_samples, val_samples = split["train"], split["val"]
    _check_samples(config, train_samples, val_samples)
    # In the order of their hashes, so that each validation batch holds both kinds, as in training.
    val_samples.sort(key=lambda sample: sample.sha256)
    data_sha256 = manifest.data_sha256(samples)
    state = starting_state(config, resume, data_sha256)

    strategy = strategy or _default_strategy()
    devices = strategy.num_replicas_in_sync
    if config.train.batch_size % devices:
        raise ConfigError(
            f"train.batch_size = {config.train.batch_size} cannot be shared out evenly to the "
            f"{devices} devices of this machine; expected a multiple of {devices}."
        )
    model = _open_model(config, state, strategy)
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
        fill_last=devices > 1,
    )
    try:
        state = _run_epochs(config, model, train_cache, validation, state, monitor)
    except tf.errors.OpError as error:
        if failure := train_cache.failure or val_cache.failure:
            raise failure from error
        raise

    best = checkpoint.load_best(config.run, state)
    _save_network(best, config.model, config.run / MODEL)
    history = pd.read_csv(config.run / HISTORY)
    plot_curves(history, state.best_epoch, config.run / PLOTS / "curves.png")
    return state


def _settle(config: Config) -> Config:
    """Replace what depends on the machine by what it is here, so that the run records it."""
    precision = choose_precision(config.train.precision)
    train_settings = config.train.model_copy(update={"precision": precision})
    return config.model_copy(update={"train": train_settings})


def _open_model(config: Config, state: TrainingState, strategy: Any) -> keras.Model:
    """Return the network of the last finished epoch, or a new one; seeds are set."""
    keras.utils.set_random_seed(config.train.seed)
    use_precision(config.train.precision)
    with strategy.scope():
        if state.epoch:
            return checkpoint.load_last(config.run, state)
        model = build_trainable(config.model)
        compile_model(model, config.train)
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
) -> TrainingState:
    settings = config.train
    defective = np.array([sample.defective for sample in cache.samples])
    writer = tf.summary.create_file_writer(str(config.run / "tensorboard"))
    rows = _read_history(config.run, state.epoch)
    statistics = BatchNormStatistics(model)
    part_size = settings.batch_size // model.distribute_strategy.num_replicas_in_sync
    started, trained_before = time.monotonic(), state.seconds
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
        )
        pace = Pace(settings, state, len(batches), monitor, trained_before - started)
        weights = TrainedWeights()
        dataset = draw(batches, augment=config.augment)
        callbacks = [pace, weights]
        trained = model.fit(dataset, shuffle=False, verbose=0, callbacks=callbacks).history
        if settings.statistics_batches:
            # Cut and mixed as in training, since the weights expect that share of defects, but not
            # augmented; in parts that one device takes, which measures them alone.
            parts = batches[: settings.statistics_batches].reshape(-1, part_size)
            unchanged = draw(parts, augment=UNCHANGED)
            statistics.measure(images for images, _ in unchanged)
        measured = model.evaluate(validation, verbose=0, return_dict=True)
        row: Row = {"epoch": epoch}
        row |= {name: values[0] for name, values in trained.items()}
        row |= {f"val_{name}": value for name, value in measured.items()}
        row |= {"learning_rate": pace.rate}
        iou = selection_iou(row)
        if not math.isfinite(row["loss"]):
            raise ConfigError(
                f"The loss became {row['loss']} in epoch {epoch}. Lower train.learning_rate "
                f"(now {settings.learning_rate:g})"
                + (" or set train.precision=float32." if settings.precision != "float32" else ".")
            )
        better = epoch == 1 or iou > state.best_iou
        if better:
            checkpoint.save_best(config.run, model, epoch)
        weights.restore()
        seconds = trained_before + time.monotonic() - started
        row["seconds"] = round(seconds, 1)
        rows.append(row)
        _write_history(config.run, rows)
        state = TrainingState(
            epoch=epoch,
            best_epoch=epoch if better else state.best_epoch,
            best_iou=iou if better else state.best_iou,
            seconds=seconds,
            data_sha256=state.data_sha256,
        )
        checkpoint.save_last(config.run, model, state)
        _log(writer, row)
        monitor.epoch(row, better)
    return state


def _default_strategy() -> Any:
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _check_samples(config: Config, train: Sequence[Sample], val: Sequence[Sample]) -> None:
    for name, own in (("train", train), ("val", val)):
        for kind, wanted in (("defective", True), ("good", False)):
            if not any(sample.defective == wanted for sample in own):
                raise DataError(
                    f"{config.data} has no {kind} image in its {name} split; training needs both "
                    "kinds in both splits. Add images, or prepare with other shares "
                    "(--val, --test)."
                )
    products = {sample.product for sample in (*train, *val)}
    lacking = products - {sample.product for sample in train if not sample.defective}
    if lacking:
        raise DataError(
            f"{config.data} has no good training image of {', '.join(sorted(lacking))}: they set "
            "the sharpness below which an image is not believed. Add some, or prepare with "
            "smaller shares (--val, --test)."
        )
    sizes = {(sample.width, sample.height) for sample in train}
    if config.train.crop_px is None and len(sizes) > 1:
        raise ConfigError(
            f"The training images have {len(sizes)} sizes, and whole images make batches only if "
            f"all are of one. Set train.crop_px to a multiple of {config.model.multiple}."
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
