"""From a trained network to a complete bundle: limits, figures, model card."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import cv2
import numpy as np

from defectseg.atomic import write_atomically
from defectseg.bundle import (
    CALIBRATION,
    CARD,
    METRICS,
    MODEL,
    PLOTS,
    Calibration,
    Gate,
    Thresholds,
    file_sha256,
)
from defectseg.config import Config
from defectseg.dataset import manifest
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.evaluation.evaluate import evaluate
from defectseg.evaluation.figures import Evaluation, summarise
from defectseg.evaluation.model_card import write_model_card
from defectseg.evaluation.plots import answer_sheet
from defectseg.evaluation.scores import count_pixels, iou
from defectseg.evaluation.thresholds import (
    PIXEL_THRESHOLDS,
    choose_pixel_threshold,
    choose_thresholds,
)
from defectseg.image_io import to_gray, write_picture
from defectseg.inference.engines import Engine, load_engine
from defectseg.inference.predictor import Predictor
from defectseg.inference.regions import area_scores, find_regions
from defectseg.quality.focus import mean_gradient
from defectseg.quality.gate import calibrate_gate

_SMALL_DEFECT_PERCENTILE = 5


def complete_bundle(
    config: Config, on_image: Callable[[int], None] = lambda total: None
) -> dict[str, Evaluation]:
    """Calibrate the trained network of a run, measure it, and write what the bundle lacks.

    Limits come from training images (sharpness, size of a defect) and validation images
    (thresholds of score and pixels); test images are only measured.

    Parameters
    ----------
    config : Config
    on_image : callable
        Called after each image with the number of all of them.

    Returns
    -------
    dict of str to Evaluation
        The figures of ``"val"`` and, where there are such images, ``"test"``.
    """
    samples = manifest.read_manifest(config.data)
    split = manifest.divide(samples, config.train.leave_out)
    # Validation images are answered to set the scores, the defective ones for the pixels too.
    again = [*split["val"], *(sample for sample in split["val"] if sample.defective)]
    total = sum(len(own) for own in split.values()) + len(again)
    engine = load_engine(config.run / MODEL, config)

    def tick(_: int = 0) -> None:
        on_image(total)

    calibration = Calibration(
        gate=_calibrate_gate(split["train"], config.calibration.gate_percentile, tick),
        thresholds=calibrate_thresholds(engine, split["train"], split["val"], config, tick),
        inference=config.inference,
        model_sha256=file_sha256(config.run / MODEL),
        data_sha256=manifest.data_sha256(samples),
        seen_sha256=tuple(sorted(s.sha256 for s in (*split["train"], *split["val"]))),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    predictor = Predictor(engine, calibration, ellipses=config.inference.ellipses)
    figures = {
        name: summarise(evaluate(predictor, split[name], tick))
        for name in ("val", "test")
        if split[name]
    }
    defective_first = sorted(split["val"], key=lambda sample: not sample.defective)
    sheet = answer_sheet(predictor, defective_first)
    write_picture(config.run / PLOTS / "validation.png", sheet)
    record = {name: asdict(evaluation) for name, evaluation in figures.items()}
    write_atomically(config.run / METRICS, json.dumps(record, indent=2) + "\n")
    card = write_model_card(config, calibration, figures, split)
    write_atomically(config.run / CARD, card)
    # Last, so that a run which is stopped before is an incomplete bundle.
    write_atomically(config.run / CALIBRATION, calibration.model_dump_json(indent=2) + "\n")
    return figures


def _calibrate_gate(train: Sequence[Sample], percentile: float, tick: Callable[[], None]) -> Gate:
    sharpness: dict[str, list[float]] = defaultdict(list)
    for sample in train:
        if not sample.defective:
            gray = to_gray(read_sample_image(sample))
            sharpness[sample.product].append(mean_gradient(gray))
        tick()
    return calibrate_gate(sharpness, percentile)


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
    areas = score_areas(train)
    scores: dict[bool, list[float]] = {True: [], False: []}
    for sample in val:
        probability = engine.probability(read_sample_image(sample))
        own = area_scores(probability, areas[sample.product])
        scores[sample.defective].append(float(own.max()))
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
        own = area_scores(probability, areas[sample.product])
        label = read_label(sample, probability.shape)
        masks = [
            find_regions(
                probability,
                own,
                pixel_threshold=threshold,
                least_score=review,
                as_ellipses=config.inference.ellipses,
            )[1]
            for threshold in PIXEL_THRESHOLDS
        ]
        ious.append([iou(count_pixels(label, mask)) for mask in masks])
        tick()
    pixel = choose_pixel_threshold(ious)
    return Thresholds(pixel=pixel, review=review, fail=fail, score_area_px=areas)


def score_areas(samples: Sequence[Sample]) -> dict[str, int]:
    """Return the area from which a defect counts fully, by product.

    That of a small one: 5th percentile of the largest label of each image, since the smallest may
    be a slip of the pen; of a product whose defects are not known, that of all products.
    """
    areas: dict[str, list[int]] = {sample.product: [] for sample in samples}
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
