import json
from pathlib import Path

from defectseg import commands
from tests.conftest import break_image, make_config


def test_an_image_that_became_unreadable_costs_a_training_its_zero_not_its_bundle(
    prepared: Path, tmp_path: Path
) -> None:
    data = break_image(prepared, tmp_path, "test")
    config = make_config(data, tmp_path / "run", epochs=1)
    assert commands.train(config, resume=False) == 1
    metrics = json.loads((config.run / "metrics.json").read_text())
    assert metrics["test"]["overall"]["model"]["unreadable_images"] == 1
