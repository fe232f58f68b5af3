"""From good images and degradation curves to the quality gate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from defectseg.bundle import CurvePoint, Gate, ProductGate, Reference
from defectseg.config import CalibrationSettings
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_sample_image
from defectseg.evaluation.robustness import breaking_point
from defectseg.image_io import to_gray
from defectseg.quality.baseline import check_size, fit_baseline, to_coordinates, whitening
from defectseg.quality.distortions import distort
from defectseg.quality.gate import UNTOUCHED
from defectseg.quality.measures import Measures, measure

# Good images of each product that are distorted to show how each level looks; the network is not
# asked about them.
REFERENCE_IMAGES = 8
_REACH_PERCENT = 99.5
_BLUR = "gaussian_blur"


@dataclass(frozen=True)
class Look:
    """How one good image looks at one level of a distortion."""

    image: str
    kind: str
    level: float
    iou_share_low: float
    escape_rise_high: float
    measures: Measures


def check_good_images(samples: Sequence[Sample], alpha: float) -> None:
    """Check that each product has as many good images as the gate's false-alarm rate needs.

    Raises
    ------
    DataError
        As `baseline.check_size`.
    """
    for product in sorted({sample.product for sample in samples}):
        images = sum(s.product == product and not s.defective for s in samples)
        check_size(images, alpha, product)


def measure_good(
    samples: Sequence[Sample], on_image: Callable[[], None] = lambda: None
) -> list[tuple[Sample, Measures]]:
    """Measure the good images among some samples, in the order of their content's hash."""
    measured = []
    for sample in sorted(samples, key=lambda sample: sample.sha256):
        if not sample.defective:
            measured.append((sample, measure(to_gray(read_sample_image(sample)))))
            on_image()
    return measured


def calibrate_product(
    good: Sequence[tuple[Sample, Measures]],
    curve: Sequence[CurvePoint],
    settings: CalibrationSettings,
    on_image: Callable[[], None] = lambda: None,
) -> ProductGate:
    """Set the gate of one product.

    Parameters
    ----------
    good : sequence of (Sample, Measures)
        Known-good images of the product that are not for testing, of `measure_good`.
    curve : sequence of CurvePoint
        Of `robustness.fit_curves`.
    settings : CalibrationSettings
    on_image : callable
        Called after each image that was distorted.

    Raises
    ------
    DataError
        If there are fewer good images than the false-alarm rate needs.
    """
    product = good[0][0].product
    baseline = fit_baseline([own for _, own in good], settings.gate_alpha, product)
    looks = [
        Look(str(sample.image), UNTOUCHED, 0.0, 1.0, 0.0, measures) for sample, measures in good
    ]
    steps = _steps_between(curve)
    for sample, _ in good[:REFERENCE_IMAGES]:
        image = read_sample_image(sample)
        for point in steps:
            distorted = distort(image, point.kind, point.level, sample.sha256)
            measures = measure(to_gray(distorted))
            looks.append(
                Look(
                    str(sample.image),
                    point.kind,
                    point.level,
                    point.iou_share_low,
                    point.escape_rise_high,
                    measures,
                )
            )
        on_image()
    coordinates = np.array([to_coordinates(look.measures) for look in looks])
    metric = whitening(_within_levels(looks, coordinates))
    return ProductGate(
        baseline=baseline,
        sharpness_limit=_sharpness_limit(looks, curve, settings),
        curve=tuple(curve),
        references=tuple(
            Reference(
                kind=look.kind,
                level=round(look.level, 4),
                iou_share_low=round(look.iou_share_low, 4),
                escape_rise_high=round(look.escape_rise_high, 4),
                coordinates=tuple(round(float(value), 4) for value in own),
            )
            for look, own in zip(looks, coordinates, strict=True)
        ),
        metric=tuple(tuple(float(value) for value in row) for row in metric),
        reach=_reach(looks, coordinates @ metric.T),
    )


def calibrate_gate(products: dict[str, ProductGate], settings: CalibrationSettings) -> Gate:
    """Return the gate of all products."""
    return Gate(
        alpha=settings.gate_alpha,
        fixed_sharpness=settings.fixed_sharpness,
        max_escape_rise=settings.max_escape_rise,
        min_iou_share=settings.min_iou_share,
        products=products,
    )


def _steps_between(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Return the curve with a level added between each two: geometric mean, and mean of values."""
    steps = list(curve)
    for weaker, stronger in pairwise(curve):
        if weaker.kind == stronger.kind:
            means = {
                name: (getattr(weaker, name) + getattr(stronger, name)) / 2
                for name in CurvePoint.model_fields
                if name not in {"kind", "level"}
            }
            level = float(np.sqrt(weaker.level * stronger.level))
            steps.append(CurvePoint(kind=weaker.kind, level=level, **means))
    return steps


def _within_levels(
    looks: Sequence[Look], coordinates: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return what the coordinates of each level's images differ from their mean."""
    differences = np.empty_like(coordinates)
    places = [(look.kind, look.level) for look in looks]
    for place in set(places):
        own = np.array([other == place for other in places])
        differences[own] = coordinates[own] - coordinates[own].mean(axis=0)
    return differences


def _reach(looks: Sequence[Look], points: npt.NDArray[np.float64]) -> float:
    """Return how far a look lies from the nearest one of another image, all but the farthest."""
    images = np.array([look.image for look in looks])
    nearest = np.full(len(points), np.inf)
    for image in set(images):
        own = images == image
        if not own.all():
            nearest[own] = KDTree(points[~own]).query(points[own])[0]
    return float(np.percentile(nearest, _REACH_PERCENT)) if np.isfinite(nearest).all() else 0.0


def _sharpness_limit(
    looks: Sequence[Look], curve: Sequence[CurvePoint], settings: CalibrationSettings
) -> float:
    """Return the median sharpness at the weakest blur that breaks the promise, or the strongest."""
    blurs = [point for point in curve if point.kind == _BLUR]
    level = (breaking_point(blurs, settings) or blurs[-1]).level
    own = [
        look.measures.mean_gradient for look in looks if look.kind == _BLUR and look.level == level
    ]
    return float(np.median(own))
