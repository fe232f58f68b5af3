import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from defectseg.bundle import load_bundle
from defectseg.config import Config, dump_config, load_config
from defectseg.dataset import balance
from defectseg.dataset.augment import UNCHANGED
from defectseg.dataset.manifest import data_sha256, divide, read_manifest
from defectseg.dataset.pipeline import PairCache, training_batches
from defectseg.errors import ConfigError, DataError
from defectseg.segmentation.batch_norm import BatchNormStatistics
from defectseg.segmentation.checkpoint import load_best, load_last
from defectseg.segmentation.pace import learning_rate_at
from defectseg.segmentation.state import TrainingState, load_state, selection_iou
from defectseg.segmentation.training import train
from tests.conftest import break_image, make_config, other_data
from tests.segmentation.tiny import Silent, tiny_network, train_tiny

Run = tuple[Config, TrainingState]

MEASURED = {"epochs": 2, "ema_momentum": 0.0, "statistics_batches": 2}


def history(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv").drop(columns="seconds")


def test_training_leaves_a_whole_bundle(bundle_folder: Path, prepared: Path) -> None:
    bundle = load_bundle(bundle_folder)
    rows = history(bundle_folder)
    assert list(rows["epoch"]) == [1, 2, 3]
    assert rows["loss"].iloc[-1] < rows["loss"].iloc[0]
    assert set(bundle.calibration.gate.products) == {"Class1", "Class5"}
    assert bundle.calibration.data_sha256 == data_sha256(read_manifest(prepared))
    assert {path.name for path in (bundle_folder / "plots").iterdir()} == {
        "curves.png",
        "validation.png",
        "robustness_Class1.png",
        "robustness_Class5.png",
    }
    assert list((bundle_folder / "tensorboard").iterdir())
    figures = json.loads((bundle_folder / "metrics.json").read_text())
    # 8 images of each kind a product, a quarter each for val and test: 2 products × 2.
    overall = figures["test"]["overall"]["model"]
    assert overall["good_images"] == overall["defective_images"] == 4
    assert "good_per_defective: 1.0" in (bundle_folder / "config.yaml").read_text()


def test_the_best_epoch_is_kept(bundle_folder: Path) -> None:
    rows = history(bundle_folder)
    state = json.loads((bundle_folder / "checkpoints" / "state.json").read_text())
    both = rows[["val_defective_iou", "val_iou"]].min(axis="columns")
    assert state["best_epoch"] == 1 + int(np.argmax(both))


def test_an_epoch_that_floods_good_images_is_not_chosen() -> None:
    flood = {"val_defective_iou": 0.83, "val_iou": 0.23}
    sound = {"val_defective_iou": 0.74, "val_iou": 0.71}
    assert selection_iou(flood) < selection_iou(sound) == 0.71


_WAIT_IN_EPOCH_2 = """
import sys, time
from pathlib import Path
from defectseg.config import load_config
from tests.segmentation.tiny import Silent, train_tiny

class Waiting(Silent):
    def step(self, progress, epoch, loss):
        if epoch == 2:
            time.sleep(120)

train_tiny(load_config(Path(sys.argv[1])), Waiting())
"""


def test_killed_and_resumed_is_the_same_as_undisturbed(
    measured: Run, prepared: Path, tmp_path: Path
) -> None:
    killed = make_config(prepared, tmp_path / "killed", **MEASURED)
    (tmp_path / "killed.yaml").write_text(dump_config(killed))
    process = subprocess.Popen(
        [sys.executable, "-c", _WAIT_IN_EPOCH_2, str(tmp_path / "killed.yaml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = tmp_path / "killed" / "checkpoints" / "state.json"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        assert process.poll() is None, "the training ended before its first checkpoint"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert load_state(killed.run).epoch == 1
    assert train_tiny(killed, resume=True).epoch == 2
    undisturbed = history(measured[0].run)
    pd.testing.assert_frame_equal(undisturbed, history(killed.run), rtol=0.02, atol=1e-3)


def test_a_run_is_not_overwritten(bundle_folder: Path, prepared: Path) -> None:
    before = (bundle_folder / "model.keras").stat().st_mtime_ns
    with pytest.raises(ConfigError, match=r"holds something already.*--resume"):
        train(make_config(prepared, bundle_folder), Silent())
    assert (bundle_folder / "model.keras").stat().st_mtime_ns == before


def test_resuming_with_other_settings_is_refused(bundle_folder: Path, prepared: Path) -> None:
    changed = make_config(prepared, bundle_folder, epochs=3, passes_per_epoch=8, learning_rate=0.5)
    with pytest.raises(ConfigError, match=r"train\.learning_rate was 0\.001, now 0\.5"):
        train(changed, Silent(), resume=True)


def test_resuming_on_other_data_is_refused(
    bundle_folder: Path, prepared: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(prepared / "manifest.csv")
    data = other_data(prepared, tmp_path / "data", table["split"] != "test")
    config = make_config(data, bundle_folder, epochs=3, passes_per_epoch=8)
    with pytest.raises(DataError, match="not the data"):
        train(config, Silent(), resume=True)


@pytest.mark.parametrize(("split", "defective"), [("train", 1), ("train", 0), ("val", 1)])
def test_a_split_without_one_kind_is_refused(
    split: str, defective: int, prepared: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(prepared / "manifest.csv")
    gone = (table["split"] == split) & (table["defective"] == defective)
    data = other_data(prepared, tmp_path / "data", ~gone)
    kind = "defective" if defective else "good"
    with pytest.raises(DataError, match=f"no {kind} image in its {split} split"):
        train(make_config(data, tmp_path / "run"), Silent())
    assert not (tmp_path / "run").exists()


def test_a_product_without_good_training_images_is_refused(prepared: Path, tmp_path: Path) -> None:
    table = pd.read_csv(prepared / "manifest.csv")
    good = (table["product"] == "Class5") & (table["split"] == "train") & (table["defective"] == 0)
    data = other_data(prepared, tmp_path / "data", ~good)
    with pytest.raises(DataError, match="no good training image of Class5"):
        train(make_config(data, tmp_path / "run"), Silent())


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_image_that_became_unreadable_is_named(
    split: str, prepared: Path, tmp_path: Path
) -> None:
    data = break_image(prepared, tmp_path, split)
    with pytest.raises(DataError, match=r"broken\.png: cannot be decoded"):
        train_tiny(make_config(data, tmp_path / "run", epochs=1))


def test_whole_images_of_several_sizes_are_refused(prepared: Path, tmp_path: Path) -> None:
    table = pd.read_csv(prepared / "manifest.csv")
    data = other_data(prepared, tmp_path / "data", table["width"] > 0)
    rows = pd.read_csv(data / "manifest.csv", keep_default_na=False)
    rows.loc[rows["split"] == "train", "width"] = range(100, 100 + sum(rows["split"] == "train"))
    rows.to_csv(data / "manifest.csv", index=False)
    with pytest.raises(ConfigError, match=r"Set train\.crop_px to a multiple of 64"):
        train(make_config(data, tmp_path / "run"), Silent())


def test_a_stop_on_the_clock_comes_in_the_middle_of_an_epoch(
    prepared: Path, tmp_path: Path
) -> None:
    config = make_config(prepared, tmp_path / "run", epochs=5000, max_minutes=0.1)
    state = train_tiny(config)
    assert 1 <= state.epoch < 5000
    assert state.seconds >= 6
    # The learning rate comes down by the clock, not by the epochs: that of an epoch's last step is
    # of a moment between the ends of the epoch before and of its own.
    rows = pd.read_csv(config.run / "history.csv")
    rates, progress = list(rows["learning_rate"]), list(rows["seconds"] / 6)
    for rate, before, after in zip(rates[1:], progress, progress[1:], strict=False):
        peak = config.train.learning_rate
        # Seconds are rounded to tenths.
        assert rate <= learning_rate_at(before - 0.01, peak)
        assert rate >= learning_rate_at(after + 0.01, peak)


@pytest.fixture(scope="module")
def plain(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs without running mean of the weights, and without measured statistics."""
    run = tmp_path_factory.mktemp("plain") / "run"
    return train_run(make_config(prepared, run, epochs=2, ema_momentum=0.0, statistics_batches=0))


@pytest.fixture(scope="module")
def measured(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with measured statistics."""
    return train_run(make_config(prepared, tmp_path_factory.mktemp("measured") / "run", **MEASURED))


def train_run(config: Config) -> Run:
    return config, train_tiny(config)


def test_the_running_mean_is_measured_and_kept_and_the_training_goes_on_beside_it(
    plain: Run, prepared: Path, tmp_path: Path
) -> None:
    mean = train_run(
        make_config(prepared, tmp_path / "mean", epochs=2, ema_momentum=0.9, statistics_batches=0)
    )
    last, best = [], []
    for config, state in (plain, mean):
        last.append(load_last(config.run, state).trainable_variables)
        best.append(load_best(config.run, state).get_weights())
    for one, other in zip(*last, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)
    # What is kept is the mean, which lags behind.
    assert any(not np.allclose(a, b, atol=1e-4) for a, b in zip(*best, strict=True))
    network = keras.models.load_model(tmp_path / "mean" / "model.keras").get_weights()
    for saved, kept in zip(network, best[1], strict=True):
        np.testing.assert_array_equal(saved, kept)


def test_statistics_are_measured_beside_the_training_which_they_do_not_change(
    plain: Run, measured: Run, prepared: Path
) -> None:
    config, state = measured
    left = load_last(config.run, state)
    running = load_last(plain[0].run, plain[1])
    for one, other in zip(running.trainable_variables, left.trainable_variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)
    # The last epoch's first two batches, their images as they are.
    samples = divide(read_manifest(prepared), ())["train"]
    batches = balance.draw_epoch(
        np.array([sample.defective for sample in samples]),
        batch_size=4,
        good_per_defective=1,
        passes=1,
        rng=np.random.default_rng((config.train.seed, 2)),
    )
    unchanged = training_batches(
        PairCache(samples, 1, megabytes=100),
        batches[:2],
        multiple=config.model.multiple,
        crop_px=None,
        augment=UNCHANGED,
        seed=(config.train.seed, 2),
    )
    BatchNormStatistics(running).measure(images for images, _ in unchanged)
    for one, other in zip(running.get_weights(), left.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_mixed_precision_trains_and_is_recorded(prepared: Path, tmp_path: Path) -> None:
    config = make_config(prepared, tmp_path / "run", epochs=1, precision="float16")
    assert train_tiny(config).epoch == 1
    assert np.isfinite(history(config.run)["loss"]).all()
    assert load_config(config.run / "config.yaml").train.precision == "float16"
    # Float16 was for the training: what is left computes in float32, and so do later networks.
    network = keras.models.load_model(config.run / "model.keras")
    keras.utils.set_random_seed(config.train.seed)
    untrained = tiny_network(config.model).get_weights()
    # Where the scaled loss overflows, steps are left out: not all of them.
    moved = [np.abs(a - b).max() for a, b in zip(network.get_weights(), untrained, strict=True)]
    assert np.median(moved) > 1e-4
    assert {layer.compute_dtype for layer in network._flatten_layers()} == {"float32"}
    assert keras.mixed_precision.global_policy().name == "float32"


def test_a_kind_that_is_not_there_cannot_be_left_out(prepared: Path, tmp_path: Path) -> None:
    config = make_config(prepared, tmp_path / "run", leave_out=["Class5_def", "Class9_def"])
    with pytest.raises(DataError, match=r"names Class9_def, .*named Class1, Class1_def, Class5"):
        train(config, Silent())
    assert not config.run.exists()


@pytest.mark.gpu
def test_a_gpu_trains_in_mixed_precision_compiled(prepared: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("no GPU that TensorFlow can use")
    config = make_config(prepared, tmp_path / "run", epochs=2, precision="float16", xla=True)
    assert train(config, Silent()).epoch == 2
    assert np.isfinite(history(config.run)["loss"]).all()
