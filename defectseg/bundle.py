"""The bundle: the folder that training leaves and everything else reads."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, model_validator

from defectseg.checksums import SUMS, find_altered, write_sums
from defectseg.config import Config, EngineKind, ExportFormat, InferenceSettings, load_config
from defectseg.errors import DefectsegError

MODEL = "model.keras"
CONFIG = "config.yaml"
CALIBRATION = "calibration.json"
METRICS = "metrics.json"
HISTORY = "history.csv"
PLOTS = "plots"
ROBUSTNESS = "robustness.csv"
CARD = "MODEL_CARD.md"
ANSWERS = "answers.csv"
ENGINE = "engine"
EXPORTS = "engine/exports.json"
EXPORT_FILES = {
    "float32": ("float32.xml", "float32.bin"),
    "int8": ("int8.xml", "int8.bin"),
    "onnx": ("network.onnx",),
    "saved-model": ("saved_model",),
}
# All but the sums themselves, which tell what these were.
PARTS = (MODEL, ENGINE, CONFIG, CALIBRATION, ROBUSTNESS, METRICS, HISTORY, PLOTS, CARD)
# Which a bundle of an earlier version is whole without.
OPTIONAL_PARTS = (ANSWERS,)

Parsed = TypeVar("Parsed")


class BundleError(DefectsegError):
    """A bundle is missing, incomplete, or its parts do not belong together."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Thresholds(_Record):
    """The limits between the outcomes; see `inference.verdict`."""

    pixel: float = Field(gt=0, lt=1, description="probability from which a pixel is in the mask")
    review: float = Field(ge=0, le=1, description="score from which an image is no PASS")
    fail: float = Field(
        ge=0, lt=1.001, description="score from which an image is a FAIL; above 1, none is"
    )
    score_area_px: dict[str, PositiveInt] = Field(
        min_length=1, description="by product: connected pixels from which a defect counts fully"
    )

    @model_validator(mode="after")
    def _band_is_in_order(self) -> Self:
        if self.review > self.fail:
            raise ValueError(f"review = {self.review} is above fail = {self.fail}")
        return self


class Baseline(_Record):
    """What known-good images of a product measure; see `quality.baseline`."""

    center: tuple[float, ...] = Field(description="mean of their coordinates")
    whiten: tuple[tuple[float, ...], ...] = Field(
        description="turns a difference from the center into standard deviations"
    )
    deviations: tuple[float, ...] = Field(
        min_length=1, description="distances of other good images from the center, ascending"
    )


class CurvePoint(_Record):
    """What became of the model's answers at one level of a distortion.

    Over defective images, beside what the same images have untouched; the stronger level is never
    the better one (isotonic regression).
    """

    kind: str
    level: float
    iou_share: float = Field(description="IoU over that of the untouched images")
    iou_share_low: float = Field(description="its lower bound by bootstrap over the images")
    escape_rise: float = Field(description="escape rate less that of the untouched images")
    escape_rise_high: float = Field(
        description="its upper bound, or what the scores' margins let expect, if that is more"
    )
    missed: int = Field(ge=0, description="of the defective images, those that passed")
    defective: int = Field(ge=1)
    overkill: float = Field(description="share of good images rejected (FAIL)")


class Reference(_Record):
    """How a good image looks at one level of a distortion, and what is expected there."""

    kind: str
    level: float
    iou_share_low: float
    escape_rise_high: float
    broken: bool = Field(description="whether the promise is broken there")
    coordinates: tuple[float, ...] = Field(description="of `quality.baseline`")


class Tree(_Record):
    """A decision tree, node by node, the root first; see `quality.forest`."""

    feature: tuple[int, ...] = Field(min_length=1, description="that is compared")
    threshold: tuple[float, ...] = Field(description="left up to it, right above")
    left: tuple[int, ...] = Field(description="the node that follows; of a leaf, itself")
    right: tuple[int, ...]
    answer: tuple[float, ...] = Field(description="share of broken promises among its references")


class ProductGate(_Record):
    """What is known of the images of a product."""

    baseline: Baseline
    sharpness_limit: float = Field(
        ge=0, description="mean gradient at which blur alone breaks the promise; for people"
    )
    curve: tuple[CurvePoint, ...]
    pooled: bool = Field(
        description="whether the curve is that of all products, for want of own defective images"
    )
    references: tuple[Reference, ...] = Field(min_length=1)
    metric: tuple[tuple[float, ...], ...] = Field(
        description="turns differences between coordinates into those of references of one level"
    )
    forest: tuple[Tree, ...] = Field(
        min_length=1, description="tells broken references from others by their place in the metric"
    )
    reach: dict[str, float] = Field(
        description="by kind: farther from the nearest reference, an image is unknown"
    )
    heights_px: tuple[int, int] = Field(description="least and greatest of the known images")
    widths_px: tuple[int, int]


class Gate(_Record):
    """The quality gate, by product; see `quality.gate`."""

    alpha: float = Field(gt=0, lt=1, description="false-alarm rate at most")
    fixed_sharpness: float | None = Field(
        ge=0,
        description="mean gradient below which an image is not believed, if it was set by hand",
    )
    max_escape_rise: float = Field(ge=0, description="the promise: the escape rate rises no more")
    min_iou_share: float = Field(ge=0, le=1, description="the promise: so much of the IoU is left")
    size_tolerance: float | None = Field(
        ge=0, description="share by which height and width may differ from the known; None: any"
    )
    measures: tuple[str, ...] = Field(description="what the coordinates are of, in their order")
    products: dict[str, ProductGate] = Field(min_length=1)


class Calibration(_Record):
    """``calibration.json``: every limit, with the hashes of what it was set with."""

    thresholds: Thresholds
    gate: Gate
    inference: InferenceSettings
    engine: EngineKind = Field(description="that the limits were set with")
    model_sha256: str
    data_sha256: str
    seen_sha256: tuple[str, ...] = Field(
        description="of the image files it was trained with, or its limits set"
    )
    created: str = Field(description="UTC, ISO 8601")

    @model_validator(mode="after")
    def _products_are_the_same(self) -> Self:
        gated, scored = set(self.gate.products), set(self.thresholds.score_area_px)
        if gated != scored:
            raise ValueError(
                f"gate has the products {sorted(gated)}, score_area_px {sorted(scored)}"
            )
        return self


class Export(_Record):
    """How an exported network answers beside Keras; see `evaluation.parity`."""

    precision: str = Field(description="that really ran")
    images: int = Field(ge=0, description="validation images that both answered")
    agreement: float = Field(description="share of them with the same verdict")
    iou_drop: float = Field(description="of the mean IoU over the defective ones, below Keras'")
    flipped_share: float = Field(description="of all pixels, those that are in one mask alone")
    greatest_difference: float = Field(description="between the probabilities of a pixel")
    refused: str = Field(description="why it is not in the bundle; empty if it is")


_Exports = TypeAdapter(dict[ExportFormat, Export])


@dataclass(frozen=True)
class Bundle:
    """A complete bundle.

    Attributes
    ----------
    folder : Path
    config : Config
    calibration : Calibration
    exports : dict of str to Export
        The networks in ``engine/``, by format.
    """

    folder: Path
    config: Config
    calibration: Calibration
    exports: dict[ExportFormat, Export]


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check that it is whole.

    Raises
    ------
    BundleError
        Naming every missing part, or the part that does not fit the others.
    """
    if not folder.is_dir():
        raise BundleError(
            f"{folder} is not a folder; expected a bundle that `defectseg train` left."
        )
    missing = [name for name in (*PARTS, EXPORTS, SUMS) if not (folder / name).exists()]
    if missing:
        raise BundleError(
            f"{folder} is not a complete bundle: {', '.join(missing)} missing. If its training "
            "was interrupted, go on with it: defectseg train --resume. If only exports, limits or "
            f"figures are missing, {_calibrate(folder)}."
        )
    calibration = _parse(folder, CALIBRATION, Calibration.model_validate_json)
    config = load_config(folder / CONFIG)
    if config.inference != calibration.inference:
        raise BundleError(
            f"{folder / CONFIG} says {config.inference}, but the limits were set with "
            f"{calibration.inference}. Set it back, or {_calibrate(folder)}."
        )
    exports = {name: own for name, own in read_exports(folder).items() if not own.refused}
    needed = [f"{ENGINE}/{file}" for name in exports for file in EXPORT_FILES[name]]
    altered = find_altered(folder, [MODEL, CONFIG, CALIBRATION, EXPORTS, *needed])
    if altered:
        raise BundleError(
            f"{folder} is not as it was when it was finished: {'; '.join(altered)}. Restore it, "
            f"or, if a calibration was interrupted or a part changed on purpose, "
            f"{_calibrate(folder)}."
        )
    return Bundle(folder, config, calibration, exports)


def read_exports(folder: Path) -> dict[ExportFormat, Export]:
    """Return what is known of the networks in the ``engine/`` of a bundle, those refused, too."""
    return _parse(folder, EXPORTS, _Exports.validate_json)


def finish_bundle(folder: Path) -> None:
    """Write the hashes of all parts: what is done last, and says that the bundle is whole."""
    write_sums(folder, (*PARTS, *OPTIONAL_PARTS))


def _parse(folder: Path, name: str, parse: Callable[[bytes], Parsed]) -> Parsed:
    try:
        return parse((folder / name).read_bytes())
    except ValueError as error:  # pydantic's own among them
        raise BundleError(
            f"{folder / name} is damaged, or of another version. Restore it, or "
            f"{_calibrate(folder)}. {error}"
        ) from error


def _calibrate(folder: Path) -> str:
    return f"set the limits anew: defectseg calibrate --model {folder}"


def dump_calibration(calibration: Calibration) -> str:
    """Return ``calibration.json``: indented, a list of numbers a line."""
    text = calibration.model_dump_json(indent=2)
    return re.sub(r"\[[\s\d.,eE+-]+\]", lambda match: " ".join(match[0].split()), text) + "\n"


def dump_exports(exports: Mapping[ExportFormat, Export]) -> bytes:
    """Return ``exports.json``."""
    return _Exports.dump_json(dict(exports), indent=2) + b"\n"
