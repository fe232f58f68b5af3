"""Runs that are killed, stopped, or left without room: real processes, real signals, real disks."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from defectseg.dataset.synthetic import generate_sample
from defectseg.image_io import write_gray

ROOT = Path(__file__).parents[2]
COUNT = 400
PART = "predictions.csv.part"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of many small images, no two alike."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(7)
    textures = [
        generate_sample("Class1", defective=i % 2 == 0, rng=rng, size=96)[0] for i in range(12)
    ]
    for i in range(COUNT):
        image = textures[i % 12].copy()
        image[0, 0], image[0, 1] = i % 256, i // 256
        write_gray(folder / f"{i:04}.png", image)
    return folder


def heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(bundle: Path, images: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    words = ["--model", bundle, "--input", images, "--output", output, "--product", "Class1"]
    return subprocess.Popen(
        [sys.executable, "predict.py", *map(str, words), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Ignored by all that is started in the background of a shell, as these tests may be.
        preexec_fn=heed_ctrl_c if os.name == "posix" else None,
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> tuple[int, str]:
    printed, _ = process.communicate(timeout=seconds)
    return process.returncode, " ".join(printed.split())


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table, less the time that each image took."""
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "total_ms"} for row in csv.DictReader(file)]


def wait_for_rows(output: Path, process: subprocess.Popen[str], least: int = 20) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            if (output / PART).read_bytes().count(b"\n") > least:
                return
        time.sleep(0.005)
    raise AssertionError(finish(process))


def masks(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((output / "masks").iterdir())}


@pytest.fixture(scope="module")
def undisturbed(
    bundle_folder: Path, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    status, printed = finish(start(bundle_folder, images, output))
    assert status == 0, printed
    return output


def check_same(output: Path, undisturbed: Path) -> None:
    for table in ("predictions.csv", "defects.csv"):
        assert read(output / table) == read(undisturbed / table)
    assert masks(output) == masks(undisturbed)
    names = {path.name for path in output.rglob("*")}
    assert not [name for name in names if name.endswith(".part")]


def test_killed_twenty_times_it_ends_as_if_it_never_was(
    bundle_folder: Path, images: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    rng = random.Random(5)
    done: dict[str, int] = {}
    sizes = []
    for turn in range(20):
        process = start(bundle_folder, images, output, "--resume")
        if turn % 4 == 0:
            time.sleep(rng.uniform(0, 1))  # while it starts
        else:
            wait_for_rows(output, process, (sizes or [0])[-1] + rng.randint(0, 25))
            time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with suppress(OSError):
            whole = (output / PART).read_bytes().rpartition(b"\n")[0].decode().split("\n")[1:]
            for name in (line.partition(",")[0].removesuffix(".png") for line in whole):
                written = (output / "masks" / f"{name}.png").stat().st_mtime_ns
                # What was done is not done again: its mask is the one of the first time.
                assert done.setdefault(name, written) == written
            sizes.append(len(whole))
    assert sizes == sorted(sizes)
    assert 0 < sizes[-1] < COUNT, sizes  # each kill came before the end
    status, printed = finish(start(bundle_folder, images, output, "--resume"))
    assert status == 0, printed
    assert f"{sizes[-1]} of them were inspected before" in printed
    for name, written in done.items():
        assert (output / "masks" / f"{name}.png").stat().st_mtime_ns == written
    check_same(output, undisturbed)


def test_ctrl_c_ends_within_two_seconds_and_keeps_what_is_done(
    bundle_folder: Path, images: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(bundle_folder, images, output)
    wait_for_rows(output, process)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    status, printed = finish(process)
    assert time.monotonic() - begun < 2
    assert status == 130, printed
    assert "Traceback" not in printed
    assert "--resume" in printed
    kept = read(output / PART)
    assert kept == read(undisturbed / "predictions.csv")[: len(kept)]
    status, printed = finish(start(bundle_folder, images, output, "--resume"))
    assert status == 0, printed
    check_same(output, undisturbed)


def test_ctrl_c_does_not_wait_for_a_large_image(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (9000, 9000), np.uint8)
    write_gray(tmp_path / "in" / "large.png", image)
    process = start(bundle_folder, tmp_path / "in", tmp_path / "out")
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / PART).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1.5)  # it is being decoded, or answered
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    status, printed = finish(process)
    assert time.monotonic() - begun < 2
    assert status == 130, printed


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts file systems; needs to be root."""
    places: list[Path] = []

    def mount(*options: str, at: Path) -> Path:
        at.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *options, str(at)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("no right to mount a file system here")
        places.append(at)
        return at

    if sys.platform != "linux" or not shutil.which("mount"):
        pytest.skip("mounts as Linux does")
    yield mount
    for place in reversed(places):
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def test_a_full_disk_is_one_clear_error_and_rows_before_it_stay(
    bundle_folder: Path,
    images: Path,
    undisturbed: Path,
    tmp_path: Path,
    mounted: Callable[..., Path],
) -> None:
    disk = mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", at=tmp_path / "disk")
    status, printed = finish(start(bundle_folder, images, disk / "out"))
    assert status == 2
    assert printed.count("Error") == 1
    assert "No space left on device" in printed
    assert "--resume" in printed
    kept = read(disk / "out" / PART)
    assert 0 < len(kept) < COUNT
    assert kept == read(undisturbed / "predictions.csv")[: len(kept)]
    assert (disk / "out" / PART).read_bytes().endswith(b"\n")
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    status, printed = finish(start(bundle_folder, images, disk / "out", "--resume"))
    assert status == 0, printed
    check_same(disk / "out", undisturbed)


def test_output_made_read_only_midway_is_one_clear_error(
    bundle_folder: Path,
    images: Path,
    undisturbed: Path,
    tmp_path: Path,
    mounted: Callable[..., Path],
) -> None:
    output = tmp_path / "out"
    process = start(bundle_folder, images, output)
    wait_for_rows(output, process)
    masks = mounted("--bind", str(output / "masks"), at=output / "masks")
    for _ in range(200):  # while a file of it is being written, it cannot be
        if not subprocess.run(
            ["mount", "-o", "remount,bind,ro", str(masks)], check=False
        ).returncode:
            break
    status, printed = finish(process)
    assert status == 2, printed
    assert printed.count("Error") == 1
    assert "Read-only file system" in printed
    kept = read(output / PART)
    assert 20 <= len(kept) < COUNT
    assert kept == read(undisturbed / "predictions.csv")[: len(kept)]


def test_an_output_folder_that_vanishes_is_one_clear_error(
    bundle_folder: Path, images: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(bundle_folder, images, output)
    wait_for_rows(output, process)
    (output / "masks").rename(tmp_path / "elsewhere")
    (output / "masks").write_text("a file in its place")
    status, printed = finish(process)
    assert status == 2, printed
    assert printed.count("Error") == 1
    assert "cannot be written to" in printed


def test_input_that_changes_meanwhile_costs_only_what_is_gone(
    bundle_folder: Path, images: Path, undisturbed: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(images, tmp_path / "in")
    output = tmp_path / "out"
    process = start(bundle_folder, copy, output)
    wait_for_rows(output, process)
    (copy / f"{COUNT - 1:04}.png").unlink()
    (copy / f"{COUNT - 2:04}.png").write_bytes(b"cut")
    (copy / "zzz.png").write_bytes((images / "0000.png").read_bytes())
    status, printed = finish(process)
    assert status == 1, printed
    rows, expected = read(output / "predictions.csv"), read(undisturbed / "predictions.csv")
    assert rows[:-2] == expected[:-2]
    assert [row["outcome"] for row in rows[-2:]] == ["ERROR", "ERROR"]
    # Afterwards: what came is inspected, what is the same is not inspected again.
    (copy / f"{COUNT - 1:04}.png").write_bytes((images / f"{COUNT - 1:04}.png").read_bytes())
    status, printed = finish(start(bundle_folder, copy, output, "--resume"))
    assert status == 1, printed
    rows = read(output / "predictions.csv")
    assert [row["image"] for row in rows] == [*(f"{i:04}.png" for i in range(COUNT)), "zzz.png"]
    assert rows[COUNT - 1] == expected[COUNT - 1]
    assert f"{COUNT - 1} of them were inspected before" in printed


def test_a_run_is_not_gone_on_with_by_another_engine_or_without_its_record(
    bundle_folder: Path, images: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(undisturbed, tmp_path / "out")
    words = ("--resume", "--engine", "keras")
    status, printed = finish(start(bundle_folder, images, output, *words))
    assert status == 2
    assert "made otherwise: engine was openvino, now keras" in printed
    (output / "run.json").write_text("{")
    status, printed = finish(start(bundle_folder, images, output, "--resume"))
    assert status == 2
    assert "does not tell how the results" in printed
    assert read(output / "predictions.csv") == read(undisturbed / "predictions.csv")


def test_what_was_killed_before_it_began_can_be_gone_on_with(
    bundle_folder: Path, images: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / f".{'0' * 32}.part").write_text("{")  # its record was being written
    status, printed = finish(start(bundle_folder, images, output, "--resume"))
    assert status == 0, printed
    check_same(output, undisturbed)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_quiet_and_json_lines_say_nothing_and_everything(
    bundle_folder: Path, images: Path, undisturbed: Path, tmp_path: Path
) -> None:
    import json

    assert finish(start(bundle_folder, images, tmp_path / "quiet", "--quiet")) == (0, "")
    process = start(bundle_folder, images, tmp_path / "json", "--json-lines")
    printed, _ = process.communicate(timeout=120)
    *rows, end = map(json.loads, printed.splitlines())
    assert [row["image"] for row in rows] == [f"{i:04}.png" for i in range(COUNT)]
    assert {row["event"] for row in rows} == {"image"}
    assert (end["event"], end["exit_status"]) == ("end", 0)
    assert sum(end["outcomes"].values()) == COUNT
