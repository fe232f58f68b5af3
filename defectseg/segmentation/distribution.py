"""Which devices take part in a training: those of this machine, and of other machines.

Each machine runs one process, a *worker*, which sees its share of every batch. Sums over a batch
(of the losses, of batch norm) go over all devices, and so do gradients: the training is the same as
on one device, but for rounding. The first worker, the *chief*, writes all files.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from defectseg.dataset.pipeline import Share
from defectseg.errors import ConfigError, DefectsegError

_EXPECTED = (
    'expected something like {"cluster": {"worker": ["first:12345", "second:12345"]}, "task": '
    '{"type": "worker", "index": 0}}, the same cluster on all machines and each with its own index'
)
# What TensorFlow says where a worker counts more devices, of all together, than another.
_OTHER_SIZE = "but that group has size"


@dataclass(frozen=True)
class Workers:
    """The workers that train together, as one of them sees them.

    Attributes
    ----------
    strategy : tf.distribute.Strategy
    hosts : tuple of str
        ``host:port`` of each worker; empty where there is only this one.
    index : int
        Of this worker, among the hosts.
    """

    strategy: Any
    hosts: tuple[str, ...] = ()
    index: int = 0

    @property
    def devices(self) -> int:
        """How many devices of all workers take part."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the files."""
        return self.index == 0

    @property
    def share(self) -> Share:
        """Which parts of each batch this worker sees."""
        own = self.devices // max(len(self.hosts), 1)
        return Share(self.devices, range(self.index * own, (self.index + 1) * own))

    def __str__(self) -> str:
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = f"{self.devices} {kind}{'s' if self.devices > 1 else ''}"
        if not self.hosts:
            return devices
        own = f"this is worker {self.index}, {self.hosts[self.index]}"
        return f"{devices} of {len(self.hosts)} machines; {own}"

    def distribute(self, batches: tf.data.Dataset) -> Any:
        """Hand the parts of this worker's `share`, which come in turn, to its devices."""
        return self.strategy.distribute_datasets_from_function(lambda context: batches)

    def check_agreement(self, facts: dict[str, Any]) -> None:
        """Check that all workers have the same settings and data, and as many devices.

        Raises
        ------
        ConfigError
            On all workers, naming each fact that differs from the chief's, or the devices here.
        """
        if not self.hosts:
            return
        text = np.frombuffer((json.dumps(facts) + "\n").encode(), np.uint8)
        try:
            gathered = self._gather(text)
        except tf.errors.InternalError as error:
            # Where these differ, nothing can be gathered, so that they cannot be among the facts.
            if _OTHER_SIZE not in error.message:
                raise
            own = len(self.share.own)
            raise ConfigError(
                f"The machines of TF_CONFIG do not have the same number of GPUs: {own} train on "
                "this one. Have as many on each: CUDA_VISIBLE_DEVICES=0,1 takes two."
            ) from error
        lines = bytes(gathered.astype(np.uint8)).decode().splitlines()
        chief, *others = (json.loads(line) for line in lines[:: len(lines) // len(self.hosts)])
        problems = [
            f"  - {name} is {chief.get(name)!r} on {self.hosts[0]}, {other.get(name)!r} on {host}"
            for host, other in zip(self.hosts[1:], others, strict=True)
            for name in sorted(chief.keys() | other.keys())
            if other.get(name) != chief.get(name)
        ]
        if problems:
            raise ConfigError(
                "The workers of TF_CONFIG do not agree. Start all with the same settings and "
                "data, and to resume with the same run folder:\n" + "\n".join(problems)
            )

    @contextmanager
    def told_when_lost(self) -> Iterator[None]:
        """Have the loss of another worker end in a message."""
        try:
            yield
        # One that was started again at once, by what looks after it, aborts the step of the others.
        except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
            if not self.hosts:
                raise
            raise DefectsegError(
                "Another worker of TF_CONFIG stopped, was started again, or is out of reach; its "
                "own terminal tells why. Stop all of them, and start them again, with --resume if "
                "an epoch was finished."
            ) from error

    def chief_says(self, number: float) -> float:
        """Return the number that the chief gives, such as the time on its clock."""
        return float(self._ask_chief(tf.constant(number, tf.float64))) if self.hosts else number

    @cached_property
    def _ask_chief(self) -> Any:
        def own(number: tf.Tensor) -> tf.Tensor:
            device = tf.distribute.get_replica_context().replica_id_in_sync_group
            return tf.where(device == 0, number, tf.zeros_like(number))

        # Traced once: it is asked at every step.
        @tf.function
        def ask(number: tf.Tensor) -> tf.Tensor:
            return self.strategy.reduce("SUM", self.strategy.run(own, args=(number,)), axis=None)

        return ask

    def _gather(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the values of all devices, one device after the other."""
        # In 64 bits: of shorter integers not all ways of communication can make a collection.
        own = tf.constant(values, tf.float64)
        replicas = self.strategy.experimental_distribute_values_from_function(lambda context: own)
        gathered: npt.NDArray[np.float64] = self.strategy.gather(replicas, axis=0).numpy()
        return gathered


def read_cluster() -> tuple[tuple[str, ...], int]:
    """Return the hosts that ``TF_CONFIG`` names, none if it names but one, and which one this is.

    Raises
    ------
    ConfigError
        If it cannot be understood.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return (), 0
    try:
        settings = json.loads(text)
        cluster, task = settings.get("cluster", {}), settings.get("task", {})
        hosts = tuple(str(host) for kind in ("chief", "worker") for host in cluster.get(kind, ()))
        before = len(cluster.get("chief", ())) if task.get("type") == "worker" else 0
        index = before + int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"TF_CONFIG = {text}: {error}; {_EXPECTED}.") from error
    known = set(cluster) <= {"chief", "worker"} and task.get("type") in cluster and "index" in task
    if hosts and not (known and 0 <= index < len(hosts)):
        raise ConfigError(f"TF_CONFIG = {text}; {_EXPECTED}.")
    return (hosts, index) if len(hosts) > 1 else ((), 0)


def join_workers(hosts: tuple[str, ...] = (), index: int = 0) -> Workers:
    """Wait for all workers of `read_cluster`; without, take all GPUs of this machine, or its CPU.

    To be called before TensorFlow computes anything.
    """
    if hosts:
        return Workers(tf.distribute.MultiWorkerMirroredStrategy(), hosts, index)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return Workers(tf.distribute.MirroredStrategy())
    return Workers(tf.distribute.get_strategy())


def sum_over_devices(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return each value's sum over all devices, from within a step that all make together."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    summed: list[tf.Tensor] = context.all_reduce(tf.distribute.ReduceOp.SUM, values)
    return summed
