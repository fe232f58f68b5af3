"""Make the general blur classifier, and compare it and products' own with classical measures.

    python benchmarks/blur_classifier.py

Fits on synthetic textures and photographs of scikit-image, and writes
defectseg/quality/blur_classifier.json; then measures on images that nothing was fitted on, and
writes results/blur_classifier.json. 3 minutes on 2 CPU cores.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import skimage
from publish import REAL_DATA, write_into_pages, write_result
from sklearn.metrics import roc_auc_score

from defectseg.console import out
from defectseg.dataset.synthetic import PRODUCTS, generate_sample
from defectseg.image_io import read_image, to_gray
from defectseg.quality.blur_classifier import PACKAGED, BlurClassifier, blur_rates, to_json
from defectseg.quality.blur_fitting import draw_pair, fit_blur_classifier
from defectseg.quality.distortions import (
    Image,
    add_noise,
    blur_defocus,
    blur_gaussian,
    blur_motion,
    compress_jpeg,
)
from defectseg.quality.measures import measure

PHOTOGRAPHS = (  # those of skimage.data that are sharp; all come with the package
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "logo.png"),
    *("moon.png", "motorcycle_left.png", "page.png", "phantom.png", "rocket.jpg", "text.png"),
)
SCALES = (1, 0.7, 0.5, 0.35)  # shrunk, a sharp picture is another sharp picture
PAIRS = 4000
SHARPNESS = (  # +1 for what rises with focus
    *(("mean_gradient", 1), ("laplacian_variance", 1), ("tenengrad", 1)),
    *(("tenengrad_compensated", 1), ("brenner", 1), ("wavelet_energy", 1)),
    *(("high_frequency_ratio", 1), ("blur_effect", -1)),
)
FIT_SEED, OWN_SEED, TEST_SEED = 101, 303, 202  # of the synthetic textures

Change = Callable[[Image, np.random.Generator], Image]
BLURS: dict[str, Change] = {
    "sharp": lambda image, rng: image,
    "gaussian, σ 1": lambda image, rng: blur_gaussian(image, 1),
    "defocus, radius 3": lambda image, rng: blur_defocus(image, 3),
    "motion, 15 px": lambda image, rng: blur_motion(image, 15, rng.uniform(0, math.pi)),
}
FLAWS: dict[str, Change] = {
    "clean": lambda image, rng: image,
    "noise σ 10": lambda image, rng: add_noise(image, 10, rng),
    "JPEG 30": lambda image, rng: compress_jpeg(image, 30),
}


def main() -> None:
    """Run the benchmark."""
    general = fit_blur_classifier(list(general_pictures()), pairs=PAIRS)
    PACKAGED.write_text(to_json(general), encoding="utf-8")
    sets = {
        "DAGM class 1": split_by_hash(REAL_DATA / "dagm_class1" / "Class1"),
        "magnetic tile": split_by_hash(REAL_DATA / "magnetic_tile" / "MT_Free", ".jpg"),
        "six synthetic textures": (textures(OWN_SEED, 10), textures(TEST_SEED, 10)),
    }
    results = {}
    for name, (fit, test) in sets.items():
        began = time.perf_counter()
        own = fit_blur_classifier(fit)
        seconds = time.perf_counter() - began
        results[name] = {
            "images_fitted_on": len(fit),
            "images": len(test),
            "fit_s": round(seconds, 1),
            **compare(test, {"general": general, "own": own}),
        }
        if name == "DAGM class 1":
            defective = read_folder(REAL_DATA / "dagm_class1" / "Class1_def", ".png")
            results[name]["good_called_sharp"] = share_sharp(own, test)
            results[name]["defective_called_sharp"] = share_sharp(own, defective)
        out.print(f"{name}: {results[name]['area_under_curve']['as drawn']}")
    figures = {
        "classifier_bytes": PACKAGED.stat().st_size,
        "score_ms": {side: time_score(general, side) for side in (512, 2048)},
        "sets": results,
        "defocus_stacks": {
            name: describe_stack(general, REAL_DATA / "defocus_stacks" / name)
            for name in ("chart", "tools")
        },
    }
    out.print(figures["score_ms"], figures["defocus_stacks"])
    write_result("blur_classifier", figures)
    write_into_pages("blur_classifier", describe(figures))


def describe(figures: dict[str, Any]) -> str:
    """Return the pages' table and sentence."""
    lines = [
        "| area under the curve | learned, for any folder | learned on the product | mean gradient "
        "| best classical measure |",
        "|---|---|---|---|---|",
    ]
    for name, own in figures["sets"].items():
        areas = own["area_under_curve"]["as drawn"]["as drawn"]
        classical = {key: areas[key] for key, _ in SHARPNESS}
        best = max(classical, key=classical.__getitem__)
        lines.append(
            f"| {name} | {areas['general']:.3f} | {areas['own']:.3f} | "
            f"{areas['mean_gradient']:.3f} | {classical[best]:.3f} ({best.replace('_', ' ')}) |"
        )
    size, score = figures["classifier_bytes"] / 1000, figures["score_ms"][512]["median"]
    return (
        "\n".join(lines)
        + "\n\nSharp copies against blurred ones, all with noise, JPEG and contrast of their own, "
        f"of images that nothing was fitted on. The classifier has {size:.0f} kB and takes "
        f"{score:.1f} ms an image. On clean images of one product the classical measures are as "
        "good or better.\n"
    )


def general_pictures() -> Iterator[Image]:
    """Yield sharp pictures of many kinds, upright and on their side."""
    folder = Path(skimage.__file__).parent / "data"
    pictures = [to_gray(read_image(folder / name)) for name in PHOTOGRAPHS]
    for picture in pictures + textures(FIT_SEED, 6):
        for scale in SCALES:
            if scale * min(picture.shape) >= 128 or scale == 1:
                shrunk = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                yield from (shrunk, cv2.transpose(shrunk))


def textures(seed: int, count: int) -> list[Image]:
    """Return so many images of each synthetic product."""
    return [
        generate_sample(product, defective=False, rng=np.random.default_rng([seed, place, index]))[
            0
        ]
        for place, product in enumerate(PRODUCTS)
        for index in range(count)
    ]


def read_folder(folder: Path, suffix: str) -> list[Image]:
    """Return the images of a folder, gray, by name."""
    return [to_gray(read_image(path)) for path in sorted(folder.glob(f"*{suffix}"))]


def split_by_hash(folder: Path, suffix: str = ".png") -> tuple[list[Image], list[Image]]:
    """Return the images of a folder in two halves: to fit on, and to measure on."""
    halves: tuple[list[Image], list[Image]] = ([], [])
    for path in sorted(folder.glob(f"*{suffix}")):
        digest = hashlib.sha256(path.read_bytes()).digest()
        halves[digest[-1] % 2].append(to_gray(read_image(path)))
    return halves


def compare(images: list[Image], classifiers: dict[str, BlurClassifier]) -> dict[str, Any]:
    """Return areas under the curve, shares let through and rates, by blur, flaw and judge.

    `noise on the blurred` is what fools a measure that takes noise for focus, `each its own` a
    folder in which every image, sharp or blurred, is clean, noisy or compressed by chance; `as
    drawn` are copies as a fit draws them, of all blurs and flaws. `let_through` is at the limit
    that 95 % of the sharp, clean images reach: what a gate does that knows such images alone.
    """
    rng = np.random.default_rng(1)
    scores = {
        (blur, flaw): np.array([judge(change(soften(i, rng), rng), classifiers) for i in images])
        for blur, soften in BLURS.items()
        for flaw, change in FLAWS.items()
    }
    pairs = [draw_pair(image, rng) for image in images for _ in range(2)]
    drawn = [
        np.array([judge(copy, classifiers) for copy in side]) for side in zip(*pairs, strict=True)
    ]
    areas: dict[str, dict[str, dict[str, float]]] = {}
    for blur in list(BLURS)[1:]:
        areas[blur] = {
            flaw: areas_under_curve(scores["sharp", flaw], scores[blur, flaw], classifiers)
            for flaw in FLAWS
        }
        areas[blur]["noise on the blurred"] = areas_under_curve(
            scores["sharp", "clean"], scores[blur, "noise σ 10"], classifiers
        )
        mixed = [np.array([scores[b, f] for f in FLAWS]) for b in ("sharp", blur)]
        chosen = [s[rng.integers(len(FLAWS), size=len(images)), range(len(images))] for s in mixed]
        areas[blur]["each its own"] = areas_under_curve(*chosen, classifiers)
    areas["as drawn"] = {"as drawn": areas_under_curve(*drawn, classifiers)}
    limits = np.percentile(scores["sharp", "clean"], 5, axis=0)
    let_through: dict[str, dict[str, dict[str, float]]] = {blur: {} for blur in BLURS}
    for (blur, flaw), values in scores.items():
        shares = (values >= limits).mean(axis=0)
        let_through[blur][flaw] = name_judges(shares, classifiers)
    rates = {
        name: [asdict(rate) for rate in blur_rates(drawn[0][:, place], drawn[1][:, place])]
        for place, name in enumerate(classifiers)
    }
    return {"area_under_curve": areas, "let_through": let_through, "rates_as_drawn": rates}


def judge(image: Image, classifiers: dict[str, BlurClassifier]) -> list[float]:
    """Return what every classifier and measure says of an image; each rises with focus."""
    measures = measure(image)
    return [
        *(classifier.sharp_probability(image) for classifier in classifiers.values()),
        *(sign * getattr(measures, name) for name, sign in SHARPNESS),
    ]


def areas_under_curve(
    sharp: np.ndarray, blurred: np.ndarray, classifiers: dict[str, BlurClassifier]
) -> dict[str, float]:
    """Return each judge's area under the curve: 1 if all sharp images are above all blurred."""
    labels = [1] * len(sharp) + [0] * len(blurred)
    both = np.concatenate([sharp, blurred])
    return name_judges([roc_auc_score(labels, values) for values in both.T], classifiers)


def name_judges(
    values: Iterable[float], classifiers: dict[str, BlurClassifier]
) -> dict[str, float]:
    """Return values, in the order of `judge`, by name."""
    names = [*classifiers, *(name for name, _ in SHARPNESS)]
    return {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}


def share_sharp(classifier: BlurClassifier, images: list[Image]) -> float:
    """Return the share of images that are called sharp at 0.5."""
    return float(np.mean([classifier.sharp_probability(image) >= 0.5 for image in images]))


def describe_stack(classifier: BlurClassifier, folder: Path) -> dict[str, Any]:
    """Return the probability at each step from focus, and whether each step lowers it."""
    values = [classifier.sharp_probability(image) for image in read_folder(folder, ".png")]
    return {
        "sharp_probability": [float(f"{value:.3g}") for value in values],
        "falls_with_each_step": all(nearer > farther for nearer, farther in pairwise(values)),
    }


def time_score(classifier: BlurClassifier, side: int) -> dict[str, float]:
    """Time a score on one core, in milliseconds: median and least of 200."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    image = np.random.default_rng(0).integers(256, size=(side, side), dtype=np.uint8)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        classifier.sharp_probability(image)
        times.append(1000 * (time.perf_counter() - began))
    cv2.setNumThreads(threads)
    return {"median": round(median(times), 2), "least": round(min(times), 2)}


if __name__ == "__main__":
    main()
