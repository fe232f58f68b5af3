"""The seam between prediction and whatever runs the network."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from defectseg.config import ModelSettings
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


def load_engine(model: Path, settings: ModelSettings) -> Engine:
    """Return the engine for this machine, with the network of a bundle loaded."""
    with quiet_stderr():  # imported here: TensorFlow takes seconds to load
        from defectseg.inference.keras_engine import KerasEngine

    return KerasEngine(model, settings)
