"""``MODEL_CARD.md``: what the model was made from, what it does, where its limits are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from defectseg import __version__
from defectseg.bundle import Calibration, CurvePoint, Export, Gate
from defectseg.config import Config, ExportFormat, InferenceSettings
from defectseg.dataset.manifest import SPLITS, Sample
from defectseg.evaluation.degradation import breaking_point
from defectseg.evaluation.figures import Compared, Evaluation, Figures, greatest_share
from defectseg.evaluation.parity import LEAST_AGREEMENT, MOST_FLIPPED, MOST_IOU_DROP
from defectseg.evaluation.tables import compared_columns, show
from defectseg.quality.baseline import false_alarm_bound
from defectseg.quality.distortions import SWEEP

PROMISE_COLUMNS = (
    "distortion",
    "believed to",
    "missed there",
    "not from",
    "IoU left",
    "escapes added",
)

ENGINE_COLUMNS = (
    "network",
    "runs in",
    "images",
    "same verdict",
    "IoU below Keras'",
    "pixels that change sides",
    "greatest difference of a probability",
    "",
)


def write_model_card(
    config: Config,
    calibration: Calibration,
    exports: Mapping[ExportFormat, Export],
    figures: Mapping[str, Evaluation],
    samples: Mapping[str, Sequence[Sample]],
) -> str:
    """Return the model card as Markdown; `samples` are those of each split.

    `exports` are the networks for other runtimes, those refused, too.
    """
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
        *_gate_section(calibration),
        *_engine_section(calibration, exports),
        "The model knows these products only, seen by this camera and light.",
    ]
    return "\n".join(lines) + "\n"


def _gate_section(calibration: Calibration) -> list[str]:
    gate, areas = calibration.gate, calibration.thresholds.score_area_px
    lines = ["## Which images are believed", ""]
    if gate.fixed_sharpness is not None:
        lines += [
            f"Those of a mean gradient of at least {gate.fixed_sharpness:g} gray levels a pixel, a "
            "limit that was set by hand.",
            "",
        ]
    else:
        lines += [
            "An image is for RETAKE where defective validation images, distorted until they looked "
            f"like it, had less than {100 * gate.min_iou_share:g} % of their IoU left or escaped "
            f"by {100 * gate.max_escape_rise:g} points more; or where it is unlike any good image "
            f"(p ≤ {gate.alpha:g}) and any distorted one. Of good images the latter stops at most "
            f"{100 * gate.alpha:g} % on average; with those at hand, at most the share below, with "
            "95 % confidence.",
            "",
        ]
    if gate.size_tolerance is not None:
        lines += [
            "So is one whose height or width is off those of the known images by more than "
            f"{100 * gate.size_tolerance:g} %.",
            "",
        ]
    lines += [
        "| product | score area, px | sharpness limit | good images ranked | stopped at most |",
        "|---|---|---|---|---|",
    ]
    for product, own in gate.products.items():
        ranked = len(own.baseline.deviations)
        bound = 100 * false_alarm_bound(ranked, gate.alpha)
        lines.append(
            f"| {product} | {areas[product]} | {own.sharpness_limit:.2f} | {ranked} | "
            f"{bound:.1f} % |"
        )
    lines += [
        "",
        "The sharpness limit, a mean absolute gradient, is where blur alone breaks the promise. "
        "In brackets: behind what is left of the IoU the lower bound of a bootstrap (80 % lies "
        "between its bounds); behind what more escapes its upper bound or, if that is more, what "
        "Student's t expects from how near the scores came to the threshold; behind the missed "
        "what so few say of others, with 95 % confidence (Clopper–Pearson).",
        "",
        *_pooled(gate),
        f"| product | {' | '.join(PROMISE_COLUMNS)} |",
        "|---|" + "---|" * len(PROMISE_COLUMNS),
    ]
    for product, own in gate.products.items():
        rows = promise_rows(gate, own.curve)
        lines += [f"| {product} | " + " | ".join(row) + " |" for row in rows]
    return [*lines, ""]


def _engine_section(calibration: Calibration, exports: Mapping[ExportFormat, Export]) -> list[str]:
    lines = [
        "## Engines",
        "",
        f"All limits and figures above are those of the engine `{calibration.engine}`, which "
        "answers by default where there is no GPU. Exported networks beside Keras, on the "
        "validation images; one that differs by more than it may is refused "
        f"(at least {100 * LEAST_AGREEMENT:g} % of the verdicts, at most {MOST_IOU_DROP:g} less "
        f"IoU, at most {100 * MOST_FLIPPED:g} % of the pixels).",
        "",
        f"| {' | '.join(ENGINE_COLUMNS)} |",
        "|---" * len(ENGINE_COLUMNS) + "|",
        *(f"| {' | '.join(engine_row(name, own))} |" for name, own in exports.items()),
    ]
    return [*lines, ""]


def engine_row(name: ExportFormat, export: Export) -> tuple[str, ...]:
    """Return how an exported network answers beside Keras, as `ENGINE_COLUMNS`."""
    return (
        name,
        export.precision,
        str(export.images),
        f"{100 * export.agreement:.1f} %",
        f"{export.iou_drop:.4f}",
        f"{100 * export.flipped_share:.4f} %",
        f"{export.greatest_difference:.1e}",
        f"refused: {export.refused}" if export.refused else "accepted",
    )


def _pooled(gate: Gate) -> list[str]:
    names = [name for name, own in gate.products.items() if own.pooled]
    if not names:
        return []
    return [
        f"Of {', '.join(names)} too few defective validation images were distorted for curves of "
        "their own: theirs are those of all products.",
        "",
    ]


def promise_rows(gate: Gate, curve: Sequence[CurvePoint]) -> list[tuple[str, ...]]:
    """Return a row for each kind of distortion, as `PROMISE_COLUMNS`: how far it is believed."""
    rows: list[tuple[str, ...]] = []
    for kind, own in groupby(curve, key=lambda point: point.kind):
        points = list(own)
        broken = breaking_point(points, gate)
        kept = points[: points.index(broken)] if broken else points
        what = f"{kind.replace('_', ' ')}, {SWEEP[kind].unit}"
        believed, missed = ("—", "—")
        if kept:
            last = kept[-1]
            most = 100 * greatest_share(last.missed, last.defective)
            believed = f"{last.level:.3g}"
            missed = f"{last.missed} of {last.defective} (≤ {most:.0f} %)"
        left = ("—", "—", "—")
        if broken is not None:
            left = (
                f"{broken.level:.3g}",
                f"{100 * broken.iou_share:.0f} % (≥ {100 * broken.iou_share_low:.0f})",
                f"{100 * broken.escape_rise:.0f} % (≤ {100 * broken.escape_rise_high:.0f})",
            )
        rows.append((what, believed, missed, *left))
    return rows


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
