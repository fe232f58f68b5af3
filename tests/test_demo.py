from pathlib import Path

import pandas as pd
import pytest

from defectseg.demo import run_demo
from defectseg.errors import ConfigError, DataError


@pytest.mark.slow
def test_the_demo_walks_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "short.yaml"
    # The road, not the model: one short epoch instead of four minutes.
    config.write_text(
        "data: d\nrun: r\n"
        "model: {decoder_filters: [16, 16, 8, 8, 8], downscale: 4}\n"
        "train: {epochs: 1, passes_per_epoch: 1}\n"
        "calibration: {gate_alpha: 0.05, sweep_images: 3, sweep_kinds: [gaussian_blur]}\n"
    )
    output = tmp_path / "demo"
    run_demo(output, config)
    rows = pd.read_csv(output / "results" / "predictions.csv")
    blurred = rows["image"].str.contains("blurred")
    assert blurred.sum() == 24  # 3 products, good and defective, 4 copies each
    # A network of one epoch has nothing to lose by blur, so that not all of it need be RETAKE.
    assert not (rows["outcome"][blurred] == "PASS").any()
    assert (output / "demo.jpg").is_file()
    text = capsys.readouterr().out
    assert str(output / "results" / "report.html") in text


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
