"""The inspection of one image: gate, network, regions, verdict."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defectseg.bundle import Bundle, Calibration
from defectseg.errors import DefectsegError
from defectseg.inference.engines import Engine, load_engine
from defectseg.inference.regions import Region, area_scores, find_regions
from defectseg.inference.verdict import Verdict, decide
from defectseg.quality.gate import ImageQuality, measure_quality


@dataclass(frozen=True)
class Inspection:
    """All that is known of an inspected image.

    Attributes
    ----------
    score : float
        The highest of `regions.area_scores`, in [0, 1).
    mask : ndarray of shape (H, W), uint8
        1 on the defects; it is made of an untrusted image too.
    regions : tuple of Region
        Strongest first.
    quality : ImageQuality
    verdict : Verdict
    """

    score: float
    mask: npt.NDArray[np.uint8]
    regions: tuple[Region, ...]
    quality: ImageQuality
    verdict: Verdict


class Predictor:
    """Inspects images with one engine and one calibration.

    Parameters
    ----------
    engine : Engine
    calibration : Calibration
    ellipses : bool
        Answer by ellipses; see `regions.find_regions`.
    """

    def __init__(self, engine: Engine, calibration: Calibration, *, ellipses: bool = False) -> None:
        self.engine = engine
        self.calibration = calibration
        self.ellipses = ellipses

    def inspect(self, image: npt.NDArray[np.uint8], product: str) -> Inspection:
        """Inspect an image of ``(H, W)`` or ``(H, W, 3)`` uint8.

        Raises
        ------
        DefectsegError
            If the bundle was not trained on the product.
        """
        gates = self.calibration.gate.products
        if product not in gates:
            raise DefectsegError(
                f"The bundle knows no product {product!r}; it was trained on {', '.join(gates)}."
            )
        thresholds = self.calibration.thresholds
        area_px = thresholds.score_area_px[product]
        quality = measure_quality(image, gates[product])
        probability = self.engine.probability(image)
        scores = area_scores(probability, area_px)
        regions, mask = find_regions(
            probability,
            scores,
            pixel_threshold=thresholds.pixel,
            least_score=thresholds.review,
            as_ellipses=self.ellipses,
        )
        score = float(scores.max())
        verdict = decide(score, quality, thresholds)
        return Inspection(score, mask, tuple(regions), quality, verdict)


def open_predictor(bundle: Bundle) -> Predictor:
    """Return the predictor of a bundle, its network loaded for this machine."""
    engine = load_engine(bundle.model_path, bundle.config)
    return Predictor(engine, bundle.calibration, ellipses=bundle.config.inference.ellipses)
