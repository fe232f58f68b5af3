"""The exported network in OpenVINO, on the CPU: it starts at once, and needs no TensorFlow."""

import threading
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defectseg.bundle import BundleError
from defectseg.quiet import block_telemetry

block_telemetry()
import openvino as ov  # noqa: E402
from openvino import properties  # noqa: E402
from openvino.properties import hint  # noqa: E402

_SIDE = 128  # of an image that every network takes


@cache
def _open_core() -> ov.Core:
    """Return the library's core, one for all networks.

    With the last core the library's plugin would be unloaded, whose threads may be at work still.
    """
    return ov.Core()


class OpenVinoNetwork:
    """Runs an exported network; see `engines.Network`.

    Parameters
    ----------
    path : Path
        An ``.xml`` with its ``.bin`` beside it, of `segmentation.export`.
    streams : int
        How many threads may run it at once; the cores are shared out among them.
    cores : int or None
        How many of them. None: all that this process may use.

    Raises
    ------
    BundleError
        If the files cannot be read as a network.
    """

    name = "openvino"

    def __init__(self, path: Path, streams: int, *, cores: int | None = None) -> None:
        core = _open_core()
        try:
            self._compiled = core.compile_model(
                # Not mapped: its files may be replaced while it runs.
                core.read_model(path, config={properties.enable_mmap: False}),
                "CPU",
                {
                    # On its own it takes bfloat16 where the processor has it.
                    hint.inference_precision: ov.Type.f32,
                    properties.num_streams: streams,
                    **({properties.inference_num_threads: cores} if cores else {}),
                    # Other threads of ours run beside it.
                    hint.enable_cpu_pinning: False,
                },
            )
        except RuntimeError as error:
            raise BundleError(
                f"{path} cannot be run by OpenVINO {ov.__version__}: "
                f"{str(error).strip().splitlines()[-1]}. Export it anew: defectseg export --model "
                f"{path.parent.parent} --format {path.stem}."
            ) from error
        self.streams = streams
        self.precision = self._read_precision()
        self._own = threading.local()
        # Once in this thread alone: where two threads are the first to hand it arrays, the library
        # sets itself up in both, and each waits for the other for ever.
        channels = self._compiled.inputs[0].partial_shape[3].get_length()
        self.run(np.zeros((1, _SIDE, _SIDE, channels), np.uint8), np.ones((1, 2), np.float32))

    def run(
        self, parts: npt.NDArray[np.uint8], levels: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """See `engines.Network`."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        answers = self._own.request.infer([parts, levels], share_inputs=True)
        return np.asarray(answers[0])[..., 0]

    def _read_precision(self) -> str:
        """Return the precision that the convolutions really run with, that of most of them."""
        counts = Counter(
            str(operation.get_rt_info()["runtimePrecision"].astype(str))
            for operation in self._compiled.get_runtime_model().get_ops()
            if operation.get_rt_info()["layerType"].astype(str) == "Convolution"
        )
        names = {"i8": "int8", "u8": "int8", "f32": "float32"}
        precision = counts.most_common(1)[0][0] if counts else "f32"
        return names.get(precision.lower(), precision)
