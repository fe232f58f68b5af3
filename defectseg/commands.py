"""What each command does: the rooms in turn, with progress and a clear end."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Literal

from rich.markup import escape

from defectseg.atomic import staged_folder
from defectseg.bundle import CONFIG, ENGINE
from defectseg.config import Config, EngineKind, ExportFormat, load_config
from defectseg.console import (
    TrainingProgress,
    bold,
    counting,
    err,
    inspecting,
    out,
    print_json,
    print_outcomes,
    print_table,
    working,
)
from defectseg.errors import DataError
from defectseg.quiet import quiet_stderr

# What the console shows of each image; the table has all.
_SHOWN_MEASURES = ("mean_gradient", "tenengrad_compensated", "noise_sigma", "mean_luma")
OK, SOME_UNREADABLE, USAGE, FAULT = 0, 1, 2, 3
SOME_REFUSED = 1


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
    from defectseg.dataset.manifest import divide, read_manifest
    from defectseg.evaluation.calibration import complete_bundle
    from defectseg.evaluation.gate_calibration import check_good_images
    from defectseg.evaluation.robustness import choose_kinds
    from defectseg.evaluation.tables import figure_rows
    from defectseg.exporting import export_for_cpu

    split = divide(read_manifest(config.data), config.train.leave_out)
    # Told before the hours of a training, not after.
    check_good_images([*split["train"], *split["val"]], config.calibration.gate_alpha)
    choose_kinds(config.calibration.sweep_kinds)
    with quiet_stderr():
        from defectseg.segmentation.distribution import join_workers, read_cluster
        from defectseg.segmentation.training import train as train_network

    hosts, index = read_cluster()
    if hosts:
        out.print(f"Waiting for all {len(hosts)} machines: {', '.join(hosts)}.")
    with quiet_stderr():
        workers = join_workers(hosts, index)
    out.print(f"Training on {workers}.")
    with TrainingProgress() as monitor, workers.told_when_lost():
        state = train_network(config, monitor, resume=resume, workers=workers)
    if not workers.is_chief:
        out.print(f"Trained {state.epoch} epochs. The bundle is left by {workers.hosts[0]}.")
        return OK
    out.print(
        f"Trained {state.epoch} epochs in {state.seconds / 60:.1f} min. Epoch {state.best_epoch} "
        f"is kept: both validation IoU are at least {state.best_iou:.3f}."
    )
    # As it was recorded there, with the precision that was chosen.
    recorded = load_config(config.run / CONFIG, data=config.data, run=config.run)
    with working("exporting the network"):
        export_for_cpu(recorded, split["train"])
    with counting("calibrating") as tick:
        figures = complete_bundle(recorded, tick)
    columns = {name: evaluation.overall.model for name, evaluation in figures.items()}
    print_table("Figures (an empty answer beside them: in the model card)", figure_rows(columns))
    print_gate(config.run)
    out.print(
        f"The bundle is {bold(config.run)}: read {config.run / 'MODEL_CARD.md'}, look at "
        f"{config.run / 'plots' / 'validation.png'}.\n"
        f"Next: python predict.py --model {config.run} --input FOLDER --output FOLDER"
    )
    return SOME_UNREADABLE if any(own.unreadable_images for own in columns.values()) else OK


def predict(
    model: Path,
    source: Path,
    output: Path,
    *,
    product: str | None = None,
    engine: EngineKind | Literal["auto"] = "auto",
    resume: bool = False,
    shown: Literal["progress", "nothing", "json-lines"] = "progress",
) -> int:
    """Predict a folder; return the exit status."""
    from defectseg.bundle import load_bundle
    from defectseg.inference.folder import predict_folder

    bundle = load_bundle(model)
    try:
        with inspecting(shown) as on_image:
            result = predict_folder(
                bundle,
                source,
                output,
                product=product,
                engine=engine,
                resume=resume,
                on_image=on_image,
            )
    except KeyboardInterrupt:
        err.print(f"What was done is kept in {bold(output)}: go on with it by --resume.")
        raise
    status = SOME_UNREADABLE if result.outcomes["ERROR"] else OK
    if shown == "json-lines":
        end = {"output": str(output), "outcomes": result.outcomes, "seconds": result.seconds}
        print_json({"event": "end", **end, "exit_status": status})
    if shown != "progress":
        return status
    count = result.outcomes.total()
    out.print(
        f"{count} images in {result.seconds:.1f} s ({count / result.seconds:.1f} a second)"
        + (f"; {result.resumed} of them were inspected before." if result.resumed else ".")
    )
    print_outcomes(result.outcomes)
    if result.ignored:
        names = ", ".join(result.ignored[:5]) + (" …" if len(result.ignored) > 5 else "")
        out.print(f"{len(result.ignored)} other file(s) were left alone: {escape(names)}")
    out.print(
        f"Open {bold(output / 'report.html')}; every image has its row in "
        f"{bold(output / 'predictions.csv')}."
    )
    return status


def export(model: Path, data: Path | None, *, formats: Sequence[ExportFormat]) -> int:
    """Export the network of a bundle; return the exit status."""
    from defectseg.bundle import load_bundle
    from defectseg.dataset.manifest import divide, read_manifest
    from defectseg.evaluation.model_card import ENGINE_COLUMNS, engine_row
    from defectseg.exporting import add_exports

    bundle = load_bundle(model)
    config = bundle.config
    split = divide(read_manifest(data or config.data), config.train.leave_out)
    with counting("exporting, comparing") as tick:
        exports = add_exports(bundle, formats, split["train"], split["val"], tick)
    rows = [
        dict(zip(ENGINE_COLUMNS, engine_row(name, own), strict=True))
        for name, own in exports.items()
    ]
    print_table("Exported networks beside Keras, on the validation images", rows)
    refused = [name for name, own in exports.items() if own.refused]
    kept = [name for name in exports if name not in refused]
    if kept:
        out.print(f"{', '.join(kept)}: in {bold(model / ENGINE)}.")
    if refused:
        out.print(f"[red]{', '.join(refused)}[/]: not kept, for the reason in the last column.")
    return SOME_REFUSED if refused else OK


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
    _check_free(output)
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
    _check_free(output)
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


def calibrate(config: Config, *, data: Path | None) -> int:
    """Set the limits of a trained bundle anew; return the exit status."""
    from defectseg.dataset.manifest import divide, read_manifest
    from defectseg.evaluation.calibration import complete_bundle
    from defectseg.exporting import export_for_cpu

    if not (config.run / ENGINE).is_dir():
        split = divide(read_manifest(data or config.data), config.train.leave_out)
        with working("exporting the network"):
            export_for_cpu(config, split["train"])
    with counting("calibrating") as tick:
        figures = complete_bundle(config, tick, data=data)
    print_gate(config.run)
    unreadable = any(own.overall.model.unreadable_images for own in figures.values())
    return SOME_UNREADABLE if unreadable else OK


def print_gate(run: Path) -> None:
    """Print how far the images of a bundle's products are believed."""
    from defectseg.bundle import load_bundle
    from defectseg.evaluation.model_card import PROMISE_COLUMNS, promise_rows
    from defectseg.quality.baseline import false_alarm_bound

    gate = load_bundle(run).calibration.gate
    for product, own in gate.products.items():
        rows = [
            dict(zip(PROMISE_COLUMNS, row, strict=True)) for row in promise_rows(gate, own.curve)
        ]
        print_table(f"Which images of {escape(product)} are believed", rows)
        ranked = len(own.baseline.deviations)
        out.print(
            f"Good images stopped as unlike any other: at most {100 * gate.alpha:g} % on average; "
            f"with the {ranked} that were ranked, at most "
            f"{100 * false_alarm_bound(ranked, gate.alpha):.1f} % (95 % confidence)."
        )
    out.print(f"The limits are in {bold(run)}; {run / 'MODEL_CARD.md'} tells them in words.")


def sharpness(
    source: Path,
    output: Path,
    *,
    table: Literal["csv", "parquet"],
    region_xywh: tuple[int, int, int, int] | None,
    grid: tuple[int, int] | None,
    classifier: bool,
) -> int:
    """Measure the sharpness of a folder without a model; return the exit status."""
    from defectseg.quality.folder import measure_folder
    from defectseg.quality.report import CHART, PAGE, TABLES, least_sharp, write_sharpness

    _check_replaceable(output, {PAGE, CHART, *TABLES.values()}, source)
    judge = None
    if classifier:
        from defectseg.quality.blur_classifier import load_general_classifier

        judge = load_general_classifier()
    with counting("measuring") as tick:
        images = measure_folder(
            source, region_xywh=region_xywh, grid=grid, classifier=judge, on_image=tick
        )
    with staged_folder(output) as stage:
        write_sharpness(stage, source, images, table=table)
    measured = [own for own in images if not own.problem]
    if measured:
        rows = [
            {"least sharp": escape(own.image)}
            | {name: f"{getattr(own.measures, name):.4g}" for name in _SHOWN_MEASURES}
            | ({} if own.tile is None else {"tile": "{}, {}".format(*own.tile)})
            | ({} if judge is None else {"sharp": f"{own.sharp_probability:.2f}"})
            for own in least_sharp(measured)[:5]
        ]
        print_table(f"{len({own.image for own in images})} images", rows)
    unreadable = {own.image: own.problem for own in images if own.problem}
    for image, problem in unreadable.items():
        out.print(f"[red]{escape(image)}[/] could not be measured: {escape(problem)}")
    out.print(f"Open {bold(output / PAGE)}; every image has its row in {output / TABLES[table]}.")
    return SOME_UNREADABLE if unreadable else OK


def monitor(
    source: Path,
    output: Path,
    *,
    good: Path | None,
    time: str,
    value: str,
    camera: str | None,
    median_of: int,
    baseline_medians: int,
    wander: float,
    limit: float | None,
) -> int:
    """Watch the sharpness of cameras over time; return the exit status."""
    from defectseg.drift.baseline import learn_baselines
    from defectseg.drift.monitor import watch
    from defectseg.drift.records import Settings
    from defectseg.drift.report import (
        CHART,
        EVENTS,
        MEDIANS,
        PAGE,
        describe_drift,
        sort_worst_first,
        write_drift,
    )
    from defectseg.drift.source import Source, read_folder, read_table

    settings = Settings(
        median_of=median_of, baseline_medians=baseline_medians, wander=wander, limit=limit
    )

    def read(path: Path) -> Source:
        if not path.is_dir():
            return Source(read_table(path, time=time, value=value, camera=camera))
        with counting("measuring") as tick:
            return read_folder(path, on_image=tick)

    own_names = {PAGE, CHART, EVENTS, MEDIANS}
    _check_replaceable(output, own_names, source if source.is_dir() else None)
    seen = read(source)
    known = learn_baselines(read(good).series, list(seen.series), settings) if good else {}
    drifts = {
        name: watch(own.times, own.values, replace(settings, baseline=known.get(name)))
        for name, own in seen.series.items()
    }
    with staged_folder(output) as stage:
        write_drift(
            stage,
            drifts,
            source=source.name,
            unreadable=seen.unreadable,
            by_file_time=seen.by_file_time,
        )
    for name in sort_worst_first(drifts):
        out.print(escape(describe_drift(name, drifts[name])))
    for image, problem in seen.unreadable:
        out.print(f"[red]{escape(image)}[/] could not be measured: {escape(problem)}")
    out.print(f"Open {bold(output / PAGE)}; events.csv and medians.csv lie beside it.")
    return SOME_UNREADABLE if seen.unreadable else OK


def _check_replaceable(output: Path, own_names: set[str], source: Path | None) -> None:
    """Check that a folder is free, or holds what the same command left before and nothing else."""
    if not output.is_dir() or {path.name for path in output.iterdir()} - own_names:
        _check_free(output)
    if source is not None and output.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"{output} lies within {source}: its pictures would be taken for images the next "
            "time. Name another folder by --output."
        )


def _check_free(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} is not empty; it is left as it is. Name another folder.")
