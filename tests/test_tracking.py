import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from defectseg import __version__
from defectseg.config import Config, dump_config
from defectseg.errors import ConfigError
from defectseg.tracking import STORE, MlflowRun
from tests.conftest import make_config
from tests.evaluation.runs import HISTORY

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="module")
def runs(mlflow_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with their store."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(mlflow_store, folder / STORE)
    return folder


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def client(runs: Path) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{runs / 'mlflow' / 'mlflow.db'}")


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    told: list[str] = []
    yield told
    assert told == []


def follow(run: Path, experiment: str, told: list[str], error: BaseException, *epochs: int) -> None:
    """Have some epochs followed of a training that ends with an error."""
    with contextlib.suppress(type(error)), MlflowRun(run, experiment, told.append) as tracked:
        for number in epochs:
            tracked.epoch({name: values[number - 1] for name, values in HISTORY.items()}, True)
        raise error


def begin(run: Path, finished: int, **settings: Any) -> Config:
    """What a training leaves after its first epochs."""
    config = make_config(run.parent, run, **settings)
    run.mkdir(exist_ok=True)
    (run / "config.yaml").write_text(dump_config(config))
    pd.DataFrame(HISTORY).iloc[:finished].to_csv(run / "history.csv", index=False)
    return config


def read(client: "MlflowClient", experiment: str) -> Any:
    """Return the only run of an experiment."""
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return found


def steps(client: "MlflowClient", run_id: str, name: str) -> list[tuple[int, float]]:
    return [(own.step, own.value) for own in client.get_metric_history(run_id, name)]


def test_a_finished_bundle_is_read_back(
    runs: Path, bundle_folder: Path, client: "MlflowClient", warnings: list[str]
) -> None:
    run = Path(
        shutil.copytree(bundle_folder, runs / "whole", ignore=shutil.ignore_patterns("tens*"))
    )
    with MlflowRun(run, "whole", warnings.append) as tracked:
        # The first epoch that is told brings those before it along.
        tracked.step(0.5, 3, 0.1)
        tracked.epoch({"epoch": 3.0}, True)
    found = read(client, "whole")
    assert (found.info.status, found.info.run_name) == ("FINISHED", "whole")
    history = pd.read_csv(run / "history.csv")
    for name in ("loss", "val_defective_iou", "seconds"):
        expected = list(zip([1, 2, 3], history[name], strict=True))
        assert steps(client, found.info.run_id, name) == expected
    assert found.data.params["train.epochs"] == "3"
    assert found.data.params["model.decoder_filters"] == "[16, 16, 8, 8, 8]"
    figures = json.loads((run / "metrics.json").read_text())["test"]
    overall = figures["overall"]["model"]
    assert found.data.metrics["test/iou_mean"] == overall["iou_mean"]
    assert found.data.metrics["test/escape"] == overall["escape"]["share"]
    assert found.data.metrics["test/escape_high"] == overall["escape"]["high"]
    own = figures["products"]["Class5"]["model"]["auroc"]
    assert found.data.metrics["test/Class5/auroc"] == own
    calibration = json.loads((run / "calibration.json").read_text())
    for name in ("model_sha256", "data_sha256", "engine"):
        assert found.data.tags[f"defectseg.{name}"] == calibration[name]
    names = {own.path for own in client.list_artifacts(found.info.run_id)}
    assert names == {"MODEL_CARD.md", "config.yaml", "history.csv", "metrics.json", "plots"}
    kept = runs / "mlflow" / "mlruns" / found.info.run_id / "artifacts"
    assert (kept / "plots" / "curves.png").read_bytes() == (run / "plots/curves.png").read_bytes()


def test_a_stopped_training_goes_on_in_the_same_run(
    runs: Path, client: "MlflowClient", warnings: list[str]
) -> None:
    run = runs / "stopped"
    begin(run, 1)
    follow(run, "stopped", warnings, KeyboardInterrupt(), 1)
    assert read(client, "stopped").info.status == "KILLED"
    # Two more epochs, of which the last has no checkpoint yet.
    begin(run, 3, epochs=7)
    follow(run, "stopped", warnings, ZeroDivisionError(), 2)
    found = read(client, "stopped")
    assert found.info.status == "FAILED"
    assert steps(client, found.info.run_id, "val_iou") == [(1, 0.2), (2, 0.8)]
    # What was begun with stays, and what changed is told.
    assert found.data.params["train.epochs"] == "2"
    assert found.data.tags["defectseg.settings_changed"] == "train.epochs: 2 → 7"


def test_a_run_that_is_gone_or_of_another_experiment_is_begun_anew(
    runs: Path, client: "MlflowClient", warnings: list[str]
) -> None:
    run = runs / "gone"
    begin(run, 1)
    for experiment in ("first", "second", "second"):
        follow(run, experiment, warnings, KeyError(), 1)
        # Marked as deleted, as in MLflow's own page.
        found = read(client, experiment)
        if experiment == "second":
            client.delete_run(found.info.run_id)
    first, second = (json.loads((run / "mlflow.json").read_text()), read(client, "first"))
    assert first["run_id"] != second.info.run_id
    assert steps(client, second.info.run_id, "loss") == [(1, 0.9)]


def test_a_training_that_did_not_begin_leaves_no_run(client: "MlflowClient") -> None:
    # That of the fixture, of which nothing but the store is left.
    assert client.search_runs([client.get_experiment_by_name("none").experiment_id]) == []


def test_a_store_that_fails_stops_nothing_and_is_told_once_and_in_the_end(tmp_path: Path) -> None:
    begin(tmp_path / "run", 2)
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_text("no database")
    told: list[str] = []
    with MlflowRun(tmp_path / "run", "any", told.append) as tracked:
        tracked.epoch({"epoch": 1.0}, True)
        tracked.epoch({"epoch": 2.0}, True)
    first, last = told
    assert "the training goes on" in first
    assert "the run there is not whole" in last
    assert all("not a database" in warning for warning in told)


def test_what_a_store_missed_is_told_when_it_works_again(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr("defectseg.tracking._AGAIN_S", 0.0)
    begin(tmp_path / "run", 2)
    store = tmp_path / STORE
    store.write_text("no folder")
    told: list[str] = []
    tracked = MlflowRun(tmp_path / "run", "any", told.append)
    with contextlib.suppress(KeyboardInterrupt), tracked:
        tracked.epoch({"epoch": 1.0}, True)
        deadline = time.monotonic() + 30
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        store.unlink()
        shutil.copytree(mlflow_store, store)
        tracked.epoch({"epoch": 2.0}, True)
        raise KeyboardInterrupt
    assert len(told) == 1
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    assert [step for step, _ in steps(client, read(client, "any").info.run_id, "loss")] == [1, 2]


def fail_once(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Have a method of MLflow's client fail the first time that it is called."""
    from mlflow import MlflowClient

    real, calls = getattr(MlflowClient, method), []

    def own(*arguments: Any, **options: Any) -> Any:
        calls.append(method)
        if len(calls) == 1:
            raise OSError("database is locked")
        return real(*arguments, **options)

    monkeypatch.setattr(MlflowClient, method, own)


@pytest.mark.parametrize("method", ["get_metric_history", "update_run"])
def test_a_run_that_fails_as_it_is_gone_on_with_has_each_epoch_once(
    method: str, runs: Path, client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defectseg.tracking._AGAIN_S", 0.0)
    run = runs / method
    begin(run, 1)
    follow(run, method, [], KeyboardInterrupt(), 1)
    begin(run, 3)
    told: list[str] = []
    with monkeypatch.context() as patch:
        fail_once(patch, method)
        follow(run, method, told, KeyboardInterrupt(), 2, 3)
    assert len(told) == 1
    found = read(client, method)
    assert [step for step, _ in steps(client, found.info.run_id, "loss")] == [1, 2, 3]
    assert found.data.params["train.epochs"] == "2"
    assert found.data.tags["defectseg.version"] == __version__
    assert found.info.status == "KILLED"


@pytest.mark.parametrize("method", ["set_tag", "log_batch"])
def test_a_run_that_fails_as_it_is_begun_is_whole_in_the_end(
    method: str, runs: Path, client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defectseg.tracking._AGAIN_S", 0.0)
    begin(runs / method, 2)
    fail_once(monkeypatch, method)
    told: list[str] = []
    follow(runs / method, method, told, KeyboardInterrupt(), 1, 2)
    assert len(told) == 1
    found = read(client, method)
    assert [step for step, _ in steps(client, found.info.run_id, "loss")] == [1, 2]
    assert found.data.params["train.epochs"] == "2"


def test_what_a_store_missed_is_told_as_a_training_stops(
    runs: Path, client: "MlflowClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is not tried again within a minute, and the training is stopped before.
    begin(runs / "hasty", 2)
    fail_once(monkeypatch, "create_run")
    told: list[str] = []
    follow(runs / "hasty", "hasty", told, KeyboardInterrupt(), 1, 2)
    assert len(told) == 1
    found = read(client, "hasty")
    assert [step for step, _ in steps(client, found.info.run_id, "loss")] == [1, 2]
    assert found.info.status == "KILLED"


def test_a_bundle_that_could_not_be_logged_is_told_and_no_finished_run(
    runs: Path, client: "MlflowClient"
) -> None:
    begin(runs / "cut", 1)
    told: list[str] = []
    with MlflowRun(runs / "cut", "cut", told.append) as tracked:
        tracked.epoch({"epoch": 1.0}, True)
        tracked._warned = True  # of a failure on the way
    (warning,) = told
    assert "the run there is not whole" in warning
    assert read(client, "cut").info.status == "FAILED"


def test_another_store_is_named_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A port that nothing listens on: refused at once.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told: list[str] = []
    with MlflowRun(tmp_path / "run", "any", told.append):
        pass
    assert len(told) == 2
    assert all("http://127.0.0.1:9" in warning for warning in told)
    assert list(tmp_path.iterdir()) == []


def test_mlflow_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    MlflowRun(tmp_path / "run", "any", print)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    # That this version listens to it.
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY

    assert MLFLOW_DISABLE_TELEMETRY.get() is True


@pytest.mark.parametrize("absent", ["mlflow", "alembic"])
def test_an_absent_library_is_told_before_the_training(
    absent: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ConfigError, match=rf"--mlflow .*{absent}.*pip install mlflow-skinny"):
        MlflowRun(tmp_path / "run", "any", print)


def test_a_path_that_cannot_be_addressed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="question mark"):
        MlflowRun(tmp_path / "why?" / "run", "any", print)
