import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from defectseg.config import Config, dump_config
from defectseg.errors import ConfigError, DefectsegError
from defectseg.segmentation.distribution import Workers, read_cluster
from tests.conftest import make_config
from tests.segmentation.tiny import train_tiny

# Five minutes are far more than two processes need: a hang ends.
HANG_S = 300


def joint_config(prepared: Path, run: Path) -> Config:
    # 8 validation images in batches of 6: the last is not full. The clock is asked, but ends
    # nothing; the learning rate is the same whether an epoch is the last or not.
    return make_config(
        prepared,
        run,
        epochs=2,
        max_minutes=1000,
        batch_size=6,
        schedule="constant",
        learning_rate=0.01,
        ema_momentum=0.5,
    )


def start(config: Config, devices: int, cluster: dict[str, object] | None) -> subprocess.Popen[str]:
    path = config.run.with_suffix(".yaml")
    path.write_text(dump_config(config))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    if cluster:
        environment["TF_CONFIG"] = json.dumps(cluster)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.segmentation.joint_training", str(path), str(devices)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    try:
        outputs = [process.communicate(timeout=HANG_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in outputs]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [own.getsockname()[1] for own in sockets]
    for own in sockets:
        own.close()
    return ports


def assert_same_curve(run: Path, alone: Path) -> None:
    one, other = (pd.read_csv(own / "history.csv").drop(columns="seconds") for own in (alone, run))
    # Each step's rounding is carried on. Losses and batch norm of a part of a batch by itself are
    # seen here; a wrong scale of the gradients is not, for Adam does not care: see the next test.
    pd.testing.assert_frame_equal(one, other, rtol=1e-3, atol=1e-6)


def test_a_step_on_two_devices_is_as_long_as_on_one() -> None:
    words = [sys.executable, "-m", "tests.segmentation.joint_step"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr[-3000:]
    for one, two in json.loads(done.stdout).values():
        longest = np.abs(one).max()
        assert longest > 0.01
        # Averaged in place of summed, the step of two would be half as long.
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-4 * longest)


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on one device."""
    config = joint_config(prepared, tmp_path_factory.mktemp("alone") / "run")
    train_tiny(config, workers=Workers(tf.distribute.get_strategy()))
    losses = pd.read_csv(config.run / "history.csv")["loss"]
    assert losses[1] < 0.95 * losses[0]  # a curve, and no line
    return config.run


@pytest.mark.slow
def test_two_devices_have_the_curve_of_one(alone: Path, prepared: Path, tmp_path: Path) -> None:
    config = joint_config(prepared, tmp_path / "run")
    finish([start(config, 2, None)])
    assert_same_curve(config.run, alone)
    assert (config.run / "model.keras").is_file()


@pytest.mark.slow
def test_two_machines_have_the_curve_of_one(alone: Path, prepared: Path, tmp_path: Path) -> None:
    config = joint_config(prepared, tmp_path / "run")
    hosts = [f"localhost:{port}" for port in free_ports(2)]
    cluster = {"worker": hosts}
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    outputs = finish([start(config, 1, {"cluster": cluster, "task": task}) for task in tasks])
    assert_same_curve(config.run, alone)
    # Written by one of them: by two, files would be torn or there twice.
    assert len(list((config.run / "tensorboard").iterdir())) == 2  # before and after the stop
    for index, output in enumerate(outputs):
        seen = json.loads(output)
        assert seen["workers"] == f"2 CPUs of 2 machines; this is worker {index}, {hosts[index]}"
        assert seen["chief"] == 7
        expected = f"train.learning_rate is 0 on {hosts[0]}, 1 on {hosts[1]}"
        assert seen["disagreement"].splitlines()[1:] == [f"  - {expected}"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, r"batch_size = 6 .* 4 devices.* a multiple of 4"),
        ({"batch_size": 8, "xla": True}, r"train\.xla = true .* one device, but 4"),
        ({"batch_size": 8, "precision": "float16"}, r"float16 is for one device, but 4"),
    ],
)
def test_what_several_devices_cannot_do_is_refused(
    changed: dict[str, object], message: str, prepared: Path, tmp_path: Path
) -> None:
    config = joint_config(prepared, tmp_path / "run")
    settings = config.train.model_copy(update=changed)
    workers = Workers(SimpleNamespace(num_replicas_in_sync=4))
    with pytest.raises(ConfigError, match=message):
        train_tiny(config.model_copy(update={"train": settings}), workers=workers)
    assert not config.run.exists()


def test_each_worker_has_its_devices_parts() -> None:
    strategy = SimpleNamespace(num_replicas_in_sync=6)
    shares = [Workers(strategy, ("a:1", "b:1", "c:1"), index).share for index in range(3)]
    assert [list(share.own) for share in shares] == [[0, 1], [2, 3], [4, 5]]
    assert {share.parts for share in shares} == {6}


def test_machines_with_unlike_numbers_of_devices_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # As TensorFlow 2.21 says it on both of two machines, of which one has a device more.
    said = "Device /job:worker/task:1/device:GPU:1 is joining a group with size4, but that group "

    def fail(workers: Workers, values: object) -> None:
        raise tf.errors.InternalError(None, None, said + size)

    monkeypatch.setattr(Workers, "_gather", fail)
    workers = Workers(SimpleNamespace(num_replicas_in_sync=4), ("a:1", "b:1"), 1)
    size = "has size 2 (group_key=1)"
    with pytest.raises(ConfigError, match=r"the same number of GPUs: 2 train on this one"):
        workers.check_agreement({})
    size = "is gone"
    with pytest.raises(tf.errors.InternalError):
        workers.check_agreement({})


@pytest.mark.parametrize("kind", [tf.errors.UnavailableError, tf.errors.AbortedError])
def test_a_lost_worker_is_told(kind: Any) -> None:
    lost = kind(None, None, "Collective ops is aborted")
    workers = Workers(None, ("a:1", "b:1"), 0)
    with (
        pytest.raises(DefectsegError, match=r"Another worker .* stopped"),
        workers.told_when_lost(),
    ):
        raise lost
    # One process has no other worker to lose.
    with pytest.raises(kind), Workers(None).told_when_lost():
        raise lost


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 1}, (("a:1", "b:1"), 1)),
        # As clouds write it: the chief counts as the first worker.
        (
            {"chief": ["a:1"], "worker": ["b:1", "c:1"]},
            {"type": "worker", "index": 1},
            (("a:1", "b:1", "c:1"), 2),
        ),
        ({"chief": ["a:1"], "worker": ["b:1"]}, {"type": "chief", "index": 0}, (("a:1", "b:1"), 0)),
        # A single machine needs no strategy for several.
        ({"worker": ["a:1"]}, {"type": "worker", "index": 0}, ((), 0)),
        ({}, {}, ((), 0)),
    ],
)
def test_a_cluster_is_read(
    cluster: object, task: object, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert read_cluster() == expected


@pytest.mark.parametrize(
    "text",
    [
        "worker",
        "[]",
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": "x"}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "evaluator", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_cluster_that_cannot_be_understood_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=r"TF_CONFIG = .*; expected something like"):
        read_cluster()


def test_without_a_cluster_there_is_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert read_cluster() == ((), 0)
    workers = Workers(tf.distribute.get_strategy())
    assert workers.is_chief
    assert workers.chief_says(3.5) == 3.5
    assert str(workers) in {"1 CPU", "1 GPU"}
