"""A series of sharpness: when images were taken, and how sharp they are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.datetime64]
Values = npt.NDArray[np.float64]

TOO_LARGE = 1e100  # for a value: squares of larger ones are no longer numbers


@dataclass(frozen=True)
class Series:
    """What one camera gave.

    Attributes
    ----------
    times : ndarray of shape (n,), datetime64[us]
        In the order of the source. UTC if a table names time zones, else as it was written.
    values : ndarray of shape (n,), float64
        Finite.
    """

    times: Times
    values: Values


def check_series(times: Times, values: Values) -> tuple[Times, Values]:
    """Return times and values as microseconds and floats, both of shape (n,).

    Raises
    ------
    ValueError
        If the lengths differ, a time is missing, or a value is not finite.
    """
    stamps, numbers = np.asarray(times, "datetime64[us]"), np.asarray(values, np.float64)
    if stamps.ndim != 1 or stamps.shape != numbers.shape:
        raise ValueError(
            "Expected times and values of the same shape (n,). "
            f"Received: {stamps.shape} and {numbers.shape}."
        )
    bad = np.flatnonzero(np.isnat(stamps) | ~(np.abs(numbers) < TOO_LARGE))
    if len(bad):
        raise ValueError(
            f"Expected finite values with a time. Received: {len(bad)} that are not, the first at "
            f"index {bad[0]}: {numbers[bad[0]]} at {stamps[bad[0]]}."
        )
    return stamps, numbers
