import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from defectseg.bundle import load_bundle
from defectseg.commands import training
from defectseg.dataset.manifest import read_manifest
from tests.conftest import break_image, make_config


@pytest.fixture(scope="module")
def run(prepared: Path, mlflow_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training without Class5_def, one of whose test images can no longer be read."""
    folder = tmp_path_factory.mktemp("faulty")
    shutil.copytree(mlflow_store, folder / "mlflow")
    data = break_image(prepared, folder, "test")
    config = make_config(data, folder / "run", epochs=1, leave_out=["Class5_def"])
    with training.out.capture() as printed:
        # Some images could not be read: not 0, and yet the bundle is whole.
        assert training.train(config, resume=False, experiment="faulty") == 1
    assert printed.get().startswith("Training on 1 ")  # CPU, or GPU
    return config.run


@pytest.fixture
def figures(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text()))


def test_an_image_that_became_unreadable_costs_a_training_its_zero_not_its_bundle(
    run: Path, figures: dict[str, Any]
) -> None:
    assert load_bundle(run).folder == run
    assert figures["test"]["overall"]["model"]["unreadable_images"] == 1


def test_kinds_that_are_left_out_are_measured_all_the_same(
    run: Path, figures: dict[str, Any]
) -> None:
    assert set(figures["val"]["kinds"]) == {"Class1_def"}
    assert set(figures["test"]["kinds"]) >= {"Class1_def", "Class5_def"}
    card = (run / "MODEL_CARD.md").read_text()
    assert "Not trained on, though among the test images: Class5_def." in card
    bundle = load_bundle(run)
    seen = {
        sample.kind
        for sample in read_manifest(bundle.config.data)
        if sample.sha256 in bundle.calibration.seen_sha256
    }
    assert seen == {"Class1", "Class5", "Class1_def"}


def test_mlflow_is_told_of_it(run: Path, figures: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.parent / 'mlflow' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("faulty").experiment_id])
    assert found.info.status == "FINISHED"
    assert [own.step for own in client.get_metric_history(found.info.run_id, "val_loss")] == [1]
    expected = figures["test"]["overall"]["model"]["iou_mean"]
    assert found.data.metrics["test/iou_mean"] == expected
