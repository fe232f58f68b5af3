"""Engines whose answers can be drawn, for tests of what is around a network."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class _OneByOne:
    def probabilities(
        self, images: Sequence[npt.NDArray[np.uint8]]
    ) -> list[npt.NDArray[np.float32]]:
        return [self.probability(image) for image in images]

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        raise NotImplementedError


class Brightness(_OneByOne):
    """Takes bright pixels for defects; fails where the first pixel is 1, answers NaN where 2."""

    name, precision = "brightness", "float32"

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if image[0, 0] == 1:
            raise RuntimeError("the network\nfailed")
        probability = image.astype(np.float32) / np.float32(255)
        return probability * np.float32(np.nan if image[0, 0] == 2 else 1)


class Empty(_OneByOne):
    """Never finds anything."""

    name, precision = "empty", "float32"

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.zeros(image.shape, np.float32)
