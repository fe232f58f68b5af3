import math

import pytest

from defectseg.drift.records import DriftBaseline, Settings
from defectseg.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"median_of": 0}, "median_of is 0; expected at least 1."),
        ({"baseline_medians": 4}, "baseline_medians is 4; expected at least 5."),
        ({"median_of": 1, "baseline_medians": 19}, "baseline_medians is 19; expected at least 20."),
        ({"ewma_lambda": 0}, "ewma_lambda is 0; expected above 0 and at most 1."),
        ({"ewma_width": math.nan}, "ewma_width is nan"),
        ({"cusum_k": -1, "cusum_h": 0}, "cusum_k is -1.*cusum_h is 0"),
        ({"step": math.inf}, "step is inf"),
        ({"stale_medians": 9}, "stale_medians is 9; expected at least 10."),
        ({"wander": 1}, "wander is 1"),
        ({"limit": math.nan}, "limit is nan; expected a finite number."),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"deviation": 0}, "deviation above 0"),
        ({"wander": 2}, "wander"),
        ({"centre_error": -1}, "centre's error at least 0"),
        ({"centre": math.nan}, "expected finite numbers"),
        ({"limit": math.inf}, "expected finite numbers"),
    ],
)
def test_a_baseline_that_cannot_be_is_refused(wrong: dict[str, float], message: str) -> None:
    fine = {"centre": 1, "deviation": 1, "wander": 0, "centre_error": 0, "limit": 0}
    DriftBaseline(**fine)
    with pytest.raises(ConfigError, match=message):
        DriftBaseline(**fine | wrong)
