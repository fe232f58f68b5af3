"""Train on real DAGM images as configs/dagm.yaml says, and measure on images kept out.

    python benchmarks/dagm_class1.py [--data ../shared/data/dagm_class1]

Prepares, trains (20 minutes on 2 CPU cores) and writes results/dagm_class1.json and the README's
figures.
"""

import argparse
import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from publish import ROOT, write_into_readme, write_result

from defectseg import commands
from defectseg.config import load_config
from defectseg.dataset.prepare import prepare

TEST_SHARE = 0.2


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("DEFECTSEG_REAL_DATA", "../shared/data")) / "dagm_class1"
    parser.add_argument(
        "--data", type=Path, default=default, help="the images, default %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Folders of its own: what a user trained by the same settings is not touched.
    config = load_config(
        ROOT / "configs" / "dagm.yaml",
        [f"train.seed={arguments.seed}"],
        data=ROOT / "data" / "prepared" / "benchmark-dagm",
        run=ROOT / "runs" / "benchmark-dagm",
    )
    _, summary = prepare(arguments.data, config.data, test=TEST_SHARE)
    shutil.rmtree(config.run, ignore_errors=True)
    started = time.monotonic()
    commands.train(config, resume=False)
    minutes = (time.monotonic() - started) / 60
    figures = json.loads((config.run / "metrics.json").read_text(encoding="utf-8"))
    test = figures["test"]
    write_result(
        "dagm_class1",
        {
            "minutes": round(minutes, 1),
            "config": config.model_dump(mode="json", exclude={"data", "run"}),
            "data": asdict(summary[0]),
            "figures": figures,
        },
    )
    write_into_readme(
        "dagm_class1",
        f"On {test['defective_images']} defective and {test['good_images']} good images kept out "
        f"of training, after {minutes:.0f} minutes on {os.cpu_count()} CPU cores: mean IoU "
        f"**{test['iou_mean']:.2f}** over the defective images (worst {test['iou_worst']:.2f}), "
        f"{test['defects_hit']} of {test['defects']} defects hit, {test['good_alarmed']} of "
        f"{test['good_images']} good images alarmed, {test['good_retaken']} sent to RETAKE. An "
        "answer that is always empty has IoU 0 and hits nothing.\n",
    )


if __name__ == "__main__":
    main()
