"""Runs whose figures are known by hand."""

from pathlib import Path
from typing import Any

import pandas as pd

from defectseg.evaluation.figures import summarise
from defectseg.evaluation.run_records import RunRecord

SETTINGS = {"data": "d", "run": "r", "train.seed": 0, "train.epochs": 9, "model.backbone": "a"}
HISTORY = {
    "epoch": [1.0, 2.0, 3.0],
    "loss": [0.9, 0.5, 0.4],
    "val_loss": [1.0, 0.7, 0.6],
    "val_defective_iou": [0.6, 0.7, 0.8],
    # The lower of both IoU is 0.2, 0.7, 0.5: the second epoch is the best.
    "val_iou": [0.2, 0.8, 0.5],
    "seconds": [30.0, 60.0, 90.0],
}


def answer(image: str, outcome: str, overlap: int = 0, **changes: Any) -> dict[str, Any]:
    """A test image; of a defective one 100 pixels are labelled, and as many are answered."""
    defective = image.startswith("d")
    own = {
        "split": "test",
        "sha256": image,
        "image": f"{image}.png",
        "product": "P",
        "kind": "P",
        "defective": defective,
        "outcome": outcome,
        "score": 0.9 if outcome == "FAIL" else 0.1,
        "alarmed": outcome == "FAIL",
        "sharpness": 1.0,
        "trusted": True,
        "overlap_px": overlap,
        "true_px": 100 if defective else 0,
        "predicted_px": 100 if defective else 0,
        "defects": int(defective),
        "defects_hit": int(overlap > 0),
        "error": "",
    }
    return own | changes


def make_run(name: str, answers: list[dict[str, Any]] | None = None, **settings: Any) -> RunRecord:
    """A finished run, though without a bundle; a key such as train_seed is a setting."""
    flat = {key.replace("_", ".", 1): value for key, value in settings.items()}
    frame = pd.DataFrame(answers) if answers else None
    return RunRecord(
        folder=Path(name),
        name=name,
        state="finished",
        remark="",
        settings=SETTINGS | flat,
        history=pd.DataFrame(HISTORY),
        trained_on="data",
        bundle=None,
        figures={} if frame is None else {"test": summarise(frame)},
        answers=frame,
    )
