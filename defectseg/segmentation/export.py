"""The trained network for other runtimes: OpenVINO in float32 and int8, ONNX, SavedModel."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from defectseg.bundle import MODEL
from defectseg.config import Config, ExportFormat
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_sample_image
from defectseg.errors import ConfigError
from defectseg.image_io import measure_levels, pad_to_multiple, to_channels
from defectseg.quiet import block_telemetry
from defectseg.segmentation.deploy import IMAGE, LEVELS, deploy

block_telemetry()
import openvino as ov  # noqa: E402

# Images that show int8 which numbers occur: NNCF asks for some hundreds, of classification's size.
_CALIBRATION_IMAGES = 64
_LARGEST_PX = 1024


def export_network(
    run: Path, config: Config, formats: Sequence[ExportFormat], train: Sequence[Sample], to: Path
) -> None:
    """Write the network of a run in other formats.

    Parameters
    ----------
    run : Path
        With ``model.keras``.
    config : Config
        Its settings.
    formats : sequence of str
        ``"float32"``: OpenVINO, ``float32.xml`` and ``.bin``. ``"int8"``: the same, quantised
        after training (NNCF). Both take uint8 images, or parts of them, and levels; see
        `deploy.deploy`. ``"onnx"``: ``network.onnx``, and ``"saved-model"``: ``saved_model/``,
        which take whole images, ``(N, H, W, C)`` float32 in [0, 255].
    train : sequence of Sample
        Training images, by which int8 is fitted.
    to : Path
        A folder.

    Raises
    ------
    ConfigError
        If a library that a format needs is not installed.
    """
    network = keras.models.load_model(run / MODEL, compile=False)
    if {"float32", "int8"} & set(formats):
        converted = _to_openvino(deploy(network, config.model))
        if "float32" in formats:
            ov.save_model(converted, to / "float32.xml", compress_to_fp16=False)
        if "int8" in formats:
            quantised = _quantise(converted, choose_calibration_images(train), config)
            ov.save_model(quantised, to / "int8.xml", compress_to_fp16=False)
    if {"onnx", "saved-model"} & set(formats):
        whole = deploy(network, config.model, own_levels=True)
        # Keras exports to ONNX only what was called once.
        whole(np.zeros((1, *2 * [config.model.multiple], config.model.channels), np.float32))
        if "onnx" in formats:
            _save_onnx(whole, to / "network.onnx")
        if "saved-model" in formats:
            whole.export(to / "saved_model", format="tf_saved_model", verbose=False)


def choose_calibration_images(train: Sequence[Sample]) -> list[Sample]:
    """Return the images by which int8 is fitted: defective ones alone.

    The others lack the extremes that mean a defect, and int8 has to hold those. In the order of
    their hashes, so that every product and kind has its share.
    """
    ordered = sorted(train, key=lambda sample: sample.sha256)
    return [sample for sample in ordered if sample.defective][:_CALIBRATION_IMAGES]


def _to_openvino(deployed: keras.Model) -> ov.Model:
    converted = ov.convert_model(deployed)
    # A quarter of the memory; the network makes floats of them itself.
    processor = ov.preprocess.PrePostProcessor(converted)
    processor.input(IMAGE).tensor().set_element_type(ov.Type.u8)
    return processor.build()


def _quantise(model: ov.Model, samples: Sequence[Sample], config: Config) -> ov.Model:
    import nncf  # here, for it takes seconds to load
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    def prepare(sample: Sample) -> dict[str, npt.NDArray[Any]]:
        image = to_channels(read_sample_image(sample), config.model.channels)
        part = image[:_LARGEST_PX, :_LARGEST_PX]
        return {
            IMAGE: pad_to_multiple(part, config.model.multiple)[None],
            LEVELS: np.array([measure_levels(image)], np.float32),
        }

    # From the least to the greatest number of all images: NNCF's default, the mean of each image's
    # extremes, cuts off the strongest answers, and changes five times the pixels.
    ranges = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
    )
    # NNCF's own setter would also set whatever handlers others have put to its logger.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    # Its progress bars; in a notebook they ask for a package instead.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "install .ipywidgets.", UserWarning)
        return nncf.quantize(
            model,
            nncf.Dataset(list(samples), prepare),
            subset_size=len(samples),
            # Standardising stays as it is: 8 bits would hold no image that is brighter than these.
            ignored_scope=nncf.IgnoredScope(types=["Subtract", "Divide"]),
            advanced_parameters=ranges,
        )


def _save_onnx(whole: keras.Model, path: Path) -> None:
    try:
        import onnx  # noqa: F401 - what Keras needs for it
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"The format onnx needs {error.name}, which is not installed: pip install onnx "
            "onnxruntime tf2onnx."
        ) from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # of Keras' own tf2onnx
        whole.export(path, format="onnx", verbose=False)
