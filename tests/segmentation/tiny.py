"""A network that is traced in no time, for what is true of any: steps, epochs, devices, a kill."""

from typing import Any

import keras
import pytest

from defectseg.config import Config, ModelSettings
from defectseg.segmentation import training
from defectseg.segmentation.state import TrainingState


class Silent:
    """Tells nobody how a training goes on."""

    def step(self, progress: float, epoch: int, loss: float) -> None:
        assert 0 <= progress <= 1

    def epoch(self, row: dict[str, float], best: bool) -> None:
        pass


def tiny_network(settings: ModelSettings, **options: object) -> keras.Model:
    """Batch norm between two convolutions; it takes the place of the U-Net."""
    image = keras.Input((None, None, settings.channels))
    hidden = keras.layers.Conv2D(8, 5, padding="same", activation="relu")(image)
    hidden = keras.layers.BatchNormalization()(hidden)
    mask = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(hidden)
    return keras.Model(image, mask)


def train_tiny(config: Config, monitor: Any = None, **options: Any) -> TrainingState:
    """Train it; ``options`` are those of `training.train`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build_trainable", tiny_network)
        patch.setattr(training, "build_unet", tiny_network)
        return training.train(config, monitor or Silent(), **options)
