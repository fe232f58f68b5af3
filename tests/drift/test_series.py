import math

import numpy as np
import pytest

from defectseg.drift.series import check_series
from tests.drift.cameras import days


def test_a_series_comes_back_as_microseconds_and_floats() -> None:
    times, values = check_series(np.array(["2024-01-01"], "datetime64[s]"), np.array([2]))
    assert (times.dtype, values.dtype) == ("datetime64[us]", np.float64)
    assert (times[0], values[0]) == (np.datetime64("2024-01-01"), 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
def test_a_value_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"1 that are not, the first at index 1"):
        check_series(days(3), np.array([1, bad, 3]))


def test_missing_times_and_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"index 0: 1\.0 at NaT"):
        check_series(np.array(["NaT", "2024-01-01"], "datetime64[us]"), np.ones(2))
    with pytest.raises(ValueError, match=r"Received: \(3,\) and \(2,\)"):
        check_series(days(3), np.ones(2))
