import json
from pathlib import Path

import pandas as pd

from defectseg.bundle import load_bundle


def test_training_leaves_a_whole_bundle(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    history = pd.read_csv(bundle_folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert set(bundle.calibration.gate.products) == {"Class1", "Class5"}
    figures = json.loads((bundle_folder / "metrics.json").read_text())
    # 8 images of each kind a product, a quarter each for val and test: 2 products × 2.
    assert figures["test"]["good_images"] == figures["test"]["defective_images"] == 4
