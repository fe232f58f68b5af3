"""How a training starts: in a new folder, or where an earlier one stopped."""

from typing import Any

from defectseg.bundle import CONFIG
from defectseg.config import Config, load_config
from defectseg.errors import ConfigError, DataError
from defectseg.segmentation.state import TrainingState, load_state

# May change between a start and its resumption; everything else makes it another training.
_RESUMABLE = ("epochs", "max_minutes", "cache_mb")


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
    ours, theirs = (_fixed_settings(c) for c in (config, load_config(path)))
    if ours != theirs:
        changed = sorted(name for name in ours if ours[name] != theirs.get(name))
        raise ConfigError(
            f"{config.run} was begun with other settings: "
            + ", ".join(f"{n} was {theirs.get(n)}, now {ours[n]}" for n in changed)
            + ". Resume with the same ones, or train anew in another folder."
        )
    return state


def _fixed_settings(config: Config) -> dict[str, Any]:
    sections = config.model_dump(mode="json", exclude={"run", "data", "inference", "calibration"})
    flat = {
        f"{s}.{key}": value for s, section in sections.items() for key, value in section.items()
    }
    return {name: value for name, value in flat.items() if name.split(".")[1] not in _RESUMABLE}
