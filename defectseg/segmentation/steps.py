"""The steps of a training, each made by all devices together.

Keras' own `fit` and `evaluate` would do on the devices of one machine. On several machines they
fail: https://github.com/keras-team/keras/issues/20585.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from defectseg.segmentation.pace import Pace


class Steps:
    """Trains and measures a compiled network, epoch by epoch.

    Parameters
    ----------
    model : keras.Model
        As of `training.compile_model`.
    """

    def __init__(self, model: keras.Model) -> None:
        strategy = model.distribute_strategy

        def together(step: Any) -> Any:
            return tf.function(
                lambda batch: strategy.run(step, args=(batch,)),
                jit_compile=model.jit_compile,
                reduce_retracing=True,
                autograph=False,
            )

        self._model = model
        self._train_step = together(model.train_step)
        self._measuring_step = together(self._measure_part)
        with strategy.scope():
            self._loss = keras.metrics.Mean("loss")

    def train(self, batches: Iterable[Any], pace: Pace) -> dict[str, float]:
        """Train on batches until they end, or the time is up.

        Returns
        -------
        dict of str to float
            Mean loss and metrics over these batches.
        """
        self._model.reset_metrics()
        for number, batch in enumerate(batches):
            self._model.optimizer.learning_rate = pace.begin(number)
            parts = self._train_step(batch)
            # Each device has the same loss, that of the whole batch.
            loss = self._model.distribute_strategy.experimental_local_results(parts["loss"])[0]
            if pace.end(number, float(loss)):
                break
        return _as_numbers(self._model.get_metrics_result())

    def measure(self, batches: Iterable[Any]) -> dict[str, float]:
        """Return mean loss and metrics over all batches."""
        self._model.reset_metrics()
        self._loss.reset_state()
        for batch in batches:
            self._measuring_step(batch)
        return _as_numbers(self._model.get_metrics_result() | {"loss": self._loss.result()})

    def _measure_part(self, batch: Any) -> None:
        images, masks = batch
        answers = self._model(images, training=False)
        # What fills a batch up counts for nothing.
        counted = ops.any(masks >= 0, axis=(1, 2, 3))
        self._loss.update_state(
            self._model.loss.call(masks, answers), ops.sum(ops.cast(counted, "float32"))
        )
        self._model.compute_metrics(images, masks, answers)


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the running mean of the weights in their place, if the optimiser keeps one.

    It is what is measured and kept; the training goes on from where it was.
    """
    trained = [variable.numpy() for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    yield
    for variable, weights in zip(model.trainable_variables, trained, strict=True):
        variable.assign(weights)


def _as_numbers(results: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in results.items()}
