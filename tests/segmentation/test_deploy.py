from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from defectseg.config import PROBABILITY, ModelSettings
from defectseg.segmentation.deploy import _Repeat, deploy
from defectseg.segmentation.unet import build_unet

NARROW = (16, 16, 8, 8, 8)


def some_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


def with_some_weights(model: keras.Model) -> keras.Model:
    """New ones are 0 and 1 in many places, which would hide a mistake in their order."""
    rng = np.random.default_rng(1)
    model.set_weights([own * rng.uniform(0.9, 1.1, own.shape) for own in model.get_weights()])
    return model


def test_each_pixel_is_repeated() -> None:
    pixels = some_images(2, 3, 4, 5)
    expected = pixels.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(_Repeat()(pixels), expected)


@pytest.mark.parametrize(
    "changed",
    [
        {"downscale": 1},
        {"downscale": 2, "channels": 3},
        {"downscale": 4},
        # Built as if its weights had been downloaded.
        {"downscale": 2, "encoder_weights": "imagenet"},
    ],
)
def test_deployed_networks_answer_as_the_trained_one_does(changed: dict[str, Any]) -> None:
    settings = ModelSettings(decoder_filters=NARROW, **changed)
    network = with_some_weights(build_unet(settings, pretrained=False))
    images = some_images(2, 128, 256, settings.channels)
    expected = np.asarray(network(images))
    assert expected.std() > 1e-3
    own_levels = deploy(network, settings, own_levels=True)
    np.testing.assert_allclose(own_levels(images), expected, atol=1e-4)
    levels = np.array([(image.mean(), image.std()) for image in images], np.float32)
    coarse = keras.Model(network.input, network.get_layer(PROBABILITY).output)(images)
    np.testing.assert_allclose(deploy(network, settings)([images, levels]), coarse, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["efficientnetb0", "mobilenetv2", "resnet34", "vgg16"])
def test_a_saved_network_is_loaded_by_keras_alone_and_deployed(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ModelSettings(backbone=backbone, decoder_filters=NARROW)
    network = build_unet(settings)
    network.save(tmp_path / "model.keras")
    known = keras.saving.get_custom_objects()  # what segmentation_models adds, and no one else has
    for name in list(known):
        monkeypatch.delitem(known, name)
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    images = some_images(1, 64, 64, 1)
    expected = np.asarray(network(images))
    np.testing.assert_allclose(loaded(images), expected, atol=1e-5)
    np.testing.assert_allclose(
        deploy(loaded, settings, own_levels=True)(images), expected, atol=1e-4
    )
