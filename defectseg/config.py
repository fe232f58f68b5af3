"""Settings: a YAML file, checked and frozen."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from defectseg.errors import ConfigError

# The settings that come with the software: in a checkout, a link to configs/ at its top.
INSTALLED = Path(__file__).with_name("configs")
ENCODER_STRIDE = 32
# The layer whose output is the standardised image; whoever starts behind it standardises first.
STANDARDISED = "standardised"
# The layer of the probabilities, before they are brought to the image's size.
PROBABILITY = "probability"


_WINDOW = 36  # squares of the network's grid: its memory is the same whatever its resolution
EngineKind = Literal["int8", "float32", "keras"]
ExportFormat = Literal["float32", "int8", "onnx", "saved-model"]
Kind = TypeVar("Kind", bound="Settings")


class Settings(BaseModel):
    """Settings of anything: frozen, and none that is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(Settings):
    """The network. `downscale` and `channels` are part of it, so that no caller can forget them."""

    backbone: str = Field(default="resnet18", description="an encoder of segmentation_models")
    decoder_filters: tuple[int, int, int, int, int] = Field(
        default=(64, 32, 16, 16, 8), description="widths of the decoder, deepest first"
    )
    encoder_weights: Literal["imagenet"] | None = Field(
        default=None, description="fetched once, by `defectseg weights`; or none"
    )
    channels: Literal[1, 3] = Field(default=1, description="1 for gray, 3 for colour")
    downscale: Literal[1, 2, 4] = Field(
        default=2, description="n×n pixels are first combined into one; the mask is 1/n as fine"
    )
    # Keras' 0.99 takes some 500 steps to forget its start, a third of a short training. With 0.9
    # the statistics are those of ten batches, and validation jumps from epoch to epoch.
    batch_norm_momentum: float = Field(
        default=0.97, ge=0, lt=1, description="matters where train.statistics_batches is 0"
    )

    @property
    def multiple(self) -> int:
        """Height and width that the network takes are multiples of this, in pixels."""
        return ENCODER_STRIDE * self.downscale


class AugmentSettings(Settings):
    """Random changes of the training images; see `dataset.augment`."""

    flip: bool = True
    quarter_turns: bool = True
    rotate_deg: float = Field(default=0.0, ge=0, le=180)
    scale: float = Field(default=0.0, ge=0, lt=1, description="larger or smaller by this share")
    elastic_px: float = Field(
        default=0.0, ge=0, le=8, description="smooth shifts of about this size"
    )
    liquify: float = Field(default=0.0, ge=0, lt=1, description="swelling or pinching, polar")
    light: float = Field(
        default=0.0, ge=0, lt=1, description="uneven brightness and contrast, by at most this share"
    )
    blur_px: float = Field(default=0.0, ge=0, description="sigma at most")
    noise: float = Field(default=0.0, ge=0, description="sigma at most, in gray levels")
    jpeg: int = Field(default=0, ge=0, le=95, description="JPEG quality at least; 0 for none")
    paste: float = Field(
        default=0.0, ge=0, le=1, description="share of good images that get a defect"
    )


class TrainSettings(Settings):
    """How the network is trained."""

    epochs: int = Field(default=40, ge=1)
    max_minutes: float | None = Field(
        default=None, gt=0, description="stop earlier, on a wall clock"
    )
    passes_per_epoch: int = Field(default=4, ge=1, description="showings of each defective image")
    batch_size: int = Field(default=8, ge=1)
    good_per_defective: float = Field(default=1.0, ge=0)
    crop_px: int | None = Field(
        default=None, ge=32, description="side of the squares; none: whole images"
    )
    leave_out: tuple[str, ...] = Field(
        default=(), description="kinds (folders of images) that are measured, but not trained on"
    )
    loss: Literal["dice", "bce_dice", "bce_dice_by_image", "mcc", "focal_tversky"] = "bce_dice"
    border_px: int = Field(
        default=0, ge=0, le=32, description="pixels nearer to a label's border count less"
    )
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    ema_momentum: float = Field(
        default=0.0, ge=0, lt=1, description="of the running mean of weights; 0 for none"
    )
    statistics_batches: int = Field(
        default=16,
        ge=0,
        description="unchanged batches that set the batch-norm statistics after each epoch; "
        "0: the training's running mean",
    )
    seed: int = Field(default=0, ge=0, lt=2**32)
    cache_mb: int = Field(
        default=4096, ge=0, description="decoded images kept in memory, of each split"
    )
    precision: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        default="float32",
        description="of the training's arithmetic; auto: bfloat16 where GPU or CPU compute with it",
    )
    xla: bool = Field(default=False, description="compile the training step, for a single GPU")


class CalibrationSettings(Settings):
    """How the limits of the bundle are set from images."""

    gate_alpha: float = Field(
        default=0.01, gt=0, le=0.5, description="share of good images stopped as unlike any"
    )
    fixed_sharpness: float | None = Field(
        default=None, ge=0, description="a limit of the mean gradient, in place of what is learned"
    )
    max_escape_rise: float = Field(
        default=0.02, ge=0, lt=1, description="images on which more defects escape are not believed"
    )
    min_iou_share: float = Field(
        default=0.8, gt=0, le=1, description="nor those on which less of the IoU is left"
    )
    size_tolerance: float | None = Field(
        default=0.1,
        ge=0,
        description="nor those of other height or width, by this; null: any",
    )
    sweep_images: int = Field(
        default=24, ge=3, description="defective validation images that are distorted, in all"
    )
    sweep_kinds: tuple[str, ...] | None = Field(
        default=None,
        description="distortions that are tried, gaussian_blur among them; others are unknown to "
        "the gate. null: all",
    )
    max_escape: float = Field(
        default=0.0, ge=0, lt=1, description="share of defective validation images that may PASS"
    )
    max_overkill: float = Field(
        default=0.0, ge=0, lt=1, description="share of good validation images that may FAIL"
    )


class InferenceSettings(Settings):
    """How the network answers; part of the bundle, since its limits are set with it."""

    flips: bool = Field(
        default=False, description="mean over four mirror images: steadier, a quarter of the speed"
    )
    ellipses: bool = Field(
        default=False, description="answer by ellipses, where the labels are ellipses"
    )
    window_px: int | None = Field(
        default=None,
        ge=32,
        description="larger images are seen through overlapping windows of this side; null: 36 "
        "squares of the network's grid",
    )
    engine: EngineKind | Literal["auto"] = Field(
        default="auto",
        description="what runs the network on a CPU; auto: int8 where it answers as Keras does, "
        "else float32",
    )


class Config(Settings):
    """All settings of a run."""

    data: Path = Field(description="a folder made by `defectseg prepare`")
    run: Path = Field(description="where the bundle is left")
    model: ModelSettings = ModelSettings()
    augment: AugmentSettings = AugmentSettings()
    train: TrainSettings = TrainSettings()
    inference: InferenceSettings = InferenceSettings()
    calibration: CalibrationSettings = CalibrationSettings()

    @property
    def window_px(self) -> int:
        """Side of the windows through which larger images are seen, in pixels."""
        return self.inference.window_px or _WINDOW * self.model.multiple

    @model_validator(mode="after")
    def _batch_has_room(self) -> Self:
        if self.train.batch_size < 2 and self.train.good_per_defective:
            raise ValueError(
                "train.batch_size = 1 has no room for a defective and a good image; expected at "
                "least 2, or train.good_per_defective = 0"
            )
        return self

    @model_validator(mode="after")
    def _squares_fit_network(self) -> Self:
        multiple = self.model.multiple
        for name, side in (
            ("train.crop_px", self.train.crop_px),
            ("inference.window_px", self.inference.window_px),
        ):
            if side and side % multiple:
                raise ValueError(
                    f"{name} = {side} is not a multiple of {multiple}, which the network needs "
                    f"({ENCODER_STRIDE} times model.downscale)"
                )
        return self


def load_config(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    data: Path | None = None,
    run: Path | None = None,
) -> Config:
    """Read a YAML file, apply ``key.key=value`` overrides, and check the result.

    Parameters
    ----------
    path : Path
    overrides : sequence of str
        Their values are read as YAML.
    data, run : Path or None
        Take the place of the file's.

    Raises
    ------
    ConfigError
        Naming every wrong setting, what was given and what was expected.
    """
    settings = read_yaml(path)
    for override in overrides:
        _set(settings, override)
    settings |= {name: value for name, value in (("data", data), ("run", run)) if value}
    return parse_config(settings, str(path))


def parse_config(settings: dict[str, Any], source: str) -> Config:
    """Check settings that came from `source`; see `load_config`."""
    return parse_settings(Config, settings, source)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the settings in a YAML file, not yet checked.

    Raises
    ------
    ConfigError
        If it cannot be read, or holds no settings.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML in UTF-8: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds no settings; expected lines such as 'name: value'.")
    return settings


def parse_settings(kind: type[Kind], settings: dict[str, Any], source: str) -> Kind:
    """Check settings that came from `source`.

    Raises
    ------
    ConfigError
        Naming every wrong setting, what was given and what was expected.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        lines = [_explain(kind, problem) for problem in error.errors()]
        raise ConfigError(f"{source}:\n" + "\n".join(f"  - {line}" for line in lines)) from error


def dump_config(config: Config) -> str:
    """Return the settings as YAML, every one of them written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _set(settings: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    *sections, key = name.split(".")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: expected KEY=VALUE, such as train.epochs=3.")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise ConfigError(f"--set {override!r}: {section!r} is a value, not a section.")
    try:
        settings[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML.") from error


def _section(model: type[BaseModel], name: str) -> type[BaseModel]:
    """Return the model of a section of settings, which may be optional."""
    annotation = model.model_fields[name].annotation
    kinds: list[Any] = [annotation, *get_args(annotation)]
    return next(own for own in kinds if isinstance(own, type) and issubclass(own, BaseModel))


def _explain(kind: type[Settings], problem: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    name = ".".join(place) or "settings"
    if problem["type"] == "extra_forbidden":
        model: type[BaseModel] = kind
        for section in place[:-1]:
            model = _section(model, section)
        near = difflib.get_close_matches(place[-1], model.model_fields, n=1)
        known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(model.model_fields)}"
        return f"{name} is not a setting; {known}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in {"missing", "value_error"}:
        return f"{name}: {message}" if place else message
    return f"{name} = {problem['input']!r}: {message}"
