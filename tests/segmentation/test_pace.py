import pytest

from defectseg.config import TrainSettings
from defectseg.segmentation.pace import Monitors, Pace, is_finished, learning_rate_at
from defectseg.segmentation.state import TrainingState


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    rates = [learning_rate_at(share, 1.0) for share in (0.0, 0.015, 0.03, 0.5, 1.0)]
    # Half of the warm-up of 0.03; its end, 0.5·(1 + cos 0.03π) = 0.9978; half-way 0.5; nothing.
    assert rates == pytest.approx([0.05, 0.5, 0.9978, 0.5, 0.0], abs=1e-4)


@pytest.mark.parametrize(
    ("epochs", "max_minutes", "epoch", "seconds", "finished"),
    [
        (3, None, 2, 1e6, False),
        (3, None, 3, 1.0, True),
        (9, 1.0, 0, 0.0, False),
        (9, 1.0, 3, 59.0, False),
        (9, 1.0, 3, 60.0, True),
    ],
)
def test_a_training_ends_after_its_epochs_or_when_its_time_is_up(
    epochs: int, max_minutes: float | None, epoch: int, seconds: float, finished: bool
) -> None:
    settings = TrainSettings(epochs=epochs, max_minutes=max_minutes)
    state = TrainingState(epoch, epoch, 0.5, seconds, "hash")
    assert is_finished(settings, state) == finished


def test_the_clock_is_looked_at_once_a_step() -> None:
    # On several machines each look is a question to the chief.
    looks: list[float] = []

    def clock() -> float:
        looks.append(6.0 * len(looks))
        return looks[-1]

    settings = TrainSettings(epochs=9, max_minutes=1.0)
    state = TrainingState(0, 0, 0.0, 0.0, "hash")
    pace = Pace(settings, state, 100, Monitors(), clock)
    for step in range(9):
        pace.begin(step)
        assert not pace.end(step, 1.0)
    pace.begin(9)
    # Before the first step and after each: the eleventh look is at 60 s.
    assert pace.end(9, 1.0)
    assert len(looks) == 11


def test_a_constant_learning_rate_stays_after_its_warm_up() -> None:
    rates = [learning_rate_at(share, 2.0, "constant") for share in (0.015, 0.03, 0.5, 1.0)]
    assert rates == pytest.approx([1.0, 2.0, 2.0, 2.0])
