"""How the cost of a training step grows with resolution and batch, and how long it waits for data.

    python benchmarks/cost.py

The network and the augmentation of configs/dagm.yaml, on synthetic images. Writes
results/cost.json and docs/cost.md.
"""

import os
import shutil
import time
from dataclasses import dataclass, fields
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
from defectseg.segmentation.precision import choose_precision, use_precision
from defectseg.segmentation.training import compile_model
from defectseg.segmentation.unet import build_trainable

SIDES = (128, 256, 512)
BATCHES = (4, 8, 16)
WARM_UP, STEPS, ROUNDS = 2, 12, 3


def main() -> None:
    """Run the benchmark."""
    raw, data = ROOT / "data" / "raw" / "benchmark-cost", PREPARED / "benchmark-cost"
    shutil.rmtree(raw, ignore_errors=True)
    write_dataset(raw, good=20, defective=20, products=("Class1",), size=512)
    prepare(raw, data)
    config = load_config(ROOT / "configs" / "dagm.yaml", data=data)
    samples = [sample for sample in read_manifest(data) if sample.split == "train"]
    cache = PairCache(samples, config.model.channels, config.train.cache_mb)
    precision = choose_precision(config.train.precision)
    use_precision(precision)
    model = build_trainable(config.model)
    compile_model(model, config.train)
    # Every combination in turn, several rounds: a slow minute of the machine meets all alike.
    rounds: dict[tuple[int, int], list[Cost]] = {}
    for number in range(ROUNDS):
        for side in SIDES:
            for batch in BATCHES:
                cost = measure(model, cache, config, side, batch, number)
                rounds.setdefault((side, batch), []).append(cost)
                out.print(
                    f"round {number + 1}: {side} px, batch {batch}: {cost.step_s:.2f} s a step"
                )
    rows = [
        {
            "side_px": side,
            "batch": batch,
            **{
                field.name: round(median(getattr(cost, field.name) for cost in costs), 4)
                for field in fields(Cost)
            },
        }
        for (side, batch), costs in rounds.items()
    ]
    result = {"config": config.model_dump(mode="json"), "precision": precision, "rows": rows}
    write_result("cost", result)
    write_table(rows, precision)


@dataclass(frozen=True)
class Cost:
    """What one combination costs.

    Attributes
    ----------
    step_s : float
        Median seconds of a step, its wait for data included.
    waiting_share : float
        Of the time of an epoch, its first batch included, the part spent waiting for data.
    slowdown : float
        Median step over that on one batch which is there already, less 1: on a CPU the making of
        batches also takes time from the steps.
    """

    step_s: float
    waiting_share: float
    slowdown: float


def measure(model: Any, cache: PairCache, config: Config, side: int, batch: int, seed: int) -> Cost:
    """Time an epoch of a few steps, and as many steps on one batch that is there already."""
    defective = np.array([sample.defective for sample in cache.samples])
    batches = balance.draw_epoch(
        defective,
        batch_size=batch,
        good_per_defective=config.train.good_per_defective,
        passes=STEPS * batch,
        rng=np.random.default_rng(seed),
    )[:STEPS]
    dataset = training_batches(
        cache,
        batches,
        multiple=config.model.multiple,
        crop_px=side,
        augment=config.augment,
        seed=(seed, 0),
    )
    ready = next(iter(dataset))
    for _ in range(WARM_UP):  # traces the step for this size
        model.train_on_batch(*ready)
    waits, steps, bare = [], [], []
    iterator = iter(dataset)
    for _ in range(STEPS):
        began = time.perf_counter()
        pair = next(iterator)
        waits.append(time.perf_counter() - began)
        model.train_on_batch(*pair)
        steps.append(time.perf_counter() - began)
    for _ in range(STEPS):
        began = time.perf_counter()
        model.train_on_batch(*ready)
        bare.append(time.perf_counter() - began)
    return Cost(median(steps), sum(waits) / sum(steps), median(steps) / median(bare) - 1)


def write_table(rows: list[dict[str, Any]], precision: str) -> None:
    """Write docs/cost.md."""
    base = next(r for r in rows if r["side_px"] == 256 and r["batch"] == 8)["step_s"]
    lines = [
        "# What a training step costs",
        "",
        f"The network of [configs/dagm.yaml](../configs/dagm.yaml) on {os.cpu_count()} CPU cores, "
        f"in {precision}: medians",
        "of several rounds, all combinations in turn. Machines differ: read the ratios.",
        "Written by `benchmarks/cost.py`.",
        "",
        "| patch | batch | seconds a step | relative | megapixels a second | waits for data | "
        "slowed by making it |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row['side_px']} px | {row['batch']} | {row['step_s']:.2f} | "
            f"{row['step_s'] / base:.2f} | "
            f"{row['side_px'] ** 2 * row['batch'] / row['step_s'] / 1e6:.2f} | "
            f"{100 * row['waiting_share']:.1f} % | {100 * row['slowdown']:+.0f} % |"
            for row in rows
        ),
    ]
    (ROOT / "docs" / "cost.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
