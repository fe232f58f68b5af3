"""From a trained network to a complete bundle: limits, figures, model card."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from defectseg.atomic import write_atomically
from defectseg.bundle import (
    CALIBRATION,
    CARD,
    CONFIG,
    METRICS,
    MODEL,
    PLOTS,
    ROBUSTNESS,
    Calibration,
    Gate,
    Thresholds,
    dump_calibration,
    file_sha256,
)
from defectseg.config import CalibrationSettings, Config, dump_config
from defectseg.dataset import manifest
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.evaluation.degradation import fit_curves, has_own_curve
from defectseg.evaluation.evaluate import evaluate
from defectseg.evaluation.figures import Evaluation, summarise
from defectseg.evaluation.gate_calibration import (
    PROBE_IMAGES,
    REFERENCE_IMAGES,
    calibrate_gate,
    calibrate_product,
    check_good_images,
)
from defectseg.evaluation.model_card import write_model_card
from defectseg.evaluation.plots import answer_sheet, to_png
from defectseg.evaluation.robustness import (
    REFINEMENTS,
    choose_kinds,
    choose_sweep_images,
    count_answers,
    sweep_closely,
)
from defectseg.evaluation.robustness_plots import example_of, plot_curves
from defectseg.evaluation.scores import count_pixels, iou
from defectseg.evaluation.thresholds import (
    PIXEL_THRESHOLDS,
    choose_pixel_threshold,
    choose_thresholds,
)
from defectseg.image_io import encode_picture
from defectseg.inference.engines import Engine, load_engine
from defectseg.inference.predictor import Predictor
from defectseg.inference.regions import find_regions, image_score
from defectseg.quality.distortions import Kind

_SMALL_DEFECT_PERCENTILE = 5


def complete_bundle(
    config: Config,
    on_image: Callable[[int], None] = lambda total: None,
    *,
    data: Path | None = None,
) -> dict[str, Evaluation]:
    """Calibrate the trained network of a run, measure it, and write what the bundle lacks.

    Limits come from training images (size of a defect, what good ones measure) and validation
    images (thresholds of score and pixels, degradation); test images are only measured. Nothing is
    written before all is known.

    Parameters
    ----------
    config : Config
        Written into the bundle.
    on_image : callable
        Called after each image with the number of all of them.
    data : Path, optional
        A prepared folder in place of that of the training.

    Returns
    -------
    dict of str to Evaluation
        The figures of ``"val"`` and, where there are such images, ``"test"``.

    Raises
    ------
    DataError
        If there are too few images for a limit, or one cannot be read.
    """
    samples = manifest.read_manifest(data or config.data)
    split = manifest.divide(samples, config.train.leave_out)
    known = [*split["train"], *split["val"]]
    check_good_images(known, config.calibration.gate_alpha)
    kinds = choose_kinds(config.calibration.sweep_kinds)
    engine = load_engine(config.run / MODEL, config)
    tick = _Ticks(on_image, split, config.calibration.sweep_images, kinds)
    thresholds = calibrate_thresholds(engine, split["train"], split["val"], config, tick)
    rows = sweep_closely(
        engine,
        choose_sweep_images(split["val"], config.calibration.sweep_images),
        thresholds,
        ellipses=config.inference.ellipses,
        promise=config.calibration,
        kinds=kinds,
        on_image=tick,
    )
    calibration = Calibration(
        gate=_calibrate_gate(rows, known, config.calibration, tick),
        thresholds=thresholds,
        inference=config.inference,
        model_sha256=file_sha256(config.run / MODEL),
        data_sha256=manifest.data_sha256(samples),
        seen_sha256=tuple(sorted({s.sha256 for s in known} | _seen_before(config.run))),
        parts_sha256={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    predictor = Predictor(engine, calibration, ellipses=config.inference.ellipses)
    figures = {
        name: summarise(evaluate(predictor, split[name], lambda _: tick()))
        for name in ("val", "test")
        if split[name]
    }
    record = {name: asdict(evaluation) for name, evaluation in figures.items()}
    own_parts = {
        ROBUSTNESS: rows.to_csv(index=False, float_format="%.6g").encode(
            "utf-8", "backslashreplace"
        ),
        METRICS: (json.dumps(record, indent=2) + "\n").encode(),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in own_parts.items()}
    calibration = calibration.model_copy(update={"parts_sha256": hashes})
    pictures = _draw(predictor, split["val"])
    card = write_model_card(config, calibration, figures, split)
    texts = {CARD: card, CONFIG: dump_config(config), CALIBRATION: dump_calibration(calibration)}
    # Those with a hash first and the hashes last: where it stops between and a figure has
    # changed, the bundle says so.
    for name, content in (own_parts | pictures | texts).items():
        write_atomically(config.run / name, content)
    return figures


class _Ticks:
    """Counts the images of all steps, of which there are about as many as it says."""

    def __init__(
        self,
        on_image: Callable[[int], None],
        split: dict[str, list[Sample]],
        sweep_images: int,
        kinds: Mapping[str, Kind],
    ) -> None:
        self._on_image = on_image
        known = [*split["train"], *split["val"]]
        # Validation images are answered to set the scores, the defective ones for the pixels too,
        # and with the test images once more for the figures.
        answered = [*split["val"], *split["val"], *split["test"]]
        answered += [sample for sample in split["val"] if sample.defective]
        swept = choose_sweep_images(split["val"], sweep_images)
        # Of about half of the kinds a level is broken, and looked at more closely.
        refined = len(swept) * REFINEMENTS * len(kinds) // 2
        products = {sample.product for sample in known}
        self._total = (
            len(answered)
            + sum(not sample.defective for sample in known)
            + count_answers(swept, kinds)
            + refined
            + len(products) * (REFERENCE_IMAGES + PROBE_IMAGES)
        )
        self._count = 0

    def __call__(self) -> None:
        self._count += 1
        self._total = max(self._total, self._count)
        self._on_image(self._total)


def _seen_before(run: Path) -> set[str]:
    """Return what an earlier calibration, of whatever version, knew to have been seen."""
    try:
        return set(json.loads((run / CALIBRATION).read_bytes())["seen_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _calibrate_gate(
    rows: pd.DataFrame,
    known: Sequence[Sample],
    settings: CalibrationSettings,
    tick: Callable[[], None],
) -> Gate:
    products = {
        product: calibrate_product(
            [sample for sample in known if sample.product == product],
            fit_curves(rows, product),
            settings,
            tick,
            pooled=not has_own_curve(rows, product),
        )
        for product in sorted({sample.product for sample in known})
    }
    return calibrate_gate(products, settings)


def _draw(predictor: Predictor, val: Sequence[Sample]) -> dict[str, bytes]:
    """Return the pictures of the bundle: answers, and the curves of each product."""
    defective_first = sorted(val, key=lambda sample: not sample.defective)
    sheet = answer_sheet(predictor, defective_first)
    gate = predictor.calibration.gate
    return {f"{PLOTS}/validation.png": encode_picture(sheet, ".png")} | {
        f"{PLOTS}/robustness_{product}.png": to_png(
            plot_curves(own.curve, gate, example_of(val, product))
        )
        for product, own in gate.products.items()
    }


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
