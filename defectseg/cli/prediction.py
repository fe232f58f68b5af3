"""The commands of prediction and their options."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from defectseg.commands import prediction
from defectseg.errors import ConfigError

app = typer.Typer()


Engine = Literal["auto", "int8", "float32", "keras"]


@app.command()
def predict(
    model: Annotated[Path, typer.Option(help="A bundle.")],
    input: Annotated[Path, typer.Option(help="Folder of images; subfolders are searched.")],
    output: Annotated[Path, typer.Option(help="A new or empty folder.")],
    product: Annotated[
        str | None, typer.Option(help="What the images show, if the bundle knows several products.")
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(help="By default Keras on a GPU, else what the limits were set with."),
    ] = "auto",
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

    Example: `defectseg predict --model runs/demo/bundle --input runs/demo/test --output results`
    (after the demo)
    """
    if quiet and json_lines:
        raise ConfigError("--quiet prints nothing, --json-lines every row: choose one.")
    status = prediction.predict(
        model,
        input,
        output,
        product=product,
        engine=engine,
        resume=resume,
        shown="json-lines" if json_lines else "nothing" if quiet else "progress",
    )
    raise typer.Exit(status)
