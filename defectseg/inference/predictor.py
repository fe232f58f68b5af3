"""The inspection of one image: gate, network, regions, verdict."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from defectseg.bundle import Bundle, Calibration, Thresholds
from defectseg.config import EngineKind
from defectseg.errors import DefectsegError
from defectseg.inference.engines import Engine, choose_engine, load_engine
from defectseg.inference.regions import Region, find_regions
from defectseg.inference.verdict import Verdict, decide
from defectseg.quality.gate import ImageQuality, measure_quality, open_gates


@dataclass(frozen=True)
class Answer:
    """What the network says of an image, whether it may be believed or not.

    Attributes
    ----------
    score : float
        Of `regions.image_score`, in [0, 1).
    mask : ndarray of shape (H, W), uint8
        1 on the defects.
    regions : tuple of Region
        Strongest first.
    """

    score: float
    mask: npt.NDArray[np.uint8]
    regions: tuple[Region, ...]


def find_defects(
    probability: npt.NDArray[np.float32], thresholds: Thresholds, product: str, *, ellipses: bool
) -> Answer:
    """Return what an engine's ``(H, W)`` float32 answer says of an image."""
    score, regions, mask = find_regions(
        probability,
        thresholds.score_area_px[product],
        pixel_threshold=thresholds.pixel,
        least_score=thresholds.review,
        as_ellipses=ellipses,
    )
    return Answer(score, mask, tuple(regions))


@dataclass(frozen=True)
class Inspection(Answer):
    """All that is known of an inspected image.

    Attributes
    ----------
    score, mask, regions
        See `Answer`.
    quality : ImageQuality
    verdict : Verdict
    """

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
        self._gates = open_gates(calibration.gate)

    def inspect(self, image: npt.NDArray[np.uint8], product: str) -> Inspection:
        """Inspect an image of ``(H, W)`` or ``(H, W, 3)`` uint8.

        Raises
        ------
        DefectsegError
            If the bundle was not trained on the product.
        """
        quality = self.judge(image, product)
        return self.conclude(self.engine.probability(image), quality, product)

    def judge(self, image: npt.NDArray[np.uint8], product: str) -> ImageQuality:
        """Judge an image by its product's gate: the first half of `inspect`."""
        if product not in self._gates:
            raise DefectsegError(
                f"The bundle knows no product {product!r}; it was trained on "
                f"{', '.join(self._gates)}."
            )
        return measure_quality(image, self._gates[product])

    def conclude(
        self, probability: npt.NDArray[np.float32], quality: ImageQuality, product: str
    ) -> Inspection:
        """Come to a verdict by the engine's answer: the second half of `inspect`."""
        thresholds = self.calibration.thresholds
        found = find_defects(probability, thresholds, product, ellipses=self.ellipses)
        verdict = decide(found.score, quality, thresholds)
        return Inspection(found.score, found.mask, found.regions, quality, verdict)


def open_predictor(
    bundle: Bundle,
    engine: EngineKind | Literal["auto"] = "auto",
    *,
    streams: int | None = None,
    cores: int | None = None,
) -> Predictor:
    """Return the predictor of a bundle, its network loaded.

    Parameters
    ----------
    bundle : Bundle
    engine : str
        See `engines.choose_engine`.
    streams, cores : int or None
        See `engines.load_engine`.
    """
    kind = choose_engine(bundle, engine)
    return Predictor(
        load_engine(bundle.folder, bundle.config, kind, streams=streams, cores=cores),
        bundle.calibration,
        ellipses=bundle.config.inference.ellipses,
    )
