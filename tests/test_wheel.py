"""The wheel: built, installed and used where there is no checkout."""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from defectseg import __version__
from tests.conftest import make_once


def tracked_files(*places: str) -> list[str]:
    """What git has in folders and files of the checkout, and is about to have."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *places]
    names = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")
    return [name for name in names if name and Path(name).exists()]


@pytest.fixture(scope="session")
def built(shared: Path) -> Path:
    """A folder with the wheel, made of what git tracks: a build leaves its traces beside it."""

    def make(folder: Path) -> None:
        source = folder / "source"
        for name in tracked_files("pyproject.toml", "README.md", "LICENSE", "defectseg", "configs"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, source / name, follow_symlinks=False)
        build = "import setuptools.build_meta as backend; backend.build_wheel('..')"
        words = [sys.executable, "-c", build]
        subprocess.run(words, cwd=source, check=True, capture_output=True)

    return make_once(shared / "wheel", make)


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, shared: Path) -> Path:
    """A folder with the wheel installed in it, beside nothing else."""

    def make(folder: Path) -> None:
        words = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target"]
        subprocess.run([*words, folder, wheel], check=True, capture_output=True)

    return make_once(shared / "installed", make)


def environment(installed: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(installed)}


def run(installed: Path, folder: Path, *words: object) -> tuple[int, str]:
    """Run a command of the installed wheel in a folder that holds no checkout."""
    done = subprocess.run(
        [sys.executable, installed / "bin" / "defectseg", *map(str, words)],
        cwd=folder,
        env=environment(installed),
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_wheel_holds_what_git_tracks_in_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.split("/")[0].endswith("-info")}
    tracked = set(tracked_files("defectseg")) - {"defectseg/configs"}  # a link
    assert held == tracked | {f"defectseg/{name}" for name in tracked_files("configs")}


def test_what_runs_is_the_wheel_and_of_this_version(installed: Path, tmp_path: Path) -> None:
    status, text = run(installed, tmp_path, "--version")
    assert (status, text) == (0, f"defectseg {__version__}\n")
    code = (
        "import defectseg, importlib.metadata as m; "
        "print(defectseg.__file__, m.version('defectseg'))"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment(installed), capture_output=True, text=True
    )
    assert done.stdout.split() == [str(installed / "defectseg" / "__init__.py"), __version__]


def test_the_demo_finds_its_settings_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    # They are read before anything is written, which a folder of another's stops.
    (tmp_path / "mine.txt").touch()
    status, text = run(installed, tmp_path, "demo", "--output", tmp_path)
    assert (status, "was not made by the demo" in text) == (2, True), text
    assert "configs/demo.yaml is not here" in text


def test_what_is_installed_draws_prepares_and_predicts(
    installed: Path, bundle_folder: Path, tmp_path: Path
) -> None:
    # As the demo does, but for the training: a whole one takes a minute.
    drawing = ("--product", "Class1", "--good", 8, "--defective", 8, "--size", 128)
    predicting = ("--input", "raw/Class1", "--output", "results", "--product", "Class1")
    for words in (
        ("synth", "--output", "raw", *drawing),
        ("prepare", "--input", "raw", "--output", "prepared"),
        ("predict", "--model", bundle_folder, *predicting),
    ):
        status, text = run(installed, tmp_path, *words)
        assert status == 0, text
    # A row for the heading; of those that are predicted none is defective.
    for table, rows in (("prepared/manifest.csv", 17), ("results/predictions.csv", 9)):
        assert len((tmp_path / table).read_text().splitlines()) == rows
    assert "1.png" in (tmp_path / "results" / "report.html").read_text()


def test_what_is_installed_is_a_station(
    installed: Path, bundle_folder: Path, tmp_path: Path
) -> None:
    settings = ("--config", "configs/line/settings.yaml", "--rules", "configs/line/rules")
    options = ["--model", str(bundle_folder), "--port", "0", *settings]
    process = subprocess.Popen(
        [sys.executable, installed / "bin" / "defectseg", "line", *options],
        cwd=tmp_path,
        env=environment(installed),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        printed = ""
        while not (address := re.search(r"Open (http://\S+);", printed)):
            line = process.stdout.readline()
            assert line, printed
            printed += line
        for page in ("", "dashboard/line.js", "dashboard/line.css"):
            with urllib.request.urlopen(f"{address[1]}/{page}") as answer:
                assert answer.status == 200
        assert "configs/line/settings.yaml is not here" in printed
    finally:
        process.kill()
        process.communicate()
