"""The network in Keras: the only module of prediction that loads TensorFlow."""

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from defectseg.config import PROBABILITY, STANDARDISED
from defectseg.image_io import standardise


class KerasNetwork:
    """Runs ``model.keras`` as one traced function; see `engines.Network`.

    Parameters
    ----------
    path : Path
    """

    name = "keras"
    streams = 1

    def __init__(self, path: Path) -> None:
        model = keras.models.load_model(path, compile=False)
        behind = keras.Model(
            model.get_layer(STANDARDISED).output, model.get_layer(PROBABILITY).output
        )
        # Of any size, so that it is traced once.
        signature = tf.TensorSpec((None, None, None, model.input_shape[-1]), tf.float32)
        self._run = tf.function(
            lambda inputs: behind(inputs, training=False),
            input_signature=[signature],
            autograph=False,
        )
        rounded = tf.config.list_logical_devices("GPU") and (
            tf.config.experimental.tensor_float_32_execution_enabled()
        )
        self.precision = "tensorfloat32" if rounded else "float32"

    def run(
        self, parts: npt.NDArray[np.uint8], levels: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """See `engines.Network`."""
        means, divisors = levels.T[:, :, None, None, None]
        inputs = standardise(parts, (means, divisors))
        return np.asarray(self._run(tf.constant(inputs)))[..., 0]
