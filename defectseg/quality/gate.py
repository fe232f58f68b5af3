"""The quality gate: whether an image is good enough for the model to be believed.

An image is compared with good ones of its product, and with how good ones look at each level of
each distortion, where it is known what became of the model's answers.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defectseg.bundle import BundleError, Gate, ProductGate, Reference
from defectseg.image_io import to_gray
from defectseg.quality.baseline import open_baseline, to_coordinates
from defectseg.quality.distortions import SWEEP
from defectseg.quality.forest import open_forest
from defectseg.quality.measures import MEASURES, Measures, measure

UNTOUCHED = "untouched"
_NEIGHBOURS = 5
_MOST_BROKEN = 0.5  # share of the forest: from it on an image is not believed
_LEAST_GRADIENT = 1e-9  # below it, no gray level differs from its neighbour
_NOTHING = "there is nothing in it: no gray level differs from its neighbour"


@dataclass(frozen=True)
class ImageQuality:
    """What the gate says of one image.

    Attributes
    ----------
    sharpness : float
        `focus.mean_gradient`; rises with focus.
    sharpness_limit : float
        In the same unit: set by hand, or that at which blur alone breaks the promise. The gate
        looks at all measures together, so that an image of low contrast may be below it and good.
    gate_p_value : float
        Share of known-good images, this one counted in, that deviate as much in their measures
        together; in (0, 1].
    noise_sigma, mean_luma : float
        In gray levels.
    belief : float
        How surely the model keeps its promise on images like this one, in [0, 1]; 0 where nothing
        is known of such images.
    trusted : bool
    remarks : tuple of str
        Why it is not trusted; or what is unusual about it, though harmless.
    """

    sharpness: float
    sharpness_limit: float
    gate_p_value: float
    noise_sigma: float
    mean_luma: float
    belief: float
    trusted: bool
    remarks: tuple[str, ...] = ()


Judge = Callable[[Measures, tuple[int, int]], ImageQuality]


def measure_quality(image: npt.NDArray[np.uint8], judge: Judge) -> ImageQuality:
    """Measure an image of ``(H, W)`` or ``(H, W, 3)`` uint8, and judge it."""
    height, width = image.shape[:2]
    return judge(measure(to_gray(image)), (height, width))


def open_gates(gate: Gate) -> dict[str, Judge]:
    """Return the judge of each product, who is given an image's measures, and height and width.

    An image is trusted if it has the size of those that are known, belongs somewhere, among the
    good images or near those that were distorted, and there the promise is kept: by a forest that
    was fitted to tell the distorted ones on which it broke from all others. A fixed sharpness,
    where it was set by hand, takes the place of all but the size.

    Raises
    ------
    BundleError
        If the gate was calibrated with other measures or distortions than there are now.
    """
    kinds = {own.kind for product in gate.products.values() for own in product.references}
    if gate.measures != MEASURES or not kinds <= {UNTOUCHED, *SWEEP}:
        raise BundleError(
            "The bundle's quality gate was set by another version, with other measures or "
            "distortions. Set it anew: defectseg calibrate --model BUNDLE."
        )
    if gate.fixed_sharpness is not None:
        return {name: _FixedJudge(gate, own).judge for name, own in gate.products.items()}
    return {name: _Judge(gate, own).judge for name, own in gate.products.items()}


@dataclass(frozen=True)
class _Near:
    """The references that are nearest to an image."""

    distance: float  # of the first
    kinds: list[str]
    iou_share: float  # means, the nearer counting more
    escape_rise: float


class _Neighbours:
    """Finds the nearest of some references."""

    def __init__(self, references: Sequence[Reference], metric: npt.NDArray[np.float64]) -> None:
        self._references = references
        points = np.array([own.coordinates for own in references]).reshape(-1, len(metric))
        self._points = points @ metric.T

    def find(self, point: npt.NDArray[np.float64]) -> _Near:
        # All of them, which are some hundreds: SciPy's tree takes longer to import than this ever.
        distances = np.linalg.norm(self._points - point, axis=1)
        nearest = np.argsort(distances, kind="stable")[:_NEIGHBOURS]
        distances = distances[nearest]
        weights = 1 / np.maximum(distances, 1e-9)
        own = [self._references[index] for index in nearest]
        return _Near(
            float(distances[0]),
            [reference.kind for reference in own],
            float(np.average([reference.iou_share_low for reference in own], weights=weights)),
            float(np.average([reference.escape_rise_high for reference in own], weights=weights)),
        )


class _FixedJudge:
    def __init__(self, gate: Gate, product: ProductGate) -> None:
        self._gate = gate
        self._product = product
        self._p_value = open_baseline(product.baseline)

    def judge(self, measures: Measures, shape_hw: tuple[int, int]) -> ImageQuality:
        limit = self._gate.fixed_sharpness or 0.0
        remarks = _name_strange_size(self._gate, self._product, shape_hw)
        if measures.mean_gradient < _LEAST_GRADIENT:
            remarks.append(_NOTHING)
        elif measures.mean_gradient < limit:
            remarks.append(
                f"sharpness {measures.mean_gradient:.2f} is below the limit {limit:.2f}, which "
                "was set by hand"
            )
        return ImageQuality(
            sharpness=measures.mean_gradient,
            sharpness_limit=limit,
            gate_p_value=self._p_value(to_coordinates(measures)),
            noise_sigma=measures.noise_sigma,
            mean_luma=measures.mean_luma,
            belief=float(not remarks),
            trusted=not remarks,
            remarks=tuple(remarks),
        )


class _Judge:
    """Judges by the product's references; see `open_gates`."""

    def __init__(self, gate: Gate, product: ProductGate) -> None:
        self._gate = gate
        self._product = product
        self._p_value = open_baseline(product.baseline)
        self._metric = np.array(product.metric)
        self._share_broken = open_forest(product.forest)
        self._all = _Neighbours(product.references, self._metric)
        self._broken = _Neighbours([r for r in product.references if r.broken], self._metric)
        self._center = np.array(product.baseline.center)
        self._spread = np.linalg.norm(np.linalg.inv(np.array(product.baseline.whiten)), axis=1)

    def judge(self, measures: Measures, shape_hw: tuple[int, int]) -> ImageQuality:
        """Judge an image by its measures, height and width."""
        gate = self._gate
        coordinates = to_coordinates(measures)
        point = self._metric @ coordinates
        p = self._p_value(coordinates)
        unusual = p <= gate.alpha
        nearest = self._all.find(point)
        broken = self._share_broken(point)

        unknown = _name_strange_size(gate, self._product, shape_hw)
        if measures.mean_gradient < _LEAST_GRADIENT:
            unknown.append(_NOTHING)
        elif unusual and nearest.distance > self._product.reach[nearest.kinds[0]]:
            unknown.append(
                f"unlike any good image (p = {p:.3f}) and any distortion that was tried, of which "
                f"{describe_cause(nearest.kinds)} comes nearest; {self._name_farthest(coordinates)}"
            )
        remarks = list(unknown)
        if not unknown and broken >= _MOST_BROKEN:
            like = self._broken.find(point)
            more = f"{100 * like.escape_rise:.0f}"
            escapes = "" if more == "0" else f", and up to {more} % more defects may escape"
            remarks.append(
                f"likely {describe_cause(like.kinds)}: on images like it the model may keep only "
                f"{100 * like.iou_share:.0f} % of its IoU{escapes}"
            )
        elif not unknown and unusual:
            cause = describe_cause(nearest.kinds)
            remarks.append(f"unusual (p = {p:.3f}), likely {cause}; harmless to this model")
        return ImageQuality(
            sharpness=measures.mean_gradient,
            sharpness_limit=self._product.sharpness_limit,
            gate_p_value=p,
            noise_sigma=measures.noise_sigma,
            mean_luma=measures.mean_luma,
            belief=0.0 if unknown else 1 - broken,
            trusted=not unknown and broken < _MOST_BROKEN,
            remarks=tuple(remarks),
        )

    def _name_farthest(self, coordinates: npt.NDArray[np.float64]) -> str:
        differences = coordinates - self._center
        farthest = int(np.argmax(np.abs(differences) / self._spread))
        factor = float(np.exp(differences[farthest]))
        return f"its {MEASURES[farthest].replace('_', ' ')} is {factor:.3g} times the usual"


def describe_cause(kinds: Sequence[str]) -> str:
    """Return the likely cause of a deviation: that of most of the nearest references."""
    causes = Counter(SWEEP[kind].cause for kind in kinds if kind != UNTOUCHED)
    return causes.most_common(1)[0][0] if causes else "nothing in particular"


def _name_strange_size(gate: Gate, product: ProductGate, shape_hw: tuple[int, int]) -> list[str]:
    """Return a remark if height or width is not that of known images: another scale, or a part."""
    if gate.size_tolerance is None:
        return []
    known, margin = (product.heights_px, product.widths_px), 1 + gate.size_tolerance
    if all(
        least <= length * margin and length <= greatest * margin
        for length, (least, greatest) in zip(shape_hw, known, strict=True)
    ):
        return []
    usual = " high and ".join(
        f"{low}" if low == high else f"{low} to {high}" for low, high in known
    )
    return [
        f"its size, {shape_hw[0]} px high and {shape_hw[1]} wide, is not that of the known images, "
        f"{usual} wide: another camera, scale or part of the picture"
    ]
