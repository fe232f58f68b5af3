"""The commands that measure a model, and their options."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from defectseg.cli.paths import complete_bundles
from defectseg.commands import measuring

app = typer.Typer()


Split = Literal["test", "val", "train", "all"]


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(help="A bundle.", autocompletion=complete_bundles)],
    data: Annotated[Path, typer.Option(help="A prepared folder.")],
    output: Annotated[Path, typer.Option(help="A new or empty folder.")],
    split: Annotated[
        Split, typer.Option(help="Which of its images; all, if none was trained on.")
    ] = "test",
    product: Annotated[
        str | None, typer.Option(help="What all images show, if not what the manifest says.")
    ] = None,
) -> None:
    """Measure a bundle on labelled images: what escapes, what is rejected for nothing, IoU.

    Exit status: 0, or 1 if some images could not be read.

    Example: `defectseg evaluate --model runs/demo/bundle --data runs/demo/prepared --output
    runs/figures` (after the demo)
    """
    raise typer.Exit(measuring.evaluate(model, data, output, split=split, product=product))


@app.command()
def robustness(
    model: Annotated[Path, typer.Option(help="A bundle.", autocompletion=complete_bundles)],
    output: Annotated[Path, typer.Option(help="A new or empty folder.")],
    data: Annotated[
        Path | None, typer.Option(help="A prepared folder. Default: that of the training.")
    ] = None,
    split: Annotated[
        Split, typer.Option(help="Which of its images; val set the gate, so that it flatters.")
    ] = "test",
    images: Annotated[
        int, typer.Option(min=3, help="Defective images, in all; and half as many good ones.")
    ] = 24,
    product: Annotated[
        str | None, typer.Option(help="What all images show, if not what the manifest says.")
    ] = None,
) -> None:
    """Distort labelled images, blur to noise to JPEG, and see what becomes of the answers.

    Draws the degradation curves, and says what the quality gate stops and lets through.

    Example: `defectseg robustness --model runs/demo/bundle --images 6 --output runs/robustness`
    (after the demo)
    """
    measuring.robustness(model, data, output, split=split, images=images, product=product)


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN …", help="Folders of trainings, finished or not."),
    ],
    output: Annotated[
        Path, typer.Option(help="A folder; what this command left there is replaced.")
    ] = Path("comparison"),
) -> None:
    """Show trainings side by side: where their settings differ, figures, curves.

    What is said of the others is said beside the first that kept its answers, image by image, on
    the same test images.

    Example: `defectseg compare runs/demo/bundle runs/parts/model --output runs/parts/comparison`
    (after that of train)
    """
    measuring.compare(runs, output)
