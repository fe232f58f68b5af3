import subprocess
import sys
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from typer.testing import CliRunner

from defectseg.annotations.layouts import READERS
from defectseg.cli import Layout, app

COMMANDS = ("synth", "prepare", "train", "evaluate", "predict", "demo")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_ends_with_an_example(command: str) -> None:
    status, text = run(command, "--help")
    assert status == 0
    assert f"Example: defectseg {command}" in " ".join(text.split())


@pytest.mark.parametrize("script", ["train", "predict"])
def test_scripts_at_the_top_are_the_commands(script: str) -> None:
    command = [sys.executable, f"{script}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert f"defectseg {script}" in done.stdout


def test_every_layout_can_be_named() -> None:
    assert set(get_args(Layout)) == {"auto", *READERS}


def test_synth_then_prepare(tmp_path: Path) -> None:
    raw, prepared = tmp_path / "raw", tmp_path / "prepared"
    options = ("--product", "Class6", "--good", 4, "--defective", 3, "--size", 128)
    status, text = run("synth", "--output", raw, *options)
    assert status == 0
    assert "7 images of 1 product(s)" in text
    assert len(list(raw.glob("Class6*/*.png"))) == 7

    status, text = run("prepare", "--input", raw, "--output", prepared, "--test", 0.3)
    assert status == 0
    assert "has the layout article" in text
    assert "audit.png" in text
    assert len(pd.read_csv(prepared / "manifest.csv")) == 7


def test_synth_leaves_an_occupied_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    status, text = run("synth", "--output", tmp_path)
    assert status == 2
    assert "is not empty" in text
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_fault_of_our_own_is_told_from_unreadable_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("defectseg.commands.synth", lambda *a, **b: 1 / 0)
    status, text = run("synth", "--output", tmp_path / "new")
    assert status == 3
    assert "ZeroDivisionError" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("synth", "--product", "Class9", "--output", "{}/new"), "Class9"),
        (("prepare", "--input", "{}/absent", "--output", "{}/new"), "is not a folder"),
        (("train", "--config", "{}/absent.yaml"), "No such file"),
        (("train", "--config", "configs/demo.yaml", "--set", "train.epoch=3"), "epochs"),
        (("predict", "--model", "{}/absent", "--input", "{}", "--output", "{}/new"), "bundle"),
        (("predict", "--model", "{}"), "Missing option"),
        (("evaluate", "--model", "{}/absent", "--data", "{}", "--output", "{}/new"), "bundle"),
        (("evaluate", "--model", "{}", "--data", "{}", "--output", "{}/new"), "missing"),
        (("prepare", "--input", "{}", "--output", "{}/new", "--layout", "odd"), "article"),
    ],
)
def test_usage_and_data_errors_end_with_2_and_write_nothing(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    status, text = run(*(argument.format(tmp_path) for argument in arguments))
    assert status == 2
    assert message in text
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []
