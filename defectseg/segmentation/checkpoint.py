"""What is kept between epochs, so that a killed training goes on."""

import json
from dataclasses import asdict
from pathlib import Path

import keras

from defectseg.atomic import write_atomically
from defectseg.segmentation.state import FOLDER, STATE, TrainingState


def save_best(run: Path, model: keras.Model, epoch: int) -> None:
    """Save the model of the best epoch yet; it counts once `save_last` has saved the state."""
    _save_model(model, _best(run, epoch))


def save_last(run: Path, model: keras.Model, state: TrainingState) -> None:
    """Save model, optimiser and state, so that a kill at any moment leaves a whole set.

    The state file names the epoch, and is renamed into place after the model of that epoch is
    whole; only then are files of earlier epochs removed.
    """
    folder = run / FOLDER
    _save_model(model, _last(run, state.epoch))
    write_atomically(folder / STATE, json.dumps(asdict(state), indent=2))
    needed = {_last(run, state.epoch), _best(run, state.best_epoch), folder / STATE}
    for path in folder.iterdir():
        if path not in needed:
            path.unlink()


def load_last(run: Path, state: TrainingState) -> keras.Model:
    """Return the model of the last finished epoch, with its optimiser."""
    return keras.models.load_model(_last(run, state.epoch))


def load_best(run: Path, state: TrainingState) -> keras.Model:
    """Return the model of the best epoch."""
    return keras.models.load_model(_best(run, state.best_epoch))


def _last(run: Path, epoch: int) -> Path:
    return run / FOLDER / f"last-{epoch:04d}.keras"


def _best(run: Path, epoch: int) -> Path:
    return run / FOLDER / f"best-{epoch:04d}.keras"


def _save_model(model: keras.Model, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"part-{path.name}")
    model.save(temporary)
    temporary.replace(path)
