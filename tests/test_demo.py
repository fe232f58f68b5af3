"""What the demo leaves alone; the demo itself is the first command of test_examples."""

from pathlib import Path

import pytest

from defectseg.demo import run_demo
from defectseg.errors import ConfigError, DataError


def test_a_wrong_setting_does_not_cost_the_last_demo(tmp_path: Path) -> None:
    (tmp_path / ".defectseg-demo").touch()
    (tmp_path / "results").mkdir()
    with pytest.raises(ConfigError):
        run_demo(tmp_path, tmp_path / "typo.yaml")
    assert (tmp_path / "results").is_dir()


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not made by the demo"):
        run_demo(tmp_path, Path("configs/demo.yaml"))
    assert (tmp_path / "mine.txt").read_text() == "mine"
