"""Where a training stands, and which of its epochs is the best; known without TensorFlow."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from defectseg.errors import DefectsegError

FOLDER = "checkpoints"
STATE = "state.json"

# Of ``history.csv``: an epoch.
Row = dict[str, float]


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
        Its IoU over the validation images, as `selection_iou`.
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


def load_state(run: Path) -> TrainingState | None:
    """Return the state of the last finished epoch, or None if there is none."""
    path = run / FOLDER / STATE
    if not path.is_file():
        return None
    try:
        return TrainingState(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DefectsegError(
            f"{path} is damaged ({error}). Train anew in another folder."
        ) from error


def selection_iou(row: Mapping[str, float]) -> float:
    """Return the IoU by which the best epoch is chosen, from its row of ``history.csv``.

    It is the mean IoU over the defective validation images or, if that is lower, the IoU of all
    validation pixels together. Early in a training there are epochs that find each defect and
    flood good images as well: the first number alone would choose them.
    """
    return min(row["val_defective_iou"], row["val_iou"])
