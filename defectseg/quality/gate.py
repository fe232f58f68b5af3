"""The quality gate: whether an image is sharp enough for the model to be believed.

The limit of a product is a low percentile of what its good training images measure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defectseg.bundle import Gate, ProductGate
from defectseg.image_io import to_gray
from defectseg.quality.focus import mean_gradient, mean_luma, noise_sigma


@dataclass(frozen=True)
class ImageQuality:
    """What the gate saw of one image.

    Attributes
    ----------
    sharpness : float
        `focus.mean_gradient`; rises with focus.
    sharpness_limit : float
        The product's limit, in the same unit.
    gate_p_value : float
        Share of good training images, this one counted in, that are no sharper; in (0, 1].
    noise_sigma, mean_luma : float
        In gray levels.
    """

    sharpness: float
    sharpness_limit: float
    gate_p_value: float
    noise_sigma: float
    mean_luma: float

    @property
    def trusted(self) -> bool:
        """Whether the image is at or above the limit; a sharpness that is no number is not."""
        return self.sharpness >= self.sharpness_limit


def calibrate_gate(sharpness: Mapping[str, Sequence[float]], percentile: float) -> Gate:
    """Set each product's limit from its good training images.

    Parameters
    ----------
    sharpness : mapping of str to sequence of float
        Of the good training images, by product; at least one each.
    percentile : float
        In [0, 50].
    """
    products = {
        product: ProductGate(
            limit=float(np.percentile(values, percentile)), sharpness=tuple(sorted(values))
        )
        for product, values in sharpness.items()
    }
    return Gate(percentile=percentile, products=products)


def measure_quality(image: npt.NDArray[np.uint8], gate: ProductGate) -> ImageQuality:
    """Measure an image of ``(H, W)`` or ``(H, W, 3)`` uint8, and compare it with its product.

    The p-value is that of a one-sided conformal test, ``(1 + #{good ≤ this}) / (n + 1)``
    (Vovk, Gammerman & Shafer 2005, doi:10.1007/b106715).
    """
    gray = to_gray(image)
    sharpness = mean_gradient(gray)
    no_sharper = int(np.searchsorted(gate.sharpness, sharpness, side="right"))
    return ImageQuality(
        sharpness=sharpness,
        sharpness_limit=gate.limit,
        gate_p_value=(1 + no_sharper) / (1 + len(gate.sharpness)),
        noise_sigma=noise_sigma(gray),
        mean_luma=mean_luma(gray),
    )
