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
from defectseg.config import CalibrationSettings, Config
from defectseg.dataset import manifest
from defectseg.dataset.manifest import Sample
from defectseg.evaluation.evaluate import evaluate, read_truth
from defectseg.evaluation.figures import Evaluation, summarise
from defectseg.evaluation.model_card import write_model_card
from defectseg.evaluation.plots import answer_sheet
from defectseg.evaluation.scores import iou_by_threshold
from defectseg.evaluation.thresholds import (
    PIXEL_THRESHOLDS,
    choose_pixel_threshold,
    choose_thresholds,
)
from defectseg.image_io import read_image, read_mask, to_gray, write_picture
from defectseg.inference.engines import Engine, load_engine
from defectseg.inference.predictor import Predictor
from defectseg.inference.regions import area_scores
from defectseg.quality.focus import mean_gradient
from defectseg.quality.gate import calibrate_gate

_SMALL_DEFECT_PERCENTILE = 5


def complete_bundle(
    config: Config, on_image: Callable[[int], None] = lambda total: None
) -> dict[str, Evaluation]:
    """Calibrate the trained network of a run, measure it, and write what the bundle lacks.

    Limits come from training images (sharpness, size of a defect) and validation images (score
    thresholds); test images are only measured.

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
    total = sum(len(own) for own in split.values()) + len(split["val"])
    engine = load_engine(config.run / MODEL, config)

    def tick(_: int = 0) -> None:
        on_image(total)

    calibration = Calibration(
        gate=_calibrate_gate(split["train"], config.calibration.gate_percentile, tick),
        thresholds=_calibrate_thresholds(
            engine, split["train"], split["val"], config.calibration, tick
        ),
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
            gray = to_gray(read_image(sample.image))
            sharpness[sample.product].append(mean_gradient(gray))
        tick()
    return calibrate_gate(sharpness, percentile)


def _calibrate_thresholds(
    engine: Engine,
    train: Sequence[Sample],
    val: Sequence[Sample],
    targets: CalibrationSettings,
    tick: Callable[[], None],
) -> Thresholds:
    areas = score_areas(train)
    scores: dict[bool, list[float]] = {True: [], False: []}
    ious = []
    for sample in val:
        probability = engine.probability(read_image(sample.image))
        own = area_scores(probability, areas[sample.product])
        scores[sample.defective].append(float(own.max()))
        if sample.defective:
            truth = read_truth(sample, probability.shape)
            ious.append(iou_by_threshold(truth, probability, PIXEL_THRESHOLDS))
        tick()
    review, fail = choose_thresholds(
        scores[False],
        scores[True],
        max_escape=targets.max_escape,
        max_overkill=targets.max_overkill,
    )
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
            _, _, stats, _ = cv2.connectedComponentsWithStats(read_mask(sample.mask))
            areas[sample.product].append(stats[1:, cv2.CC_STAT_AREA].max())
    every = [area for own in areas.values() for area in own]
    return {
        product: math.ceil(np.percentile(own or every, _SMALL_DEFECT_PERCENTILE))
        for product, own in areas.items()
    }
