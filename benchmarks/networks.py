"""Which network: IoU against milliseconds, for backbones, decoder widths and resolutions.

    python benchmarks/networks.py [--data ../shared/data/dagm_class1] [--epochs 6]

Real DAGM images, trained as configs/dagm.yaml says but for the network, and for as many epochs each
instead of as many minutes (an hour and a half in all; runs that are there are not trained again).
The default is chosen by the validation images; the test images are only told. Mirror images are
left out of the milliseconds, which are those of one answer. Writes results/networks.json and
docs/networks.md.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from publish import PREPARED, REAL_DATA, ROOT, prepare_dagm, write_result

from defectseg.config import Config, load_config
from defectseg.console import TrainingProgress, out
from defectseg.dataset import manifest
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.evaluation.parity import measure_parity
from defectseg.evaluation.score_calibration import calibrate_thresholds
from defectseg.evaluation.scores import count_pixels, iou
from defectseg.exporting import export_for_cpu
from defectseg.inference.engines import Engine, load_engine
from defectseg.inference.predictor import find_defects
from defectseg.segmentation.training import train

WIDTHS = "model.decoder_filters="
NETWORKS = {
    "resnet18": [],
    "resnet18, decoder half as wide": [f"{WIDTHS}[32,16,8,8,8]"],
    "resnet18, decoder twice as wide": [f"{WIDTHS}[128,64,32,32,16]"],
    "resnet18, quarter resolution": ["model.downscale=4"],
    "resnet34": ["model.backbone=resnet34"],
    "mobilenetv2": ["model.backbone=mobilenetv2"],
}
RUNS = 15


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL_DATA / "dagm_class1")
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    data = PREPARED / "benchmark-dagm"
    prepare_dagm(arguments.data, data)
    split = manifest.divide(manifest.read_manifest(data))
    configs = {}
    for name, changes in NETWORKS.items():
        run = ROOT / "runs" / f"network-{name.replace(', ', '-').replace(' ', '-')}"
        settings = [*changes, "train.max_minutes=null", f"train.epochs={arguments.epochs}"]
        path = ROOT / "configs" / "dagm.yaml"
        configs[name] = load_config(path, settings, data=data, run=run)
        if not (run / "model.keras").exists():
            keras.backend.clear_session(free_memory=True)
            with TrainingProgress() as monitor:
                train(configs[name], monitor)
    rows = {name: measure(config, split) for name, config in configs.items()}
    time_in_turn(configs, split["test"], rows)
    write_result("networks", {"epochs": arguments.epochs, "networks": rows})
    (ROOT / "docs" / "networks.md").write_text(describe(rows, split), encoding="utf-8")


def measure(config: Config, split: dict[str, list[Sample]]) -> dict[str, Any]:
    """Return what a network is worth: IoU of the validation and test images, and int8's parity."""
    export_for_cpu(config, split["train"])
    reference = load_engine(config.run, config, "keras")
    ellipses = config.inference.ellipses
    thresholds = calibrate_thresholds(reference, split["train"], split["val"], config, lambda: None)
    engines = {kind: load_engine(config.run, config, kind) for kind in ("float32", "int8")}
    exports = measure_parity(reference, engines, split["val"], thresholds, ellipses=ellipses)

    row: dict[str, Any] = {
        "parameters": keras.models.load_model(config.run / "model.keras").count_params(),
        "exports": {kind: own.model_dump() for kind, own in exports.items()},
        "ms": {},
    }
    for name in ("val", "test"):
        ious: list[float] = []
        scores: dict[bool, list[float]] = {True: [], False: []}
        for sample in split[name]:
            probability = reference.probability(read_sample_image(sample))
            found = find_defects(probability, thresholds, sample.product, ellipses=ellipses)
            scores[sample.defective].append(found.score)
            if sample.defective:
                label = read_label(sample, found.mask.shape)
                ious.append(round(iou(count_pixels(label, found.mask)), 4))
        row |= {f"{name}_ious": ious}
        # By how much the good image most like a defect is told from the weakest defect.
        row |= {f"{name}_margin": round(min(scores[True]) - max(scores[False]), 3)}
    out.print(f"{config.run.name}: {json.dumps(row)}")
    return row


def time_in_turn(
    configs: dict[str, Config], samples: list[Sample], rows: dict[str, dict[str, Any]]
) -> None:
    """Add the median milliseconds of one answer to the rows, all networks in turn."""
    images = [read_sample_image(sample) for sample in samples[:RUNS]]
    engines: dict[tuple[str, str], Engine] = {}
    for name, config in configs.items():
        plain = config.inference.model_copy(update={"flips": False})
        once = config.model_copy(update={"inference": plain})
        for kind in ("float32", "int8"):
            engines[name, kind] = load_engine(config.run, once, kind, streams=1)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in engines}
    for image in [images[0], *images]:
        for key, engine in engines.items():
            started = time.perf_counter()
            engine.probability(image)
            times[key].append(1000 * (time.perf_counter() - started))
    for (name, kind), own in times.items():
        rows[name]["ms"][kind] = round(float(np.median(own[1:])), 1)


def describe(rows: dict[str, dict[str, Any]], split: dict[str, list[Sample]]) -> str:
    """Return the page."""
    count = {name: sum(own.defective for own in split[name]) for name in ("val", "test")}
    lines = [
        "# Which network",
        "",
        "DAGM class 1 on 2 CPU cores, as [configs/dagm.yaml](../configs/dagm.yaml) but for the",
        "network, all trained for as many epochs. Milliseconds of one answer to 512×512 pixels,",
        "medians, all in turn: read the ratios. The margin is the score of the weakest defect less",
        "that of the good image most like one: below 0 no threshold parts them. The default is",
        "chosen by the validation images; the test images are only told. Written by",
        "`benchmarks/networks.py`.",
        "",
        f"| network | million parameters | IoU, {count['val']} validation images | margin | "
        f"IoU, {count['test']} test images | float32, ms | int8, ms | int8 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        refused = row["exports"]["int8"]["refused"]
        lines.append(
            f"| {name} | {row['parameters'] / 1e6:.1f} | {np.mean(row['val_ious']):.3f} | "
            f"{row['val_margin']:.2f} | {np.mean(row['test_ious']):.3f} | "
            f"{row['ms']['float32']:.0f} | "
            f"{row['ms']['int8']:.0f} | {'refused: ' + refused if refused else 'accepted'} |"
        )
    best = max(rows, key=lambda name: float(np.mean(rows[name]["val_ious"])))
    lines += ["", f"Highest IoU on validation images, and so the default: {best}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
