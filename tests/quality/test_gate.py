import math

import numpy as np
import pytest

from defectseg.bundle import ProductGate
from defectseg.quality.focus import mean_gradient
from defectseg.quality.gate import ImageQuality, calibrate_gate, measure_quality

# |∂/∂column| is 4 everywhere, |∂/∂row| is 0.
SLOPE = np.tile(np.arange(0, 80, 4, dtype=np.uint8), (10, 1))


def gate(*sharpness: float, limit: float = 0.0) -> ProductGate:
    return ProductGate(limit=limit, sharpness=sharpness)


def test_limit_is_the_percentile_of_each_product() -> None:
    made = calibrate_gate({"a": [5, 1, 4, 2, 3], "b": [10]}, percentile=25)
    # The 25th percentile of 1 2 3 4 5 is 2.
    assert made.products["a"] == gate(1, 2, 3, 4, 5, limit=2)
    assert made.products["b"] == gate(10, limit=10)
    assert made.percentile == 25


@pytest.mark.parametrize(
    ("good", "expected"),
    [
        ((5, 6, 7), 1 / 4),  # none is as blurred: (1 + 0) / (3 + 1)
        ((3, 4, 5), 3 / 4),  # 3 and its equal 4 are no sharper: (1 + 2) / (3 + 1)
        ((1, 2, 3), 1.0),
        ((9,), 1 / 2),
    ],
)
def test_p_value_by_hand(good: tuple[float, ...], expected: float) -> None:
    assert measure_quality(SLOPE, gate(*good)).gate_p_value == expected


def test_an_image_at_the_limit_is_trusted_and_below_it_is_not() -> None:
    sharpness = mean_gradient(SLOPE)
    at = measure_quality(SLOPE, gate(4, limit=sharpness))
    below = measure_quality(SLOPE, gate(4, limit=math.nextafter(sharpness, math.inf)))
    assert (at.trusted, below.trusted) == (True, False)
    assert at.sharpness == pytest.approx(4)


@pytest.mark.parametrize(("sharpness", "limit"), [(math.nan, 1), (1, math.nan)])
def test_what_is_no_number_is_not_trusted(sharpness: float, limit: float) -> None:
    quality = ImageQuality(sharpness, limit, gate_p_value=1, noise_sigma=0, mean_luma=0)
    assert not quality.trusted


def test_colour_is_measured_on_its_luma() -> None:
    assert measure_quality(np.dstack([SLOPE] * 3), gate(1)) == measure_quality(SLOPE, gate(1))
    # Columns 0, 4, ..., 76 have the mean 38.
    assert measure_quality(SLOPE, gate(1)).mean_luma == 38
