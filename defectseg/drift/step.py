"""A step upwards in a series of medians: what a cleaning looks like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

AFTER = 3  # medians that show a step
_BEFORE = 8  # medians that they are compared with, at most


@dataclass(frozen=True)
class Step:
    """A rise from a level before to one after it, and the index of the first median after it."""

    before: float
    after: float
    start: int


def find_step(medians: Sequence[float], first: int, height: float) -> Step | None:
    """Return the step that the last three medians show, compared with those before them.

    Parameters
    ----------
    medians : sequence of float
        In the order of time.
    first : int
        Index of the first one that is looked at.
    height : float
        The least rise that counts; above 0.
    """
    end = len(medians) - AFTER
    if end <= first:
        return None
    new = medians[end:]
    before, after = (
        float(np.median(medians[max(first, end - _BEFORE) : end])),
        float(np.median(new)),
    )
    if after - before < height:
        return None
    start = end + next(i for i, median in enumerate(new) if median > (before + after) / 2)
    return Step(before, after, start)
