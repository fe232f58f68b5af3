import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from defectseg.bundle import finish_bundle
from defectseg.errors import DataError
from defectseg.evaluation.figures import summarise
from defectseg.evaluation.run_records import RunRecord, read_runs
from defectseg.segmentation.state import TrainingState
from tests.evaluation.runs import HISTORY


def write_run(folder: Path) -> Path:
    """What a training leaves that was stopped after three epochs."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text("data: d\ntrain:\n  epochs: 9\n  seed: 4\n")
    pd.DataFrame(HISTORY).to_csv(folder / "history.csv", index=False)
    state = asdict(TrainingState(3, 2, 0.7, 90.0, "hash"))
    (folder / "checkpoints" / "state.json").write_text(json.dumps(state))
    return folder


def read_beside(folder: Path, tmp_path: Path) -> RunRecord:
    return read_runs([folder, write_run(tmp_path / "beside")])[0]


def test_an_unfinished_run_tells_what_it_knows(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    # Of an earlier calibration, of other weights.
    (run / "metrics.json").write_text('{"test": 1}')
    own = read_beside(run, tmp_path)
    assert (own.state, own.remark) == ("unfinished", "3 of at most 9 epochs, and not calibrated")
    assert own.settings == {"data": "d", "train.epochs": 9, "train.seed": 4}
    assert (own.best_epoch, own.minutes, own.trained_on) == (2, 1.5, "hash")
    assert own.figures == {}


def test_a_run_in_its_first_epoch_is_one(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("train: {epochs: 9}")
    own = read_beside(tmp_path / "run", tmp_path)
    assert (own.state, own.best_epoch, own.minutes, own.trained_on) == ("unfinished", *[None] * 3)


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("config.yaml", "a: [", "is not YAML"),
        ("history.csv", "", "No columns"),
        ("history.csv", "epoch,loss\n1,2\n", "lacks the columns val_loss, val_defective_iou"),
        ("history.csv", "epoch,loss,val_loss,val_defective_iou,val_iou,seconds\n1,x,1,1,1,1\n",
         "no number"),
        ("checkpoints/state.json", "{", "is damaged"),
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_read_is_told_and_costs_no_other(
    part: str, text: str, message: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run")
    (run / part).write_text(text)
    own = read_beside(run, tmp_path)
    assert own.state == "damaged"
    assert message in own.remark
    assert "not calibrated" in own.remark
    known = [bool(own.settings), len(own.history) == 3, own.trained_on == "hash"]
    assert sum(known) == 2


def test_all_that_is_no_run_is_named_at_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    again = tmp_path / "empty" / ".." / "run"
    with pytest.raises(DataError) as caught:
        read_runs([run, tmp_path / "absent", tmp_path / "empty", again])
    text = str(caught.value)
    assert "absent: found no folder; expected a folder that `defectseg train` left" in text
    assert "empty: found no config.yaml, history.csv or model.keras" in text
    assert "run: found a run named twice" in text
    assert len(caught.value.problems) == 3


def test_one_run_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two or more"):
        read_runs([write_run(tmp_path / "run")])


def test_names_are_the_paths_below_what_they_have_in_common(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name) for name in ("demo/bundle", "again", "again/later")]
    assert [run.name for run in read_runs(folders)] == ["demo/bundle", "again", "again/later"]


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    """A bundle to be damaged: links, so that a file is replaced and never written into."""
    ignore = shutil.ignore_patterns("tensorboard", "checkpoints")
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy", False, ignore, os.link))


def test_the_answers_of_a_bundle_are_those_of_its_figures(
    bundle_folder: Path, tmp_path: Path
) -> None:
    own = read_beside(bundle_folder, tmp_path)
    assert (own.state, own.remark) == ("finished", "")
    assert own.answers is not None
    assert own.trained_on == own.measured_on
    for split, figures in own.figures.items():
        rows = own.answers[own.answers["split"] == split].reset_index(drop=True)
        assert summarise(rows) == figures


def test_a_bundle_from_before_answers_were_kept_is_whole(copy: Path, tmp_path: Path) -> None:
    (copy / "answers.csv").unlink()
    finish_bundle(copy)
    own = read_beside(copy, tmp_path)
    assert (own.state, own.answers) == ("finished", None)
    assert set(own.figures) == {"val", "test"}


@pytest.mark.parametrize("part", ["engine/float32.bin", "metrics.json", "answers.csv"])
def test_figures_of_a_bundle_that_was_changed_are_not_shown(
    copy: Path, part: str, tmp_path: Path
) -> None:
    (copy / part).unlink()
    (copy / part).write_bytes(b"changed")
    own: Any = read_beside(copy, tmp_path)
    assert own.state == "damaged"
    assert f"{part} was changed" in own.remark
    assert (own.figures, own.answers, own.bundle) == ({}, None, None)
