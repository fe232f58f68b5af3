"""How the cost of a training step grows with resolution and batch, and how long it waits for data.

    python benchmarks/cost.py

The network and the augmentation of configs/dagm.yaml, on synthetic images. Writes
results/cost.json and docs/cost.md.
"""

import os
import shutil
import time
from statistics import median
from typing import Any

import numpy as np
from publish import PREPARED, ROOT, write_result

from defectseg.config import Config, load_config
from defectseg.console import out
from defectseg.dataset import balance
from defectseg.dataset.manifest import read_manifest
from defectseg.dataset.pipeline import PairCache, training_batches
from defectseg.dataset.prepare import prepare
from defectseg.dataset.synthetic import write_dataset
from defectseg.segmentation.training import compile_model
from defectseg.segmentation.unet import build_unet

SIDES = (128, 256, 512)
BATCHES = (4, 8, 16)
WARM_UP, STEPS, ROUNDS = 3, 8, 3


def main() -> None:
    """Run the benchmark."""
    raw, data = ROOT / "data" / "raw" / "benchmark-cost", PREPARED / "benchmark-cost"
    shutil.rmtree(raw, ignore_errors=True)
    write_dataset(raw, good=20, defective=20, products=("Class1",), size=512)
    prepare(raw, data)
    config = load_config(ROOT / "configs" / "dagm.yaml", data=data)
    samples = [sample for sample in read_manifest(data) if sample.split == "train"]
    cache = PairCache(samples, config.model.channels, config.train.cache_mb)
    model = build_unet(config.model)
    compile_model(model, config.train)
    # Every combination in turn, several rounds: a slow minute of the machine meets all alike.
    rounds: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for number in range(ROUNDS):
        for side in SIDES:
            for batch in BATCHES:
                cost = measure(model, cache, config, side, batch, number)
                rounds.setdefault((side, batch), []).append(cost)
                out.print(f"round {number + 1}: {side} px, batch {batch}: {cost[0]:.2f} s a step")
    rows = [
        {
            "side_px": side,
            "batch": batch,
            "seconds_per_step": round(median(seconds for seconds, _ in costs), 4),
            "share_waiting_for_data": round(median(share for _, share in costs), 4),
        }
        for (side, batch), costs in rounds.items()
    ]
    write_result("cost", {"config": config.model_dump(mode="json"), "rows": rows})
    write_table(rows)


def measure(
    model: Any, cache: PairCache, config: Config, side: int, batch: int, seed: int
) -> tuple[float, float]:
    """Return the median seconds of a step, and the share of all of them spent waiting."""
    defective = np.array([sample.defective for sample in cache.samples])
    batches = balance.draw_epoch(
        defective,
        batch_size=batch,
        good_per_defective=config.train.good_per_defective,
        passes=(WARM_UP + STEPS) * batch,
        rng=np.random.default_rng(seed),
    )[: WARM_UP + STEPS]
    dataset = training_batches(
        cache,
        batches,
        multiple=config.model.multiple,
        crop_px=side,
        augment=config.augment,
        seed=(seed, 0),
    )
    iterator = iter(dataset)
    waits, totals = [], []
    for _ in range(len(batches)):
        began = time.perf_counter()
        images, masks = next(iterator)
        waited = time.perf_counter() - began
        model.train_on_batch(images, masks)
        waits.append(waited)
        totals.append(time.perf_counter() - began)
    return median(totals[WARM_UP:]), sum(waits[WARM_UP:]) / sum(totals[WARM_UP:])


def write_table(rows: list[dict[str, Any]]) -> None:
    """Write docs/cost.md."""
    base = next(r for r in rows if r["side_px"] == 256 and r["batch"] == 8)["seconds_per_step"]
    lines = [
        "# What a training step costs",
        "",
        f"The network of [configs/dagm.yaml](../configs/dagm.yaml) on {os.cpu_count()} CPU cores:",
        "medians of several rounds, all combinations in turn. Machines differ: read the ratios.",
        "Written by `benchmarks/cost.py`.",
        "",
        "| patch | batch | seconds a step | relative | megapixels a second | waits for data |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['side_px']} px | {row['batch']} | {row['seconds_per_step']:.2f} | "
            f"{row['seconds_per_step'] / base:.2f} | "
            f"{row['side_px'] ** 2 * row['batch'] / row['seconds_per_step'] / 1e6:.2f} | "
            f"{100 * row['share_waiting_for_data']:.1f} % |"
            for row in rows
        ),
    ]
    (ROOT / "docs" / "cost.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
