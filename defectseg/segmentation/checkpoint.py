"""What is kept between epochs, so that a killed training goes on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import keras

from defectseg.atomic import write_atomically
from defectseg.errors import DefectsegError

_FOLDER = "checkpoints"
_STATE = "state.json"


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands after its last finished epoch.

    Attributes
    ----------
    epoch : int
        Epochs finished.
    best_epoch : int
        The one whose weights are kept as the best; 0 before the first.
    best_iou : float
        Its IoU over the validation images, as `training.selection_iou`.
    seconds : float
        Time trained, over all starts.
    data_sha256 : str
        Of the prepared data; see `manifest.data_sha256`.
    """

    epoch: int
    best_epoch: int
    best_iou: float
    seconds: float
    data_sha256: str


def save_best(run: Path, model: keras.Model, epoch: int) -> None:
    """Save the model of the best epoch yet; it counts once `save_last` has saved the state."""
    _save_model(model, _best(run, epoch))


def save_last(run: Path, model: keras.Model, state: TrainingState) -> None:
    """Save model, optimiser and state, so that a kill at any moment leaves a whole set.

    The state file names the epoch, and is renamed into place after the model of that epoch is
    whole; only then are files of earlier epochs removed.
    """
    folder = run / _FOLDER
    _save_model(model, _last(run, state.epoch))
    write_atomically(folder / _STATE, json.dumps(asdict(state), indent=2))
    needed = {_last(run, state.epoch), _best(run, state.best_epoch), folder / _STATE}
    for path in folder.iterdir():
        if path not in needed:
            path.unlink()


def load_state(run: Path) -> TrainingState | None:
    """Return the state of the last finished epoch, or None if there is none."""
    path = run / _FOLDER / _STATE
    if not path.is_file():
        return None
    try:
        return TrainingState(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DefectsegError(
            f"{path} is damaged ({error}). Train anew in another folder."
        ) from error


def load_last(run: Path, state: TrainingState) -> keras.Model:
    """Return the model of the last finished epoch, with its optimiser."""
    return keras.models.load_model(_last(run, state.epoch))


def load_best(run: Path, state: TrainingState) -> keras.Model:
    """Return the model of the best epoch."""
    return keras.models.load_model(_best(run, state.best_epoch))


def _last(run: Path, epoch: int) -> Path:
    return run / _FOLDER / f"last-{epoch:04d}.keras"


def _best(run: Path, epoch: int) -> Path:
    return run / _FOLDER / f"best-{epoch:04d}.keras"


def _save_model(model: keras.Model, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"part-{path.name}")
    model.save(temporary)
    temporary.replace(path)
