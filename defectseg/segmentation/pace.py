"""How far a training is, by epochs or by the clock, and the learning rate that follows."""

import math
import time
from typing import Any, Protocol

import keras

from defectseg.config import TrainSettings
from defectseg.segmentation.state import Row, TrainingState

_WARM_UP = 0.03


class Monitor(Protocol):
    """Is told how a training goes on."""

    def step(self, progress: float, epoch: int, loss: float) -> None:
        """After each step: the share of the training that is done, and the epoch's mean loss."""

    def epoch(self, row: Row, best: bool) -> None:
        """After each epoch: its row of history.csv, and whether its weights are the best yet."""


class Monitors:
    """Tells several monitors the same."""

    def __init__(self, *monitors: Monitor) -> None:
        self._monitors = monitors

    def step(self, progress: float, epoch: int, loss: float) -> None:
        """Tell each of a step."""
        for monitor in self._monitors:
            monitor.step(progress, epoch, loss)

    def epoch(self, row: Row, best: bool) -> None:
        """Tell each of an epoch."""
        for monitor in self._monitors:
            monitor.epoch(row, best)


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
    """Sets the learning rate of each step, by epochs or by the wall clock, and reports.

    Parameters
    ----------
    settings : TrainSettings
    state : TrainingState
        Before this epoch.
    steps : int
        Of this epoch.
    monitor : Monitor
    offset_s : float
        Added to the monotonic clock it gives the seconds trained so far.
    """

    def __init__(
        self,
        settings: TrainSettings,
        state: TrainingState,
        steps: int,
        monitor: Monitor,
        offset_s: float,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.state = state
        self.steps = steps
        self.monitor = monitor
        self.offset_s = offset_s
        self.rate = 0.0

    def _progress(self, step: int) -> float:
        by_epochs = (self.state.epoch + step / self.steps) / self.settings.epochs
        if self.settings.max_minutes is None:
            return by_epochs
        seconds = time.monotonic() + self.offset_s
        return max(by_epochs, seconds / (60 * self.settings.max_minutes))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the learning rate."""
        peak, schedule = self.settings.learning_rate, self.settings.schedule
        self.rate = learning_rate_at(self._progress(batch), peak, schedule)
        self.model.optimizer.learning_rate = self.rate

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Report the step, and end the epoch where the time is up."""
        progress = min(1.0, self._progress(batch + 1))
        if progress >= 1:
            self.model.stop_training = True
        self.monitor.step(progress, self.state.epoch + 1, float((logs or {}).get("loss", 0)))


class TrainedWeights(keras.callbacks.Callback):
    """Keeps the weights of an epoch's last step, where the optimiser averages weights.

    At the end of `fit` Keras puts the running mean in their place. It is what is measured and
    kept; the training goes on from where it was.
    """

    def __init__(self) -> None:
        super().__init__()
        self._weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the weights, before the mean takes their place."""
        if _averages(self.model.optimizer):
            self._weights = [variable.numpy() for variable in self.model.trainable_variables]

    def restore(self) -> None:
        """Put the weights back; nothing happens where nothing was averaged."""
        for variable, weights in zip(self.model.trainable_variables, self._weights, strict=False):
            variable.assign(weights)


def _averages(optimizer: Any) -> bool:
    # With float16 the optimiser is wrapped in one that scales the loss.
    return bool(getattr(optimizer, "inner_optimizer", optimizer).use_ema)


def is_finished(settings: TrainSettings, state: TrainingState) -> bool:
    """Tell whether all epochs are done, or the time is up."""
    if state.epoch >= settings.epochs:
        return True
    return settings.max_minutes is not None and state.seconds >= 60 * settings.max_minutes
