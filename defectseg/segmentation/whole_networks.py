"""Networks that take whole images and standardise them alone: as others run what is exported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

Batch = npt.NDArray[np.float32]


class WholeNetwork:
    """An `inference.engines.Network` that goes by an image's own numbers, not by those given.

    Parameters
    ----------
    name : str
    answer : callable
        Takes ``(N, H, W, C)`` float32 in [0, 255]; returns ``(N, H, W, 1)`` float32.
    """

    precision = "float32"
    streams = 1

    def __init__(self, name: str, answer: Callable[[Batch], Any]) -> None:
        self.name = name
        self._answer = answer

    def run(self, parts: npt.NDArray[np.uint8], levels: npt.NDArray[np.float32]) -> Batch:
        """See `inference.engines.Network`."""
        return np.asarray(self._answer(parts.astype(np.float32)), np.float32)[..., 0]


def open_keras(path: Path) -> WholeNetwork:
    """Open ``model.keras``."""
    model = keras.models.load_model(path, compile=False)
    return WholeNetwork("keras", lambda images: model(images, training=False))


def open_onnx(path: Path) -> WholeNetwork:
    """Open ``network.onnx``, for ONNX Runtime."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors alone
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    return WholeNetwork("onnx", lambda images: session.run(None, {image.name: images})[0])


def open_saved_model(path: Path) -> WholeNetwork:
    """Open ``saved_model/``, as TF Serving does."""
    served = tf.saved_model.load(path)
    return WholeNetwork("saved-model", lambda images: served.serve(tf.constant(images)))
