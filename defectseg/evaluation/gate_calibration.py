"""From good images and degradation curves to the quality gate."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from defectseg.bundle import CurvePoint, Gate, ProductGate, Reference, Tree
from defectseg.config import CalibrationSettings
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_sample_image
from defectseg.evaluation.degradation import breaking_point, keeps_promise
from defectseg.image_io import to_gray
from defectseg.quality.baseline import check_size, fit_baseline, to_coordinates, whitening
from defectseg.quality.distortions import distort
from defectseg.quality.gate import UNTOUCHED
from defectseg.quality.measures import MEASURES, Measures, measure

# Good images of each product that are distorted to show how each level looks, and others that show
# how near to them an image comes; the network is not asked about them.
REFERENCE_IMAGES, PROBE_IMAGES = 12, 4
_TREES, _LEAST_LEAF, _MOST_LEAVES = 30, 2, 150
_REACH_PERCENT = 99.5
_BLUR = "gaussian_blur"


@dataclass(frozen=True)
class Step:
    """A level of a distortion, and what is expected of the model there."""

    kind: str
    level: float
    iou_share_low: float
    escape_rise_high: float


@dataclass(frozen=True)
class Look:
    """How one good image looks at one level of a distortion."""

    image: str
    step: Step
    measures: Measures


_AS_IT_IS = Step(UNTOUCHED, 0.0, iou_share_low=1.0, escape_rise_high=0.0)


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
    known: Sequence[Sample],
    curve: Sequence[CurvePoint],
    settings: CalibrationSettings,
    on_image: Callable[[], None] = lambda: None,
    *,
    pooled: bool = False,
) -> ProductGate:
    """Set the gate of one product.

    Parameters
    ----------
    known : sequence of Sample
        The images of the product that are not for testing.
    curve : sequence of CurvePoint
        Of `robustness.fit_curves`.
    settings : CalibrationSettings
    pooled : bool
        Whether the curve is that of all products.
    on_image : callable
        Called after each good image, and again after each that was distorted.

    Raises
    ------
    DataError
        If there are fewer good images than the false-alarm rate needs, or one cannot be read.
    """
    good = measure_good(known, on_image)
    baseline = fit_baseline([own for _, own in good], settings.gate_alpha, known[0].product)
    samples = [sample for sample, _ in good]
    untouched = [Look(str(sample.image), _AS_IT_IS, measures) for sample, measures in good]
    steps = _halve(
        [
            Step(point.kind, point.level, point.iou_share_low, point.escape_rise_high)
            for point in curve
        ]
    )
    looks = untouched + _look(samples[:REFERENCE_IMAGES], steps, on_image)
    # Other images, where there are some, at levels between those of the references.
    others = samples[REFERENCE_IMAGES:] or samples
    between = [step for step in _halve(steps) if step not in steps]
    probes = untouched + _look(others[:PROBE_IMAGES], between, on_image)
    coordinates = _coordinates(looks)
    metric = whitening(_within_levels(looks, coordinates))
    points = coordinates @ metric.T
    breaks = [not keeps_promise(look.step, settings) for look in looks]
    return ProductGate(
        baseline=baseline,
        sharpness_limit=_sharpness_limit(looks, curve, settings),
        curve=tuple(curve),
        pooled=pooled,
        references=tuple(
            Reference(
                kind=look.step.kind,
                level=round(look.step.level, 4),
                iou_share_low=round(look.step.iou_share_low, 4),
                escape_rise_high=round(look.step.escape_rise_high, 4),
                broken=broken,
                coordinates=tuple(round(float(value), 4) for value in own),
            )
            for look, own, broken in zip(looks, coordinates, breaks, strict=True)
        ),
        metric=tuple(tuple(float(value) for value in row) for row in metric),
        forest=fit_forest(points, breaks),
        reach=_reach(looks, points, probes, _coordinates(probes) @ metric.T),
        heights_px=(min(s.height for s in known), max(s.height for s in known)),
        widths_px=(min(s.width for s in known), max(s.width for s in known)),
    )


def calibrate_gate(products: dict[str, ProductGate], settings: CalibrationSettings) -> Gate:
    """Return the gate of all products."""
    return Gate(
        alpha=settings.gate_alpha,
        fixed_sharpness=settings.fixed_sharpness,
        max_escape_rise=settings.max_escape_rise,
        min_iou_share=settings.min_iou_share,
        size_tolerance=settings.size_tolerance,
        measures=MEASURES,
        products=products,
    )


def _halve(steps: Sequence[Step]) -> list[Step]:
    """Add a step between each two of a kind: geometric mean of the level, mean of the values."""
    halved = []
    for step, after in zip_longest(steps, steps[1:]):
        halved.append(step)
        if after is not None and after.kind == step.kind:
            halved.append(
                Step(
                    step.kind,
                    math.sqrt(step.level * after.level),
                    (step.iou_share_low + after.iou_share_low) / 2,
                    (step.escape_rise_high + after.escape_rise_high) / 2,
                )
            )
    return halved


def _look(
    samples: Sequence[Sample], steps: Sequence[Step], on_image: Callable[[], None]
) -> list[Look]:
    """Measure each image at each step."""
    looks = []
    for sample in samples:
        image = read_sample_image(sample)
        for step in steps:
            distorted = distort(image, step.kind, step.level, sample.sha256)
            looks.append(Look(str(sample.image), step, measure(to_gray(distorted))))
        on_image()
    return looks


def _coordinates(looks: Sequence[Look]) -> npt.NDArray[np.float64]:
    return np.array([to_coordinates(look.measures) for look in looks])


def _within_levels(
    looks: Sequence[Look], coordinates: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return what the coordinates of each level's images differ from their mean."""
    differences = np.empty_like(coordinates)
    for step in {look.step for look in looks}:
        own = np.array([look.step == step for look in looks])
        differences[own] = coordinates[own] - coordinates[own].mean(axis=0)
    return differences


def fit_forest(points: npt.NDArray[np.float64], breaks: Sequence[bool]) -> tuple[Tree, ...]:
    """Fit extremely randomised trees (Geurts et al. 2006, doi:10.1007/s10994-006-6226-1).

    Few and small, so that they can be stored; broken and kept references weigh the same in all.

    Parameters
    ----------
    points : ndarray of shape (N, D)
    breaks : sequence of bool
        Of each point, whether the promise is broken there.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(
        _TREES,
        min_samples_leaf=_LEAST_LEAF,
        max_leaf_nodes=_MOST_LEAVES,
        class_weight="balanced",
        random_state=0,
    ).fit(points, breaks)
    return tuple(_to_tree(fitted.tree_, list(forest.classes_)) for fitted in forest.estimators_)


def _to_tree(fitted: Any, classes: list[bool]) -> Tree:
    nodes = np.arange(fitted.node_count)
    leaf = fitted.children_left < 0
    weights = fitted.value[:, 0, :]
    broken = weights[:, classes.index(True)] if True in classes else np.zeros(len(nodes))
    return Tree(
        feature=tuple(map(int, np.where(leaf, 0, fitted.feature))),
        threshold=tuple(round(float(value), 4) for value in fitted.threshold),
        left=tuple(map(int, np.where(leaf, nodes, fitted.children_left))),
        right=tuple(map(int, np.where(leaf, nodes, fitted.children_right))),
        answer=tuple(round(float(value), 4) for value in broken / weights.sum(axis=1)),
    )


def _reach(
    looks: Sequence[Look],
    points: npt.NDArray[np.float64],
    probes: Sequence[Look],
    probe_points: npt.NDArray[np.float64],
) -> dict[str, float]:
    """Return, by kind, how far most probes lie from the nearest look of another image."""
    images = np.array([look.image for look in looks])
    distances: dict[str, list[float]] = {look.step.kind: [0.0] for look in looks}
    for image in {probe.image for probe in probes}:
        others = points[images != image]
        if not len(others):  # of a single image nothing is known about others
            continue
        own = [number for number, probe in enumerate(probes) if probe.image == image]
        for number, distance in zip(own, KDTree(others).query(probe_points[own])[0], strict=True):
            distances[probes[number].step.kind].append(float(distance))
    return {kind: float(np.percentile(own, _REACH_PERCENT)) for kind, own in distances.items()}


def _sharpness_limit(
    looks: Sequence[Look], curve: Sequence[CurvePoint], settings: CalibrationSettings
) -> float:
    """Return the median sharpness at the weakest blur that breaks the promise, or the strongest."""
    blurs = [point for point in curve if point.kind == _BLUR]
    level = (breaking_point(blurs, settings) or blurs[-1]).level
    own = [
        look.measures.mean_gradient
        for look in looks
        if (look.step.kind, look.step.level) == (_BLUR, level)
    ]
    return float(np.median(own))
