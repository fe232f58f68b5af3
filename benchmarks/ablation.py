"""What each lever of the training is worth: one is changed at a time, all else stays.

    python benchmarks/ablation.py [--minutes 1] [--seeds 3] [--only "loss: MCC" "loss: Dice"]
    python benchmarks/ablation.py --minutes 4 --only "wider, liquify" ...  (the finalists)

The base is benchmarks/ablation.yaml. Real DAGM images, those kept for the published figure left
out; the others are divided into three folds. Seed k trains without fold k and is measured on it, so
that each image is measured once.
Runs that are in results/ablation.json already, with the same settings, data and arithmetic, are
not made again; each tells the commit that it was made with. A seed's runs are held against its own
base: make them all with one commit. Writes that file and docs/ablation.md.
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
from publish import PREPARED, REAL_DATA, RESULTS, ROOT, prepare_dagm, read_commit, write_result

from defectseg.config import Config, load_config
from defectseg.console import TrainingProgress, out
from defectseg.dataset import manifest
from defectseg.evaluation.calibration import complete_bundle
from defectseg.segmentation.precision import choose_precision
from defectseg.segmentation.training import train

NAME = "ablation"
FOLDS = 3
VAL_SHARE = 0.2  # of what is not measured: it chooses the epoch and the thresholds
BASE = "base"
# Measured on the networks of the base and of the combinations, which are not trained anew for them.
ANSWERS = {
    "test-time flips": {"flips": True},
    "answers in ellipses": {"ellipses": True},
    "both: flips and ellipses": {"flips": True, "ellipses": True},
}

# What is changed, by the name it has in the table.
VARIANTS: dict[str, list[str]] = {
    BASE: [],
    "loss: MCC": ["train.loss=mcc"],
    "loss: Dice": ["train.loss=dice"],
    "loss: BCE + Dice image by image": ["train.loss=bce_dice_by_image"],
    "loss: focal Tversky": ["train.loss=focal_tversky"],
    "loss: border weights, 4 px": ["train.border_px=4"],
    "mean of weights (EMA 0.99)": ["train.ema_momentum=0.99"],
    "polar liquify 0.5": ["augment.liquify=0.5"],
    "elastic 3 px": ["augment.elastic_px=3"],
    "defects pasted onto half of the good images": ["augment.paste=0.5"],
    "noise up to 10": ["augment.noise=10"],
    "blur up to 1 px": ["augment.blur_px=1"],
    "uneven brightness and contrast 0.3": ["augment.light=0.3"],
    "no flips, no quarter turns": ["augment.flip=false", "augment.quarter_turns=false"],
    "no free rotation, no scaling": ["augment.rotate_deg=0", "augment.scale=0"],
    "three good images a defective one": ["train.good_per_defective=3"],
    "constant learning rate": ["train.schedule=constant"],
    "batch-norm statistics: running mean": ["train.statistics_batches=0"],
    "batch-norm statistics: running mean, momentum 0.99": [
        "train.statistics_batches=0",
        "model.batch_norm_momentum=0.99",
    ],
    "decoder twice as wide": ["model.decoder_filters=[128,64,32,32,16]"],
    "float32 throughout": ["train.precision=float32"],
    "whole images, two a batch": ["train.crop_px=null", "train.batch_size=2"],
    "backbone mobilenetv2": ["model.backbone=mobilenetv2"],
    "quarter resolution (downscale 4)": ["model.downscale=4"],
    "full resolution (downscale 1)": ["model.downscale=1"],
}
# Of levers that were near the top alone; for longer trainings.
COMBINATIONS = {
    "wider, liquify": ["model.decoder_filters=[128,64,32,32,16]", "augment.liquify=0.5"],
}
LEVERS = VARIANTS | COMBINATIONS


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL_DATA / "dagm_class1")
    parser.add_argument("--minutes", type=float, default=1.0, help="of each training")
    parser.add_argument("--seeds", type=int, default=FOLDS, choices=range(1, FOLDS + 1))
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(LEVERS))
    arguments = parser.parse_args()
    commit = read_commit()  # now, before results make the checkout differ from it
    folds = make_folds(arguments.data)
    runs, others = read_runs(folds)
    # Seed by seed, so that what is there after a while is a fair comparison of all.
    wanted = [
        (name, seed, arguments.minutes)
        for seed in range(arguments.seeds)
        for name in dict.fromkeys([BASE, *arguments.only])
    ]
    made = {(run["variant"], run["seed"], run["minutes"]) for run in runs}
    todo = [key for key in wanted if key not in made]
    write_tables(runs)
    started = time.monotonic()
    for number, (name, seed, minutes) in enumerate(todo):
        runs += [own | {"commit": commit} for own in measure(name, seed, folds[seed], minutes)]
        write_result(NAME, {"runs": [*runs, *others]})
        write_tables(runs)
        left = (time.monotonic() - started) / (number + 1) * (len(todo) - number - 1)
        out.print(f"{number + 1} of {len(todo)} runs, {left / 60:.0f} min left: {name}")


def make_folds(source: Path) -> list[Path]:
    """Write one prepared folder a fold: it is the test split, the rest is for training."""
    whole = PREPARED / "ablation"
    prepare_dagm(source, whole)
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


def settings_of(name: str, seed: int, data: Path, minutes: float) -> Config:
    """Return the settings of a run, of its variant and all that stays."""
    overrides = [
        f"train.max_minutes={minutes}",
        f"train.seed={seed}",
        "inference={}",
        *LEVERS[name],
    ]
    path = ROOT / "benchmarks" / "ablation.yaml"
    return load_config(path, overrides, data=data, run=ROOT / "runs" / NAME)


def fingerprint(config: Config) -> str:
    """Return a hash of a run's settings, defaults included, and data."""
    text = config.model_dump_json(exclude={"data", "run"})
    data = manifest.data_sha256(manifest.read_manifest(config.data))
    return hashlib.sha256((text + data).encode()).hexdigest()


def read_runs(folds: list[Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the runs that were made already as they would be today, and all others."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return [], []
    runs, others = [], []
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        as_today = None
        if run["trained_as"] in LEVERS:
            seed = run["seed"]
            config = settings_of(run["trained_as"], seed, folds[seed], run["minutes"])
            as_today = fingerprint(config), choose_precision(config.train.precision)
        same = (run["fingerprint"], run["precision"]) == as_today
        (runs if same else others).append(run)
    return runs, others


def measure(name: str, seed: int, data: Path, minutes: float) -> list[dict[str, Any]]:
    """Train one variant and measure it on its fold; base and combinations in each way to answer."""
    keras.backend.clear_session(free_memory=True)
    config = settings_of(name, seed, data, minutes)
    shutil.rmtree(config.run, ignore_errors=True)
    with TrainingProgress() as monitor:
        state = train(config, monitor)
    ways = {name: config}
    if name in (BASE, *COMBINATIONS):
        for way, update in ANSWERS.items():
            inference = config.inference.model_copy(update=update)
            label = way if name == BASE else f"{name}; {way}"
            ways[label] = config.model_copy(update={"inference": inference})
    records = []
    for way, own in ways.items():
        figures = complete_bundle(own)["test"].overall.model
        records.append(
            {
                "variant": way,
                "trained_as": name,
                "fingerprint": fingerprint(config),
                "precision": choose_precision(config.train.precision),
                "seed": seed,
                "minutes": minutes,
                "epochs": state.epoch,
                "iou_mean": figures.iou_mean,
                "iou_worst": figures.iou_worst,
                "auroc": figures.auroc,
                "good_alarmed": figures.good_alarmed.count,
                "good_images": figures.good_images,
            }
        )
    return records


def write_tables(runs: list[dict[str, Any]]) -> None:
    """Write docs/ablation.md: the variants by what they gain over the base, fold by fold."""
    lines = [
        "# What each lever of the training is worth",
        "",
        f"DAGM class 1 on {os.cpu_count()} CPU cores, the same minutes for all. One lever is",
        "changed at a time; everything else is as in",
        "[benchmarks/ablation.yaml](../benchmarks/ablation.yaml).",
        "Each seed trains on two thirds of the images and is measured on the other third, so that",
        "each image is measured once; the images of the published figure are in none of them.",
        "",
        "Mean IoU over defective images; its gain over the base, as mean ± standard deviation over",
        "the seeds, and of each seed: where the signs differ, the lever is not told from chance.",
        "Short trainings rank what learns fast: what needs more steps to start (running means,",
        "high resolution) ranks low in them. Written by `benchmarks/ablation.py`.",
    ]
    for minutes in sorted({run["minutes"] for run in runs}):
        own = [run for run in runs if run["minutes"] == minutes]
        lines += [
            "",
            f"## Trainings of {60 * minutes:.0f} s",
            "",
            f"Commit {', '.join(sorted({run['commit'] for run in own}))}.",
            "",
            "| changed | seeds | IoU | gain | of each seed | AUROC | good alarmed |",
            "|---|---|---|---|---|---|---|",
            *table_rows(own),
        ]
    lines += [
        "",
        "## What was kept",
        "",
        "[configs/dagm.yaml](../configs/dagm.yaml) differs from the base in",
        "",
        *kept(),
        "",
        "Apart from those that the base has, the other levers are switched off.",
    ]
    (ROOT / "docs" / "ablation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def kept() -> list[str]:
    """Return the settings that configs/dagm.yaml has and the base has not, the minutes aside."""
    base, own = (
        load_config(path).model_dump(mode="json", exclude={"data", "run"})
        for path in (ROOT / "benchmarks" / "ablation.yaml", ROOT / "configs" / "dagm.yaml")
    )
    return [
        f"- `{section}.{name}`: {value}, in place of {base[section][name]}"
        for section, settings in own.items()
        for name, value in settings.items()
        if value != base[section][name] and name != "max_minutes"
    ]


def table_rows(runs: list[dict[str, Any]]) -> list[str]:
    """Return one table's rows, the largest gain first."""
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
        each = ", ".join(f"{value:+.2f}" for value in gain)
        line = (
            f"| {name} | {len(seeds)} | {iou.mean():.3f} | {gain.mean():+.3f}{spread} | {each} | "
            f"{auroc:.3f} | {alarmed} of {good} |"
        )
        rows.append((gain.mean(), line))
    return [line for _, line in sorted(rows, key=lambda row: -row[0])]


if __name__ == "__main__":
    main()
