"""The seam between prediction and whatever runs the network."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from defectseg.config import Config
from defectseg.quiet import quiet_stderr


class Engine(Protocol):
    """Runs a bundle's network on one image."""

    name: str
    precision: str

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probability of a defect at each pixel.

        Parameters
        ----------
        image : ndarray of shape (H, W) or (H, W, 3), uint8
            Of any size.

        Returns
        -------
        ndarray of shape (H, W), float32
            In [0, 1].
        """


class FlippedEngine:
    """Answers with the mean over the image and its three mirror images: slower, and steadier.

    Parameters
    ----------
    engine : Engine
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = f"{engine.name}, mirrored"
        self.precision = engine.precision

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Engine`."""
        forwards, backwards = slice(None), slice(None, None, -1)
        total = np.zeros(image.shape[:2], np.float32)
        for rows in (forwards, backwards):
            for columns in (forwards, backwards):
                mirrored = np.ascontiguousarray(image[rows, columns])
                total += self._engine.probability(mirrored)[rows, columns]
        return total / np.float32(4)


def load_engine(model: Path, config: Config) -> Engine:
    """Return the engine for this machine, with the network of a bundle loaded."""
    with quiet_stderr():  # imported here: TensorFlow takes seconds to load
        from defectseg.inference.keras_engine import KerasEngine

    engine = KerasEngine(model, config.model, config.inference.window_px)
    return FlippedEngine(engine) if config.inference.flips else engine
