"""A network of three layers, small enough to be worked out in NumPy beside any engine."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Kernel = npt.NDArray[np.float32]  # (3, 3, channels in, channels out)

_WIDTHS = (1, 16, 16, 1)
_SIDE = 128
_BATCH = 2


def kernels() -> list[Kernel]:
    """Return the weights, the same ones every time."""
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(3, 3, ins, outs)) * np.sqrt(2 / (9 * ins))).astype(np.float32)
        for ins, outs in pairwise(_WIDTHS)
    ]


def images() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return images, and the numbers that standardise them, as `engines.Network.run` takes them."""
    pixels = np.random.default_rng(1).integers(0, 256, (_BATCH, _SIDE, _SIDE, 1), np.uint8)
    return pixels, np.full((_BATCH, 2), (127.5, 74.0), np.float32)


def work_out() -> npt.NDArray[np.float32]:
    """Return the answer to `images`, worked out without any engine."""
    pixels, levels = images()
    hidden = (pixels - levels[:, 0, None, None, None]) / levels[:, 1, None, None, None]
    for kernel in kernels()[:-1]:
        hidden = np.maximum(_convolve(hidden, kernel), 0)
    logits = _convolve(hidden, kernels()[-1])[..., 0]
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _convolve(hidden: npt.NDArray[Any], kernel: Kernel) -> npt.NDArray[Any]:
    padded = np.pad(hidden, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.asarray(np.einsum("nyxcij,ijco->nyxo", windows, kernel, optimize=True))


def save_keras(path: Path, image: str, probability: str) -> None:
    """Write the network for Keras, with these names of its first layer and its last."""
    import keras

    entry = keras.Input((None, None, 1))
    hidden = keras.layers.Identity(name=image)(entry)
    for kernel in kernels()[:-1]:
        hidden = _keras_layer(kernel, "relu")(hidden)
    logits = _keras_layer(kernels()[-1], None)(hidden)
    model = keras.Model(entry, keras.layers.Activation("sigmoid", name=probability)(logits))
    model.set_weights(kernels())
    model.save(path)


def _keras_layer(kernel: Kernel, activation: str | None) -> Any:
    from keras.layers import Conv2D

    return Conv2D(kernel.shape[-1], 3, padding="same", use_bias=False, activation=activation)


def save_openvino(float32: Path, int8: Path | None) -> None:
    """Write the network for OpenVINO, quantised as well if a path is named for it."""
    import openvino as ov

    model = _build_openvino(kernels())
    ov.save_model(model, float32, compress_to_fp16=False)
    if int8 is None:
        return
    import nncf

    pixels, levels = images()
    shown = nncf.Dataset([{"image": pixels, "levels": levels}])
    ov.save_model(nncf.quantize(model, shown, subset_size=1), int8, compress_to_fp16=False)


def _build_openvino(layers: Sequence[Kernel]) -> Any:
    import openvino as ov
    from openvino import opset13 as ops

    image = ops.parameter([-1, -1, -1, 1], np.uint8, name="image")
    levels = ops.parameter([-1, 2], np.float32, name="levels")
    shape = ops.constant([-1, 1, 1, 1], np.int64)
    mean, divisor = (
        ops.reshape(ops.gather(levels, ops.constant(place), ops.constant(1)), shape, False)
        for place in (0, 1)
    )
    planes = ops.transpose(ops.convert(image, np.float32), ops.constant([0, 3, 1, 2]))
    hidden = ops.divide(ops.subtract(planes, mean), divisor)
    for number, kernel in enumerate(layers, 1):
        weights = ops.constant(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        hidden = ops.convolution(hidden, weights, [1, 1], [1, 1], [1, 1], [1, 1])
        hidden = ops.relu(hidden) if number < len(layers) else ops.sigmoid(hidden)
    answer = ops.transpose(hidden, ops.constant([0, 2, 3, 1]))
    return ov.Model([answer], [image, levels], "tiny")


def save_onnx(path: Path) -> None:
    """Write the network as ONNX, of standardised images with the channel first."""
    from onnx import TensorProto, helper, numpy_helper, save

    nodes, hidden = [], "image"
    layers = len(_WIDTHS) - 1
    for number in range(1, layers + 1):
        nodes += [
            helper.make_node("Conv", [hidden, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]),
            helper.make_node(
                "Sigmoid" if number == layers else "Relu", [f"c{number}"], [f"h{number}"]
            ),
        ]
        hidden = f"h{number}"
    weights = [
        numpy_helper.from_array(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), f"w{number}")
        for number, kernel in enumerate(kernels(), 1)
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1, None, None])
        for name in ("image", hidden)
    ]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], weights)
    # Older ones are understood by every runtime.
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
