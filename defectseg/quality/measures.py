"""All quality measures of an image together; each is a function of `focus`."""

from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from defectseg.quality.focus import (
    Gray,
    blur_effect,
    brenner,
    clipped_shares,
    compensate,
    high_frequency_ratio,
    is_measurable,
    laplacian_variance,
    mean_gradient,
    mean_luma,
    noise_sigma,
    tenengrad,
    wavelet_energy,
)


@dataclass(frozen=True)
class Measures:
    """All measures of one image, in the order of the tables' columns; see the functions."""

    mean_gradient: float
    laplacian_variance: float
    tenengrad: float
    tenengrad_compensated: float
    brenner: float
    wavelet_energy: float
    high_frequency_ratio: float
    blur_effect: float
    noise_sigma: float
    mean_luma: float
    clipped_low: float
    clipped_high: float

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[np.float64]:
        return np.array(astuple(self), dtype=dtype or np.float64)


MEASURES = tuple(field.name for field in fields(Measures))
# What cannot be measured is never taken for sharp.
UNMEASURABLE = Measures(**dict.fromkeys(MEASURES, 0.0) | {"blur_effect": 1.0})


def measure(gray: Gray) -> Measures:
    """Return all measures of an image; no value is ever NaN or infinite."""
    if not is_measurable(gray):
        return UNMEASURABLE
    clipped_low, clipped_high = clipped_shares(gray)
    sharpness, noise = tenengrad(gray), noise_sigma(gray)
    return Measures(
        mean_gradient=mean_gradient(gray),
        laplacian_variance=laplacian_variance(gray),
        tenengrad=sharpness,
        tenengrad_compensated=compensate(sharpness, noise),
        brenner=brenner(gray),
        wavelet_energy=wavelet_energy(gray),
        high_frequency_ratio=high_frequency_ratio(gray),
        blur_effect=blur_effect(gray),
        noise_sigma=noise,
        mean_luma=mean_luma(gray),
        clipped_low=clipped_low,
        clipped_high=clipped_high,
    )
