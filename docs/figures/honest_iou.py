"""The same answers, averaged over defective images and over all: an empty answer looks good."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from style import BLUE, GRAY, save

_RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "dagm_class1.json"


def draw(path: Path) -> None:
    """Draw both means for the model of the benchmark and for an answer that is always empty."""
    trials = [own["test"]["overall"] for own in json.loads(_RESULT.read_text())["trials"]]
    defective, good = (trials[0]["model"][f"{kind}_images"] for kind in ("defective", "good"))
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    over_all, over_defective = figure.subplots(1, 2, sharey=True)
    for axes, title, score in (
        (over_all, f"over all {good + defective} images", mean_over_all),
        (over_defective, f"over the {defective} defective images", lambda own: own["iou_mean"]),
    ):
        means = [
            float(np.mean([score(trial[who]) for trial in trials]))
            for who in ("model", "empty_answer")
        ]
        bars = axes.bar(["trained model", "always empty"], means, color=[BLUE, GRAY], width=0.6)
        axes.bar_label(bars, [f"{mean:.2f}" for mean in means], fontsize=14, padding=3)
        axes.set_title(title, loc="left", fontsize=12)
        axes.set(ylim=(0, 1.15), yticks=[0, 0.5, 1])
    over_all.set_ylabel("mean IoU")
    save(figure, path)


def mean_over_all(figures: dict) -> float:
    """Return what is often published: a good image without an alarm counts as IoU 1."""
    good, defective = figures["good_images"], figures["defective_images"]
    quiet = good - figures["good_alarmed"]["count"]
    return (quiet + defective * figures["iou_mean"]) / (good + defective)
