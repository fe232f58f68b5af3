import keras
import numpy as np
import pytest
import tensorflow as tf

from defectseg.config import ModelSettings
from defectseg.errors import ConfigError
from defectseg.image_io import measure_levels, standardise
from defectseg.segmentation.unet import (
    _double,
    _gather_patches,
    build_trainable,
    build_unet,
)

NARROW = (16, 16, 8, 8, 8)


def test_the_answer_is_a_probability_of_the_images_own_size() -> None:
    model = build_unet(ModelSettings(decoder_filters=NARROW, channels=3, downscale=2))
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 128, 3)).astype(np.float32)
    answer = np.asarray(model(image))
    assert answer.shape == (2, 64, 128, 1)
    assert answer.dtype == np.float32
    assert 0 <= answer.min() <= answer.max() <= 1


def test_brightness_and_contrast_do_not_change_the_answer() -> None:
    model = build_unet(ModelSettings(decoder_filters=NARROW, downscale=1))
    image = np.random.default_rng(1).uniform(0, 200, (1, 64, 64, 1)).astype(np.float32)
    np.testing.assert_allclose(model(image), model(0.2 * image + 30), atol=1e-4)


def test_what_is_trained_answers_on_standardised_images_as_the_network_does_on_images() -> None:
    settings = ModelSettings(decoder_filters=NARROW, downscale=2)
    network, trainable = build_unet(settings), build_trainable(settings)
    trainable.set_weights(network.get_weights())
    image = np.random.default_rng(3).integers(0, 255, (64, 128, 1), np.uint8)
    np.testing.assert_allclose(
        trainable(standardise(image, measure_levels(image))[None]),
        network(image[None].astype(np.float32)),
        atol=1e-5,
    )


def test_gathering_patches_begins_without_loss() -> None:
    # As many channels as numbers: an orthogonal map keeps every length.
    pixels = np.random.default_rng(4).normal(size=(1, 8, 8, 1)).astype(np.float32)
    entry = keras.Input((None, None, 1))
    gathered = np.asarray(keras.Model(entry, _gather_patches(entry, 4, 2))(pixels))
    assert gathered.shape == (1, 4, 4, 4)
    squares = pixels.reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(4, 4, 4)
    np.testing.assert_allclose(
        np.linalg.norm(gathered[0], axis=-1), np.linalg.norm(squares, axis=-1), rtol=1e-5
    )


@pytest.mark.parametrize("downscale", [1, 2, 4])
def test_the_answer_has_the_images_size_at_any_downscale(downscale: int) -> None:
    model = build_unet(ModelSettings(decoder_filters=NARROW, channels=3, downscale=downscale))
    assert model(np.zeros((1, 128, 256, 3), np.float32)).shape == (1, 128, 256, 1)


def test_a_constant_image_is_answered_without_nan() -> None:
    model = build_unet(ModelSettings(decoder_filters=NARROW))
    assert np.isfinite(model(np.full((1, 64, 64, 1), 128, np.float32))).all()


def test_doubling_is_bilinear_resizing() -> None:
    pixels = np.random.default_rng(2).normal(size=(1, 5, 7, 1)).astype(np.float32)
    entry = keras.Input((None, None, 1))
    doubled = keras.Model(entry, _double(entry))(pixels)
    np.testing.assert_allclose(doubled, tf.image.resize(pixels, (10, 14)), atol=1e-6)


@pytest.mark.parametrize("backbone", ["resnet19", "densenet121"])
def test_a_backbone_that_does_not_work_is_named_with_those_that_do(backbone: str) -> None:
    with pytest.raises(ConfigError, match=rf"model.backbone = '{backbone}'.*resnet18"):
        build_unet(ModelSettings(backbone=backbone))
