import pandas as pd
import pytest

from defectseg.bundle import Thresholds
from defectseg.evaluation.plots import plot_error_rates


def test_a_higher_threshold_lets_escape_more_and_rejects_less() -> None:
    frame = pd.DataFrame(
        {"defective": [False] * 4 + [True] * 2, "score": [0.1, 0.1, 0.2, 0.7, 0.4, 0.9]}
    )
    thresholds = Thresholds(pixel=0.5, review=0.4, fail=0.6, score_area_px={"P": 1})
    (axes,) = plot_error_rates(frame, thresholds).axes
    escape, overkill = (dict(zip(*line.get_data(), strict=True)) for line in axes.lines)
    # At 0.5: of the defective ones 0.4 is below; of the good ones 0.7 is above.
    at = min(escape, key=lambda level: abs(level - 0.5))
    assert (escape[at], overkill[at]) == (pytest.approx(1 / 2), pytest.approx(1 / 4))
    assert (escape[0], overkill[0]) == (0, 1)
    assert (escape[1], overkill[1]) == (1, 0)
    assert axes.lines[0].get_label().startswith("escape")
