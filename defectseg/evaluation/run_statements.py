"""What a comparison of runs says in sentences: warnings, differences, the spread of seeds."""

from collections.abc import Callable, Sequence

from defectseg.evaluation.figures import Figures
from defectseg.evaluation.run_comparison import (
    Difference,
    Discordance,
    compare_with_first,
    group_by_images,
    group_by_training_data,
    seed_groups,
)
from defectseg.evaluation.run_records import RunRecord

_SPREAD: tuple[tuple[str, Callable[[Figures], float | None]], ...] = (
    ("IoU", lambda own: own.iou_mean),
    ("AUROC", lambda own: own.auroc),
)


def write_warnings(runs: Sequence[RunRecord]) -> list[str]:
    """Return what a reader must know before the figures: what is not whole, or not comparable."""
    warnings = [f"{run.name} is {run.state}: {run.remark}" for run in runs if run.remark]
    trained = group_by_training_data(runs)
    if len(trained) > 1:
        warnings.append(f"They were not trained on the same data: {_sides(trained)}.")
    unknown = [run.name for run in runs if not run.trained_on]
    if unknown:
        warnings.append(
            f"On which data {', '.join(unknown)} was trained is not known: no checkpoints are left."
        )
    for split, images in (("test", "test"), ("val", "validation")):
        measured = group_by_images(runs, split)
        if len(measured) > 1:
            warnings.append(
                f"They were not measured on the same {images} images, so that their figures on "
                f"them are not comparable: {_sides(measured)}."
            )
    untested = [run.name for run in runs if run.figures and "test" not in run.figures]
    if untested:
        warnings.append(f"{', '.join(untested)}: no test images, so that nothing is known of them.")
    return warnings


def write_findings(runs: Sequence[RunRecord]) -> list[str]:
    """Return what the figures show, and what they do not."""
    differences = compare_with_first(runs)
    findings = [_tell_difference(own) for own in differences]
    if differences:
        references = dict.fromkeys(own.first for own in differences)
        findings = _tell_reference(runs[0], ", ".join(references)) + findings
        findings.append(
            "These are differences between networks as they are. Trained again with another seed, "
            "each is another network: whether a setting makes the difference, only several seeds "
            "of each can tell."
        )
    told = {name for own in differences for name in (own.first, own.other)}
    silent = [run for run in runs if "test" in run.figures and run.name not in told]
    without = [run.name for run in silent if run.answers is None]
    if without:
        findings.append(
            f"{', '.join(without)} kept no answers image by image, so that a difference cannot be "
            "told from chance. Calibrate anew to have them: defectseg calibrate --model RUN."
        )
    return findings + [_tell_spread(group) for group in seed_groups(runs)]


def _sides(groups: Sequence[Sequence[RunRecord]]) -> str:
    return "; against ".join(", ".join(run.name for run in group) for group in groups)


def _tell_reference(first: RunRecord, reference: str) -> list[str]:
    """Return which run the others are beside, and why, if the one named first cannot be it."""
    if "test" in first.figures and first.answers is not None:
        return []
    if not first.figures:
        reason = "is not finished" if first.state == "unfinished" else f"is {first.state}"
    elif "test" not in first.figures:
        reason = "has no test images"
    else:
        reason = "kept no answers image by image"
    return [
        f"The others are compared with {reference}, the first that kept its answers: {first.name} "
        f"{reason}."
    ]


def _tell_difference(own: Difference) -> str:
    parts = [
        _tell_iou(own),
        _tell_discordance("escapes", own.escapes, own),
        _tell_discordance("overkill", own.overkill, own),
        _tell_discordance("stops by the gate", own.stops, own),
    ]
    return f"{own.other} beside {own.first}, on the same test images: {'; '.join(parts)}."


def _tell_iou(own: Difference) -> str:
    if own.iou_mean is None or own.iou_low is None or own.iou_high is None:
        return f"too few defective images for a difference of IoU ({own.iou_images})"
    interval = (
        f"{own.iou_mean:+.3f} ({own.iou_low:+.3f} to {own.iou_high:+.3f}) over {own.iou_images} "
        "defective images"
    )
    if own.iou_low > 0:
        return f"IoU is higher by {interval}"
    if own.iou_high < 0:
        return f"IoU is lower by {interval}"
    return f"no difference of IoU is shown, {interval}"


def _tell_discordance(what: str, counted: Discordance, own: Difference) -> str:
    if not counted.only_first + counted.only_other:
        return f"the same {what}"
    shown = counted.p_value < 1 - own.confidence
    verdict = (
        f"{'more' if counted.only_other > counted.only_first else 'fewer'} {what}"
        if shown
        else f"no difference of {what} is shown"
    )
    return (
        f"{verdict}: {counted.only_other} only by {own.other}, {counted.only_first} only by "
        f"{own.first} (p = {counted.p_value:.2g})"
    )


def _tell_spread(group: Sequence[RunRecord]) -> str:
    names = ", ".join(run.name for run in group)
    seeds = list(dict.fromkeys(str(run.settings.get("train.seed")) for run in group))
    split = "test" if all("test" in run.figures for run in group) else "val"
    own = [run.figures[split].overall.model for run in group]
    ranges = [
        f"{label} {_range(known, '.3f')}"
        for label, get in _SPREAD
        if (known := [value for figures in own if (value := get(figures)) is not None])
    ]
    for label, rates in (
        ("escapes", [figures.escape for figures in own]),
        ("overkill", [figures.overkill for figures in own]),
    ):
        ranges.append(f"{label} {_range([rate.count for rate in rates], 'd')} of {rates[0].total}")
    same = (
        f"differ in nothing but the seed ({', '.join(seeds)})"
        if len(seeds) > 1
        else "have the same settings, the seed as well"
    )
    return f"{names} {same}; on the {split} images: {', '.join(ranges)}."


def _range(values: Sequence[float], form: str) -> str:
    texts = list(dict.fromkeys(format(own, form) for own in (min(values), max(values))))
    return " to ".join(texts)
