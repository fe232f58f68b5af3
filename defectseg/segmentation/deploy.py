"""The network in the form that engines run: the same numbers, by fewer and faster operations."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from defectseg.config import ModelSettings
from defectseg.segmentation.unet import answer, build_core, standardise

IMAGE, LEVELS = "image", "levels"
_DOUBLE = 2


class _Repeat(keras.layers.Layer):
    """Twice the height and width, each pixel repeated, as one operation of every engine.

    Keras' own layer becomes four, which cost as much as a convolution.
    """

    def call(self, inputs: Any) -> Any:
        return tf.image.resize(inputs, _DOUBLE * tf.shape(inputs)[1:3], method="nearest")

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return _doubled(shape)


class _Interpolate(keras.layers.Layer):
    """Twice the height and width of one channel, interpolated linearly; see `unet._double`.

    Each pixel becomes four, weighted sums of it and its neighbours: a small convolution, and a
    reordering. OpenVINO takes ten times as long to resize by itself.
    """

    def call(self, inputs: Any) -> Any:
        # Of the two new pixels along an axis, one lies a quarter before the old, one behind.
        before, behind = np.array([[0.25, 0.75, 0], [0, 0.75, 0.25]], np.float32)
        kernels = [
            np.outer(down, across) for down in (before, behind) for across in (before, behind)
        ]
        padded = tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
        weighted = tf.nn.conv2d(padded, np.stack(kernels, axis=-1)[:, :, None], 1, "VALID")
        return tf.nn.depth_to_space(weighted, _DOUBLE)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return _doubled(shape)


class _Sigmoid(keras.layers.Layer):
    """The sigmoid of a single channel: as one long row, of which engines take many at once."""

    def call(self, inputs: Any) -> Any:
        return tf.reshape(tf.sigmoid(tf.reshape(inputs, [1, -1])), tf.shape(inputs))

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
        Standardise each image by its own numbers, as the network does. By default they are given,
        so that a part of an image can go by those of the whole.

    Returns
    -------
    keras.Model
        Takes an image, ``(N, H, W, channels)`` float32 in [0, 255], H and W multiples of
        ``settings.multiple``, and unless it has its own, its levels, ``(N, 2)``: mean and divisor.
        Returns ``(N, H, W, 1)`` float32 in [0, 1].
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
    deployed = keras.Model(inputs, answer(standardised, core, settings, _Interpolate(), _Sigmoid()))
    deployed.set_weights(network.get_weights())
    return deployed


def _replace(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.UpSampling2D):
        return _Repeat(name=layer.name)
    return layer.__class__.from_config(layer.get_config())


def _doubled(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    batch, *sides, channels = shape
    return (batch, *(side and _DOUBLE * side for side in sides), channels)
