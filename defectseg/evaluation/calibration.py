"""From a trained network to a complete bundle: limits, figures, model card."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd

from defectseg.atomic import write_atomically
from defectseg.bundle import (
    ANSWERS,
    CALIBRATION,
    CARD,
    CONFIG,
    ENGINE,
    EXPORT_FILES,
    EXPORTS,
    METRICS,
    MODEL,
    PLOTS,
    ROBUSTNESS,
    Calibration,
    Export,
    Gate,
    dump_calibration,
    dump_exports,
    finish_bundle,
    read_exports,
)
from defectseg.checksums import file_sha256
from defectseg.config import CalibrationSettings, Config, EngineKind, ExportFormat, dump_config
from defectseg.dataset import manifest
from defectseg.dataset.manifest import Sample
from defectseg.errors import DataError, DefectsegError
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
from defectseg.evaluation.parity import measure_parity
from defectseg.evaluation.plots import answer_sheet, to_png
from defectseg.evaluation.robustness import (
    REFINEMENTS,
    choose_kinds,
    choose_sweep_images,
    count_answers,
    sweep_closely,
)
from defectseg.evaluation.robustness_plots import example_of, plot_curves
from defectseg.evaluation.score_calibration import calibrate_thresholds
from defectseg.image_io import encode_picture
from defectseg.inference.engines import load_engine
from defectseg.inference.predictor import Predictor
from defectseg.quality.distortions import Kind

_ON_CPU: tuple[Literal["int8", "float32"], ...] = ("int8", "float32")  # the faster first


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
    tick = _Ticks(on_image, split, config.calibration.sweep_images, kinds)
    exports, kind = _check_exports(config, split, tick)
    engine = load_engine(config.run, config, kind)
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
        engine=kind,
        model_sha256=file_sha256(config.run / MODEL),
        data_sha256=manifest.data_sha256(samples),
        seen_sha256=tuple(sorted({s.sha256 for s in known} | _seen_before(config.run))),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    predictor = Predictor(engine, calibration, ellipses=config.inference.ellipses)
    answers = {
        name: evaluate(predictor, split[name], lambda _: tick())
        for name in ("val", "test")
        if split[name]
    }
    figures = {name: summarise(frame) for name, frame in answers.items()}
    record = {name: asdict(evaluation) for name, evaluation in figures.items()}
    table = rows.to_csv(index=False, float_format="%.6g")
    card = write_model_card(config, calibration, exports, figures, split)
    contents: dict[str, bytes | str] = {
        **_draw(predictor, split["val"]),
        ROBUSTNESS: table.encode("utf-8", "backslashreplace"),
        ANSWERS: _answer_table(answers, split),
        METRICS: json.dumps(record, indent=2) + "\n",
        EXPORTS: dump_exports(exports),
        CARD: card,
        CONFIG: dump_config(config),
        CALIBRATION: dump_calibration(calibration),
    }
    for name, content in contents.items():
        write_atomically(config.run / name, content)
    _drop_refused(config.run, exports)
    finish_bundle(config.run)
    return figures


def _check_exports(
    config: Config, split: Mapping[str, Sequence[Sample]], tick: Callable[[], None]
) -> tuple[dict[ExportFormat, Export], EngineKind]:
    """Return how the exported networks answer beside Keras, and the engine that is deployed."""
    keras = load_engine(config.run, config, "keras")
    # Until those of the deployed engine are known.
    thresholds = calibrate_thresholds(keras, split["train"], split["val"], config, tick)
    engines = {
        kind: load_engine(config.run, config, kind)
        for kind in _ON_CPU
        if all((config.run / ENGINE / file).is_file() for file in EXPORT_FILES[kind])
    }
    measured = measure_parity(
        keras,
        engines,
        split["val"],
        thresholds,
        ellipses=config.inference.ellipses,
        on_image=tick,
    )
    accepted = [kind for kind in engines if not measured[kind].refused]
    exports = _known_exports(config.run)
    for kind, export in measured.items():
        exports[kind] = export
    wanted = config.inference.engine
    if wanted == "auto":
        return exports, accepted[0] if accepted else "keras"
    if wanted != "keras" and wanted not in accepted:
        why = exports[wanted].refused if wanted in exports else "it was not exported"
        raise DataError(
            f"inference.engine = {wanted}: {why}. Set inference.engine=auto, for one that answers "
            "as Keras does."
        )
    return exports, wanted


def _known_exports(run: Path) -> dict[ExportFormat, Export]:
    """Return what was measured before, of whatever version."""
    try:
        return read_exports(run)
    except (OSError, DefectsegError):
        return {}


def _drop_refused(run: Path, exports: Mapping[ExportFormat, Export]) -> None:
    for name, export in exports.items():
        for file in EXPORT_FILES[name] if export.refused else ():
            (run / ENGINE / file).unlink(missing_ok=True)


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
        # first by Keras, then by the engine that is deployed; once more to compare the engines,
        # and with the test images for the figures.
        answered = [*split["val"] * 4, *split["test"]]
        answered += [sample for sample in split["val"] * 2 if sample.defective]
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


def _answer_table(
    answers: Mapping[str, pd.DataFrame], split: Mapping[str, Sequence[Sample]]
) -> bytes:
    """Return ``answers.csv``: the rows of `evaluate.evaluate`, each with its split and hash."""
    frames = [
        frame.assign(split=name, sha256=[sample.sha256 for sample in split[name]])
        for name, frame in answers.items()
    ]
    table = pd.concat(frames).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return table.encode("utf-8", "backslashreplace")


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
