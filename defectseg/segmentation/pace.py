"""How far a training is, by epochs or by the clock, and the learning rate that follows."""

import math
import time
from typing import Any, Protocol

import keras

from defectseg.config import TrainSettings
from defectseg.segmentation.checkpoint import TrainingState

_WARM_UP = 0.03

Row = dict[str, float]


class Monitor(Protocol):
    """Is told how a training goes on."""

    def step(self, progress: float, epoch: int, loss: float) -> None:
        """After each step: the share of the training that is done, and the epoch's mean loss."""

    def epoch(self, row: Row, best: bool) -> None:
        """After each epoch: its row of history.csv, and whether its weights are the best yet."""


def learning_rate_at(progress: float, peak: float, schedule: str = "cosine") -> float:
    """Return the learning rate: a short linear warm-up, then a cosine that falls to 0.

    Parameters
    ----------
    progress : float
        Share of the training that is done, in [0, 1].
    peak : float
    schedule : str
        ``"cosine"``, or ``"constant"`` for the peak after the warm-up.
    """
    if progress < _WARM_UP:
        return peak * max(progress / _WARM_UP, 0.05)
    if schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Pace(keras.callbacks.Callback):
    """Sets the learning rate of each step, by epochs or by the wall clock, and reports."""

    def __init__(
        self, settings: TrainSettings, state: TrainingState, steps: int, monitor: Monitor
    ) -> None:
        super().__init__()
        self.settings = settings
        self.state = state
        self.steps = steps
        self.monitor = monitor
        self.started = time.monotonic()
        self.rate = 0.0

    def _progress(self, step: int) -> float:
        by_epochs = (self.state.epoch + step / self.steps) / self.settings.epochs
        if self.settings.max_minutes is None:
            return by_epochs
        seconds = self.state.seconds + time.monotonic() - self.started
        return max(by_epochs, seconds / (60 * self.settings.max_minutes))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the learning rate."""
        peak, schedule = self.settings.learning_rate, self.settings.schedule
        self.rate = learning_rate_at(self._progress(batch), peak, schedule)
        self.model.optimizer.learning_rate = self.rate

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Report the step."""
        progress = min(1.0, self._progress(batch + 1))
        self.monitor.step(progress, self.state.epoch + 1, float((logs or {}).get("loss", 0)))


def is_finished(settings: TrainSettings, state: TrainingState) -> bool:
    """Tell whether all epochs are done, or another would not end in time."""
    if state.epoch >= settings.epochs:
        return True
    if settings.max_minutes is None or not state.epoch:
        return False
    # An epoch is begun only if, at the pace so far, it ends in time.
    return state.seconds * (state.epoch + 1) / state.epoch > 60 * settings.max_minutes
