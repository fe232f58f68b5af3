"""The commands of prediction and their options."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from defectseg.cli.paths import complete_bundles
from defectseg.commands import prediction
from defectseg.errors import ConfigError

app = typer.Typer()


Engine = Literal["auto", "int8", "float32", "keras", "ray"]


@app.command()
def predict(
    model: Annotated[Path, typer.Option(help="A bundle.", autocompletion=complete_bundles)],
    input: Annotated[Path, typer.Option(help="Folder of images; subfolders are searched.")],
    output: Annotated[Path, typer.Option(help="A new or empty folder.")],
    product: Annotated[
        str | None, typer.Option(help="What the images show, if the bundle knows several products.")
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="By default Keras on a GPU, else what the limits were set with. ray: that, on the "
            "Ray cluster at RAY_ADDRESS; without, on one that is started here."
        ),
    ] = "auto",
    table: Annotated[
        Literal["csv", "parquet"],
        typer.Option(
            "--format",
            help="Of the tables. parquet: rows with their masks, written by the nodes of a cluster "
            "(--engine ray).",
        ),
    ] = "csv",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an interrupted run left in OUTPUT.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print each row as a line of JSON.")
    ] = False,
) -> None:
    """Write a mask and a verdict for every image of a folder.

    Exit status: 0, or 1 if some images could not be read. Ctrl-C keeps what is done: go on with
    it by --resume.

    Example: `defectseg predict --model runs/demo/bundle --input runs/demo/test --output
    runs/predicted` (after the demo)
    """
    if quiet and json_lines:
        raise ConfigError("--quiet prints nothing, --json-lines every row: choose one.")
    status = prediction.predict(
        model,
        input,
        output,
        product=product,
        engine=engine,
        table=table,
        resume=resume,
        shown="json-lines" if json_lines else "nothing" if quiet else "progress",
    )
    raise typer.Exit(status)


@app.command()
def preannotate(
    results: Annotated[Path, typer.Option(help="A folder that predict left.")],
    output: Annotated[Path, typer.Option(help="A new file, XML for CVAT and JSON for COCO.")],
    format_: Annotated[
        Literal["cvat", "coco"],
        typer.Option("--format", help="CVAT for images 1.1, or COCO's instances with scores."),
    ],
    shape: Annotated[
        Literal["ellipse", "outline"],
        typer.Option(help="An ellipse for each defect, or the outline of its pixels."),
    ] = "ellipse",
    label: Annotated[
        str, typer.Option(help="What the tool calls a defect; a task in CVAT needs this label.")
    ] = "defect",
) -> None:
    """Write what was found as labels, for a person to correct in a drawing tool.

    Corrected, they are read by prepare, with the images. Images that were not inspected are left
    out. Exit status: 0, also where some are RETAKE, or 1 if some are ERROR.

    Example: `defectseg preannotate --results runs/demo/results --format cvat --output
    runs/demo/cvat.xml` (after the demo)
    """
    status = prediction.preannotate(results, output, tool=format_, drawn_as=shape, label=label)
    raise typer.Exit(status)
