"""A training as a user would make it, timed, with the figures of its bundle."""

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import pandas as pd
from publish import ROOT

from defectseg.bundle import load_bundle
from defectseg.commands import training
from defectseg.config import Config, load_config
from defectseg.evaluation.evaluate import evaluate, select_samples
from defectseg.evaluation.figures import summarise
from defectseg.inference.predictor import open_predictor


def describe_outcomes(figures: dict[str, Any]) -> str:
    """Return how many good and defective images had each outcome, in words."""
    return "; ".join(
        f"of {figures[f'{name}_images']} {name} images "
        + ", ".join(f"{count} {outcome}" for outcome, count in sorted(own.items()))
        for name in ("defective", "good")
        if (own := figures[f"{name}_outcomes"])
    )


@dataclass(frozen=True)
class Trial:
    """What came of one training.

    Attributes
    ----------
    seed : int
    minutes : float
        All in: training, calibration and the bundle's own figures, on validation and test images.
    config : Config
    test : dict
        `evaluation.figures.Evaluation` of images that were kept out, as a dict.
    rows : DataFrame
        Of `evaluation.evaluate.evaluate`, on the same images.
    """

    seed: int
    minutes: float
    config: Config
    test: dict[str, Any]
    rows: pd.DataFrame

    def record(self) -> dict[str, Any]:
        """Return what is worth keeping in a result file."""
        return {"seed": self.seed, "minutes": round(self.minutes, 1), "test": self.test}


def run_trial(name: str, data: Path, seed: int, *, unseen: Path | None = None) -> Trial:
    """Train as ``configs/NAME.yaml`` says on a prepared folder, and measure.

    Parameters
    ----------
    name : str
    data : Path
    seed : int
    unseen : Path or None
        A prepared folder of other images, all of which are measured. By default the test images
        of `data` are.

    Notes
    -----
    The folder of the run is its own: what a user trained by the same settings is not touched.
    """
    keras.backend.clear_session(free_memory=True)
    run = ROOT / "runs" / f"benchmark-{name}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    path = ROOT / "configs" / f"{name}.yaml"
    config = load_config(path, [f"train.seed={seed}"], data=data, run=run)
    started = time.monotonic()
    training.train(config, resume=False)
    minutes = (time.monotonic() - started) / 60
    bundle = load_bundle(run)
    predictor = open_predictor(bundle)
    products = list(bundle.calibration.gate.products)
    folder, split = (unseen, "all") if unseen else (data, "test")
    rows = evaluate(predictor, select_samples(folder, split, products, None))
    # JSON and back, so that it is what the bundle's metrics.json says.
    test = json.loads(json.dumps(asdict(summarise(rows))))
    return Trial(seed, minutes, config, test, rows)
