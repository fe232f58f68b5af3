import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from defectseg.cli import app
from defectseg.evaluation.run_curves import plot_run_curves
from defectseg.evaluation.run_records import RunRecord
from defectseg.evaluation.run_report import console_rows, write_comparison
from defectseg.image_io import read_image
from tests.evaluation.runs import HISTORY, answer, make_run
from tests.evaluation.test_run_records import write_run

ANSWERS = [
    answer("d1", "FAIL", 80),
    answer("d2", "RETAKE", 50),
    answer("g1", "PASS", product="Q", kind="Q"),
    answer("g2", "FAIL", product="Q", kind="Q"),
]


@pytest.fixture(scope="module")
def runs() -> list[RunRecord]:
    whole = make_run("a & co", ANSWERS)
    damaged = replace(
        make_run("cut", train_seed=1),
        state="damaged",
        remark="history.csv: cut",
        history=whole.history[:0],
    )
    return [whole, damaged]


def test_the_page_shows_both_and_what_is_wrong(runs: list[RunRecord], tmp_path: Path) -> None:
    write_comparison(tmp_path, runs)
    page = (tmp_path / "comparison.html").read_text()
    assert "a &amp; co" in page
    assert "cut is damaged: history.csv: cut" in page
    # IoU 80/120 and 50/150: mean 0.5, deviation 0.2357; Student's t of two is 12.7: all of [0, 1].
    assert "<th>IoU, defective: mean</th><td>0.500 (0.000–1.000)</td><td>—</td>" in page
    # Wilson's interval of 1 of 2.
    assert "<th>stopped by the gate: defective</th><td>1 of 2: 50.0 % (9.5–90.5)</td>" in page
    assert "<th>train.seed</th><td>0</td><td>1</td>" in page
    assert "Test images, Q" in page
    assert "://" not in page
    assert min(read_image(tmp_path / "curves.png").shape[:2]) > 300


def test_the_table_has_a_row_a_run_and_a_column_a_number(
    runs: list[RunRecord], tmp_path: Path
) -> None:
    write_comparison(tmp_path, runs)
    table = pd.read_csv(tmp_path / "comparison.csv").set_index("run")
    assert list(table.index) == ["a & co", "cut"]
    whole = table.loc["a & co"]
    assert (whole["train.seed"], whole["epochs"], whole["best epoch"]) == (0, 3, 2)
    assert whole["Test images: IoU, defective: mean, value"] == pytest.approx(0.5)
    assert whole["Test images: overkill, count"] == 1
    assert whole["Test images: overkill, total"] == 2
    assert np.isnan(table.loc["cut", "Test images: overkill, count"])
    assert table.loc["cut", "remark"] == "history.csv: cut"


def test_many_runs_are_rows_on_the_console(runs: list[RunRecord]) -> None:
    few = console_rows(runs)
    assert list(few[0]) == ["", "a & co", "cut"]
    assert {"": "overkill", "a & co": "1 of 2: 50.0 % (9.5–90.5)", "cut": "—"} in few
    many = [replace(runs[0], name=f"run {place}") for place in range(11)]
    rows = console_rows([*many, runs[1]])
    assert [row["run"] for row in rows] == [f"run {place}" for place in range(11)] + ["cut"]
    assert (rows[0]["overkill"], rows[0]["IoU"], rows[11]["IoU"]) == ("1/2", "0.500", "—")
    assert rows[11]["state"] == "damaged"
    settings = {f"train_s{place}": 1 for place in range(5)}
    rows = console_rows([*many, make_run("other", ANSWERS, **settings)])
    assert rows[0][""] == "+ 2 settings"


def test_every_run_has_its_own_line_and_name(runs: list[RunRecord]) -> None:
    many = [replace(runs[0], name=f"run {place}") for place in range(12)]
    _, iou = plot_run_curves([*many, runs[1]]).axes
    assert {text.get_text() for text in iou.texts} == {run.name for run in many}
    curves = [line for line in iou.lines if line.get_marker() != "o"]
    assert len({(line.get_color(), line.get_linestyle(), line._dash_pattern[1] is None,
                 str(line._dash_pattern)) for line in curves}) == 12  # fmt: skip
    rings = [line for line in iou.lines if line.get_marker() == "o"]
    assert {tuple(line.get_xdata()) for line in rings} == {(2.0,)}
    # All end at the same height: their names are moved apart, and none leaves the picture.
    heights = sorted(text.get_position()[1] for text in iou.texts)
    assert np.diff(heights).min() > 0.03
    assert 0 < heights[0] < heights[-1] <= 1
    # Few of them stay about where their curves end.
    _, iou = plot_run_curves(many[:3]).axes
    few = [text.get_position()[1] for text in iou.texts]
    assert np.mean(few) == pytest.approx(HISTORY["val_defective_iou"][-1])


def test_no_epoch_at_all_is_an_empty_picture(runs: list[RunRecord]) -> None:
    loss, iou = plot_run_curves([runs[1], runs[1]]).axes
    assert not loss.lines
    assert not iou.texts


def test_a_trained_and_a_stopped_run_are_compared_without_tensorflow(
    bundle_folder: Path, tmp_path: Path
) -> None:
    stopped, output = write_run(tmp_path / "stopped"), tmp_path / "comparison"
    words = ["compare", str(bundle_folder), str(stopped), "--output", str(output)]
    script = f"""
import sys
from defectseg.cli import app
app({words!r}, standalone_mode=False)
assert not {{"tensorflow", "keras", "openvino"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "stopped is unfinished: 3 of at most 9 epochs" in done.stdout
    names = {"comparison.html", "comparison.csv", "curves.png"}
    assert {path.name for path in output.iterdir()} == names
    page = (output / "comparison.html").read_text()
    assert "distortions believed, levels" in page
    assert "Test images, Class5" in page


def test_what_is_no_run_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    words = ["compare", str(write_run(tmp_path / "run")), str(tmp_path), "absent"]
    result = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "absent: found no folder" in result.output
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    write_run(tmp_path / "other")
    words = ["compare", str(tmp_path / "run"), str(tmp_path / "other")]
    result = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "is not empty" in result.output
