"""What the folders of trainings say of themselves, finished or not, read without TensorFlow."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
from pydantic import TypeAdapter

from defectseg.bundle import (
    ANSWERS,
    CALIBRATION,
    CONFIG,
    HISTORY,
    METRICS,
    MODEL,
    Bundle,
    load_bundle,
)
from defectseg.config import read_yaml
from defectseg.errors import DataError, DefectsegError, Problem
from defectseg.evaluation.figures import Evaluation
from defectseg.segmentation.state import load_state, selection_iou

_CURVES = ("epoch", "loss", "val_loss", "val_defective_iou", "val_iou", "seconds")
_FIGURES = TypeAdapter(dict[str, Evaluation])

Read = TypeVar("Read")


@dataclass(frozen=True)
class RunRecord:
    """A training, as its folder tells it.

    Attributes
    ----------
    folder : Path
    name : str
        As short as it can be among the others.
    state : str
        ``"finished"``; ``"unfinished"``: not calibrated yet; ``"damaged"``: a part is missing,
        cannot be read, or is not as it was.
    remark : str
        Why it is not finished; empty if it is.
    settings : dict
        By name, such as ``train.epochs``.
    history : DataFrame
        A row an epoch, as ``history.csv``; none if there is none that can be read.
    trained_on : str or None
        Hash of the training's data, as its checkpoints say; see `manifest.data_sha256`.
    bundle : Bundle or None
        If it is finished.
    figures : dict of str to Evaluation
        By split; of a finished run alone: others may be of an earlier calibration.
    answers : DataFrame or None
        A row an image, as ``answers.csv``; None where none were kept.
    """

    folder: Path
    name: str
    state: Literal["finished", "unfinished", "damaged"]
    remark: str
    settings: dict[str, Any]
    history: pd.DataFrame
    trained_on: str | None
    bundle: Bundle | None
    figures: dict[str, Evaluation]
    answers: pd.DataFrame | None

    @property
    def measured_on(self) -> str | None:
        """Hash of the data that its limits and figures come from."""
        return self.bundle.calibration.data_sha256 if self.bundle else None

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights are kept."""
        rows: list[Any] = self.history.to_dict("records")
        if not rows:
            return None
        # Of equal ones the first, as in training.
        return int(max(rows, key=selection_iou)["epoch"])

    @property
    def minutes(self) -> float | None:
        """Time trained."""
        return float(self.history["seconds"].iloc[-1]) / 60 if len(self.history) else None


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Read the folders of two or more trainings.

    Raises
    ------
    DataError
        Naming every folder that no training has left, and every one that is named twice.
    """
    resolved = [folder.resolve() for folder in folders]
    problems = [
        Problem(str(folder), "no folder" if not folder.is_dir() else f"no {CONFIG}, {HISTORY} or "
                f"{MODEL}", "a folder that `defectseg train` left", "Name others.")
        for folder in folders
        if not any((folder / part).is_file() for part in (CONFIG, HISTORY, MODEL))
    ]  # fmt: skip
    problems += [
        Problem(str(folder), "a run named twice", "each one once", "Name it once.")
        for place, folder in enumerate(folders)
        if resolved[place] in resolved[:place]
    ]
    if problems:
        raise DataError("These runs cannot be compared:", problems)
    if len(folders) < 2:
        raise DataError(f"There is only {folders[0]}: name two or more runs to compare.")
    return [_read_run(folder, name) for folder, name in zip(folders, _names(resolved), strict=True)]


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' paths below the one that they have in common."""
    common = os.path.commonpath([folder.parent for folder in folders])
    return [folder.relative_to(common).as_posix() for folder in folders]


def _read_run(folder: Path, name: str) -> RunRecord:
    problems: list[str] = []

    def attempt(read: Callable[[Path], Read], otherwise: Read) -> Read:
        try:
            return read(folder)
        except (DefectsegError, OSError, ValueError, KeyError, TypeError) as error:
            problems.append(" ".join(str(error).split()))
            return otherwise

    settings: dict[str, Any] = attempt(read_settings, {})
    history = attempt(_read_history, pd.DataFrame(columns=list(_CURVES)))
    state = attempt(load_state, None)
    bundle: Bundle | None = None
    figures: dict[str, Evaluation] = {}
    answers: pd.DataFrame | None = None
    calibrated = (folder / CALIBRATION).is_file()
    if calibrated:
        bundle = attempt(load_bundle, None)
    if bundle is not None:
        figures = attempt(read_figures, {})
        answers = attempt(_read_answers, None)
    if not calibrated:
        epochs = settings.get("train.epochs", "?")
        problems.insert(0, f"{len(history)} of at most {epochs} epochs, and not calibrated")
    damaged = len(problems) > (0 if calibrated else 1)
    return RunRecord(
        folder=folder,
        name=name,
        state="damaged" if damaged else "finished" if calibrated else "unfinished",
        remark="; ".join(problems),
        settings=settings,
        history=history,
        trained_on=state.data_sha256 if state else None,
        bundle=None if damaged else bundle,
        figures={} if damaged else figures,
        answers=None if damaged else answers,
    )


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings by name, as they stand: of any version, and nothing added."""
    flat: dict[str, Any] = {}
    for section, content in read_yaml(folder / CONFIG).items():
        if isinstance(content, dict):
            flat |= {f"{section}.{key}": value for key, value in content.items()}
        else:
            flat[section] = content
    return flat


def _read_history(folder: Path) -> pd.DataFrame:
    path = folder / HISTORY
    if not path.is_file():  # its first epoch is not over
        return pd.DataFrame(columns=list(_CURVES))
    table = pd.read_csv(path)
    missing = [name for name in _CURVES if name not in table]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}.")
    try:
        return table.astype(dict.fromkeys(_CURVES, float))
    except ValueError as error:
        raise DataError(f"{path} holds what is no number: {error}.") from error


def read_figures(folder: Path) -> dict[str, Evaluation]:
    """Return the figures of a bundle, by split."""
    return _FIGURES.validate_json((folder / METRICS).read_bytes())


def _read_answers(folder: Path) -> pd.DataFrame | None:
    path = folder / ANSWERS
    if not path.is_file():
        return None
    texts = dict.fromkeys(("sha256", "product", "kind", "image", "outcome", "split"), str)
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={"score": [""]})
