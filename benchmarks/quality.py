"""What the quality measures cost, beside plain ``cv2.Laplacian(...).var()``, on one core.

    python benchmarks/quality.py

Medians of 30 runs, all in turn. Writes results/quality.json and the pages' figures.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np
from publish import ROOT, write_into_pages, write_result
from skimage.measure import blur_effect

from defectseg.quality import focus, measures

RUNS = 30
SIDES = (512, 2048)
BARS_MS = {512: 3.0, 2048: 60.0}


def main() -> None:
    """Run the benchmark."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    results = {}
    for side in SIDES:
        noise = rng.integers(0, 256, (side, side), np.uint8)
        image = cv2.GaussianBlur(noise, (0, 0), 1)
        contenders: dict[str, Callable[[], object]] = {
            "all measures together": lambda image=image: measures.measure(image),
            "cv2.Laplacian(image, cv2.CV_64F).var()": lambda image=image: cv2.Laplacian(
                image, cv2.CV_64F
            ).var(),
            "skimage.measure.blur_effect": lambda image=image: blur_effect(image),
        }
        contenders |= {
            name: lambda image=image, name=name: getattr(focus, name)(image)
            for name in measures.MEASURES[:10]
        }
        results[str(side)] = in_turn(contenders)
    start = time_start()
    write_result(
        "quality",
        {
            "median_ms_on_one_core": results,
            "bars_ms": BARS_MS,
            "sharpness_command_starts_in_s": start,
        },
    )
    ours, plain = (
        [results[str(side)][name] for side in SIDES]
        for name in ("all measures together", "cv2.Laplacian(image, cv2.CV_64F).var()")
    )
    write_into_pages(
        "quality",
        f"All measures of an image together take {ours[0]:.1f} ms at 512×512 and {ours[1]:.0f} ms "
        f"at 2048×2048 on one core; plain `cv2.Laplacian(image, cv2.CV_64F).var()` takes "
        f"{plain[0]:.1f} and {plain[1]:.0f} ms. `defectseg sharpness` starts in "
        f"{start:.1f} s.\n",
    )


def in_turn(contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return each one's median time in milliseconds, measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(RUNS + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: round(float(np.median(own[1:])), 3) for name, own in times.items()}


def time_start() -> float:
    """Return the median seconds until ``defectseg sharpness`` has looked for images in a folder.

    An empty one: it then ends with a message, as a whole process.
    """
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "defectseg", "sharpness", folder]
        for _ in range(7):
            started = time.perf_counter()
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            seconds.append(time.perf_counter() - started)
            if "holds no images" not in done.stderr:
                raise SystemExit(done.stderr)
    return round(float(np.median(seconds)), 2)


if __name__ == "__main__":
    main()
