"""How far a training is, by epochs or by the clock, and the learning rate that follows."""

import math
from collections.abc import Callable
from typing import Protocol

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


class Pace:
    """Tells the learning rate of each step, by epochs or by the wall clock, and reports.

    Parameters
    ----------
    settings : TrainSettings
    state : TrainingState
        Before this epoch.
    steps : int
        Of this epoch.
    monitor : Monitor
    clock : callable
        Returns the seconds trained so far.

    Attributes
    ----------
    rate : float
        The latest learning rate.
    """

    def __init__(
        self,
        settings: TrainSettings,
        state: TrainingState,
        steps: int,
        monitor: Monitor,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.state = state
        self.steps = steps
        self.monitor = monitor
        self.clock = clock
        self.rate = 0.0
        self._reached = 0.0

    def _progress(self, step: int) -> float:
        by_epochs = (self.state.epoch + step / self.steps) / self.settings.epochs
        if self.settings.max_minutes is None:
            return by_epochs
        return max(by_epochs, self.clock() / (60 * self.settings.max_minutes))

    def begin(self, step: int) -> float:
        """Return the learning rate of a step, which are counted from 0."""
        peak, schedule = self.settings.learning_rate, self.settings.schedule
        # One look at the clock a step: on several machines the chief is asked for it.
        progress = self._reached if step else self._progress(step)
        self.rate = learning_rate_at(progress, peak, schedule)
        return self.rate

    def end(self, step: int, loss: float) -> bool:
        """Report a step that was made; return whether the training is over."""
        self._reached = min(1.0, self._progress(step + 1))
        self.monitor.step(self._reached, self.state.epoch + 1, loss)
        return self._reached >= 1


def is_finished(settings: TrainSettings, state: TrainingState) -> bool:
    """Tell whether all epochs are done, or the time is up."""
    if state.epoch >= settings.epochs:
        return True
    return settings.max_minutes is not None and state.seconds >= 60 * settings.max_minutes
