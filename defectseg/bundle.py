"""The bundle: the folder that training leaves and everything else reads."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from defectseg.config import Config, InferenceSettings, load_config
from defectseg.errors import DefectsegError

MODEL = "model.keras"
CONFIG = "config.yaml"
CALIBRATION = "calibration.json"
METRICS = "metrics.json"
HISTORY = "history.csv"
PLOTS = "plots"
ROBUSTNESS = "robustness.csv"
CARD = "MODEL_CARD.md"
PARTS = (MODEL, CONFIG, CALIBRATION, ROBUSTNESS, METRICS, HISTORY, PLOTS, CARD)


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
    model_sha256: str
    data_sha256: str
    seen_sha256: tuple[str, ...] = Field(
        description="of the image files it was trained with, or its limits set"
    )
    parts_sha256: dict[str, str] = Field(
        description="of the files that were measured with these limits, by name"
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


@dataclass(frozen=True)
class Bundle:
    """A complete bundle.

    Attributes
    ----------
    folder : Path
    config : Config
    calibration : Calibration
    """

    folder: Path
    config: Config
    calibration: Calibration

    @property
    def model_path(self) -> Path:
        """The Keras model, preprocessing included."""
        return self.folder / MODEL


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check that it is whole.

    Raises
    ------
    BundleError
        Naming every missing part, or the part that does not fit the others.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder; expected a bundle that train.py left.")
    missing = [name for name in PARTS if not (folder / name).exists()]
    if missing:
        raise BundleError(
            f"{folder} is not a complete bundle: {', '.join(missing)} missing. If its training "
            "was interrupted, go on with it: train.py --resume. If only limits and figures are "
            f"missing, {_calibrate(folder)}."
        )
    path = folder / CALIBRATION
    try:
        calibration = Calibration.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(
            f"{path} is damaged, or of another version. Restore it, or {_calibrate(folder)}. "
            f"{error}"
        ) from error
    if calibration.model_sha256 != file_sha256(folder / MODEL):
        raise BundleError(
            f"{folder / MODEL} is not the model that {path.name} was made with (its hash differs). "
            f"Restore the bundle, or {_calibrate(folder)}."
        )
    for name, sha256 in calibration.parts_sha256.items():
        if file_sha256(folder / name) != sha256:
            raise BundleError(
                f"{folder / name} is not the one that was written with {path.name} (its hash "
                "differs), as after a calibration that was interrupted: restore it, or "
                f"{_calibrate(folder)}."
            )
    config = load_config(folder / CONFIG)
    if config.inference != calibration.inference:
        raise BundleError(
            f"{folder / CONFIG} says {config.inference}, but the limits were set with "
            f"{calibration.inference}. Set it back, or {_calibrate(folder)}."
        )
    return Bundle(folder, config, calibration)


def _calibrate(folder: Path) -> str:
    return f"set the limits anew: defectseg calibrate --model {folder}"


def dump_calibration(calibration: Calibration) -> str:
    """Return ``calibration.json``: indented, a list of numbers a line."""
    text = calibration.model_dump_json(indent=2)
    return re.sub(r"\[[\s\d.,eE+-]+\]", lambda match: " ".join(match[0].split()), text) + "\n"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
