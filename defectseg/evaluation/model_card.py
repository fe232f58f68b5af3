"""``MODEL_CARD.md``: what the model was made from, what it does, where its limits are."""

from collections import Counter
from collections.abc import Mapping, Sequence

from defectseg import __version__
from defectseg.bundle import Calibration
from defectseg.config import Config, InferenceSettings
from defectseg.dataset.manifest import SPLITS, Sample
from defectseg.evaluation.figures import Compared, Evaluation, Figures
from defectseg.evaluation.tables import compared_columns, show


def write_model_card(
    config: Config,
    calibration: Calibration,
    figures: Mapping[str, Evaluation],
    samples: Mapping[str, Sequence[Sample]],
) -> str:
    """Return the model card as Markdown; `samples` are those of each split."""
    thresholds, model, targets = calibration.thresholds, config.model, config.calibration
    lines = [
        f"# Model card: {config.run.name}",
        "",
        f"U-Net with {model.backbone} encoder and decoder widths {list(model.decoder_filters)}; "
        f"{model.channels} channel(s), computed at 1/{model.downscale} of the resolution. Made by "
        f"defectseg {__version__} on {calibration.created}.",
        "",
        "## Data",
        "",
        f"Data SHA-256 (images, masks, splits) `{calibration.data_sha256}`, network SHA-256 "
        f"`{calibration.model_sha256}`.",
        "",
        "| product | " + " | ".join(f"{s}: good / defective" for s in SPLITS) + " |",
        "|---|" + "---|" * len(SPLITS),
        *_data_rows(samples),
        "",
        *_left_out(config),
        "## Figures",
        "",
        "IoU is over defective images only. An escape is a defective image that PASSes, overkill a "
        "good one that FAILs; in brackets 95 % intervals (Wilson), in percent. REVIEW and RETAKE "
        "are neither.",
        "",
        "| images | IoU mean | median | worst | defects hit | escape | overkill | AUROC | "
        "defective images are | good images are | unreadable |",
        "|---" * 11 + "|",
        *(_figure_row(name, own) for name, own in compared_columns(_rows(figures)).items()),
        "",
        "Weights and thresholds were chosen on the validation images; only the test images say "
        "how the model does on images it has not met.",
        "",
        "## Limits",
        "",
        f"A pixel belongs to a defect from probability {thresholds.pixel:.2f} on: 0.5, unless "
        "the defective validation images agree on a better one"
        f"{_describe(calibration.inference)}. The score of an image is the highest probability "
        "that connected pixels, as many as its product's score "
        "area below, all reach; fewer pixels count by their share. REVIEW from "
        f"{thresholds.review:.3f}, FAIL from {thresholds.fail:.3f}: set on the validation images "
        f"so that at most {100 * targets.max_escape:g} % of the defective ones PASS and at most "
        f"{100 * targets.max_overkill:g} % of the good ones FAIL.",
        "",
        "Sharpness (mean absolute gradient over both axes, gray levels a pixel) below which an "
        f"image is for RETAKE, percentile {calibration.gate.percentile:g} of the good training "
        "images:",
        "",
        "| product | score area, px | sharpness limit | good training images |",
        "|---|---|---|---|",
        *(
            f"| {product} | {thresholds.score_area_px[product]} | {gate.limit:.2f} | "
            f"{len(gate.sharpness)} |"
            for product, gate in calibration.gate.products.items()
        ),
        "",
        "The model knows these products only, seen by this camera and light.",
    ]
    return "\n".join(lines) + "\n"


def _describe(inference: InferenceSettings) -> str:
    """Return how the bundle answers, where it is not plainly, as the end of a sentence."""
    ways = [
        ("the probability is the mean over four mirror images", inference.flips),
        ("a region within the image is answered by its ellipse", inference.ellipses),
    ]
    return "".join(f"; {way}" for way, chosen in ways if chosen)


def _data_rows(samples: Mapping[str, Sequence[Sample]]) -> list[str]:
    count = Counter((s.product, split, s.defective) for split in SPLITS for s in samples[split])
    return [
        f"| {product} | "
        + " | ".join(f"{count[product, s, False]} / {count[product, s, True]}" for s in SPLITS)
        + " |"
        for product in sorted({product for product, _, _ in count})
    ]


def _left_out(config: Config) -> list[str]:
    kinds = config.train.leave_out
    if not kinds:
        return []
    return [f"Not trained on, though among the test images: {', '.join(kinds)}.", ""]


def _rows(figures: Mapping[str, Evaluation]) -> dict[str, Compared]:
    """Return a row for each split and, of several products, for each of them."""
    rows = {}
    for split, evaluation in figures.items():
        rows[split] = evaluation.overall
        if len(evaluation.products) > 1:
            rows |= {f"{split}, {name}": own for name, own in evaluation.products.items()}
    return rows


def _figure_row(name: str, figures: Figures) -> str:
    values = (
        figures.iou_mean,
        figures.iou_median,
        figures.iou_worst,
        figures.defects_hit,
        figures.escape,
        figures.overkill,
        figures.auroc,
        figures.defective_outcomes,
        figures.good_outcomes,
        figures.unreadable_images,
    )
    return f"| {name} | " + " | ".join(map(show, values)) + " |"
