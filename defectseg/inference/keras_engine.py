"""The Keras engine: the only module of prediction that loads TensorFlow."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from defectseg.config import STANDARDISED, ModelSettings
from defectseg.image_io import measure_levels, pad_to_multiple, standardise, to_channels
from defectseg.inference.tiling import map_windows


class KerasEngine:
    """Runs ``model.keras`` as one traced function, window by window where an image is larger.

    Parameters
    ----------
    model : Path
        ``model.keras`` of a bundle.
    settings : ModelSettings
        Those it was built with.
    window_px : int
        Side of the windows; see `tiling.map_windows`.
    """

    name = "keras"
    precision = "float32"

    def __init__(self, model: Path, settings: ModelSettings, window_px: int) -> None:
        network = keras.models.load_model(model, compile=False)
        self._settings = settings
        self._window_px = window_px
        # Behind its own standardising: a window, or what is padded, goes by the image's numbers.
        self._run = self._trace(keras.Model(network.get_layer(STANDARDISED).output, network.output))

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `engines.Engine`."""
        inputs = to_channels(image, self._settings.channels)
        levels = measure_levels(inputs)

        def run(part: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            height, width = part.shape[:2]
            padded = pad_to_multiple(standardise(part, levels), self._settings.multiple)
            outputs = self._run(tf.constant(padded[None])).numpy()
            return np.ascontiguousarray(outputs[0, :height, :width, 0])

        return map_windows(run, inputs, self._window_px)

    def _trace(self, network: keras.Model) -> Any:
        # Of any size, so that it is traced once.
        shape = (1, None, None, self._settings.channels)
        return tf.function(
            lambda inputs: network(inputs, training=False),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
            autograph=False,
        )
