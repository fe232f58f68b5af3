"""How a training starts: on sound data, in a new folder or where an earlier one stopped."""

from collections.abc import Sequence
from typing import Any

from defectseg.bundle import CONFIG
from defectseg.config import Config, load_config
from defectseg.dataset.manifest import Sample
from defectseg.errors import ConfigError, DataError
from defectseg.segmentation.state import TrainingState, load_state

# May change between a start and its resumption; everything else makes it another training.
_RESUMABLE = ("train.epochs", "train.max_minutes")


def check_samples(config: Config, train: Sequence[Sample], val: Sequence[Sample]) -> None:
    """Check that these images can be trained on.

    Raises
    ------
    DataError
        If a split lacks a kind of image.
    ConfigError
        If the images are of several sizes, and would have to be of one.
    """
    for name, own in (("train", train), ("val", val)):
        for kind, wanted in (("defective", True), ("good", False)):
            if not any(sample.defective == wanted for sample in own):
                raise DataError(
                    f"{config.data} has no {kind} image in its {name} split; training needs both "
                    "kinds in both splits. Add images, or prepare with other shares "
                    "(--val, --test)."
                )
    products = {sample.product for sample in (*train, *val)}
    lacking = products - {sample.product for sample in train if not sample.defective}
    if lacking:
        raise DataError(
            f"{config.data} has no good training image of {', '.join(sorted(lacking))}: they set "
            "the sharpness below which an image is not believed. Add some, or prepare with "
            "smaller shares (--val, --test)."
        )
    sizes = {(sample.width, sample.height) for sample in train}
    if config.train.crop_px is None and len(sizes) > 1:
        raise ConfigError(
            f"The training images have {len(sizes)} sizes, and whole images make batches only if "
            f"all are of one. Set train.crop_px to a multiple of {config.model.multiple}."
        )


def starting_state(config: Config, resume: bool, data_sha256: str) -> TrainingState:
    """Check that a training may begin in a folder, or go on there; nothing is written.

    Parameters
    ----------
    config : Config
    resume : bool
    data_sha256 : str
        Of the prepared data; see `manifest.data_sha256`.

    Returns
    -------
    TrainingState
        Of the last finished epoch; of epoch 0 for a new training.

    Raises
    ------
    ConfigError
        If the folder holds something and `resume` is False, or was begun with other settings.
    DataError
        If it was begun with other data.
    """
    path = config.run / CONFIG
    state = load_state(config.run) if resume else None
    if state is None:
        if config.run.exists() and any(config.run.iterdir()) and not (resume and path.is_file()):
            raise ConfigError(
                f"{config.run} holds something already. Go on with it by --resume, or name "
                "another folder by --run."
            )
        return TrainingState(0, 0, 0.0, 0.0, data_sha256)
    if state.data_sha256 != data_sha256:
        raise DataError(
            f"{config.data} is not the data that {config.run} was begun with. Train anew, in "
            "another folder."
        )
    ours, theirs = (training_settings(c) for c in (config, load_config(path)))
    changed = sorted(
        name for name in ours if ours[name] != theirs.get(name) and name not in _RESUMABLE
    )
    if changed:
        raise ConfigError(
            f"{config.run} was begun with other settings: "
            + ", ".join(f"{n} was {theirs.get(n)}, now {ours[n]}" for n in changed)
            + ". Resume with the same ones, or train anew in another folder."
        )
    return state


def training_settings(config: Config) -> dict[str, Any]:
    """Return what determines the network that a training leaves, by names as of ``--set``."""
    others = {"run": True, "data": True, "inference": True, "calibration": True}
    sections = config.model_dump(mode="json", exclude=others | {"train": {"cache_mb"}})
    return {
        f"{s}.{key}": value for s, section in sections.items() for key, value in section.items()
    }
