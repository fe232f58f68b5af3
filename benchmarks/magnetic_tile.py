"""Train on magnetic tiles as configs/magnetic_tile.yaml says, and measure on images kept out.

    python benchmarks/magnetic_tile.py [--data ../shared/data/magnetic_tile]

Prepares, trains (18 minutes on 2 CPU cores, all in) and writes results/magnetic_tile.json and
the pages' table.
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from publish import PREPARED, REAL_DATA, write_into_pages, write_result
from trial import Trial, describe_outcomes, run_trial

from defectseg.dataset.prepare import prepare
from defectseg.evaluation.figures import Figures, compute_figures

TEST_SHARE = 0.2
LOCAL = ("MT_Blowhole", "MT_Break", "MT_Crack")  # kinds with a border that can be drawn


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL_DATA / "magnetic_tile")
    arguments = parser.parse_args()
    data = PREPARED / "benchmark-magnetic-tile"
    _, summary = prepare(arguments.data, data, test=TEST_SHARE)
    trial = run_trial("magnetic_tile", data, seed=0)
    write_result(
        "magnetic_tile",
        {
            "config": trial.config.model_dump(mode="json", exclude={"data", "run"}),
            "data": asdict(summary[0]),
            "blowhole_break_crack": asdict(measure_local(trial)),
            **trial.record(),
        },
    )
    write_into_pages("magnetic_tile", describe(trial))


def measure_local(trial: Trial) -> Figures:
    """Return the figures of blowhole, break and crack together against the free images."""
    return compute_figures(trial.rows[trial.rows["kind"].isin([*LOCAL, "MT_Free"])])


def describe(trial: Trial) -> str:
    """Return the pages' table and sentences."""
    left_out = trial.config.train.leave_out
    rows = [
        f"| {kind.removeprefix('MT_').lower()}{', not trained on' * (kind in left_out)} | "
        f"{own['defective_images']} | {own['iou_mean']:.2f} | "
        f"{own['defects_hit']['count']} of {own['defects_hit']['total']} | "
        f"{own['auroc']:.3f} | {own['escape']['count']} |"
        for kind, own in ((k, c["model"]) for k, c in trial.test["kinds"].items())
    ]
    local = measure_local(trial)
    lines = [
        "| kind | images | IoU | defects hit | AUROC against free | escapes |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"After {trial.minutes:.0f} minutes on {os.cpu_count()} CPU cores, calibration included, "
        "on images kept out. Blowhole, break and crack together: AUROC "
        f"**{local.auroc:.3f}** against the free ones, IoU **{local.iou_mean:.2f}**; "
        f"{describe_outcomes(asdict(local))}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
