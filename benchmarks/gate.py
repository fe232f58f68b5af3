"""Does the quality gate keep its word? On images that were used for nothing else.

    python benchmarks/gate.py [--data ../shared/data/dagm_class1] [--bundle RUN]

Trains DAGM class 1 as configs/dagm_robust.yaml says (13 minutes with its calibration), distorts the
test images at every level of every kind, then in ways that were never swept (14 minutes), and
writes results/gate.json, docs/degradation.png and the pages' figures.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from publish import (
    PREPARED,
    REAL_DATA,
    ROOT,
    prepare_dagm,
    train_bundle,
    write_into_pages,
    write_result,
)

from defectseg.bundle import load_bundle
from defectseg.config import Config
from defectseg.dataset import manifest
from defectseg.evaluation.degradation import fit_curves
from defectseg.evaluation.figures import Rate
from defectseg.evaluation.robustness import sweep
from defectseg.evaluation.robustness_plots import example_of, plot_curves
from defectseg.evaluation.trust import TrustFigures, compute_trust, judge_rows
from defectseg.inference.engines import choose_engine, load_engine
from defectseg.quality.distortions import (
    SWEEP,
    Kind,
    add_noise,
    blur_defocus,
    blur_motion,
    compress_jpeg,
    darken,
)
from defectseg.quality.gate import UNTOUCHED, open_gates

GOOD_IMAGES = 20
MIXTURES = ("blur_in_noise", "contrast_in_noise")


def add_salt_and_pepper(
    image: npt.NDArray[np.uint8], share: float, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Set a share of the pixels to black or white."""
    draw = rng.random(image.shape)
    image = np.where(draw < share / 2, 0, image)
    return np.where(draw > 1 - share / 2, 255, image).astype(np.uint8)


def add_shadow(
    image: npt.NDArray[np.uint8], strength: float, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Darken towards one side."""
    slope = np.linspace(1, 1 - strength, image.shape[1])
    return np.rint(image * slope).astype(np.uint8)


def add_dust(
    image: npt.NDArray[np.uint8], share: float, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Put soft dark spots on a share of the image: dust before the lens."""
    height, width = image.shape
    veil = np.zeros((height, width), np.float32)
    while (veil > 0).mean() < share:
        place = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(veil, place, int(rng.integers(5, 16)), 1.0, -1)
    return np.rint(image * (1 - 0.6 * cv2.GaussianBlur(veil, (0, 0), 4))).astype(np.uint8)


def change_gamma(
    image: npt.NDArray[np.uint8], gamma: float, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Bend the gray levels."""
    return np.rint(255 * (image / 255) ** gamma).astype(np.uint8)


def reduce_resolution(
    image: npt.NDArray[np.uint8], factor: float, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Shrink, and enlarge again: a camera of fewer pixels."""
    height, width = image.shape
    small = (round(width / factor), round(height / factor))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR))


NEVER_SWEPT: Mapping[str, Kind] = {
    "defocus": Kind("", "radius, px", (1, 2, 4), lambda image, r, rng: blur_defocus(image, r)),
    "salt_and_pepper": Kind("", "share", (0.01, 0.05, 0.2), add_salt_and_pepper),
    "shadow": Kind("", "share lost", (0.3, 0.6, 0.9), add_shadow),
    "dust": Kind("", "share covered", (0.02, 0.1, 0.3), add_dust),
    "gamma": Kind("", "exponent", (1.5, 2.5, 4), change_gamma),
    "resolution": Kind("", "factor", (1.3, 2, 3), reduce_resolution),
    "defocus_in_noise": Kind(
        "",
        "radius, px; noise σ 12",
        (1, 2, 4),
        lambda image, r, rng: add_noise(blur_defocus(image, r), 12, rng),
    ),
    "darkness_in_noise": Kind(
        "",
        "share left; noise σ 2",
        (0.3, 0.1, 0.05),
        lambda image, left, rng: add_noise(darken(image, left), 2, rng),
    ),
    "motion_in_jpeg": Kind(
        "",
        "length, px; quality 30",
        (2, 4, 8),
        lambda image, length, rng: compress_jpeg(blur_motion(image, length, 0.7), 30),
    ),
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL_DATA / "dagm_class1")
    parser.add_argument("--bundle", type=Path, help="a bundle trained on the same preparation")
    arguments = parser.parse_args()
    data = PREPARED / "benchmark-dagm"
    prepare_dagm(arguments.data, data)
    run = arguments.bundle or train_bundle("dagm_robust.yaml", data, "gate")
    bundle = load_bundle(run)
    gate = bundle.calibration.gate
    judges = open_gates(gate)
    engine = load_engine(bundle.folder, bundle.config, choose_engine(bundle, "auto"))
    test = manifest.divide(manifest.read_manifest(data))["test"]
    samples = [sample for sample in test if sample.defective]
    # Of the good ones not all: most of the minutes are theirs.
    samples += [sample for sample in test if not sample.defective][:GOOD_IMAGES]

    def answer(kinds: Mapping[str, Kind]) -> pd.DataFrame:
        rows = sweep(
            engine,
            samples,
            bundle.calibration.thresholds,
            ellipses=bundle.config.inference.ellipses,
            kinds=kinds,
        )
        return judge_rows(rows, judges, gate.min_iou_share)

    rows, unknown = answer(SWEEP), answer(NEVER_SWEPT)
    is_mixed = rows["kind"].isin(MIXTURES)
    single, mixed = rows[~is_mixed], rows[is_mixed | (rows["kind"] == UNTOUCHED)]
    (product,) = gate.products
    figure = plot_curves(fit_curves(rows, product), gate, example_of(samples, product))
    figure.savefig(ROOT / "docs" / "degradation.png", dpi=60)
    write_result(
        "gate",
        {
            "config": bundle.config.model_dump(mode="json", exclude={"data", "run"}),
            "images": {"defective": len(samples) - GOOD_IMAGES, "good": GOOD_IMAGES},
            "swept": asdict(compute_trust(single, gate)),
            "swept_mixtures": asdict(compute_trust(mixed, gate)),
            "never_swept": asdict(compute_trust(unknown, gate)),
            "levels": levels_table(rows),
            "levels_never_swept": levels_table(unknown),
            "promise": {
                "alpha": gate.alpha,
                "min_iou_share": gate.min_iou_share,
                "max_escape_rise": gate.max_escape_rise,
            },
        },
    )
    write_into_pages(
        "gate",
        describe(
            bundle.config,
            len(samples),
            *(compute_trust(own, gate) for own in (single, mixed, unknown)),
        ),
    )


def levels_table(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what happened at each level, as shares of its images."""
    table = []
    for (kind, level), own in rows.groupby(["kind", "level"], sort=False):
        defective = own[own["defective"]]
        table.append(
            {
                "kind": kind,
                "level": level,
                "iou": round(float(defective["iou"].mean()), 3),
                "missed": round(float(defective["missed"].mean()), 3),
                "missed_and_believed": round(
                    float((defective["missed"] & defective["trusted"]).mean()), 3
                ),
                "good_alarmed": round(float(own.loc[~own["defective"], "alarmed"].mean()), 3),
                "believed": round(float(own["trusted"].mean()), 3),
                "right": round(float(own["right"].mean()), 3),
            }
        )
    return table


def describe(
    config: Config, images: int, single: TrustFigures, mixed: TrustFigures, unknown: TrustFigures
) -> str:
    """Return the pages' sentences."""
    kinds = {name: kind for name, kind in SWEEP.items() if name not in MIXTURES}
    return (
        f"A model of DAGM class 1, trained for {config.train.max_minutes:g} minutes with noise up "
        f"to σ {config.augment.noise:g} among its images (`configs/dagm_robust.yaml`), on {images} "
        f"test images, {len(kinds)} kinds of distortion and "
        f"{sum(len(kind.levels) for kind in kinds.values())} levels: without a gate "
        f"{percent(single.silent_escapes_without_gate)} of the defective ones are missed in "
        f"silence, with it **{percent(single.silent_escapes)}**. Of the images on which the model "
        f"is still right, **{percent(single.kept_of_right)}** are kept, and "
        f"**{percent(single.kept_where_promised)}** at the levels at which it keeps its promise "
        "(at others it is right by luck: on a good image, because it sees nothing); of the "
        f"untouched ones {percent(single.false_alarms)} are stopped. Area under risk and coverage: "
        f"{single.risk_area:.3f}, by Laplacian variance {single.risk_area_laplacian:.3f}, without "
        f"a gate {single.risk_area_without_gate:.3f}. Blur or low contrast with noise upon it: "
        f"{percent(mixed.silent_escapes)} missed in silence (without it "
        f"{percent(mixed.silent_escapes_without_gate)}). {len(NEVER_SWEPT)} kinds that the gate "
        f"never met, three of them two at once: {percent(unknown.silent_escapes)} (without it "
        f"{percent(unknown.silent_escapes_without_gate)}), and {percent(unknown.kept_of_right)} "
        "of the right ones kept.\n"
    )


def percent(share: Rate) -> str:
    """Return a share in percent."""
    return f"{100 * (share.share or 0):.1f} %"


if __name__ == "__main__":
    main()
