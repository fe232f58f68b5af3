"""Batch-norm statistics, measured apart from the training steps."""

import functools
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def synchronise(model: keras.Model) -> None:
    """Have each batch normalised by its own numbers, and not by those of one device's part."""
    for layer in _batch_norm_layers(model):
        layer.synchronized = model.distribute_strategy.num_replicas_in_sync > 1


class BatchNormStatistics:
    """Measures the statistics of a network's batch-norm layers anew, its weights as they are.

    The running mean that a training leaves behind is of weights that have changed meanwhile, and of
    augmented images: turned and scaled, they have less of the finest texture than a camera's. A
    network whose weights are the running mean of the training's has no statistics otherwise. See
    Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", https://arxiv.org/abs/2105.07576.

    Parameters
    ----------
    model : keras.Model
    """

    def __init__(self, model: keras.Model) -> None:
        self._layers = _batch_norm_layers(model)
        forward = functools.partial(model, training=True)
        strategy = model.distribute_strategy
        self._forward = tf.function(lambda images: strategy.run(forward, args=(images,)))

    def measure(self, images: Iterable[Any]) -> None:
        """Replace the statistics by those over all batches; without any they stay.

        Parameters
        ----------
        images : iterable of Tensor of shape (B, H, W, C), float32
            As the network takes them; batches of one size, on several devices shared by them.
        """
        momenta = [layer.momentum for layer in self._layers]
        for layer in self._layers:
            layer.momentum = 0.0  # each batch leaves its own mean and variance
        try:
            rows = [self._measure_batch(batch) for batch in images]
        finally:
            for layer, momentum in zip(self._layers, momenta, strict=True):
                layer.momentum = momentum
        for index, layer in enumerate(self._layers if rows else []):
            means = np.stack([row[index][0] for row in rows])
            variances = np.stack([row[index][1] for row in rows])
            layer.moving_mean.assign(means.mean(axis=0))
            # Of all pixels together: within the batches, and between them.
            layer.moving_variance.assign(variances.mean(axis=0) + means.var(axis=0))

    def _measure_batch(self, images: Any) -> list[tuple[Any, Any]]:
        for layer in self._layers:
            # Not forgotten otherwise where they are no numbers: 0 · NaN is NaN.
            layer.moving_mean.assign(keras.ops.zeros_like(layer.moving_mean))
            layer.moving_variance.assign(keras.ops.zeros_like(layer.moving_variance))
        self._forward(images)
        return [(own.moving_mean.numpy(), own.moving_variance.numpy()) for own in self._layers]


def _batch_norm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
