"""Draw the figures of these pages, into this folder or another.

    python docs/figures/draw.py [--output FOLDER]

They show synthetic images of defectseg itself, or what the benchmarks measured; in 10 seconds.
"""

import argparse
from pathlib import Path

import architecture
import audit
import drift
import honest_iou
import quality_gate
import robustness_curve
import weak_labels
from matplotlib import rc_context
from style import SIZES

FIGURES = {
    "architecture.png": architecture.draw,
    "audit.jpg": audit.draw,
    "drift.png": drift.draw,
    "honest_iou.png": honest_iou.draw,
    "quality_gate.png": quality_gate.draw,
    "robustness_curve.png": robustness_curve.draw,
    "weak_labels.png": weak_labels.draw,
}


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().output
    for name, draw in FIGURES.items():
        with rc_context(SIZES):
            draw(folder / name)


if __name__ == "__main__":
    main()
