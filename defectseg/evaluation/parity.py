"""Does an exported network answer as Keras does? One that does not is refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from defectseg.bundle import Export, Thresholds
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.evaluation.scores import count_pixels, iou
from defectseg.inference.engines import Engine
from defectseg.inference.predictor import find_defects
from defectseg.inference.verdict import grade

Format = TypeVar("Format", bound=str)

LEAST_AGREEMENT = 0.995
MOST_IOU_DROP = 0.005
MOST_FLIPPED = 0.001


@dataclass
class _Beside:
    """What was counted of one engine, beside the reference."""

    agreed: list[bool] = field(default_factory=list)
    iou_drops: list[float] = field(default_factory=list)
    flipped_px: int = 0
    greatest_difference: float = 0.0


def measure_parity(
    reference: Engine,
    engines: Mapping[Format, Engine],
    samples: Sequence[Sample],
    thresholds: Thresholds,
    *,
    ellipses: bool,
    on_image: Callable[[], None] = lambda: None,
) -> dict[Format, Export]:
    """Hold the answers of engines against those of a reference, image by image.

    The quality gate has no part in it: it judges the image, whatever answers.

    Parameters
    ----------
    reference : Engine
        Keras.
    engines : mapping of str to Engine
    samples : sequence of Sample
        Labelled images that nothing was fitted on.
    thresholds : Thresholds
    ellipses : bool
        As `inference.predictor.find_defects`.
    on_image : callable
        Called after each image.

    Returns
    -------
    dict of str to Export
        With the reason in `refused` where verdicts agree in less than 99.5 % of the images, the
        mean IoU over the defective ones drops by more than 0.005, or more than 0.1 % of all
        pixels change sides.
    """
    counted = {name: _Beside() for name in engines}
    pixels = 0
    for sample in samples:
        image = read_sample_image(sample)
        label = read_label(sample, image.shape[:2])
        pixels += label.size

        def answer(
            engine: Engine, image: npt.NDArray[np.uint8] = image, product: str = sample.product
        ) -> tuple[npt.NDArray[np.float32], str, npt.NDArray[np.uint8]]:
            probability = engine.probability(image)
            found = find_defects(probability, thresholds, product, ellipses=ellipses)
            return probability, grade(found.score, thresholds), found.mask

        expected, verdict, mask = answer(reference)
        for name, engine in engines.items():
            probability, own_verdict, own_mask = answer(engine)
            own = counted[name]
            own.agreed.append(own_verdict == verdict)
            own.flipped_px += int(np.count_nonzero(mask != own_mask))
            difference = float(np.abs(probability - expected).max())
            own.greatest_difference = max(own.greatest_difference, difference)
            if sample.defective:
                before, after = (iou(count_pixels(label, one)) for one in (mask, own_mask))
                own.iou_drops.append(before - after)
        on_image()
    return {
        name: _conclude(counted[name], pixels, engine.precision) for name, engine in engines.items()
    }


def _conclude(counted: _Beside, pixels: int, precision: str) -> Export:
    agreement = float(np.mean(counted.agreed))
    drop = float(np.mean(counted.iou_drops)) if counted.iou_drops else 0.0
    flipped = counted.flipped_px / pixels
    # Written so that a figure which is no number is a reason.
    reasons = [
        reason
        for good, reason in (
            (
                agreement >= LEAST_AGREEMENT,
                f"verdicts agree in {100 * agreement:.1f} % of the images, not "
                f"{100 * LEAST_AGREEMENT:g} %",
            ),
            (drop <= MOST_IOU_DROP, f"the IoU drops by {drop:.4f}, more than {MOST_IOU_DROP:g}"),
            (
                flipped <= MOST_FLIPPED,
                f"{100 * flipped:.3f} % of the pixels change sides, more than "
                f"{100 * MOST_FLIPPED:g} %",
            ),
        )
        if not good
    ]
    return Export(
        precision=precision,
        images=len(counted.agreed),
        agreement=agreement,
        iou_drop=drop,
        flipped_share=flipped,
        greatest_difference=counted.greatest_difference,
        refused="; ".join(reasons),
    )
