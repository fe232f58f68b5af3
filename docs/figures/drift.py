"""The chart that `defectseg monitor` leaves, of a simulated camera that gathers dust."""

from pathlib import Path

import numpy as np
from style import save

from defectseg.drift.monitor import watch
from defectseg.drift.records import Settings
from defectseg.drift.report import draw_chart

_A_DAY = 200
_CLEAN, _DIRTY, _LIMIT = 1.4, 0.8, 0.9


def draw(path: Path) -> None:
    """Draw clean days, dust, a cleaning, and dust again."""
    levels = np.concatenate(
        [
            np.full(15 * _A_DAY, _CLEAN),
            np.linspace(_CLEAN, _DIRTY, 45 * _A_DAY),
            np.full(15 * _A_DAY, _CLEAN),
            np.linspace(_CLEAN, 1.15, 20 * _A_DAY),
        ]
    )
    noise = np.random.default_rng(0).standard_normal(len(levels))
    seconds = (np.arange(len(levels)) + 0.5) / _A_DAY * 86_400
    times = np.datetime64("2024-03-01", "us") + (1e6 * seconds).astype("timedelta64[us]")
    drift = watch(times, levels * (1 + 0.08 * noise), Settings(limit=_LIMIT))
    save(draw_chart({"camera": drift}), path)
