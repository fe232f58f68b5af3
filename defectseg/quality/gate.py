"""The quality gate: whether an image is good enough for the model to be believed.

An image is compared with good ones of its product, and with how good ones look at each level of
each distortion, where it is known what became of the model's answers.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from defectseg.bundle import Gate, ProductGate
from defectseg.image_io import to_gray
from defectseg.quality.baseline import deviation_p_value, to_coordinates
from defectseg.quality.distortions import SWEEP
from defectseg.quality.measures import MEASURES, Measures, measure

UNTOUCHED = "untouched"
_NEIGHBOURS = 5
_LEAST_GRADIENT = 1e-9  # below it, no gray level differs from its neighbour


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
        What is expected of the model's answer, in [0, 1]: the share of its IoU or, if lower, of
        its found defects that is left for sure on images like this one; 0 where nothing is known.
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


Judge = Callable[[Measures], ImageQuality]


def measure_quality(image: npt.NDArray[np.uint8], judge: Judge) -> ImageQuality:
    """Measure an image of ``(H, W)`` or ``(H, W, 3)`` uint8, and judge it."""
    return judge(measure(to_gray(image)))


def open_gates(gate: Gate) -> dict[str, Judge]:
    """Return the judge of each product.

    A fixed sharpness, where it was set by hand, is the only limit; else an image is trusted if the
    promise is kept where it belongs, and it does belong somewhere: among the good images, or near
    those that were distorted.
    """
    if gate.fixed_sharpness is not None:
        fixed = gate.fixed_sharpness
        return {product: _FixedJudge(own, fixed).judge for product, own in gate.products.items()}
    return {product: _Judge(gate, own).judge for product, own in gate.products.items()}


class _FixedJudge:
    def __init__(self, product: ProductGate, limit: float) -> None:
        self._product = product
        self._limit = limit

    def judge(self, measures: Measures) -> ImageQuality:
        p = deviation_p_value(self._product.baseline, to_coordinates(measures))
        # Of an image in which all is alike nothing can be said, whatever the limit.
        trusted = measures.mean_gradient >= max(self._limit, _LEAST_GRADIENT)
        remark = (
            f"sharpness {measures.mean_gradient:.2f} is below the limit {self._limit:.2f}, which "
            "was set by hand"
        )
        remarks = () if trusted else (remark,)
        return _describe(measures, self._limit, p, float(trusted), remarks)


class _Judge:
    """Judges by the nearest of the product's references; see `open_gates`."""

    def __init__(self, gate: Gate, product: ProductGate) -> None:
        self._gate = gate
        self._product = product
        self._metric = np.asarray(product.metric)
        points = np.array([reference.coordinates for reference in product.references])
        self._tree = KDTree(points @ self._metric.T)
        self._iou_share = np.array([r.iou_share_low for r in product.references])
        self._escape_rise = np.array([r.escape_rise_high for r in product.references])

    def judge(self, measures: Measures) -> ImageQuality:
        """Judge an image by its measures."""
        product, gate = self._product, self._gate
        coordinates = to_coordinates(measures)
        p = deviation_p_value(product.baseline, coordinates)
        count = min(_NEIGHBOURS, len(product.references))
        distances, nearest = self._tree.query(self._metric @ coordinates, k=range(1, count + 1))
        weights = 1 / np.maximum(distances, 1e-9)
        iou_share = float(np.average(self._iou_share[nearest], weights=weights))
        escape_rise = float(np.average(self._escape_rise[nearest], weights=weights))
        cause = describe_cause([product.references[index].kind for index in nearest])
        unusual = p <= gate.alpha
        belief = min(max(iou_share, 0.0), 1 - escape_rise, 1.0)
        remarks = []
        if measures.mean_gradient < _LEAST_GRADIENT:
            belief = 0.0
            remarks.append("there is nothing in it: no gray level differs from its neighbour")
        elif unusual and distances[0] > product.reach:
            belief = 0.0
            remarks.append(
                f"unlike any good image (p = {p:.3f}) and any distortion that was tried, of which "
                f"{cause} comes nearest; {self._name_farthest(coordinates)}"
            )
        elif iou_share < gate.min_iou_share or escape_rise > gate.max_escape_rise:
            remarks.append(
                f"likely {cause}: on images like it the model may keep only "
                f"{100 * max(iou_share, 0):.0f} % of its IoU, and up to {100 * escape_rise:.0f} % "
                "more defects may escape"
            )
        if not remarks and unusual:
            harmless = f"unusual (p = {p:.3f}), likely {cause}; harmless to this model"
            return _describe(
                measures, product.sharpness_limit, p, belief, (harmless,), trusted=True
            )
        return _describe(measures, product.sharpness_limit, p, belief, tuple(remarks))

    def _name_farthest(self, coordinates: npt.NDArray[np.float64]) -> str:
        center = np.asarray(self._product.baseline.center)
        spread = np.linalg.norm(np.linalg.inv(np.asarray(self._product.baseline.whiten)), axis=1)
        farthest = int(np.argmax(np.abs(coordinates - center) / spread))
        factor = float(np.exp((coordinates - center)[farthest]))
        return f"its {MEASURES[farthest].replace('_', ' ')} is {factor:.3g} times the usual"


def describe_cause(kinds: Sequence[str]) -> str:
    """Return the likely cause of a deviation: that of most of the nearest references."""
    causes = Counter(SWEEP[kind].cause for kind in kinds if kind != UNTOUCHED)
    return causes.most_common(1)[0][0] if causes else "nothing in particular"


def _describe(
    measures: Measures,
    limit: float,
    p: float,
    belief: float,
    remarks: tuple[str, ...],
    *,
    trusted: bool | None = None,
) -> ImageQuality:
    """Return the verdict on an image; without a word, it is trusted unless there are remarks."""
    return ImageQuality(
        sharpness=measures.mean_gradient,
        sharpness_limit=limit,
        gate_p_value=p,
        noise_sigma=measures.noise_sigma,
        mean_luma=measures.mean_luma,
        belief=belief,
        trusted=not remarks if trusted is None else trusted,
        remarks=remarks,
    )
