import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from defectseg.annotations.layouts import READERS
from defectseg.bundle import finish_bundle, load_bundle
from defectseg.cli import app
from defectseg.cli.data import Layout
from defectseg.dataset.manifest import read_manifest
from tests.annotations import test_cvat, test_labelme
from tests.conftest import other_data
from tests.examples import commands


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("command", commands())
def test_help_of_each_command_ends_with_an_example(command: str) -> None:
    status, text = run(*command.split(), "--help")
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


def test_prepare_warns_of_products_that_cannot_be_measured(tmp_path: Path) -> None:
    raw = test_cvat.make(tmp_path / "raw")  # three images, of which 15% are none
    command = ("prepare", "--input", raw, "--output", tmp_path / "out")
    status, text = run(*command)
    assert status == 0
    assert "No val images of gear" in text
    assert "No test images of gear" in text
    assert "taken for good" not in text
    # As it was asked for.
    assert "images of gear" not in run(*command, "--val", 0, "--test", 0)[1]


def test_prepare_says_how_many_images_were_taken_for_good(tmp_path: Path) -> None:
    raw = test_labelme.make(tmp_path / "raw")
    status, text = run("prepare", "--input", raw, "--output", tmp_path / "out")
    assert status == 0
    assert "1 image(s) were taken for good because no label names them." in text


def test_prepare_counts_the_shapes_of_each_label(tmp_path: Path) -> None:
    raw = test_cvat.make(tmp_path / "raw")
    options = ("--defect-label", "scratch", "--layout", "cvat")
    status, text = run("prepare", "--input", raw, "--output", tmp_path / "out", *options)
    assert status == 0, text
    words = " ".join(text.replace("│", " ").split())
    assert "shapes of scratch 1 shapes of stain, not a defect label 2" in words


def test_synth_leaves_an_occupied_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    status, text = run("synth", "--output", tmp_path)
    assert status == 2
    assert "is not empty" in text
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_sharpness_of_a_folder_with_a_damaged_image(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    run("synth", "--output", source, "--product", "Class2", "--good", 3, "--size", 64)
    status, text = run("sharpness", source, "--output", output)
    assert status == 0, text
    (source / "broken.png").write_text("no image")
    # The second time it replaces what it left before.
    status, text = run("sharpness", source, "--output", output, "--classifier", "--grid", "2x2")
    assert status == 1, text
    assert "broken.png could not be measured" in text
    table = pd.read_csv(output / "sharpness.csv")
    assert list(table.columns[-3:]) == ["tile_row", "tile_column", "sharp_probability"]
    assert len(table) == 4 * table["image"].nunique()
    assert not table.isna().any().any()
    # But what is not its own it does not replace.
    (output / "notes.txt").write_text("mine")
    status, text = run("sharpness", source, "--output", output)
    assert (status, (output / "notes.txt").read_text()) == (2, "mine")


@pytest.mark.parametrize("inside", [True, False])
def test_sharpness_does_not_write_where_it_would_harm(inside: bool, tmp_path: Path) -> None:
    run("synth", "--output", tmp_path / "in", "--product", "Class2", "--good", 2, "--size", 64)
    output = tmp_path / "in" / "out" if inside else tmp_path / "mine"
    if not inside:
        output.mkdir()
        (output / "mine.txt").write_text("mine")
    status, text = run("sharpness", tmp_path / "in", "--output", output)
    assert status == 2
    assert ("lies within" if inside else "is not empty") in text
    assert not (output / "sharpness.csv").exists()


def test_a_dusty_camera_is_seen_in_a_table_and_a_clean_one_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    days, images = 40, 200
    times = pd.date_range("2026-01-01", periods=days * images, freq="432s")
    dust = np.repeat(np.r_[np.full(15, 1.4), np.linspace(1.4, 1.1, days - 15)], images)
    table = pd.concat(
        pd.DataFrame(
            {
                "time": times,
                "camera": camera,
                "mean_gradient": level * (1 + 0.08 * rng.normal(size=len(times))),
            }
        )
        for camera, level in (("left", dust), ("right", 1.4))
    )
    table.to_csv(tmp_path / "series.csv", index=False)
    options = ("--camera", "camera", "--output", tmp_path / "drift")
    status, text = run("monitor", tmp_path / "series.csv", *options)
    assert status == 0, text
    assert "left: LOW" in text
    assert "right: STEADY" in text
    events = pd.read_csv(tmp_path / "drift" / "events.csv")
    assert set(events["camera"]) == {"left"}
    assert events["event"][0] == "DEGRADING"
    assert pd.Timestamp(events["time"][0]) < pd.Timestamp("2026-01-24")
    assert (tmp_path / "drift" / "drift.html").is_file()
    # Again: what this command left there is replaced.
    assert run("monitor", tmp_path / "series.csv", *options)[0] == 0


def test_a_folder_of_few_images_is_too_little_to_judge(tmp_path: Path) -> None:
    run("synth", "--output", tmp_path / "in", "--product", "Class2", "--good", 3, "--size", 64)
    (tmp_path / "in" / "broken.png").write_text("no image")
    status, text = run("monitor", tmp_path / "in", "--output", tmp_path / "drift")
    assert status == 1, text
    assert "TOO_FEW" in text
    assert "broken.png" in text


@pytest.mark.slow
def test_a_bundle_is_calibrated_anew(bundle_folder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(bundle_folder, tmp_path / "copy")
    before = load_bundle(model).calibration
    # Seen by an earlier calibration, on images that are not at hand.
    stranger = "f" * 64
    seen = (*before.seen_sha256, stranger)
    text = before.model_copy(update={"seen_sha256": seen}).model_dump_json()
    (model / "calibration.json").write_text(text)
    finish_bundle(model)
    trained_on = load_bundle(model).config.data
    data = other_data(
        trained_on, tmp_path / "data", pd.read_csv(trained_on / "manifest.csv")["width"] > 0
    )
    status, text = run(
        "calibrate", "--model", model, "--data", data, "--set", "calibration.fixed_sharpness=1e9"
    )
    assert status == 0, text
    after = load_bundle(model)
    assert stranger in after.calibration.seen_sha256
    assert after.config.data == trained_on
    assert after.calibration.thresholds == before.thresholds
    assert after.calibration.gate.products == before.gate.products
    assert after.config.calibration.fixed_sharpness == 1e9
    status, _ = run(
        "predict", "--model", model, "--product", "Class1", "--output", tmp_path / "out",
        "--input", Path(read_manifest(after.config.data)[0].image).parent,
    )  # fmt: skip
    assert set(pd.read_csv(tmp_path / "out" / "predictions.csv")["outcome"]) == {"RETAKE"}


def test_a_fault_of_our_own_is_told_from_unreadable_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("defectseg.commands.data.synth", lambda *a, **b: 1 / 0)
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
        (("robustness", "--model", "{}/absent", "--output", "{}/new"), "bundle"),
        (("calibrate", "--model", "{}"), "holds no model.keras"),
        (("calibrate", "--model", "{}", "--set", "train.epochs=3"), "train anew"),
        (("sharpness", "{}/absent"), "is not a folder"),
        (("monitor", "{}/absent.csv", "--output", "{}/new"), "absent.csv"),
        (("monitor", "{}", "--output", "{}/../new"), "holds no images"),
        (("sharpness", "{}", "--output", "{}/new", "--grid", "3"), "expected 2 whole numbers"),
        (("sharpness", "{}", "--output", "{}/new", "--region", "1,2,3"), "such as 10,20,300,200"),
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


def test_quiet_and_json_lines_exclude_each_other(bundle_folder: Path, tmp_path: Path) -> None:
    words = ("--model", bundle_folder, "--input", tmp_path, "--output", tmp_path / "out")
    status, text = run("predict", *words, "--quiet", "--json-lines")
    assert status == 2
    assert "choose one" in text


def test_a_network_is_exported_and_compared(bundle_folder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(bundle_folder, tmp_path / "copy")
    status, text = run("export", "--model", model, "--format", "float32")
    assert status == 0, text
    assert "100.0 %" in text
    assert "float32: in " in text
    load_bundle(model)
