"""The network in the form that engines run: the same numbers, by fewer and faster operations."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from defectseg.config import ModelSettings
from defectseg.segmentation.unet import answer, build_core, enlarge, standardise

IMAGE, LEVELS = "image", "levels"
_DOUBLE = 2


class _Repeat(keras.layers.Layer):
    """Twice the height and width, each pixel repeated, as one operation of every engine.

    Keras' own layer becomes four, which cost as much as a convolution.
    """

    def call(self, inputs: Any) -> Any:
        return tf.image.resize(inputs, _DOUBLE * tf.shape(inputs)[1:3], method="nearest")

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, *sides, channels = shape
        return (batch, *(side and _DOUBLE * side for side in sides), channels)


class _Sigmoid(keras.layers.Layer):
    """The sigmoid of a single channel: as one long row, of which engines take many at once.

    Written out, for OpenVINO's own takes ten times as long where shapes are not known beforehand.
    """

    def call(self, inputs: Any) -> Any:
        row = tf.reshape(inputs, [1, -1])
        return tf.reshape(1 / (1 + tf.exp(-row)), tf.shape(inputs))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape


def deploy(
    network: keras.Model, settings: ModelSettings, *, own_levels: bool = False
) -> keras.Model:
    """Return a network as engines run it, with the same weights.

    Parameters
    ----------
    network : keras.Model
        Of `unet.build_unet`.
    settings : ModelSettings
        Those it was built with.
    own_levels : bool
        Standardise each image by its own numbers, and answer in its size, as the network does. By
        default they are given, so that a part of an image can go by those of the whole, and the
        answer has the resolution that the network computes at: the mean over mirror images, the
        passing over from window to window come to the same there, for less.

    Returns
    -------
    keras.Model
        Takes an image, ``(N, H, W, channels)`` float32 in [0, 255], H and W multiples of
        ``settings.multiple``, and unless it has its own, its levels, ``(N, 2)``: mean and divisor.
        Returns ``(N, H, W, 1)`` float32 in [0, 1], or ``(N, H / d, W / d, 1)`` with d
        ``settings.downscale``.
    """
    core = keras.models.clone_model(build_core(settings, pretrained=False), clone_function=_replace)
    image = keras.Input((None, None, settings.channels), name=IMAGE)
    if own_levels:
        inputs = image
        standardised = standardise(image)
    else:
        levels = keras.Input((2,), name=LEVELS)
        inputs = [image, levels]
        mean, divisor = (ops.reshape(levels[:, i], (-1, 1, 1, 1)) for i in (0, 1))
        standardised = (image - mean) / divisor
    probability = _Sigmoid()(answer(standardised, core, settings))
    if own_levels:
        probability = enlarge(probability, settings)
    deployed = keras.Model(inputs, probability)
    deployed.set_weights(network.get_weights())
    return deployed


def _replace(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.UpSampling2D):
        return _Repeat(name=layer.name)
    return layer.__class__.from_config(layer.get_config())
