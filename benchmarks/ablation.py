"""What each lever of the training is worth: one is changed at a time, all else stays.

    python benchmarks/ablation.py [--minutes 2] [--seeds 3] [--only mcc dice]

Real DAGM images, those kept for the published figure left out. The others are divided into three
folds; seed k trains without fold k and is measured on it, so that each image is measured once.
Runs that are in results/ablation.json already are not made again. Writes that file and
docs/ablation.md.
"""

import argparse
import hashlib
import json
import os
import shutil
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from publish import PREPARED, REAL_DATA, RESULTS, ROOT, write_result

from defectseg.config import load_config
from defectseg.console import TrainingProgress, out
from defectseg.dataset import manifest
from defectseg.dataset.prepare import prepare
from defectseg.evaluation.calibration import complete_bundle
from defectseg.segmentation.training import train

NAME = "ablation"
FOLDS = 3
VAL_SHARE = 0.2  # of what is not measured: it chooses the epoch and the thresholds
BASE = "as configs/dagm.yaml"
# Measured on the base's networks, which are not trained anew for them.
ANSWERS = {
    "test-time flips": {"flips": True},
    "answers in ellipses": {"ellipses": True},
    "both: flips and ellipses": {"flips": True, "ellipses": True},
}

# What is changed, by the name it has in the table.
VARIANTS: dict[str, list[str]] = {
    BASE: [],
    "learning rate 0.003": ["train.learning_rate=0.003"],
    "three defective images a good one": ["train.good_per_defective=0.33"],
    "three good images a defective one": ["train.good_per_defective=3"],
    "defects pasted onto half of the good images": ["augment.paste=0.5"],
    "batches of 4": ["train.batch_size=4"],
    "mean of weights (EMA 0.99)": ["train.ema_momentum=0.99"],
    "loss: MCC": ["train.loss=mcc"],
    "loss: Dice": ["train.loss=dice"],
    "loss: focal Tversky": ["train.loss=focal_tversky"],
    "loss: border weights, 4 px": ["train.border_px=4"],
    "polar liquify 0.5": ["augment.liquify=0.5"],
    "elastic 3 px": ["augment.elastic_px=3"],
    "noise up to 10": ["augment.noise=10"],
    "blur up to 1 px": ["augment.blur_px=1"],
    "uneven brightness and contrast 0.2": ["augment.light=0.2"],
    "no free rotation, no scaling": ["augment.rotate_deg=0", "augment.scale=0"],
    "constant learning rate": ["train.schedule=constant"],
    "batch-norm momentum 0.9": ["model.batch_norm_momentum=0.9"],
    "batch-norm momentum 0.99": ["model.batch_norm_momentum=0.99"],
    "decoder twice as wide": ["model.decoder_filters=[128,64,32,32,16]"],
    "whole images": ["train.crop_px=null", "train.batch_size=2"],
    "patches of 128 px": ["train.crop_px=128", "train.batch_size=32"],
    "backbone resnet34": ["model.backbone=resnet34"],
    "backbone mobilenetv2": ["model.backbone=mobilenetv2"],
    "quarter resolution (downscale 4)": ["model.downscale=4"],
    "full resolution (downscale 1)": ["model.downscale=1"],
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL_DATA / "dagm_class1")
    parser.add_argument("--minutes", type=float, default=2.0, help="of each training")
    parser.add_argument("--seeds", type=int, default=FOLDS, choices=range(1, FOLDS + 1))
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    folds = make_folds(arguments.data)
    runs = read_runs(arguments.minutes)
    # Seed by seed, so that what is there after a while is a fair comparison of all.
    todo = [
        (seed, name)
        for seed in range(arguments.seeds)
        for name in arguments.only
        if not any(run["variant"] == name and run["seed"] == seed for run in runs)
    ]
    started = time.monotonic()
    for number, (seed, name) in enumerate(todo):
        runs += measure(name, seed, folds[seed], arguments.minutes)
        write_result(NAME, {"minutes": arguments.minutes, "runs": runs})
        left = (time.monotonic() - started) / (number + 1) * (len(todo) - number - 1)
        out.print(f"{number + 1} of {len(todo)} runs, {left / 60:.0f} min left: {name}")
    write_table(runs, arguments.minutes)


def make_folds(source: Path) -> list[Path]:
    """Write one prepared folder a fold: it is the test split, the rest is for training."""
    whole = PREPARED / "benchmark-dagm"
    prepare(source, whole, test=0.2)
    groups = defaultdict(list)
    for sample in manifest.read_manifest(whole):
        if sample.split != "test":
            groups[sample.defective].append(sample)
    folders = []
    for fold in range(FOLDS):
        samples = []
        for group in groups.values():
            group.sort(key=lambda sample: hashlib.sha256(sample.sha256.encode()).hexdigest())
            rest = [sample for i, sample in enumerate(group) if i % FOLDS != fold]
            for sample in group:
                place = rest.index(sample) if sample in rest else -1
                split = "test" if place < 0 else "val" if place < VAL_SHARE * len(rest) else "train"
                samples.append(replace(sample, split=split))
        folder = PREPARED / f"ablation-{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        text = manifest.write_manifest(samples, folder)
        (folder / manifest.FILE_NAME).write_text(text, encoding="utf-8")
        folders.append(folder)
    return folders


def read_runs(minutes: float) -> list[dict[str, Any]]:
    """Return the runs that were made already with as many minutes, and the same settings."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return []
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["minutes"] != minutes:
        return []
    wanted = VARIANTS | dict.fromkeys(ANSWERS, VARIANTS[BASE])
    return [run for run in record["runs"] if run["settings"] == wanted.get(run["variant"])]


def measure(name: str, seed: int, data: Path, minutes: float) -> list[dict[str, Any]]:
    """Train one variant and measure it on its fold; the base in each way to answer."""
    keras.backend.clear_session(free_memory=True)
    run = ROOT / "runs" / "ablation"
    shutil.rmtree(run, ignore_errors=True)
    settings = [f"train.max_minutes={minutes}", f"train.seed={seed}", *VARIANTS[name]]
    config = load_config(ROOT / "configs" / "dagm.yaml", settings, data=data, run=run)
    with TrainingProgress() as monitor:
        state = train(config, monitor)
    ways = {name: config}
    if name == BASE:
        for way, update in ANSWERS.items():
            inference = config.inference.model_copy(update=update)
            ways[way] = config.model_copy(update={"inference": inference})
    records = []
    for way, own in ways.items():
        figures = complete_bundle(own)["test"].overall.model
        records.append(
            {
                "variant": way,
                "settings": VARIANTS[name],
                "seed": seed,
                "epochs": state.epoch,
                "iou_mean": figures.iou_mean,
                "iou_worst": figures.iou_worst,
                "auroc": figures.auroc,
                "good_alarmed": figures.good_alarmed.count,
                "good_images": figures.good_images,
            }
        )
    return records


def write_table(runs: list[dict[str, Any]], minutes: float) -> None:
    """Write docs/ablation.md: the variants by what they gain over the base, fold by fold."""
    by_variant: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for run in runs:
        by_variant[run["variant"]][run["seed"]] = run
    base = by_variant[BASE]
    rows = []
    for name, own in by_variant.items():
        seeds = sorted(own.keys() & base.keys())
        iou = np.array([own[seed]["iou_mean"] for seed in seeds])
        gain = iou - [base[seed]["iou_mean"] for seed in seeds]
        auroc = np.mean([own[seed]["auroc"] for seed in seeds])
        alarmed = sum(own[seed]["good_alarmed"] for seed in seeds)
        good = sum(own[seed]["good_images"] for seed in seeds)
        spread = f" ± {gain.std(ddof=1):.3f}" if len(seeds) > 1 and name != BASE else ""
        rows.append(
            (
                gain.mean(),
                f"| {name} | {iou.mean():.3f} | {gain.mean():+.3f}{spread} | {auroc:.3f} | "
                f"{alarmed} of {good} | {len(seeds)} |",
            )
        )
    lines = [
        "# What each lever of the training is worth",
        "",
        f"DAGM class 1, {minutes:g} minutes of training each on {os.cpu_count()} CPU cores. One",
        "setting is changed at a time; everything else is as in [configs/dagm.yaml]"
        "(../configs/dagm.yaml).",
        "Each seed trains on two thirds of the images and is measured on the other third, so that",
        "each image is measured once; the images of the published figure are in none of them.",
        "",
        "Mean IoU over defective images; its gain over the base, as mean ± standard deviation over",
        "the seeds. Short trainings rank what learns fast: a small gain or loss may turn in a long",
        "one. Written by `benchmarks/ablation.py`.",
        "",
        "| changed | IoU | gain | AUROC | good alarmed | seeds |",
        "|---|---|---|---|---|---|",
        *(line for _, line in sorted(rows, key=lambda row: -row[0])),
    ]
    path = ROOT / "docs" / "ablation.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
