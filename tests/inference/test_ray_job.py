"""Folders through Ray Data, on a cluster of two nodes of this machine."""

import csv
import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from defectseg import __version__
from defectseg.bundle import load_bundle
from defectseg.cli import app
from defectseg.dataset.synthetic import generate_sample
from defectseg.errors import ConfigError, DataError, DefectsegError
from defectseg.image_io import FoundFile, write_gray
from defectseg.inference.folder import predict_folder
from defectseg.inference.results import Row

ROOT = Path(__file__).parents[2]
CAFE = os.fsdecode(b"caf\xe9.png")  # not valid UTF-8
COUNT = 40
POISON = "poison.png"
LONG = "n" * 255
OPTIONS = ("--engine", "ray", "--format", "parquet")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="a cluster of several nodes, by processes"),
    # Ray's own: of its log files and sockets, and of how it calls itself.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and defective images, damaged and misnamed ones, of two sizes."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(11)
    for i in range(COUNT):
        size = 128 if i % 10 else 96
        image = generate_sample("Class1", defective=i % 2 == 0, rng=rng, size=size)[0]
        write_gray(folder / f"{i % 3}" / f"{i:03}.png", image)
    png = (folder / "0" / "000.png").read_bytes()
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).save(buffer, "BMP")
    for name, data in {
        "cut.png": png[:3000],
        "empty.png": b"",
        "misnamed.jpg": buffer.getvalue(),
        LONG: png,  # an image, whose mask's name has no room for its suffix
        CAFE: png,
        "new\nline.png": png,
        POISON: png,
    }.items():
        (folder / name).write_bytes(data)
    (folder / "folder.png").mkdir()
    return folder


def run_local(bundle: Path, images: Path, output: Path) -> Path:
    predict_folder(load_bundle(bundle), images, output, product="Class1")
    return output


@pytest.fixture(scope="module")
def local(bundle_folder: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run in this process."""
    return run_local(bundle_folder, images, tmp_path_factory.mktemp("local") / "out")


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[int]]:
    """A cluster of two nodes, at ``RAY_ADDRESS``, joined once; yields the ids of their processes.

    It is the only one: each costs ten seconds of a processor.
    """
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        import ray
        from ray.cluster_utils import Cluster

        import defectseg.inference.ray_job  # noqa: F401 - it quiets Ray
        from defectseg.inference.ray_cluster import connect

        own = Cluster()
        try:
            for _ in range(2):
                own.add_node(num_cpus=1, object_store_memory=80 << 20, include_dashboard=False)
            patch.setenv("RAY_ADDRESS", own.address)
            connect(own.address)
            raylets = [
                process.process.pid
                for node in own.list_all_nodes()
                for process in node.all_processes["raylet"]
            ]
            yield raylets
        finally:
            ray.shutdown()
            own.shutdown()


def find_actors(raylets: list[int]) -> list[tuple[int, psutil.Process]]:
    """The processes that inspect, each with that of its node."""
    found = []
    for raylet in raylets:
        for worker in psutil.Process(raylet).children():
            with suppress(psutil.Error):  # it ended meanwhile
                if "MapWorker" in " ".join(worker.cmdline()):
                    found.append((raylet, worker))
    return found


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table, less the time that each image took."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "total_ms"} for row in csv.DictReader(file)]


def pictures(output: Path) -> dict[str, bytes]:
    found = [path for name in ("masks", "overlays") for path in (output / name).rglob("*.*")]
    return {str(path.relative_to(output)): path.read_bytes() for path in found}


def start_poisoned() -> type:
    """Return a worker whose process is killed midway in a chunk, by one image."""
    from defectseg.inference import ray_worker

    class Poisoned(ray_worker.Worker):  # within a function: Ray brings it to the nodes as it is
        def __init__(self, *words: Any) -> None:
            super().__init__(*words)
            ray_worker._MOST_DEATHS = 1  # each costs seconds

        def _inspect(self, files: Sequence[tuple[FoundFile, str | None]]) -> Iterator[Any]:
            for own in files:
                if own[0].relative == POISON:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield from super()._inspect([own])

    return Poisoned


def test_workers_killed_midway_by_an_image_cost_no_row_but_its_own(
    bundle_folder: Path,
    images: Path,
    local: Path,
    cluster: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from defectseg.inference import ray_job

    monkeypatch.setattr(ray_job, "CHUNK", 8)
    monkeypatch.setattr(ray_job, "Worker", start_poisoned())
    pids, nodes = set(), set()

    def look(row: Row, total: int) -> None:
        for raylet, worker in find_actors(cluster):
            pids.add(worker.pid)
            nodes.add(raylet)

    out = tmp_path / "out"
    bundle = load_bundle(bundle_folder)
    result = predict_folder(bundle, images, out, product="Class1", engine="ray", on_image=look)
    assert capfd.readouterr() == ("", "")
    assert len(pids) > len(cluster)  # others came for those that were killed
    assert nodes == set(cluster)
    rows, expected = read(out / "predictions.csv"), read(local / "predictions.csv")
    assert len(rows) == len(expected) == result.outcomes.total() == COUNT + 8
    (poison,) = (row for row in rows if row["image"] == POISON)
    assert poison["outcome"] == "ERROR"
    assert "each worker that inspected it died" in poison["error"]
    assert [row for row in rows if row["image"] != POISON] == [
        row for row in expected if row["image"] != POISON
    ]
    defects = [row for row in read(local / "defects.csv") if row["image"] != POISON]
    assert read(out / "defects.csv") == defects
    theirs = pictures(local)
    assert theirs.pop("masks/poison.png")
    assert theirs.pop("overlays/poison.jpg")
    assert pictures(out) == theirs
    assert {path.name for path in out.iterdir()} == {path.name for path in local.iterdir()}


def start_killed(marks: Path) -> type:
    """Return a worker that is killed twice over whatever it does, and leaves a mark each time."""
    from defectseg.inference import ray_worker

    def kill_once(when: str) -> None:
        if not (marks / when).exists():
            (marks / when).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    class Killed(ray_worker.Worker):
        def _inspect(self, files: Sequence[tuple[FoundFile, str | None]]) -> Iterator[Any]:
            for i, own in enumerate(super()._inspect(files)):
                if i == 3:
                    kill_once("while it inspects")
                yield own

        def __call__(self, batch: Any) -> Iterator[Any]:
            for i, own in enumerate(super().__call__(batch)):
                if i == 3 and (marks / "while it inspects").exists():
                    kill_once("while its rows go back, with its shard written")
                yield own

    return Killed


@pytest.fixture(scope="module")
def shards(
    bundle_folder: Path, images: Path, cluster: list[int], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    """Parquet in six shards, as `defectseg predict` writes it while workers are killed."""
    from defectseg.inference import ray_job

    out = tmp_path_factory.mktemp("shards") / "out"
    marks = tmp_path_factory.mktemp("marks")
    words = ["--model", bundle_folder, "--input", images, "--output", out, "--product", "Class1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_job, "SHARD", 8)
        patch.setattr(ray_job, "Worker", start_killed(marks))
        run = CliRunner().invoke(app, ["predict", *map(str, words), *OPTIONS])
    assert len(list(marks.iterdir())) == 2
    return out, run


def plain(folder: Path) -> list[dict[str, str]]:
    """The rows of Parquet files, written as those of a CSV file."""
    from pyarrow import parquet

    rows = parquet.read_table(folder / "predictions.parquet").to_pylist()
    return [
        {
            name: "" if value is None else str(value)
            for name, value in row.items()
            if name not in ("total_ms", "regions", "mask_png")
        }
        for row in rows
    ]


def test_a_cluster_whose_workers_are_killed_writes_the_same_rows_and_says_nothing(
    shards: tuple[Path, Result], local: Path
) -> None:
    from pyarrow import parquet

    out, run = shards
    assert run.exit_code == 1, run.output
    assert run.stderr.strip() == ""
    lines = run.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{COUNT + 8} images in ")
    assert "ERROR 3" in lines[1]
    assert "predictions.parquet" in lines[2]
    assert {path.name for path in out.iterdir()} == {
        "predictions.parquet",
        "report.html",
        "run.json",
    }
    assert len(list((out / "predictions.parquet").iterdir())) == 6
    rows, expected = plain(out), read(local / "predictions.csv")
    # Here no mask's file needs a name, so that a long one is no error.
    (row,) = (row for row in rows if row["image"] == LONG)
    assert row["outcome"] != "ERROR"
    assert [row for row in rows if row["image"] != LONG] == [
        row for row in expected if row["image"] != LONG
    ]
    drawn = pictures(local)
    defects = Counter(row["image"] for row in read(local / "defects.csv"))
    for row in parquet.read_table(out / "predictions.parquet").to_pylist():
        if row["image"] != LONG:
            assert len(row["regions"]) == defects[row["image"]]
        assert sum(region["area_px"] for region in row["regions"]) == (row["defect_area_px"] or 0)
        assert (row["mask_png"] is None) == (row["outcome"] == "ERROR")
        if row["image"].startswith(("0/", "1/", "2/")):
            mask = drawn[f"masks/{row['image']}"]
            assert row["mask_png"] == mask


@contextmanager
def busy(seconds: float) -> Iterator[None]:
    """Have another job hold all CPUs of the cluster, for a while."""
    from ray.util import placement_group, remove_placement_group

    group = placement_group([{"CPU": 1}] * 2)
    assert group.wait(30)
    timer = threading.Timer(seconds, remove_placement_group, [group])
    timer.start()
    yield
    timer.join()


def test_shards_of_an_interrupted_run_are_gone_on_with_when_a_cpu_is_free(
    shards: tuple[Path, Result],
    bundle_folder: Path,
    images: Path,
    cluster: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from defectseg.inference import ray_job
    from defectseg.inference.shards import read_records, write_shard

    out = shutil.copytree(shards[0], tmp_path / "out")
    parts = out / "predictions.parquet"
    first = parts / "part-0000000.parquet"
    records = {
        image: record
        for path in sorted(parts.iterdir())
        for image, record in read_records(path).items()
    }
    # Of all of them there is one shard now, so that the others are of a folder that had more
    # images; and what was being written when it was killed.
    (parts / f".{'0' * 32}.part").write_bytes(b"PAR1")
    # An image that was another, one that is new, one that is gone.
    records["0/000.png"] |= {"sha256": "0" * 64, "outcome": "PASS"}
    records["gone.png"] = records.pop("1/001.png") | {"image": "gone.png"}
    # What is neither is kept as it is.
    records["2/002.png"]["reasons"] = "mine"
    write_shard(first, records.values())
    words = ["--model", bundle_folder, "--input", images, "--output", out, "--product", "Class1"]
    monkeypatch.setattr(ray_job, "_ANSWERED_WITHIN_S", 3)
    with busy(seconds=4):
        done = CliRunner().invoke(app, ["predict", *map(str, words), *OPTIONS, "--resume"])
    assert done.exit_code == 1, done.output
    assert done.stderr.count("No CPU of the Ray cluster has answered for 3 s") == 1
    assert "ray status shows" in done.stderr
    # Beside those two, a folder with an image's name has no hash to know it by.
    assert f"{COUNT + 8 - 3} of them were inspected before" in done.output
    assert list(parts.iterdir()) == [first]
    rows = plain(out)
    (mine,) = (row for row in rows if row["image"] == "2/002.png")
    assert mine["reasons"] == "mine"
    theirs = plain(shards[0])
    assert [row for row in rows if row != mine] == [
        row for row in theirs if row["image"] != "2/002.png"
    ]


def test_nodes_without_the_images_are_one_error_and_no_damaged_files(
    bundle_folder: Path, cluster: list[int], tmp_path: Path
) -> None:
    from defectseg.inference.ray_job import open_ray_job
    from defectseg.inference.results import Results

    absent = tmp_path / "mount"
    file = FoundFile(absent / "a.png", "a.png")
    with (
        open_ray_job(load_bundle(bundle_folder), absent) as job,
        Results(tmp_path / "out", {"a.png": "a.png"}) as results,
        pytest.raises(DataError, match=r"Node .+ has no images") as caught,
    ):
        list(job.inspect([(file, "Class1")], results))
    assert f"{absent}: found none (No such file or directory)" in str(caught.value)


@pytest.mark.parametrize(
    ("required", "message"),
    [
        ({"source": "empty"}, "found an empty folder"),
        ({"precision": "bf16"}, "of the Ray cluster runs the network by openvino in"),
        ({"version": "0.0"}, f"of the Ray cluster has defectseg {__version__}, the driver 0.0"),
    ],
)
def test_a_node_checks_what_it_has_before_its_first_image(
    bundle_folder: Path,
    tmp_path: Path,
    required: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray")
    from defectseg.inference.ray_worker import Required, Worker, pack_model

    for pool in ("INTRAOP", "INTEROP"):
        monkeypatch.setenv(f"TF_NUM_{pool}_THREADS", "1")
    monkeypatch.setattr(ray, "get", lambda given: given)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    for name in ("empty", "full/images"):
        (tmp_path / name).mkdir(parents=True)
    own = {"source": "full", "engine": "openvino", "precision": "any", "version": __version__}
    own |= required
    own |= {"source": tmp_path / own["source"]}
    bundle = load_bundle(bundle_folder)
    model = pack_model(bundle, bundle.calibration.engine)
    worker = Worker(model, None, Required(**own))
    with pytest.raises(DefectsegError, match=message) as caught:
        next(worker(pa_chunk()))
    assert "(10.0.0.7)" in str(caught.value)


def pa_chunk() -> Any:
    import pyarrow

    return pyarrow.table({"number": [0], "files": [pickle.dumps([])]})


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ("", "The Ray job failed: MemoryError. defectseg must"),
        ("Kept. ", "The Ray job failed: MemoryError. Kept. defectseg must"),
    ],
)
def test_an_error_without_a_message_is_named_and_what_is_kept_only_where_it_is(
    kept: str, message: str
) -> None:
    pytest.importorskip("ray")
    from ray.exceptions import RayTaskError

    from defectseg.inference.ray_job import _errors_named

    with pytest.raises(DefectsegError, match=message), _errors_named(kept):
        raise RayTaskError("inspect", "a trace", MemoryError())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster can be reached there"),
        ("ray://x:10001", "expected HOST:PORT"),
    ],
)
def test_no_cluster_at_the_address_is_said_at_once(
    bundle_folder: Path,
    images: Path,
    tmp_path: Path,
    address: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    words = ["--model", bundle_folder, "--input", images, "--output", tmp_path / "out"]
    options = ("--product", "Class1", "--engine", "ray")
    done = CliRunner().invoke(app, ["predict", *map(str, words), *options])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_ray_leaves_the_process_as_it_was_and_a_signal_ends_it_without_a_word(
    bundle_folder: Path, images: Path, cluster: list[int]
) -> None:
    code = """
import faulthandler, os, signal, sys
from pathlib import Path
from defectseg.bundle import load_bundle
from defectseg.inference.ray_job import open_ray_job

def handlers():
    return signal.getsignal(signal.SIGTERM), faulthandler.is_enabled(), sys.excepthook

before = signal.SIG_DFL, False, sys.__excepthook__
bundle, images = load_bundle(Path(sys.argv[1])), Path(sys.argv[2])
with open_ray_job(bundle, images):
    pass
print(handlers() == before, flush=True)
with open_ray_job(bundle, images):
    os.kill(os.getpid(), signal.SIGTERM)
"""
    words = [sys.executable, "-c", code, str(bundle_folder), str(images)]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (128 + signal.SIGTERM, "True\n", "")


def test_another_version_of_ray_is_only_less_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from defectseg.inference.ray_cluster import _quiet_core

    monkeypatch.delattr(ray._private.worker, "print_to_stdstream")
    with _quiet_core():
        assert not hasattr(ray._private.worker, "print_to_stdstream")
    monkeypatch.delattr(ray, "_private")
    with _quiet_core():
        pass


def test_without_ray_it_is_said_how_to_install_it(
    bundle_folder: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "defectseg.inference.ray_job", raising=False)
    monkeypatch.delattr("defectseg.inference.ray_job", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'ray\[data\]'"):
        predict_folder(
            load_bundle(bundle_folder), images, tmp_path / "out", product="Class1", engine="ray"
        )
    assert not (tmp_path / "out").exists()


def test_parquet_without_ray_is_a_usage_error(bundle_folder: Path, tmp_path: Path) -> None:
    words = ["--model", bundle_folder, "--input", tmp_path, "--output", tmp_path / "out"]
    done = CliRunner().invoke(app, ["predict", *map(str, words), "--format", "parquet"])
    assert done.exit_code == 2
    assert "Expected --engine ray" in " ".join(done.output.split())


def test_prediction_starts_without_ray_and_parquet() -> None:
    code = (
        "import sys, defectseg.cli, defectseg.inference.folder\n"
        "print([name for name in ('ray', 'pyarrow') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"
