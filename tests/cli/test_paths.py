from pathlib import Path

import pytest

from defectseg.cli.paths import complete_bundles, complete_settings, find_settings
from defectseg.config import INSTALLED


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two bundles, one in a hidden folder, and one that is none yet."""
    for name in ("runs/demo/bundle", "parts", "runs/.old/bundle"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.keras").touch()
    (tmp_path / "runs" / "begun").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", ["parts", "runs/demo/bundle"]),
        ("ru", ["runs/demo/bundle"]),
        ("runs/", ["runs/demo/bundle"]),
        ("runs/demo/bu", ["runs/demo/bundle"]),
        ("runs/b", []),  # the shell completes folders then
        ("absent/", []),
    ],
)
def test_bundles_are_completed_as_they_are_typed(
    here: Path, typed: str, expected: list[str]
) -> None:
    assert complete_bundles(typed) == expected


def test_bundles_are_completed_above_and_by_absolute_paths(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("runs")
    assert complete_bundles("../pa") == ["../parts"]
    assert complete_bundles(f"{here}/p") == [f"{here}/parts"]


def test_settings_that_are_installed_are_completed() -> None:
    assert complete_settings("configs/dagm") == ["configs/dagm.yaml", "configs/dagm_robust.yaml"]


def test_settings_that_are_not_here_are_the_installed_ones(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("configs/demo.yaml")
    assert find_settings(path) == INSTALLED / "demo.yaml"
    assert "configs/demo.yaml is not here" in capsys.readouterr().err
    # One's own comes first; and what nobody has is told where it is read.
    path.parent.mkdir()
    path.touch()
    for own in (path, Path("configs/typo.yaml"), Path("demo.yaml"), Path(), None):
        assert find_settings(own) == own
    assert capsys.readouterr().err == ""
