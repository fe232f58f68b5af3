"""The commands of training and their options."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from defectseg.bundle import CONFIG, EXPORT_FILES, MODEL
from defectseg.cli.paths import complete_bundles, complete_settings, find_settings
from defectseg.commands import training
from defectseg.config import ExportFormat, load_config
from defectseg.errors import ConfigError

app = typer.Typer()


ExportFormats = StrEnum("ExportFormats", [(name, name) for name in EXPORT_FILES])  # type: ignore[misc]


@app.command()
def train(
    config: Annotated[
        Path,
        typer.Option(
            help="Settings, YAML.", autocompletion=complete_settings, callback=find_settings
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Prepared folder; overrides the file's.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="The bundle's folder; likewise.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last finished epoch.")
    ] = False,
    mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="EXPERIMENT",
            help="Log it to MLflow: into the folder mlflow beside the run, or where "
            "MLFLOW_TRACKING_URI says.",
        ),
    ] = None,
) -> None:
    """Train a U-Net and leave a bundle.

    Exit status: 0, or 1 if some images could not be read when its figures were measured.

    Example: `defectseg train --config configs/demo.yaml --data runs/parts/prepared --run
    runs/parts/model` (after that of prepare)
    """
    settings = load_config(config, set_ or (), data=data, run=run)
    raise typer.Exit(training.train(settings, resume=resume, experiment=mlflow))


@app.command()
def export(
    model: Annotated[Path, typer.Option(help="A bundle.", autocompletion=complete_bundles)],
    format_: Annotated[
        list[ExportFormats],
        typer.Option(
            "--format",
            help="float32 or int8 for OpenVINO; onnx or saved-model (TF Serving), which take whole "
            "images. May be repeated.",
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="A prepared folder. Default: that of the training.")
    ] = None,
) -> None:
    """Export the network for another runtime, into the bundle's folder `engine`.

    It is kept only if it answers the validation images as Keras does.

    Exit status: 0, or 1 if a network was refused.

    Example: `defectseg export --model runs/demo/bundle --format onnx` (after the demo)
    """
    raise typer.Exit(training.export(model, data, formats=cast(list[ExportFormat], format_)))


@app.command()
def calibrate(
    model: Annotated[
        Path,
        typer.Option(
            help="A bundle, or the folder of a training.", autocompletion=complete_bundles
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="A prepared folder. Default: that of the training.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of calibration or inference; repeatable."
        ),
    ] = None,
) -> None:
    """Set thresholds and quality gate of a trained bundle anew, by the model's own degradation.

    Exit status: 0, or 1 if some test images could not be read.

    Example: `defectseg calibrate --model runs/demo/bundle --set calibration.min_iou_share=0.7`
    (after the demo)
    """
    wrong = [own for own in set_ or () if not own.startswith(("calibration.", "inference."))]
    if wrong:
        raise ConfigError(
            f"--set {wrong[0]}: the network is trained; expected calibration.… or inference.…, "
            "such as calibration.min_iou_share=0.7. For others, train anew."
        )
    if not (model / CONFIG).is_file() or not (model / MODEL).is_file():
        raise ConfigError(
            f"{model} holds no {MODEL} with {CONFIG}; expected a folder that `defectseg train` "
            "left."
        )
    settings = load_config(model / CONFIG, set_ or (), run=model)
    raise typer.Exit(training.calibrate(settings, data=data))
