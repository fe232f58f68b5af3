"""How far images deviate from known-good ones, and where the conformal limit lies."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from style import BLUE, GRAY, GREEN, RED, save

from defectseg.bundle import Baseline
from defectseg.dataset.synthetic import generate_sample
from defectseg.quality.baseline import fit_baseline, open_baseline, to_coordinates
from defectseg.quality.distortions import distort
from defectseg.quality.measures import Measures, measure

_ALPHA, _KNOWN, _NEW, _POOR = 0.05, 80, 60, 15
_ROWS = (  # name, kind, level, colour
    ("blur, σ 1.5 px", "gaussian_blur", 1.5, RED),
    ("noise, σ 10", "noise", 10, RED),
    ("half of the contrast", "contrast", 0.5, RED),
)


def draw(path: Path) -> None:
    """Draw a row of dots a group of images, each as far right as it deviates."""
    known = [_measure(index) for index in range(_KNOWN)]
    baseline = fit_baseline(known, _ALPHA, "Class1")
    p_value = open_baseline(baseline)
    new = [to_coordinates(_measure(_KNOWN + index)) for index in range(_NEW)]
    groups = [
        (f"{len(baseline.deviations)} known-good", list(baseline.deviations), GRAY),
        (f"{_NEW} new good ones", [_deviation(baseline, own) for own in new], GREEN),
    ]
    for name, kind, level, colour in _ROWS:
        poor = [to_coordinates(_measure(index, kind, level)) for index in range(_POOR)]
        groups.append((name, [_deviation(baseline, own) for own in poor], colour))
    flagged = float(np.mean([p_value(own) <= _ALPHA for own in new]))
    # The rank from which a deviation is unusual: as many known-good ones lie at or beyond it.
    beyond = int(_ALPHA * (len(baseline.deviations) + 1) + 1e-9)
    limit = baseline.deviations[-beyond]

    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for row, (_, deviations, colour) in enumerate(groups):
        heights = row + rng.uniform(-0.22, 0.22, len(deviations))
        axes.plot(deviations, heights, "o", ms=4, alpha=0.6, color=colour, mew=0)
    axes.axvline(limit, color=BLUE)
    axes.text(limit * 1.03, -0.62, f"limit for α = {_ALPHA}", color=BLUE)
    axes.set(xscale="log", ylim=(len(groups) - 0.5, -0.9), xlabel="deviation from the good images")
    axes.set_yticks(range(len(groups)), [name for name, *_ in groups])
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    axes.text(axes.get_xlim()[1], 1, f"{100 * flagged:.0f} % beyond it", ha="right", color=GREEN)
    save(figure, path)


def _measure(index: int, kind: str = "", level: float = 0.0) -> Measures:
    rng = np.random.default_rng([1, index])
    image, _ = generate_sample("Class1", defective=False, rng=rng, size=128)
    return measure(distort(image, kind, level, f"{index:08x}") if kind else image)


def _deviation(baseline: Baseline, coordinates: npt.NDArray[np.float64]) -> float:
    whiten = np.array(baseline.whiten)
    return float(np.linalg.norm(whiten @ (coordinates - np.array(baseline.center))))
