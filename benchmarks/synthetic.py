"""Train one model for all six synthetic textures, and measure on images kept out.

    python benchmarks/synthetic.py

Draws and prepares the images, trains (14 minutes on 2 CPU cores) and writes
results/synthetic.json and the README's figures.
"""

import os
import shutil
import time

from publish import PREPARED, ROOT, write_into_readme, write_result
from trial import run_trial

from defectseg.dataset.prepare import prepare
from defectseg.dataset.synthetic import write_dataset

IMAGES = {"good": 60, "defective": 60, "seed": 0}
TEST_SHARE = 0.2


def main() -> None:
    """Run the benchmark."""
    raw, data = ROOT / "data" / "raw" / "benchmark-synthetic", PREPARED / "benchmark-synthetic"
    shutil.rmtree(raw, ignore_errors=True)
    started = time.monotonic()
    write_dataset(raw, **IMAGES)
    prepare(raw, data, test=TEST_SHARE)
    trial = run_trial("synthetic", data, seed=0)
    minutes = (time.monotonic() - started) / 60
    write_result(
        "synthetic",
        {
            "minutes_with_drawing": round(minutes, 1),
            "images": IMAGES,
            "config": trial.config.model_dump(mode="json", exclude={"data", "run"}),
            **trial.record(),
        },
    )
    overall = trial.test["overall"]["model"]
    write_into_readme(
        "synthetic",
        f"On {overall['defective_images']} defective and {overall['good_images']} good images kept "
        f"out, after {minutes:.0f} minutes on {os.cpu_count()} CPU cores, drawing included: mean "
        f"IoU **{overall['iou_mean']:.2f}** over the defective images, AUROC "
        f"**{overall['auroc']:.3f}**, {overall['escape']['count']} escapes, "
        f"{overall['overkill']['count']} good images rejected.\n",
    )


if __name__ == "__main__":
    main()
