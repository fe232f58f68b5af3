"""Figures in words and columns, for people."""

from collections.abc import Mapping

from defectseg.evaluation.figures import Compared, Figures, Rate

EMPTY = "empty answer"

# How each figure is called for people, in the order of the tables.
_LABELS: Mapping[str, str] = {
    "good_images": "good images",
    "defective_images": "defective images",
    "unreadable_images": "images that could not be read",
    "escape": "escape (defective PASS)",
    "overkill": "overkill (good FAIL)",
    "good_alarmed": "good alarmed, by score",
    "defects_hit": "defects hit",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "iou_mean": "IoU, defective: mean",
    "iou_median": "IoU, defective: median",
    "iou_worst": "IoU, defective: worst",
    "dice_mean": "Dice, defective: mean",
    "dice_median": "Dice, defective: median",
    "dice_worst": "Dice, defective: worst",
    "pixel_iou": "IoU, all pixels",
    "pixel_dice": "Dice, all pixels",
    "defective_outcomes": "defective images are",
    "good_outcomes": "good images are",
}


def compared_columns(columns: Mapping[str, Compared]) -> dict[str, Figures]:
    """Return a column for each model, and one for the empty answer beside it."""
    return {
        name: figures
        for model, compared in columns.items()
        for name, figures in (
            (model, compared.model),
            (f"{model}: {EMPTY}", compared.empty_answer),
        )
    }


def figure_rows(columns: Mapping[str, Figures]) -> list[dict[str, str]]:
    """Return figures as texts: a row a figure, with its name and each column's value."""
    return [
        {"": label} | {column: show(getattr(own, name)) for column, own in columns.items()}
        for name, label in _LABELS.items()
    ]


def show(value: object) -> str:
    """Return a figure for people; a rate with its interval."""
    if value is None:
        return "—"
    if isinstance(value, Rate):
        if value.share is None:
            return "—"
        interval = f"{100 * (value.low or 0):.1f}–{100 * (value.high or 0):.1f}"
        return f"{value.count} of {value.total}: {100 * value.share:.1f} % ({interval})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "—"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
