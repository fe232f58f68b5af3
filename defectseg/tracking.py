"""A training told to MLflow: its settings, each epoch, and what came of it.

Nothing is sent anywhere unasked: the store is a folder beside the run, unless MLFLOW_TRACKING_URI
names another, and MLflow's own reports to its makers are off. All of it is done in a thread of its
own, which the training does not wait for. That a store fails is said once; it is tried again later,
and costs the training nothing. What it still lacks in the end is said again.
"""

import importlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import pandas as pd

from defectseg import __version__
from defectseg.atomic import write_atomically
from defectseg.bundle import CARD, CONFIG, HISTORY, METRICS, PLOTS, load_bundle
from defectseg.errors import ConfigError
from defectseg.evaluation.run_records import read_figures, read_settings
from defectseg.segmentation.state import load_state

# Of a run's folder: the run of MLflow that a resumed training goes on in.
LINK = "mlflow.json"
STORE, _DATABASE, _ARTIFACTS = "mlflow", "mlflow.db", "mlruns"
_AGAIN_S = 60.0
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # By default a server that does not answer is waited for some minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class MlflowRun:
    """A `segmentation.pace.Monitor` that tells MLflow of a training, and of the bundle at its end.

    Parameters
    ----------
    run : Path
        The run's folder.
    experiment : str
        The name of MLflow's experiment; made if there is none.
    warn : callable
        Told what kept MLflow from being told: once on the way, and once in the end.

    Raises
    ------
    ConfigError
        If MLflow is not installed.
    """

    def __init__(self, run: Path, experiment: str, warn: Callable[[str], None]) -> None:
        wanted = os.environ.get("MLFLOW_TRACKING_URI")
        self._local = not wanted
        self.store = wanted or str(run.parent / STORE)
        if self._local and "?" in str(run.parent.resolve()):
            raise ConfigError(
                f"--mlflow: {run.parent} has a question mark in its path, where SQLite's address "
                "would end. Name another folder by --run, or a store by MLFLOW_TRACKING_URI."
            )
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        needed = ("mlflow", "sqlalchemy", "alembic") if self._local else ("mlflow",)
        try:
            for name in needed:
                importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"--mlflow needs a library that is not there ({error.name}): "
                "pip install mlflow-skinny sqlalchemy alembic."
            ) from error
        self._run = run
        self._experiment = experiment
        self._warn = warn
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._client: Any = None
        self._experiment_id = self._run_id = ""
        self._opened = False  # with all that is logged of its beginning
        self._told = self._logged = 0  # epochs
        self._warned = False
        self._next_try_s = 0.0  # by the monotonic clock

    def __enter__(self) -> "MlflowRun":
        self._submit(lambda: None)  # connects
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stopped = kind is not None and not issubclass(kind, Exception)
        status = "FINISHED" if kind is None else "KILLED" if stopped else "FAILED"
        self._submit(self._end, status, last=True)
        self._pool.shutdown()

    def step(self, progress: float, epoch: int, loss: float) -> None:
        """Do nothing: MLflow is told of epochs."""

    def epoch(self, row: Mapping[str, float], best: bool) -> None:
        """Have the epoch logged, and those before it that are not."""
        self._told = int(row["epoch"])
        self._submit(self._log_epochs, self._told)

    def _submit(self, task: Callable[..., None], *arguments: object, last: bool = False) -> None:
        """Have a task done; if the store fails, what it missed is told after a while."""

        def attempt() -> None:
            if not last and time.monotonic() < self._next_try_s:
                return
            try:
                if self._client is None:
                    self._connect()
                task(*arguments)
            except Exception as error:  # a store may raise anything
                self._next_try_s = time.monotonic() + _AGAIN_S
                if self._warned and not last:
                    return
                self._warned = True
                lines = str(error).strip().splitlines() or [repr(error)]
                later = "the training goes on, and tells it again later"
                follows = "the run there is not whole" if last else later
                self._warn(f"MLflow ({self.store}) fails; {follows}: {lines[0]}")

        self._pool.submit(attempt)

    def _connect(self) -> None:
        from mlflow import MlflowClient

        place = self._open_folder() if self._local else None
        uri = _database_uri(place) if place else self.store
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(self._experiment)
        artifacts = (place / _ARTIFACTS).as_uri() if place else None
        self._experiment_id = (
            known.experiment_id
            if known
            else client.create_experiment(self._experiment, artifact_location=artifacts)
        )
        self._client = client

    def _open_folder(self) -> Path:
        """Return the folder of the store.

        It is made whole beside its place: two trainings that begin at once would spoil it.
        """
        from mlflow import MlflowClient

        folder = Path(self.store).resolve()
        if not folder.exists():
            stage = folder.with_name(f".{uuid4().hex}.part")
            stage.mkdir(parents=True)
            try:
                MlflowClient(_database_uri(stage))  # makes its tables
                stage.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
            finally:
                shutil.rmtree(stage, ignore_errors=True)
        return folder

    def _open_run(self) -> None:
        """Open the run of MLflow that this training began with, or a new one.

        What fails is done again at the next try, in the same run.
        """
        if self._opened:
            return
        self._run_id = self._run_id or self._known_run() or self._new_run()
        write_atomically(self._run / LINK, json.dumps({"run_id": self._run_id}) + "\n")
        self._client.update_run(self._run_id, status="RUNNING")
        history = self._client.get_metric_history(self._run_id, "loss")
        self._logged = max((own.step for own in history), default=0)
        state = load_state(self._run)
        self._tag("version", __version__)
        self._tag("run", str(self._run.resolve()))
        if state is not None:
            self._tag("data_sha256", state.data_sha256)
        self._log_settings()
        self._opened = True

    def _new_run(self) -> str:
        from mlflow.tracking.context.registry import resolve_tags

        made = self._client.create_run(
            self._experiment_id, tags=resolve_tags(), run_name=self._run.resolve().name
        )
        return str(made.info.run_id)

    def _known_run(self) -> str:
        from mlflow.exceptions import MlflowException

        try:
            run_id = json.loads((self._run / LINK).read_bytes())["run_id"]
            info = self._client.get_run(run_id).info
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # the store fails, for now
                raise
            return ""
        known = info.experiment_id == self._experiment_id and info.lifecycle_stage == "active"
        return str(run_id) if known else ""

    def _log_settings(self) -> None:
        """Log the settings that are not; MLflow changes none, so what changed becomes a tag."""
        from mlflow.entities import Param

        settings = {name: _text(own) for name, own in read_settings(self._run).items()}
        known = self._client.get_run(self._run_id).data.params
        new = [Param(name, value) for name, value in settings.items() if name not in known]
        self._client.log_batch(self._run_id, params=new)
        changed = [
            f"{name}: {known[name]} → {value}"
            for name, value in settings.items()
            if known.get(name, value) != value
        ]
        if changed:
            self._tag("settings_changed", ", ".join(changed))

    def _tag(self, name: str, value: str) -> None:
        self._client.set_tag(self._run_id, f"defectseg.{name}", value)

    def _log_epochs(self, last: float) -> None:
        self._open_run()
        rows = pd.read_csv(self._run / HISTORY)
        for row in rows[rows["epoch"].between(self._logged + 1, last)].to_dict("records"):
            epoch = int(row.pop("epoch"))
            self._log({str(name): float(value) for name, value in row.items()}, epoch)
            self._logged = epoch

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _log_bundle(self) -> None:
        """Log what a finished bundle holds for people: figures, model card, settings, plots."""
        self._log_epochs(math.inf)
        calibration = load_bundle(self._run).calibration
        self._tag("model_sha256", calibration.model_sha256)
        self._tag("engine", calibration.engine)
        for split, evaluation in read_figures(self._run).items():
            self._log(_flatten(split, asdict(evaluation.overall.model)), self._logged)
            several = evaluation.products if len(evaluation.products) > 1 else {}
            for product, own in several.items():
                self._log(_flatten(f"{split}/{product}", asdict(own.model)), self._logged)
        for name in (CARD, CONFIG, HISTORY, METRICS):
            self._client.log_artifact(self._run_id, str(self._run / name))
        self._client.log_artifacts(self._run_id, str(self._run / PLOTS), PLOTS)

    def _end(self, status: str) -> None:
        """Log what is missing, and close the run: as failed, if it is not there."""
        try:
            if status == "FINISHED":
                self._log_bundle()
            elif self._told > self._logged:
                self._log_epochs(self._told)
        except Exception:
            status = "FAILED"
            raise
        finally:
            if self._run_id:
                self._client.set_terminated(self._run_id, status)


def _database_uri(folder: Path) -> str:
    return f"sqlite:///{(folder / _DATABASE).as_posix()}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _flatten(prefix: str, figures: Mapping[str, Any]) -> dict[str, float]:
    """Return figures by names that MLflow takes; a share with its bounds."""
    # Product names are those of folders; MLflow knows letters, digits and some marks.
    prefix = "".join(mark if mark.isalnum() or mark in "/_-. " else "_" for mark in prefix)
    flat: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, int | float):
            flat[f"{prefix}/{name}"] = float(value)
        elif isinstance(value, dict) and value.get("share") is not None:
            flat[f"{prefix}/{name}"] = value["share"]
            flat |= {f"{prefix}/{name}_{bound}": value[bound] for bound in ("low", "high")}
    return flat
