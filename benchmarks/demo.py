"""Run the demo as ``make demo`` does, and measure its model on images drawn anew.

    python benchmarks/demo.py

The demo's settings were chosen with its own test images in view; the pages' figures are of
others, from another seed. Writes results/demo.json, docs/demo.jpg and the pages' figures.
"""

import os
import shutil
import time

import pandas as pd
from publish import ROOT, write_into_pages, write_result

from defectseg.commands import data, prediction
from defectseg.demo import PRODUCTS, run_demo

UNSEEN_SEED = 1
GOOD, DEFECTIVE = 60, 40  # a product, as in the demo


def main() -> None:
    """Run the benchmark."""
    output = ROOT / "runs" / "demo"
    started = time.monotonic()
    figures = run_demo(output, ROOT / "configs" / "demo.yaml")
    minutes = (time.monotonic() - started) / 60
    (ROOT / "docs").mkdir(exist_ok=True)
    shutil.copy(output / "demo.jpg", ROOT / "docs" / "demo.jpg")

    unseen, results = output / "unseen", output / "unseen-results"
    data.synth(
        unseen, good=GOOD, defective=DEFECTIVE, products=PRODUCTS, size=256, seed=UNSEEN_SEED
    )
    prediction.predict(output / "bundle", unseen, results, product=None)
    rows = pd.read_csv(results / "predictions.csv")
    kind = rows["image"].str.contains("_def/").map({True: "defective", False: "good"})
    counts = pd.crosstab(kind, rows["outcome"]).to_dict("index")
    write_result("demo", {"minutes": round(minutes, 1), "demo": figures, "unseen": counts})
    sentences = [
        f"of {sum(own.values())} {name} images "
        + ", ".join(f"{count} {outcome}" for outcome, count in sorted(own.items()))
        for name, own in counts.items()
    ]
    write_into_pages(
        "demo",
        f"Measured on {os.cpu_count()} CPU cores, installation aside: {minutes:.0f} minutes. On "
        f"images drawn anew, from another seed: {'; '.join(sentences)}.\n",
    )


if __name__ == "__main__":
    main()
