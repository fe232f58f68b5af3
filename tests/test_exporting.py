import shutil
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from defectseg.bundle import Bundle, load_bundle
from defectseg.dataset.manifest import divide, read_manifest
from defectseg.evaluation import parity
from defectseg.exporting import add_exports
from defectseg.image_io import read_image
from defectseg.segmentation import export

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(bundle_folder, folder, ignore=shutil.ignore_patterns("checkpoints"))
    return load_bundle(folder)


@pytest.fixture(scope="module")
def exported(bundle: Bundle, prepared: Path) -> Bundle:
    split = divide(read_manifest(prepared))
    measured = add_exports(bundle, ["onnx", "saved-model"], split["train"], split["val"])
    assert {name: own.refused for name, own in measured.items()} == {
        "onnx": "",
        "saved-model": "",
    }
    return load_bundle(bundle.folder)  # whole again, with the new parts


def test_what_was_exported_is_in_the_bundle(exported: Bundle) -> None:
    assert {"onnx", "saved-model", "float32"} <= exported.exports.keys()
    assert exported.exports["onnx"].greatest_difference < 1e-3
    sums = (exported.folder / "SHA256SUMS").read_text()
    assert "engine/network.onnx" in sums
    assert "engine/saved_model/saved_model.pb" in sums
    assert not [path for path in exported.folder.iterdir() if path.name.startswith(".")]


def test_other_runtimes_answer_whole_images_as_keras_does(exported: Bundle, prepared: Path) -> None:
    image = read_image(read_manifest(prepared)[0].image)[None, ..., None]
    pixels = image.astype(np.float32)
    model = keras.models.load_model(exported.folder / "model.keras", compile=False)
    expected = np.asarray(model(pixels))
    session = onnxruntime.InferenceSession(exported.folder / "engine" / "network.onnx")
    (answer,) = session.run(None, {"image": pixels})
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    loaded = tf.saved_model.load(exported.folder / "engine" / "saved_model")
    np.testing.assert_allclose(loaded.serve(pixels), expected, atol=1e-4)


def test_what_differs_too_much_is_refused_and_what_was_there_stays(
    exported: Bundle, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (exported.folder / "engine" / "float32.bin").stat().st_mtime_ns
    monkeypatch.setattr(parity, "LEAST_AGREEMENT", 1.1)
    split = divide(read_manifest(prepared))
    measured = add_exports(exported, ["float32"], split["train"], split["val"])
    assert "verdicts agree in 100.0 % of the images, not 110 %" in measured["float32"].refused
    assert (exported.folder / "engine" / "float32.bin").stat().st_mtime_ns == before
    assert load_bundle(exported.folder).exports["float32"].refused == ""


def test_an_interrupted_export_leaves_the_bundle_as_it_was(
    exported: Bundle, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "export_network", stop)
    split = divide(read_manifest(prepared))
    with pytest.raises(KeyboardInterrupt):
        add_exports(exported, ["float32"], split["train"], split["val"])
    load_bundle(exported.folder)
    assert not [path for path in exported.folder.iterdir() if path.name.startswith(".")]
