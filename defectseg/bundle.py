"""The bundle: the folder that training leaves and everything else reads."""

import hashlib
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
CARD = "MODEL_CARD.md"
PARTS = (MODEL, CONFIG, CALIBRATION, METRICS, HISTORY, PLOTS, CARD)


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


class ProductGate(_Record):
    """What sharp images of a product measure."""

    limit: float = Field(ge=0, description="sharpness below which an image is not believed")
    sharpness: tuple[float, ...] = Field(
        min_length=1, description="of the good training images, ascending"
    )


class Gate(_Record):
    """The quality gate, by product; see `quality.gate`."""

    percentile: float = Field(ge=0, le=50)
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
            "was interrupted, go on with it: train.py --resume."
        )
    path = folder / CALIBRATION
    try:
        calibration = Calibration.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(f"{path} is not a calibration: {error}") from error
    if calibration.model_sha256 != file_sha256(folder / MODEL):
        raise BundleError(
            f"{folder / MODEL} is not the model that {path.name} was made with (its hash differs). "
            "Restore the bundle, or train anew."
        )
    config = load_config(folder / CONFIG)
    if config.inference != calibration.inference:
        raise BundleError(
            f"{folder / CONFIG} says {config.inference}, but the limits were set with "
            f"{calibration.inference}. Set it back, or train anew with --set."
        )
    return Bundle(folder, config, calibration)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
