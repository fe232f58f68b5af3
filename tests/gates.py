"""Quality gates for tests of what is around them."""

import numpy as np

from defectseg.bundle import Baseline, Gate, ProductGate, Reference, Tree
from defectseg.quality.measures import MEASURES

_ZEROS = (0.0,) * len(MEASURES)
_IDENTITY = tuple(tuple(map(float, row)) for row in np.eye(len(MEASURES)))


def fixed_gate(limit: float, *products: str) -> Gate:
    """A gate whose only limit is a mean gradient that was set by hand."""
    product = ProductGate(
        baseline=Baseline(center=_ZEROS, whiten=_IDENTITY, deviations=(1.0,)),
        sharpness_limit=limit,
        curve=(),
        pooled=False,
        references=(
            Reference(
                kind="untouched",
                level=0,
                iou_share_low=1,
                escape_rise_high=0,
                broken=False,
                coordinates=_ZEROS,
            ),
        ),
        metric=_IDENTITY,
        forest=(Tree(feature=(0,), threshold=(0.0,), left=(0,), right=(0,), answer=(0.0,)),),
        reach={"untouched": 1},
        heights_px=(1, 1),
        widths_px=(1, 1),
    )
    return Gate(
        alpha=0.5,
        fixed_sharpness=limit,
        max_escape_rise=0.02,
        min_iou_share=0.8,
        size_tolerance=None,
        measures=MEASURES,
        products=dict.fromkeys(products, product),
    )
