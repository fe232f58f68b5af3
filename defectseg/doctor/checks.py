"""``python -m defectseg.doctor.checks``: what runs in a process of its own; see `children`."""

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TextIO

from defectseg.config import EngineKind
from defectseg.doctor.findings import Finding, State
from defectseg.errors import DefectsegError
from defectseg.quiet import block_telemetry

ENGINE, DEVICE, BUNDLE = "engine", "device", "bundle"
_reports: TextIO | None = sys.__stdout__
_OPENVINO: tuple[Literal["float32", "int8"], ...] = ("float32", "int8")
# Rounding of 32 bits; of 8 bits, over some thousand pixels.
_FLOAT32_DIFFERENCE = 1e-3
_INT8_DIFFERENCE = 0.1
_INT8_MEAN_DIFFERENCE = 0.01
# On validation images a thousandth is refused; but this one is like none of them.
_MOST_FLIPPED = 0.01


def check_libraries(*modules: str) -> None:
    """Import modules one after the other; report each, so that a crash tells by which."""
    block_telemetry()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name in modules:
        error = ""
        try:
            importlib.import_module(name)
        except BaseException as problem:  # a library may even end the process
            error = f"{type(problem).__name__}: {problem}".splitlines()[0]
        _report({"module": name, "error": error})


def check_keras() -> None:
    """Run a network by Keras, and tell the devices that TensorFlow sees."""
    from defectseg.config import PROBABILITY, STANDARDISED
    from defectseg.doctor.tiny import images, save_keras
    from defectseg.inference.keras_network import KerasNetwork

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.keras"
        save_keras(path, STANDARDISED, PROBABILITY)
        network = KerasNetwork(path)
        answer = network.run(*images())
    for finding in _devices():
        _report(asdict(finding))
    _compare("Keras", network.precision, answer)


def check_openvino() -> None:
    """Run a network by OpenVINO, in float32 and in int8."""
    block_telemetry()
    from defectseg.doctor.tiny import images, save_openvino
    from defectseg.inference.openvino_network import OpenVinoNetwork

    with tempfile.TemporaryDirectory() as folder:
        float32, int8 = Path(folder) / "engine/float32.xml", Path(folder) / "engine/int8.xml"
        float32.parent.mkdir()
        save_openvino(float32, None)
        network = OpenVinoNetwork(float32, 1)
        _compare("OpenVINO float32", network.precision, network.run(*images()))
        save_openvino(float32, int8)
        network = OpenVinoNetwork(int8, 1)
        _compare("OpenVINO int8", network.precision, network.run(*images()))


def check_onnx() -> None:
    """Run a network by ONNX Runtime, which only what is exported for others needs."""
    import onnxruntime

    from defectseg.doctor.tiny import images, save_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.onnx"
        save_onnx(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels, levels = images()
    mean, divisor = levels.T[:, :, None, None, None]
    inputs = ((pixels - mean) / divisor).transpose(0, 3, 1, 2).astype("float32")
    _compare("ONNX Runtime", "float32", session.run(None, {"image": inputs})[0][:, 0])


def _compare(name: str, precision: str, answer: Any) -> None:
    """Report how an engine's answer differs from the one that is worked out."""
    import numpy as np

    from defectseg.doctor.tiny import work_out

    differences = np.abs(answer - work_out())
    greatest, mean = float(differences.max()), float(differences.mean())
    found = f"{precision}: a small network answers within {greatest:.1g} of what is worked out"
    rough = "int8" in name
    right = greatest < (_INT8_DIFFERENCE if rough else _FLOAT32_DIFFERENCE)
    if rough:
        right = right and mean < _INT8_MEAN_DIFFERENCE
    if right:
        _report(asdict(Finding(ENGINE, name, "ok", found)))
        return
    # Where int8 answers otherwise, export refuses it, and float32 is taken.
    state: State = "note" if rough else "fault"
    advice = "do not use it here: defectseg predict --engine float32" if rough else "do not use it"
    wrong = f"{precision}: a small network is answered wrongly, by up to {greatest:.2g}"
    _report(asdict(Finding(ENGINE, name, state, wrong, advice)))


def _devices() -> list[Finding]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    memory = _gpu_memory()
    found = [
        Finding(DEVICE, gpu.name.removeprefix("/physical_device:"), "ok", _describe(gpu, memory))
        for gpu in gpus
    ]
    if found:
        return found
    if memory:
        advice = "pip install 'tensorflow[and-cuda]', and look whether nvidia-smi works"
        return [Finding(DEVICE, "GPU", "note", f"TensorFlow does not see {memory[0]}", advice)]
    return [Finding(DEVICE, "GPU", "ok", "none: all is computed by the processor")]


def _describe(gpu: Any, memory: list[str]) -> str:
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(gpu)
    version = ".".join(map(str, details.get("compute_capability", ())))
    number = int(gpu.name.rsplit(":", 1)[-1])
    known = memory[number] if number < len(memory) else details.get("device_name", "unknown")
    return f"{known}, compute capability {version or 'unknown'}"


def _gpu_memory() -> list[str]:
    """Return each NVIDIA GPU with its memory, as its driver tells; none without one."""
    if not shutil.which("nvidia-smi"):
        return []
    asked = ["nvidia-smi", "--query-gpu=name,memory.free,memory.total", "--format=csv,noheader"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout
    rows = (line.split(", ") for line in told.splitlines() if line.count(", ") == 2)
    return [f"{name}, {free} of {total} free" for name, free, total in rows]


def check_bundle(folder: str) -> None:
    """Load a bundle and its engines, and hold their answers against those of Keras."""
    import numpy as np

    from defectseg.bundle import load_bundle
    from defectseg.inference.engines import load_engine

    try:
        bundle = load_bundle(Path(folder))
    except DefectsegError as error:
        _report(asdict(Finding(BUNDLE, folder, "fault", str(error))))
        return
    judges = bundle.calibration.engine
    products = bundle.calibration.gate.products
    found = f"whole, every hash is right; {judges} judges {', '.join(products)}"
    _report(asdict(Finding(BUNDLE, folder, "ok", found)))
    first = next(iter(products.values()))
    image = _draw(first.heights_px[0], first.widths_px[0])
    exported = [kind for kind in _OPENVINO if kind in bundle.exports]
    kinds: list[EngineKind] = [*exported, "keras"]
    above = {}
    # The one that judges comes first: where another crashes, it has been seen to answer.
    for kind in sorted(kinds, key=lambda kind: kind != judges):
        engine = load_engine(bundle.folder, bundle.config, kind)
        above[kind] = engine.probability(image) >= bundle.calibration.thresholds.pixel
        made = f" ({bundle.exports[kind].precision} where it was made)" if kind in exported else ""
        _report(asdict(Finding(BUNDLE, kind, "ok", f"{engine.precision} really runs{made}")))
    for kind in exported:
        flipped = float(np.mean(above[kind] != above["keras"]))
        _report(asdict(_judge(folder, kind, flipped, needed=kind == judges)))


def _judge(folder: str, kind: str, flipped: float, *, needed: bool) -> Finding:
    """Return what is to be said of an engine that changes a share of the pixels."""
    name = f"{kind} beside Keras"
    found = f"{100 * flipped:.2g} % of the pixels change sides"
    if flipped <= _MOST_FLIPPED:
        return Finding(BUNDLE, name, "ok", found)
    advice = (
        "its limits do not hold here: predict by --engine keras, or export it on this machine, "
        f"defectseg export --model {folder} --format {kind}"
    )
    return Finding(BUNDLE, name, "fault" if needed else "note", found, advice)


def _draw(height: int, width: int) -> Any:
    """Return an image of noise, smooth and sharp, which has something of every network's inputs."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(height, width)) for _ in range(3)]
    smooth = [cv2.GaussianBlur(layer, (0, 0), 4.0**n) * 4**n for n, layer in enumerate(layers, 1)]
    image = 128 + 10 * rng.normal(size=(height, width)) + 10 * sum(smooth)
    return np.clip(image, 0, 255).astype(np.uint8)


def _report(record: dict[str, Any]) -> None:
    print(json.dumps(record), file=_reports, flush=True)


CHECKS: dict[str, Callable[..., None]] = {
    "libraries": check_libraries,
    "keras": check_keras,
    "openvino": check_openvino,
    "onnx": check_onnx,
    "bundle": check_bundle,
}

if __name__ == "__main__":
    # What libraries print is no report, be it by Python or natively.
    _reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr):
        CHECKS[sys.argv[1]](*sys.argv[2:])
