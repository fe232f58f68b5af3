"""The Keras engine: the only module of prediction that loads TensorFlow."""

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from defectseg.config import ModelSettings
from defectseg.image_io import pad_to_multiple, to_channels
from defectseg.inference.tiling import map_tiles


class KerasEngine:
    """Runs ``model.keras`` as one traced function, tile by tile where an image is large.

    Parameters
    ----------
    model : Path
        ``model.keras`` of a bundle.
    settings : ModelSettings
        Those it was built with.
    """

    name = "keras"
    precision = "float32"

    def __init__(self, model: Path, settings: ModelSettings) -> None:
        network = keras.models.load_model(model, compile=False)
        self._settings = settings
        shape = (1, None, None, self._settings.channels)
        self._run = tf.function(
            lambda inputs: network(inputs, training=False),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
            autograph=False,
        )

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `engines.Engine`."""
        return map_tiles(self._probability, image)

    def _probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        height, width = image.shape[:2]
        inputs = to_channels(
            pad_to_multiple(image, self._settings.multiple), self._settings.channels
        )
        outputs = self._run(tf.constant(inputs[None], tf.float32)).numpy()
        return np.ascontiguousarray(outputs[0, :height, :width, 0])
