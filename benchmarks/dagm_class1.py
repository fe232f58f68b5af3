"""Train on real DAGM images as configs/dagm.yaml says, and measure on images kept out.

    python benchmarks/dagm_class1.py [--data ../shared/data/dagm_class1] [--seeds 3]

Prepares, trains once a seed (6 minutes each on 2 CPU cores, all in) and writes
results/dagm_class1.json and the pages' figures.
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from publish import PREPARED, REAL_DATA, prepare_dagm, write_into_pages, write_result
from trial import run_trial


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL_DATA / "dagm_class1")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    data = PREPARED / "benchmark-dagm"
    summary = prepare_dagm(arguments.data, data)
    trials = [run_trial("dagm", data, seed) for seed in range(arguments.seeds)]
    limits = [size_limit(trial.rows) for trial in trials]
    write_result(
        "dagm_class1",
        {
            "config": trials[0].config.model_dump(mode="json", exclude={"data", "run"}),
            "data": asdict(summary),
            "trials": [
                trial.record() | {"iou_if_only_sizes_differed": limit}
                for trial, limit in zip(trials, limits, strict=True)
            ],
        },
    )
    overall = [trial.test["overall"]["model"] for trial in trials]
    means = ", ".join(f"**{figures['iou_mean']:.2f}**" for figures in overall)
    worst = min(figures["iou_worst"] for figures in overall)
    hit, good = ([figures[name] for figures in overall] for name in ("defects_hit", "good_alarmed"))
    minutes = max(trial.minutes for trial in trials)
    write_into_pages(
        "dagm_class1",
        f"On {overall[0]['defective_images']} defective and {overall[0]['good_images']} good "
        f"images kept out of training, after at most {minutes:.0f} minutes on {os.cpu_count()} "
        f"CPU cores, {len(trials)} seeds: mean IoU {means} over the defective images (worst image "
        f"{worst:.2f}); {counts(hit)} of {hit[0]['total']} defects hit; {counts(good)} of "
        f"{good[0]['total']} good images alarmed. An answer that is always empty has IoU 0 and "
        "hits nothing. Labels and answers differ in size: right in place and form, answers of "
        f"these sizes would have IoU {min(limits):.2f} to {max(limits):.2f}.\n",
    )


def counts(rates: list[dict[str, Any]]) -> str:
    """Return the counts of all seeds."""
    return ", ".join(str(rate["count"]) for rate in rates)


def size_limit(rows: pd.DataFrame) -> float:
    """Return the mean IoU of answers of the same areas, each in its label or around it."""
    ratio = (rows["predicted_px"] / rows["true_px"])[rows["defective"]]
    return float(np.minimum(ratio, 1 / ratio.clip(lower=1e-9)).mean())


if __name__ == "__main__":
    main()
