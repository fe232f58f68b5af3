"""The thresholds of scores and pixels, set by the answers to validation images."""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from defectseg.bundle import Thresholds
from defectseg.config import Config
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.evaluation.scores import count_pixels, iou
from defectseg.evaluation.thresholds import (
    PIXEL_THRESHOLDS,
    choose_pixel_threshold,
    choose_thresholds,
)
from defectseg.inference.engines import Engine
from defectseg.inference.regions import find_regions, image_score

_SMALL_DEFECT_PERCENTILE = 5


def calibrate_thresholds(
    engine: Engine,
    train: Sequence[Sample],
    val: Sequence[Sample],
    config: Config,
    tick: Callable[[], None],
) -> Thresholds:
    """Set the thresholds by the answers to validation images.

    Parameters
    ----------
    engine : Engine
    train, val : sequence of Sample
        The size of a small defect comes from the former.
    config : Config
    tick : callable
        Called after each image of `val`, and again after each defective one.

    Raises
    ------
    DataError
        As `thresholds.choose_thresholds`; or if an image or a label cannot be read.
    """
    areas = score_areas(train, also=[sample.product for sample in val])
    scores: dict[bool, list[float]] = {True: [], False: []}
    for sample in val:
        probability = engine.probability(read_sample_image(sample))
        scores[sample.defective].append(image_score(probability, areas[sample.product]))
        tick()
    review, fail = choose_thresholds(
        scores[False],
        scores[True],
        max_escape=config.calibration.max_escape,
        max_overkill=config.calibration.max_overkill,
    )
    ious = []
    # Answered again, since the review threshold decides which regions are in a mask; to keep all
    # answers would take more memory than large images leave.
    for sample in (sample for sample in val if sample.defective):
        probability = engine.probability(read_sample_image(sample))
        label = read_label(sample, probability.shape)
        masks = [
            find_regions(
                probability,
                areas[sample.product],
                pixel_threshold=threshold,
                least_score=review,
                as_ellipses=config.inference.ellipses,
            )[2]
            for threshold in PIXEL_THRESHOLDS
        ]
        ious.append([iou(count_pixels(label, mask)) for mask in masks])
        tick()
    pixel = choose_pixel_threshold(ious)
    return Thresholds(pixel=pixel, review=review, fail=fail, score_area_px=areas)


def score_areas(samples: Sequence[Sample], also: Sequence[str] = ()) -> dict[str, int]:
    """Return the area from which a defect counts fully, by product.

    That of a small one: 5th percentile of the largest label of each image, since the smallest may
    be a slip of the pen; of a product whose defects are not known, and of those in `also` that no
    sample shows, that of all products.
    """
    areas: dict[str, list[int]] = {own: [] for own in (*also, *(s.product for s in samples))}
    for sample in samples:
        if sample.mask:
            label = read_label(sample, (sample.height, sample.width))
            _, _, stats, _ = cv2.connectedComponentsWithStats(label)
            areas[sample.product].append(stats[1:, cv2.CC_STAT_AREA].max())
    every = [area for own in areas.values() for area in own]
    return {
        product: math.ceil(np.percentile(own or every, _SMALL_DEFECT_PERCENTILE))
        for product, own in areas.items()
    }
