import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from defectseg.doctor import checks, examination
from defectseg.doctor.children import BrokenError, run_child
from defectseg.doctor.tiny import kernels, work_out


def reports(capfd: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    return {report["name"]: report for report in map(json.loads, lines)}


def test_the_small_network_has_something_to_say() -> None:
    answer = work_out()
    assert answer.min() < 0.1 < 0.9 < answer.max()
    assert [kernel.shape for kernel in kernels()] == [(3, 3, 1, 16), (3, 3, 16, 16), (3, 3, 16, 1)]


def test_keras_answers_and_devices_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    checks.check_keras()
    found = reports(capfd)
    assert found.pop("Keras")["state"] == "ok"
    assert {report["topic"] for report in found.values()} == {"device"}


def test_openvino_answers_in_both_precisions(capfd: pytest.CaptureFixture[str]) -> None:
    checks.check_openvino()
    found = reports(capfd)
    assert {name: report["state"] for name, report in found.items()} == {
        "OpenVINO float32": "ok",
        "OpenVINO int8": "ok",
    }
    assert found["OpenVINO int8"]["found"].startswith("int8: ")


def test_onnx_runtime_answers(capfd: pytest.CaptureFixture[str]) -> None:
    checks.check_onnx()
    assert reports(capfd)["ONNX Runtime"]["state"] == "ok"


@pytest.mark.parametrize(
    ("name", "wrong_by", "state"),
    [("Keras", 0.01, "fault"), ("OpenVINO int8", 0.05, "note"), ("OpenVINO int8", 0.001, "ok")],
)
def test_an_engine_that_answers_wrongly_is_not_to_be_used(
    name: str, wrong_by: float, state: str, capfd: pytest.CaptureFixture[str]
) -> None:
    # By more than 0.001 in float32; in int8 by more than 0.1, or by 0.01 in the mean.
    checks._compare(name, "int8", work_out() + np.float32(wrong_by))
    report = reports(capfd)[name]
    assert (report["state"], bool(report["advice"])) == (state, state != "ok")


def test_a_bundle_is_examined(bundle_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checks.check_bundle(str(bundle_folder))
    found = reports(capfd)
    assert found[str(bundle_folder)]["state"] == "ok"
    assert {report["state"] for report in found.values()} == {"ok"}
    assert found["float32"]["found"] == "float32 really runs (float32 where it was made)"
    assert "of the pixels change sides" in found["float32 beside Keras"]["found"]


def test_the_engine_that_judges_is_examined_also_where_keras_breaks(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('no libfoo')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    whole, judging, broken = examination._bundle(bundle_folder)
    assert (whole.state, judging.name, judging.state) == ("ok", "float32", "ok")
    assert (broken.name, broken.state, broken.found) == (
        "its engines",
        "fault",
        "ImportError: no libfoo",
    )
    assert broken.advice.startswith("see the libraries above")


def test_a_bundle_that_was_changed_is_a_fault(
    bundle_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(bundle_folder, tmp_path / "bundle")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(f"{text}# changed\n")
    checks.check_bundle(str(folder))
    (report,) = reports(capfd).values()
    assert (report["state"], "config.yaml was changed" in report["found"]) == ("fault", True)


@pytest.mark.parametrize(
    ("flipped", "needed", "state"),
    [(0.01, True, "ok"), (0.011, True, "fault"), (0.011, False, "note")],
)
def test_a_network_that_answers_otherwise_here_is_a_fault_if_it_judges(
    flipped: float, needed: bool, state: str
) -> None:
    finding = checks._judge("runs/parts", "int8", flipped, needed=needed)
    assert (finding.state, finding.name) == (state, "int8 beside Keras")
    assert ("export --model runs/parts --format int8" in finding.advice) == (state != "ok")


def test_a_check_that_fails_or_hangs_is_a_finding_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (finding,) = examination._engine("nosuch", "An engine")
    assert (finding.state, finding.found) == ("fault", "KeyError: 'nosuch'")
    monkeypatch.setattr("defectseg.doctor.children._PATIENCE_S", 0.01)
    with pytest.raises(BrokenError, match=r"no answer within 0.01 s"):
        list(run_child("libraries", ["json"]))
