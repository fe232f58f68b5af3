"""What the commands of training do: train, export, calibrate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from defectseg.bundle import CONFIG, ENGINE
from defectseg.commands.status import OK, SOME_REFUSED, SOME_UNREADABLE
from defectseg.config import Config, ExportFormat, load_config
from defectseg.console import (
    TrainingProgress,
    bold,
    counting,
    err,
    out,
    print_table,
    working,
)
from defectseg.quiet import quiet_stderr

if TYPE_CHECKING:
    from defectseg.dataset.manifest import Sample
    from defectseg.tracking import MlflowRun


def train(config: Config, *, resume: bool, experiment: str | None = None) -> int:
    """Train a network, calibrate it, and leave a bundle; return the exit status.

    With `experiment`, MLflow is told of it; see `tracking`.
    """
    from defectseg.dataset.manifest import divide, read_manifest
    from defectseg.evaluation.gate_calibration import check_good_images
    from defectseg.evaluation.robustness import choose_kinds

    split = divide(read_manifest(config.data), config.train.leave_out)
    # Told before the hours of a training, not after.
    check_good_images([*split["train"], *split["val"]], config.calibration.gate_alpha)
    choose_kinds(config.calibration.sweep_kinds)
    with quiet_stderr():
        from defectseg.segmentation.distribution import join_workers, read_cluster
        from defectseg.segmentation.pace import Monitors
        from defectseg.segmentation.training import train as train_network

    hosts, index = read_cluster()
    if hosts:
        out.print(f"Waiting for all {len(hosts)} machines: {', '.join(hosts)}.")
    with quiet_stderr():
        workers = join_workers(hosts, index)
    out.print(f"Training on {workers}.")
    with _tracking(config.run, experiment if workers.is_chief else None) as trackers:
        with TrainingProgress() as progress, workers.told_when_lost():
            monitor = Monitors(progress, *trackers)
            state = train_network(config, monitor, resume=resume, workers=workers)
        if not workers.is_chief:
            out.print(f"Trained {state.epoch} epochs. The bundle is left by {workers.hosts[0]}.")
            return OK
        out.print(
            f"Trained {state.epoch} epochs in {state.seconds / 60:.1f} min. Epoch "
            f"{state.best_epoch} is kept: both validation IoU are at least {state.best_iou:.3f}."
        )
        # As it was recorded there, with the precision that was chosen.
        recorded = load_config(config.run / CONFIG, data=config.data, run=config.run)
        return _complete(recorded, split["train"])


@contextmanager
def _tracking(run: Path, experiment: str | None) -> "Iterator[list[MlflowRun]]":
    """Yield what tells MLflow of the training, if that was asked."""
    if experiment is None:
        yield []
        return
    from defectseg.tracking import MlflowRun

    with MlflowRun(run, experiment, lambda text: err.print(f"[yellow]{escape(text)}[/]")) as own:
        yield [own]


def _complete(config: Config, samples: "Sequence[Sample]") -> int:
    """Export and calibrate a trained network, and print what came of it."""
    from defectseg.evaluation.calibration import complete_bundle
    from defectseg.evaluation.tables import figure_rows
    from defectseg.exporting import export_for_cpu

    with working("exporting the network"):
        export_for_cpu(config, samples)
    with counting("calibrating") as tick:
        figures = complete_bundle(config, tick)
    columns = {name: evaluation.overall.model for name, evaluation in figures.items()}
    print_table("Figures (an empty answer beside them: in the model card)", figure_rows(columns))
    print_gate(config.run)
    out.print(
        f"The bundle is {bold(config.run)}: read {config.run / 'MODEL_CARD.md'}, look at "
        f"{config.run / 'plots' / 'validation.png'}.\n"
        f"Next: defectseg predict --model {config.run} --input FOLDER --output FOLDER"
    )
    return SOME_UNREADABLE if any(own.unreadable_images for own in columns.values()) else OK


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
