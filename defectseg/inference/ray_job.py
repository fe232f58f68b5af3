"""Prediction on a Ray cluster: Ray Data brings the files to the nodes, and the rows back."""

import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from defectseg import __version__
from defectseg.bundle import Bundle
from defectseg.config import EngineKind
from defectseg.errors import ConfigError, DefectsegError
from defectseg.inference.engines import choose_engine
from defectseg.inference.pipeline import Inspected, fail
from defectseg.inference.results import Results

# Before Ray is imported: an inspection line sends nothing anywhere, and its terminal is ours.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
try:
    _excepthook = sys.excepthook
    import pyarrow as pa
    import ray
    import ray.data
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise ConfigError(
        f"--engine ray needs Ray Data, which is not installed ({error}): pip install 'ray[data]'."
    ) from error
finally:
    sys.excepthook = _excepthook  # Ray puts its own there, which no shutdown takes away

from defectseg.inference.ray_cluster import join_cluster
from defectseg.inference.ray_worker import (
    Attempts,
    File,
    Model,
    Required,
    Returned,
    Worker,
    open_model,
    pack_model,
)
from defectseg.inference.shards import remove_others

# Files that an actor takes at once: so few that all actors have their share to the end.
CHUNK = 64
# And that a shard holds: so many that a large job does not leave a million files.
SHARD = 256
_ANSWERED_WITHIN_S = 30  # where a CPU is free, with its process started and its model opened
_KEPT = "What was done is kept: mend this, and go on with --resume. "


class RayJob:
    """Inspects files on the nodes of a cluster; see `folder.LocalInspector`.

    Parameters
    ----------
    bundle : Bundle
        Only the driver needs its folder.
    source : Path
        The folder of images, which every node needs.
    on_wait : callable
        Called once with a sentence for the user if no node has answered for a while, before the
        images are handed out.
    """

    in_order = False

    def __init__(self, bundle: Bundle, source: Path, on_wait: Callable[[str], None]) -> None:
        self._on_wait = on_wait
        self._waited = False
        there = ray.cluster_resources()
        kind: EngineKind = bundle.calibration.engine
        self._needs = {"num_cpus": 1.0}
        self._workers = int(there.get("CPU", 0))
        if there.get("GPU", 0) >= 1:
            # Whether TensorFlow finds a GPU is asked on a node that has one.
            on_gpu = {"num_gpus": 1.0}
            kind = self._ask(choose_engine, bundle, "auto", needs=on_gpu)
            if kind == "keras":
                self._needs, self._workers = on_gpu, int(there["GPU"])
        if not self._workers:
            raise ConfigError("The Ray cluster has no CPU to work on: ray status shows its nodes.")
        self._model = ray.put(pack_model(bundle, kind))
        # Here a network that does not run is one error, not one an actor.
        self.engine, self.precision = self._ask(_describe, self._model, needs=self._needs)
        self._required = Required(source.absolute(), self.engine, self.precision, __version__)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._attempts = (
            ray.remote(Attempts)
            .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
            .remote()
        )

    def inspect(self, files: Sequence[File], results: Results) -> Iterator[Inspected]:
        """See `folder.LocalInspector`."""
        for returned in self._run(files, CHUNK):
            row = returned.inspected.row
            if returned.mask:
                try:
                    results.write_encoded(row["image"], returned.mask, returned.overlay)
                except OSError as error:  # only this image's name has no place
                    yield fail(row["image"], error, row["total_ms"], row["sha256"])
                    continue
            yield returned.inspected

    def write_shards(
        self, files: Sequence[File], folder: Path, *, resume: bool
    ) -> Iterator[Returned]:
        """Have the nodes write what comes of files to a folder that all of them reach.

        Yields
        ------
        Returned
            Of each file, less its regions and pictures.
        """
        yield from self._run(files, SHARD, folder.absolute(), resume)
        remove_others(folder, -(-len(files) // SHARD))

    def _run(self, files: Sequence[File], size: int, *wanted: Any) -> Iterator[Returned]:
        chunks = make_chunks(files, size)
        if not chunks:
            return
        with _errors_named(_KEPT), _data_settings():
            data = ray.data.from_arrow(chunks).map_batches(
                Worker,
                fn_constructor_args=(self._model, self._attempts, self._required, *wanted),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=min(self._workers, len(chunks))),
                **self._needs,
            )
            for table in data.iter_batches(batch_size=None, batch_format="pyarrow"):
                for packed in table["returned"]:
                    yield pickle.loads(packed.as_py())

    def _ask(self, function: Any, *arguments: Any, needs: dict[str, float]) -> Any:
        """Call a function on a node, as an actor will be."""
        with _errors_named():
            answer = ray.remote(**needs)(function).remote(*arguments)
            done, _ = ray.wait([answer], timeout=_ANSWERED_WITHIN_S)
            if not done and not self._waited:
                self._waited = True
                what = "GPU" if "num_gpus" in needs else "CPU"
                self._on_wait(
                    f"No {what} of the Ray cluster has answered for {_ANSWERED_WITHIN_S} s: none "
                    "is free, or a node still starts. ray status shows what is in use."
                )
            return ray.get(answer)


@contextmanager
def open_ray_job(
    bundle: Bundle, source: Path, on_wait: Callable[[str], None] = lambda why: None
) -> Iterator[RayJob]:
    """Yield a job on the cluster at ``RAY_ADDRESS``, else on one that is started on this machine.

    Raises
    ------
    DefectsegError
        If there is no cluster, or its nodes cannot run the bundle; likewise from the job's methods.
    """
    with join_cluster():
        yield RayJob(bundle, source, on_wait)


def _describe(model: Model) -> tuple[str, str]:
    engine = open_model(model).engine
    return engine.name, engine.precision


def make_chunks(files: Sequence[File], size: int) -> list[pa.Table]:
    """Return files as Ray Data takes them: tables of one row, with the chunk's number, from 0."""
    return [
        pa.table({"number": [n], "files": [pickle.dumps(_absolute(files[start : start + size]))]})
        for n, start in enumerate(range(0, len(files), size))
    ]


def _absolute(files: Iterable[File]) -> list[File]:
    # An actor's working directory is not the driver's.
    return [(replace(file, path=file.path.absolute()), product) for file, product in files]


@contextmanager
def _errors_named(kept: str = "") -> Iterator[None]:
    """Turn what Ray raises into an error for the user; one of ours comes as it was."""
    try:
        yield
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, DefectsegError):
            raise cause from error
        lines = str(cause).strip().splitlines()
        what = ": ".join([type(cause).__name__, *lines[-1:]])
        raise DefectsegError(
            f"The Ray job failed: {what}. {kept}defectseg must be installed on every node, in one "
            "version."
        ) from error


@contextmanager
def _data_settings() -> Iterator[None]:
    """Let a job of Ray Data run quietly, hand on our errors, and return a chunk whole or not."""
    context = ray.data.DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "raise_original_map_exception": True,
        # In several blocks, some could be there already when a killed worker's task is done anew.
        "target_max_block_size": None,
    }
    before = {name: getattr(context, name) for name in wanted}
    consoles = [own for own in logging.getLogger("ray.data").handlers if own.name == "console"]
    levels = [own.level for own in consoles]
    try:
        for name, value in wanted.items():
            setattr(context, name, value)
        for own in consoles:
            own.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        for own, level in zip(consoles, levels, strict=True):
            own.setLevel(level)
