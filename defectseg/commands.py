"""What each command does: the rooms in turn, with progress and a clear end."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich.markup import escape

from defectseg.atomic import staged_folder
from defectseg.config import Config
from defectseg.console import (
    TrainingProgress,
    bold,
    counting,
    out,
    print_outcomes,
    print_table,
)
from defectseg.errors import DataError
from defectseg.quiet import quiet_stderr

OK, SOME_UNREADABLE, USAGE, FAULT = 0, 1, 2, 3


def synth(
    output: Path, *, good: int, defective: int, products: Sequence[str], size: int, seed: int
) -> None:
    """Write synthetic images and labels."""
    from defectseg.dataset.synthetic import write_dataset

    _check_free(output)
    with staged_folder(output) as stage, counting("drawing") as tick:
        total = len(products) * (good + defective)
        count = write_dataset(
            stage,
            good=good,
            defective=defective,
            products=products,
            size=size,
            seed=seed,
            on_image=lambda: tick(total),
        )
    out.print(f"{count} images of {len(products)} product(s) are in {bold(output)}.")


def prepare(
    source: Path, output: Path, *, layout: str, val: float, test: float, leave_out_unmatched: bool
) -> None:
    """Rasterise labels, divide the images, and write the audit sheet."""
    from defectseg.annotations.layouts import READERS
    from defectseg.dataset.prepare import prepare as prepare_folder

    with counting("checking images") as tick:
        layout, summary = prepare_folder(
            source,
            output,
            layout=layout,
            val=val,
            test=test,
            leave_out_unmatched=leave_out_unmatched,
            on_image=tick,
        )
    out.print(
        f"{escape(str(source))} has the layout [bold]{layout}[/]: {READERS[layout].DESCRIPTION}."
    )
    # Products side by side: they are few, and what is counted of each is much.
    columns = {product.product: asdict(product) for product in summary}
    counted = [field.name for field in fields(summary[0]) if field.name != "product"]
    rows = [
        {"images": name.replace("_", " ")} | {p: column[name] for p, column in columns.items()}
        for name in counted
    ]
    print_table("What was prepared", rows)
    out.print(
        f"Masks and manifest.csv are in {bold(output)}. Look at {bold(output / 'audit.png')}"
        ": each red line should lie around its defect."
    )


def train(config: Config, *, resume: bool) -> int:
    """Train a network, calibrate it, and leave a bundle; return the exit status."""
    from defectseg.evaluation.calibration import complete_bundle
    from defectseg.evaluation.tables import figure_rows

    with quiet_stderr():
        from defectseg.segmentation.training import train as train_network

    with TrainingProgress() as monitor:
        state = train_network(config, monitor, resume=resume)
    out.print(
        f"Trained {state.epoch} epochs in {state.seconds / 60:.1f} min. Epoch {state.best_epoch} "
        f"is kept: both validation IoU are at least {state.best_iou:.3f}."
    )
    with counting("calibrating") as tick:
        figures = complete_bundle(config, tick)
    columns = {name: evaluation.overall.model for name, evaluation in figures.items()}
    print_table("Figures (an empty answer beside them: in the model card)", figure_rows(columns))
    out.print(
        f"The bundle is {bold(config.run)}: read {config.run / 'MODEL_CARD.md'}, look at "
        f"{config.run / 'plots' / 'validation.png'}.\n"
        f"Next: python predict.py --model {config.run} --input FOLDER --output FOLDER"
    )
    return SOME_UNREADABLE if any(own.unreadable_images for own in columns.values()) else OK


def predict(model: Path, source: Path, output: Path, *, product: str | None) -> int:
    """Predict a folder; return the exit status."""
    from defectseg.bundle import load_bundle
    from defectseg.inference.folder import predict_folder

    bundle = load_bundle(model)
    with counting("inspecting") as tick:
        result = predict_folder(
            bundle, source, output, product=product, on_image=lambda row, total: tick(total)
        )
    count = result.outcomes.total()
    out.print(f"{count} images in {result.seconds:.1f} s ({count / result.seconds:.1f} a second).")
    print_outcomes(result.outcomes)
    if result.ignored:
        names = ", ".join(result.ignored[:5]) + (" …" if len(result.ignored) > 5 else "")
        out.print(f"{len(result.ignored)} other file(s) were left alone: {escape(names)}")
    out.print(
        f"Open {bold(output / 'report.html')}; every image has its row in "
        f"{bold(output / 'predictions.csv')}."
    )
    return SOME_UNREADABLE if result.outcomes["ERROR"] else OK


def evaluate(model: Path, data: Path, output: Path, *, split: str, product: str | None) -> int:
    """Measure a bundle on labelled images; return the exit status."""
    from defectseg.bundle import load_bundle
    from defectseg.evaluation.evaluate import evaluate as evaluate_samples
    from defectseg.evaluation.evaluate import select_samples
    from defectseg.evaluation.figures import summarise
    from defectseg.evaluation.report import PAGE, count_seen, write_evaluation
    from defectseg.evaluation.tables import compared_columns, figure_rows
    from defectseg.inference.predictor import open_predictor

    bundle = load_bundle(model)
    _check_free(output)
    samples = select_samples(data, split, list(bundle.calibration.gate.products), product)
    predictor = open_predictor(bundle)
    with staged_folder(output) as stage, counting("evaluating") as tick:
        frame = evaluate_samples(predictor, samples, tick)
        evaluation = summarise(frame)
        title = f"{data.resolve().name}, {split} images"
        write_evaluation(stage, predictor, samples, frame, evaluation, title=title, bundle=bundle)
    columns = compared_columns({"all": evaluation.overall})
    print_table(escape(title), figure_rows(columns))
    if seen := count_seen(samples, bundle.calibration):
        out.print(f"[red]{seen} of the images were trained on: this flatters the model.[/]")
    out.print(f"Open {bold(output / PAGE)}; every image has its row in images.csv.")
    return SOME_UNREADABLE if evaluation.overall.model.unreadable_images else OK


def _check_free(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} is not empty; it is left as it is. Name another folder.")
