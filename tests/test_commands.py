import json
from pathlib import Path

import pandas as pd

from defectseg import commands
from tests.conftest import make_config


def test_an_image_that_became_unreadable_costs_a_training_its_zero_not_its_bundle(
    prepared: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(prepared / "manifest.csv", keep_default_na=False)
    for name in ("image", "mask"):
        table[name] = [str(prepared / path) if path else "" for path in table[name]]
    broken = tmp_path / "broken.png"
    broken.write_text("not an image")
    table.loc[table.index[table["split"] == "test"][0], "image"] = str(broken)
    data = tmp_path / "data"
    data.mkdir()
    table.to_csv(data / "manifest.csv", index=False)
    config = make_config(data, tmp_path / "run", epochs=1)
    assert commands.train(config, resume=False) == 1
    metrics = json.loads((config.run / "metrics.json").read_text())
    assert metrics["test"]["overall"]["model"]["unreadable_images"] == 1
