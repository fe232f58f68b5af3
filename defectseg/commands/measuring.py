"""What the commands that measure a model do: evaluate, robustness, compare."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from defectseg.atomic import staged_folder
from defectseg.commands.output import check_free, check_replaceable
from defectseg.commands.status import OK, SOME_UNREADABLE
from defectseg.console import (
    bold,
    counting,
    out,
    print_table,
)
from defectseg.errors import DataError


def evaluate(model: Path, data: Path, output: Path, *, split: str, product: str | None) -> int:
    """Measure a bundle on labelled images; return the exit status."""
    from defectseg.bundle import load_bundle
    from defectseg.evaluation.blur_check import blur_rows, rate_blur_classifier
    from defectseg.evaluation.evaluate import evaluate as evaluate_samples
    from defectseg.evaluation.evaluate import select_samples
    from defectseg.evaluation.figures import summarise
    from defectseg.evaluation.report import PAGE, count_seen, write_evaluation
    from defectseg.evaluation.tables import compared_columns, figure_rows
    from defectseg.inference.predictor import open_predictor
    from defectseg.quality.blur_classifier import load_general_classifier

    bundle = load_bundle(model)
    check_free(output)
    samples = select_samples(data, split, list(bundle.calibration.gate.products), product)
    predictor = open_predictor(bundle)
    with staged_folder(output) as stage, counting("evaluating") as tick:
        frame = evaluate_samples(predictor, samples, lambda total: tick(2 * total))
        evaluation = summarise(frame)
        title = f"{data.resolve().name}, {split} images"
        rates = rate_blur_classifier(
            load_general_classifier(), samples, lambda total: tick(2 * total)
        )
        write_evaluation(
            stage, predictor, samples, frame, evaluation, rates, title=title, bundle=bundle
        )
    columns = compared_columns({"all": evaluation.overall})
    print_table(escape(title), figure_rows(columns))
    if rates:
        print_table("Blur classifier, on these images and blurred copies", blur_rows(rates))
    if seen := count_seen(samples, bundle.calibration):
        out.print(f"[red]{seen} of the images were trained on: this flatters the model.[/]")
    out.print(f"Open {bold(output / PAGE)}; every image has its row in images.csv.")
    return SOME_UNREADABLE if evaluation.overall.model.unreadable_images else OK


def robustness(
    model: Path, data: Path | None, output: Path, *, split: str, images: int, product: str | None
) -> None:
    """Measure how a bundle's answers degrade, and whether its gate sees it."""
    from defectseg.bundle import load_bundle
    from defectseg.evaluation.degradation import fit_curves
    from defectseg.evaluation.evaluate import select_samples
    from defectseg.evaluation.report import count_seen
    from defectseg.evaluation.robustness import choose_sweep_images, count_answers
    from defectseg.evaluation.robustness import sweep as sweep_samples
    from defectseg.evaluation.robustness_report import PAGE, trust_rows, write_robustness
    from defectseg.evaluation.trust import compute_trust, judge_rows
    from defectseg.inference.engines import choose_engine, load_engine
    from defectseg.quality.gate import open_gates

    bundle = load_bundle(model)
    check_free(output)
    source = data or bundle.config.data
    gate = bundle.calibration.gate
    samples = choose_sweep_images(
        select_samples(source, split, list(gate.products), product), images
    )
    if not any(sample.defective for sample in samples):
        raise DataError(
            f"{source} has no defective images in its {split} split, so that it cannot be told "
            "what is missed. Name another by --split or --data."
        )
    kind = choose_engine(bundle, "auto")
    engine = load_engine(bundle.folder, bundle.config, kind)
    total = count_answers(samples)
    with staged_folder(output) as stage, counting("distorting") as tick:
        rows = sweep_samples(
            engine,
            samples,
            bundle.calibration.thresholds,
            ellipses=bundle.config.inference.ellipses,
            on_image=lambda: tick(total),
        )
        rows = judge_rows(rows, open_gates(gate), gate.min_iou_share)
        trust = compute_trust(rows, gate)
        curves = {name: fit_curves(rows, name) for name in sorted(set(rows["product"]))}
        title = f"{len(samples)} {split} images of {source.resolve().name}"
        write_robustness(stage, rows, curves, trust, samples, title=title, bundle=bundle)
    print_table(escape(title), trust_rows(trust))
    if seen := count_seen(samples, bundle.calibration):
        out.print(
            f"[red]{seen} of the images were trained on, or set the gate: this flatters both.[/]"
        )
    out.print(f"Open {bold(output / PAGE)}; every answer has its row in robustness.csv.")


def compare(runs: Sequence[Path], output: Path) -> None:
    """Show runs side by side: settings, figures, curves, and what they say."""
    from defectseg.evaluation.run_records import read_runs
    from defectseg.evaluation.run_report import CURVES, PAGE, TABLE, console_rows, write_comparison
    from defectseg.evaluation.run_statements import write_findings, write_warnings

    records = read_runs(runs)
    check_replaceable(output, {PAGE, TABLE, CURVES}, None)
    with staged_folder(output) as stage:
        write_comparison(stage, records)
    print_table(f"{len(records)} runs side by side", console_rows(records))
    for warning in write_warnings(records):
        out.print(f"[red]{escape(warning)}[/]")
    for finding in write_findings(records):
        out.print(escape(finding))
    out.print(f"Open {bold(output / PAGE)}: all figures and the curves.")
