import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from defectseg.bundle import BundleError, load_bundle
from defectseg.config import Config, parse_config
from defectseg.inference import engines
from defectseg.inference.engines import NetworkEngine, choose_engine, load_engine

Part = npt.NDArray[np.uint8]
Answer = npt.NDArray[np.float32]


def settings(*, flips: bool = False, window_px: int = 64, channels: int = 1) -> Config:
    return parse_config(
        {
            "data": "data",
            "run": "run",
            "model": {"channels": channels, "downscale": 1},
            "inference": {"flips": flips, "window_px": window_px},
        },
        "the test's settings",
    )


class Recorder:
    """A network whose answer is the gray level, standardised, and 9 in the first pixel."""

    name, precision = "recorder", "float32"

    def __init__(self, streams: int = 1) -> None:
        self.streams = streams
        self.shapes: list[tuple[int, ...]] = []
        self.levels: list[list[float]] = []

    def run(self, parts: Part, levels: Answer) -> Answer:
        self.shapes.append(parts.shape)
        self.levels += levels.tolist()
        answers = (parts[..., 0] - levels[:, :1, None]) / levels[:, 1:, None]
        answers[:, 0, 0] = 9
        return answers.astype(np.float32)


def noise(*shape: int, seed: int = 0) -> Part:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_mirrored_answers_are_turned_back_before_the_mean() -> None:
    image = np.zeros((32, 64), np.uint8)
    image[1, 2] = 204
    network = Recorder()
    answer = NetworkEngine(network, settings(flips=True)).probability(image)
    expected = (image - image.mean()) / image.std()
    corners = expected[[0, 0, -1, -1], [0, -1, 0, -1]]
    # Each corner is the first pixel of one of the four views.
    expected[[0, 0, -1, -1], [0, -1, 0, -1]] = (3 * corners + 9) / 4
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    assert answer.dtype == np.float32
    assert network.shapes == [(4, 32, 64, 1)]  # all views at once


def test_images_are_padded_to_the_grid_and_cut_to_their_size() -> None:
    network = Recorder()
    image = noise(33, 50)
    answer = NetworkEngine(network, settings()).probability(image)
    assert network.shapes == [(1, 64, 64, 1)]
    expected = (image - image.mean()) / image.std()  # padding is not among its numbers
    np.testing.assert_allclose(answer[1:], expected[1:], atol=1e-5)
    assert answer.shape == (33, 50)


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("flips", [False, True])
def test_a_large_image_is_seen_through_windows_that_go_by_its_own_numbers(
    streams: int, flips: bool
) -> None:
    image = np.tile(np.linspace(0, 255, 300).astype(np.uint8), (100, 1))
    network = Recorder(streams)
    answer = NetworkEngine(network, settings(flips=flips)).probability(image)
    assert {shape[1:] for shape in network.shapes} == {(64, 64, 1)}
    assert {tuple(own) for own in network.levels} == {
        (np.float32(image.mean()), np.float32(image.std()))
    }
    expected = (image - image.mean()) / image.std()
    # The first pixel of a window is not heard, but for the image's own corners.
    np.testing.assert_allclose(answer[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-4)


def test_images_of_one_size_are_answered_together_and_each_by_its_own_numbers() -> None:
    images = [noise(20, 40, seed=seed) // (seed + 1) for seed in range(3)]
    network = Recorder()
    together = NetworkEngine(network, settings()).probabilities(images)
    assert network.shapes == [(3, 32, 64, 1)]
    for image, answer in zip(images, together, strict=True):
        np.testing.assert_array_equal(
            answer, NetworkEngine(Recorder(), settings()).probability(image)
        )


def test_images_of_several_sizes_are_answered_one_by_one() -> None:
    images = [noise(20, 40), noise(40, 20), noise(20, 40, 3)]
    answers = NetworkEngine(Recorder(), settings()).probabilities(images)
    assert [answer.shape for answer in answers] == [(20, 40), (40, 20), (20, 40)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(20, 40), (20, 40, 3), (100, 70), (100, 70, 3)])
def test_gray_and_colour_come_as_the_network_takes_them(
    channels: int, shape: tuple[int, ...]
) -> None:
    network = Recorder()
    answer = NetworkEngine(network, settings(channels=channels)).probability(noise(*shape))
    assert {own[-1] for own in network.shapes} == {channels}
    assert answer.shape == shape[:2]


def test_no_batch_holds_more_pixels_than_are_faster_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "_BATCH_PX", 3 * 64 * 64)
    network = Recorder()
    NetworkEngine(network, settings()).probability(noise(64, 64 + 4 * 32))  # five windows
    assert [shape[0] for shape in network.shapes] == [3, 2]
    network.shapes.clear()
    NetworkEngine(network, settings(flips=True)).probability(noise(64, 64))
    assert [shape[0] for shape in network.shapes] == [1, 1, 1, 1]


def test_windows_of_a_real_network_answer_as_the_whole_image_does(bundle_folder: Path) -> None:
    config = load_bundle(bundle_folder).config
    # Windows of 1600 pixels overlap by 768.
    whole, windows = (
        load_engine(
            bundle_folder,
            config.model_copy(
                update={"inference": config.inference.model_copy(update={"window_px": side})}
            ),
            "float32",
        )
        for side in (3840, 1600)
    )
    image = noise(256, 3840) // 4 + np.linspace(0, 190, 3840).astype(np.uint8)
    expected = whole.probability(image)
    assert expected.std() > 0.01
    np.testing.assert_allclose(windows.probability(image), expected, atol=1e-3)


def test_the_bundle_says_what_runs_it_where_there_is_no_gpu(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(bundle_folder)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert choose_engine(bundle, "auto") == bundle.calibration.engine
    assert choose_engine(bundle, "float32") == "float32"
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object())
    assert choose_engine(bundle, "auto") == "keras"


def test_a_network_that_is_not_in_the_bundle_is_refused(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    bundle.exports.pop("int8", None)
    with pytest.raises(BundleError, match=r"no network 'int8'; it has keras, float32\..*--format"):
        choose_engine(bundle, "int8")


def test_prediction_loads_neither_tensorflow_nor_what_reports_to_its_maker(
    bundle_folder: Path, prepared: Path, tmp_path: Path
) -> None:
    code = f"""
import sys
from pathlib import Path
from defectseg.bundle import load_bundle
from defectseg.inference.folder import predict_folder
predict_folder(load_bundle(Path({str(bundle_folder)!r})), Path({str(prepared.parent / "raw")!r}),
    Path({str(tmp_path / "out")!r}), engine="float32")
loaded = {{name for name, module in sys.modules.items() if module is not None}}
print(loaded & {{"tensorflow", "keras", "nncf", "openvino_telemetry", "sklearn", "pandas"}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr
