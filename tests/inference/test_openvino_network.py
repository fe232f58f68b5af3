import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from defectseg.bundle import BundleError
from defectseg.inference.keras_network import KerasNetwork
from defectseg.inference.openvino_network import OpenVinoNetwork


def some_parts(count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    parts = np.random.default_rng(1).integers(0, 256, (count, 64, 128, 1), np.uint8)
    levels = np.array([(part.mean(), 1.5 * part.std()) for part in parts], np.float32)
    return parts, levels


def test_float32_answers_as_keras_does_whatever_the_processor_could_do(bundle_folder: Path) -> None:
    # On its own OpenVINO takes bfloat16 where there is any: differences of 0.1 and more.
    network = OpenVinoNetwork(bundle_folder / "engine" / "float32.xml", 1)
    expected = KerasNetwork(bundle_folder / "model.keras").run(*some_parts())
    np.testing.assert_allclose(network.run(*some_parts()), expected, atol=1e-5)
    assert (network.name, network.precision) == ("openvino", "float32")


def test_several_threads_get_what_one_gets(bundle_folder: Path) -> None:
    network = OpenVinoNetwork(bundle_folder / "engine" / "float32.xml", 2)
    expected = network.run(*some_parts())
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda _: network.run(*some_parts()), range(20)):
            np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_damaged_files_are_named_with_the_remedy(
    bundle_folder: Path, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "engine").mkdir()
    for own in (".xml", ".bin"):
        shutil.copy(bundle_folder / "engine" / f"float32{own}", tmp_path / "engine")
    path = tmp_path / "engine" / f"float32{suffix}"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BundleError, match=r"float32\.xml cannot be run .*--format float32"):
        OpenVinoNetwork(tmp_path / "engine" / "float32.xml", 1)
