"""``MODEL_CARD.md``: what the model was made from, what it does, where its limits are."""

from collections import Counter
from collections.abc import Mapping, Sequence

from defectseg import __version__
from defectseg.bundle import Calibration
from defectseg.config import Config
from defectseg.dataset.manifest import SPLITS, Sample
from defectseg.evaluation.evaluate import Summary


def write_model_card(
    config: Config,
    calibration: Calibration,
    figures: Mapping[str, Summary],
    samples: Sequence[Sample],
) -> str:
    """Return the model card as Markdown."""
    thresholds, model = calibration.thresholds, config.model
    lines = [
        f"# Model card: {config.run.name}",
        "",
        f"U-Net with {model.backbone} encoder and decoder widths {list(model.decoder_filters)}; "
        f"{model.channels} channel(s), computed at 1/{model.downscale} of the resolution. Made by "
        f"defectseg {__version__} on {calibration.created}.",
        "",
        "## Data",
        "",
        f"Data SHA-256 (manifest and masks) `{calibration.data_sha256}`, network SHA-256 "
        f"`{calibration.model_sha256}`.",
        "",
        "| product | " + " | ".join(f"{s}: good / defective" for s in SPLITS) + " |",
        "|---|" + "---|" * len(SPLITS),
        *_data_rows(samples),
        "",
        "## Figures",
        "",
        "IoU is the mean over defective images only; an answer that is always empty has 0.",
        "",
        "| images | IoU mean | median | worst | defects hit | good images alarmed |",
        "|---|---|---|---|---|---|",
        *(_figure_row(name, summary) for name, summary in figures.items()),
        "",
        "Weights and thresholds were chosen on the validation images; only the test images say "
        "how the model does on images it has not met.",
        "",
        "## Limits",
        "",
        f"A pixel belongs to a defect from probability {thresholds.pixel:g} on. The score of an "
        f"image is its strongest mean probability over {thresholds.score_window_px} × "
        f"{thresholds.score_window_px} pixels: REVIEW from {thresholds.review:.3f}, FAIL from "
        f"{thresholds.fail:.3f}.",
        "",
        "Sharpness (mean absolute gradient over both axes, gray levels a pixel) below which an "
        f"image is for RETAKE, percentile {calibration.gate.percentile:g} of the good training "
        "images:",
        "",
        "| product | limit | good training images |",
        "|---|---|---|",
        *(
            f"| {product} | {gate.limit:.2f} | {len(gate.sharpness)} |"
            for product, gate in calibration.gate.products.items()
        ),
        "",
        "The model knows these products only, seen by this camera and light.",
    ]
    return "\n".join(lines) + "\n"


def _data_rows(samples: Sequence[Sample]) -> list[str]:
    count = Counter((s.product, s.split, s.defective) for s in samples)
    return [
        f"| {product} | "
        + " | ".join(f"{count[product, s, False]} / {count[product, s, True]}" for s in SPLITS)
        + " |"
        for product in sorted({sample.product for sample in samples})
    ]


def _figure_row(name: str, summary: Summary) -> str:
    numbers = [summary[f"iou_{kind}"] for kind in ("mean", "median", "worst")]
    texts = ["—" if number is None else f"{number:.3f}" for number in numbers]
    hit = f"{summary['defects_hit']} of {summary['defects']}"
    alarmed = f"{summary['good_alarmed']} of {summary['good_images']}"
    return f"| {name} | {' | '.join(texts)} | {hit} | {alarmed} |"
