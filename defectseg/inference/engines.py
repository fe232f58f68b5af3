"""The seam between prediction and whatever runs the network."""

import ctypes.util
import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from defectseg.bundle import ENGINE, MODEL, Bundle, BundleError
from defectseg.config import Config, EngineKind
from defectseg.image_io import measure_levels, pad_to_multiple, to_channels, to_gray
from defectseg.inference.tiling import map_windows
from defectseg.processor import count_cores
from defectseg.quiet import quiet_stderr

# So many pixels at once: more are no faster, and take more memory.
_BATCH_PX = 1 << 20
Levels = tuple[float, float]


class Engine(Protocol):
    """Answers images."""

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

    def probabilities(
        self, images: Sequence[npt.NDArray[np.uint8]]
    ) -> list[npt.NDArray[np.float32]]:
        """Return the same of several images, faster where they are small and of one shape."""


class Network(Protocol):
    """Runs a bundle's network, behind its own standardising; may be called by several threads."""

    name: str
    precision: str
    streams: int  # so many calls at once are faster than one after the other

    def run(
        self, parts: npt.NDArray[np.uint8], levels: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return the probabilities of parts of images.

        Parameters
        ----------
        parts : ndarray of shape (N, H, W, C), uint8
            H and W multiples of the network's.
        levels : ndarray of shape (N, 2), float32
            Mean and divisor that standardise each, those of its whole image: a window, or what is
            padded, goes by the image's numbers. See `image_io.measure_levels`.

        Returns
        -------
        ndarray of shape (N, h, w), float32
            In [0, 1], of the resolution that the network computes at: the parts' own, or coarser by
            a power of two.
        """


class NetworkEngine:
    """Answers images of any size by a network: padded, in windows, mirrored, in batches.

    Parameters
    ----------
    network : Network
    config : Config
        Of the bundle.
    """

    def __init__(self, network: Network, config: Config) -> None:
        self._network = network
        self._channels = config.model.channels
        self._multiple = config.model.multiple
        self._window_px = config.window_px
        both = (slice(None), slice(None, None, -1))
        self._views = [
            (rows, columns)
            for rows in (both if config.inference.flips else both[:1])
            for columns in (both if config.inference.flips else both[:1])
        ]
        self.name = network.name
        self.precision = network.precision

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See `Engine`."""
        return self.probabilities([image])[0]

    def probabilities(
        self, images: Sequence[npt.NDArray[np.uint8]]
    ) -> list[npt.NDArray[np.float32]]:
        """See `Engine`."""
        if len({image.shape for image in images}) > 1 or not self._fits_a_window(images[0]):
            return [self._answer_windows(image) for image in images]
        height, width = images[0].shape[:2]
        prepared = [self._prepare(image) for image in images]
        parts = [part for part, _ in prepared]
        answers = self._run(parts, [levels for _, levels in prepared])
        return [_enlarge(answer, len(parts[0]))[:height, :width] for answer in answers]

    def _fits_a_window(self, image: npt.NDArray[np.uint8]) -> bool:
        # Padding brings it to the window's side at most, which is a multiple itself.
        return bool(max(image.shape[:2]) <= self._window_px)

    def _prepare(self, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Levels]:
        inputs = to_gray(image) if self._channels == 1 else image
        return pad_to_multiple(inputs, self._multiple), measure_levels(inputs)

    def _answer_windows(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        height, width = image.shape[:2]
        padded, levels = self._prepare(image)
        answer = map_windows(
            lambda parts: self._run(parts, [levels] * len(parts)),
            padded,
            self._window_px,
            self._multiple,
        )
        return _enlarge(answer, len(padded))[:height, :width]

    def _run(
        self, parts: Sequence[npt.NDArray[np.uint8]], levels: Sequence[Levels]
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the answer to each part, all of one shape, batch by batch."""
        height, width = parts[0].shape[:2]
        count = max(1, _BATCH_PX // (height * width * len(self._views)))

        def run(start: int) -> npt.NDArray[np.float32]:
            chosen = slice(start, start + count)
            return self._run_views(parts[chosen], np.array(levels[chosen], np.float32))

        starts = range(0, len(parts), count)
        at_once = self._network.streams
        if at_once == 1 or len(starts) == 1:
            for start in starts:
                yield from run(start)
            return
        with ThreadPoolExecutor(at_once) as pool:
            for first in range(0, len(starts), at_once):  # no more answers than are being made
                for batch in pool.map(run, starts[first : first + at_once]):
                    yield from batch

    def _run_views(
        self, parts: Sequence[npt.NDArray[np.uint8]], levels: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return the mean over the mirror images of each part, turned back."""
        stack = np.stack([to_channels(part, self._channels) for part in parts])
        views = [np.ascontiguousarray(stack[:, rows, columns]) for rows, columns in self._views]
        if len(views) == 1:
            return self._network.run(stack, levels)
        if stack[..., 0].size * len(views) <= _BATCH_PX:
            together = self._network.run(np.concatenate(views), np.tile(levels, (len(views), 1)))
            answers = np.split(together, len(views))
        else:
            answers = [self._network.run(view, levels) for view in views]
        turned = [
            answer[:, rows, columns]
            for answer, (rows, columns) in zip(answers, self._views, strict=True)
        ]
        return np.asarray(np.mean(turned, axis=0), np.float32)


def _enlarge(answer: npt.NDArray[np.float32], height: int) -> npt.NDArray[np.float32]:
    """Return an answer in its image's size, interpolated linearly as the trained network does."""
    while len(answer) < height:
        enlarged = cv2.resize(answer, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        answer = np.asarray(enlarged, np.float32)
    return answer


def load_engine(
    folder: Path,
    config: Config,
    kind: EngineKind,
    *,
    streams: int | None = None,
    cores: int | None = None,
) -> Engine:
    """Return the engine that runs the network of a bundle.

    Parameters
    ----------
    folder : Path
        Of the bundle, or of a training that is to become one.
    config : Config
        Its settings.
    kind : str
        ``"int8"`` or ``"float32"`` by OpenVINO, on the CPU; ``"keras"``.
    streams : int or None
        How many calls run at once, on the CPU: one after the other answers the single image
        soonest, one for each core the most images. None: one for each core.
    cores : int or None
        How many of the processor's cores OpenVINO uses. None: all that this process may use.
    """
    if kind == "keras":
        with quiet_stderr():  # imported here: TensorFlow takes seconds to load
            from defectseg.inference.keras_network import KerasNetwork

        return NetworkEngine(KerasNetwork(folder / MODEL), config)
    from defectseg.inference.openvino_network import OpenVinoNetwork

    own = cores or count_cores()
    network = OpenVinoNetwork(folder / ENGINE / f"{kind}.xml", streams or own, cores=cores)
    return NetworkEngine(network, config)


def choose_engine(bundle: Bundle, wanted: EngineKind | Literal["auto"]) -> EngineKind:
    """Return the engine for this machine.

    Parameters
    ----------
    bundle : Bundle
    wanted : str
        ``"auto"``: Keras where TensorFlow finds a GPU, otherwise the engine that the limits were
        set with.

    Raises
    ------
    BundleError
        If it is not in the bundle, or was refused; see `evaluation.parity`.
    """
    if wanted == "auto":
        return "keras" if _has_gpu() else bundle.calibration.engine
    if wanted != "keras" and wanted not in bundle.exports:
        raise BundleError(
            f"{bundle.folder} holds no network {wanted!r}; it has keras, "
            f"{', '.join(bundle.exports) or 'and no other'}. Export it: defectseg export --model "
            f"{bundle.folder} --format {wanted}."
        )
    return wanted


def _has_gpu() -> bool:
    """Tell whether there is an NVIDIA GPU that TensorFlow can use, without loading it."""
    if not shutil.which("nvidia-smi"):
        return False
    try:
        return importlib.util.find_spec("nvidia.cudnn") is not None
    except ModuleNotFoundError:
        return ctypes.util.find_library("cudnn") is not None
