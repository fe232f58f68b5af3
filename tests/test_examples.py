"""Every command that a page or --help shows is run, as it stands, in the order of the pages.

What stands in for a reader's checkout has settings with which a training takes seconds: the road
is tried, not the model.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from defectseg.cli import app
from defectseg.image_io import read_image
from defectseg.quality.distortions import SWEEP
from tests.examples import help_commands, page_commands

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    ROOT / "data" / "README.md",
    *sorted(ROOT.glob("CONTRIBUTING.md")),
]
SHOWN = [page for page in PAGES if page_commands(page)]
(DEMO,) = (own for own in help_commands() if own.startswith("defectseg demo"))

# What is tried otherwise: by whoever runs these tests, or by a test of its own.
ELSEWHERE = (
    "git clone ",
    "make ",
    "pip install ",
    ". .venv/bin/activate",
    "defectseg weights ",  # a download
)
_SMALL: dict[str, dict[str, object]] = {
    "model": {"decoder_filters": [16, 16, 8, 8, 8], "downscale": 2},
    # Less, and the network sees defects everywhere, which costs more time than it saves.
    "train": {"epochs": 1, "passes_per_epoch": 3, "statistics_batches": 4, "learning_rate": 0.002},
    "calibration": {"gate_alpha": 0.05, "sweep_images": 3, "sweep_kinds": ["gaussian_blur"]},
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder like a checkout after `make demo`, and the working directory."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        own = folder / path.relative_to(ROOT)
        own.parent.mkdir(parents=True, exist_ok=True)
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "model" in settings:
            settings |= {name: settings.get(name, {}) | small for name, small in _SMALL.items()}
        own.write_text(yaml.safe_dump(settings), encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run(DEMO)
        _put_what_a_reader_has(folder)
        yield folder
    finally:
        os.chdir(before)


def _put_what_a_reader_has(folder: Path) -> None:
    """What stands for a reader's own: labelled images, and one of a part."""
    demo = folder / "runs" / "demo"
    shutil.copytree(demo / "raw", folder / "data" / "raw" / "parts")
    shutil.copy(sorted((demo / "test" / "Class1").iterdir())[-1], folder / "part.png")


def run(command: str) -> None:
    """Run a command; what is not ours by the shell."""
    words = shlex.split(command)
    if words[:2] == ["defectseg", "export"]:
        # In a process of its own: it takes gigabytes, which Python would keep.
        words = [sys.executable, "-m", *words]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        status, text = done.returncode, done.stdout + done.stderr
    elif words[0] == "defectseg":
        result = CliRunner().invoke(app, words[1:])
        status, text = result.exit_code, result.output
    else:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
        status, text = done.returncode, done.stdout + done.stderr
    assert status == 0, f"{command}\n{text}"


@contextmanager
def running_station(command: str) -> Iterator[str]:
    """A station in a process, on a port that is free; yields its address."""
    words = [sys.executable, "-m", *shlex.split(command), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            printed += line
            if found := re.search(r"Open http://(\S+);", printed):
                yield found[1]
                break
        else:
            pytest.fail(f"{command}\n{printed}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def run_all(commands: Sequence[str], tried: set[str]) -> None:
    """Run the commands that were not tried yet; a station runs until all are done."""
    address = "localhost:8000"
    with ExitStack() as stations:
        for shown in commands:
            # The scripts at the top are the commands.
            command = re.sub(r"^python (train|predict)\.py ", r"defectseg \1 ", shown)
            if command.startswith("defectseg line --model"):
                address = stations.enter_context(running_station(command))
            elif command not in tried and not command.startswith(ELSEWHERE):
                run(command.replace("localhost:8000", address))
                tried.add(command)


@pytest.fixture(scope="module")
def tried() -> set[str]:
    """What was run in the checkout; the same command would find its output there."""
    return {DEMO}


def test_the_examples_of_help_work(checkout: Path, tried: set[str]) -> None:
    run_all(help_commands(), tried)


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_work(checkout: Path, tried: set[str], page: Path) -> None:
    run_all(page_commands(page), tried)


def test_the_demo_found_what_is_to_be_found(checkout: Path) -> None:
    demo = checkout / "runs" / "demo"
    rows = pd.read_csv(demo / "results" / "predictions.csv")
    blurred = rows["image"].str.contains("blurred")
    assert blurred.sum() == 24  # 3 products, good and defective, 4 copies each
    # A network of one epoch has nothing to lose by blur, so that not all of it need be RETAKE.
    assert not (rows["outcome"][blurred] == "PASS").any()
    assert (demo / "demo.jpg").is_file()
    # "auto" in the settings is recorded as what it was on this machine.
    trained = yaml.safe_load((demo / "bundle" / "config.yaml").read_text(encoding="utf-8"))
    assert trained["train"]["precision"] in {"bfloat16", "float32"}


def test_every_kind_of_distortion_is_swept(checkout: Path, tried: set[str]) -> None:
    run_all([own for own in help_commands() if own.startswith("defectseg robustness")], tried)
    folder = checkout / "runs" / "robustness"
    rows = pd.read_csv(folder / "robustness.csv")
    assert set(rows["kind"]) == {"untouched", *SWEEP}
    curves = json.loads((folder / "robustness.json").read_text(encoding="utf-8"))["curves"]
    assert set(curves) == {"Class1", "Class4", "Class5"}
    assert read_image(folder / "robustness_Class1.png").ndim == 3
    assert "://" not in (folder / "robustness.html").read_text(encoding="utf-8")
