"""The commands of cameras without a model, and their options."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from defectseg.commands import cameras
from defectseg.errors import ConfigError

app = typer.Typer()


@app.command()
def sharpness(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of images.")],
    output: Annotated[
        Path, typer.Option(help="A folder; what this command left there is replaced.")
    ] = Path("sharpness"),
    table: Annotated[
        Literal["csv", "parquet"], typer.Option("--format", help="Of the table.")
    ] = "csv",
    region: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="Measure this part alone: left, top, width, height."),
    ] = None,
    grid: Annotated[
        str | None, typer.Option(metavar="RxC", help="Measure each tile of a grid, such as 3x3.")
    ] = None,
    classifier: Annotated[
        bool,
        typer.Option(
            "--classifier", help="Add the probability that a learned judge calls it sharp."
        ),
    ] = False,
) -> None:
    """Measure the sharpness of every image of a folder: a table and a chart, without a model.

    Exit status: 0, or 1 if some images could not be read; they count as not sharp at all.

    Example: `defectseg sharpness runs/demo/test --output runs/sharpness` (after the demo)
    """
    raise typer.Exit(
        cameras.sharpness(
            source,
            output,
            table=table,
            region_xywh=_parse_numbers(region, ",", 4, "--region", "10,20,300,200"),
            grid=_parse_numbers(grid, "x", 2, "--grid", "3x3"),
            classifier=classifier,
        )
    )


@app.command()
def monitor(
    source: Annotated[
        Path, typer.Argument(help="A table, CSV or Parquet; or a folder of images, one a camera.")
    ],
    output: Annotated[
        Path, typer.Option(help="A folder; what this command left there is replaced.")
    ] = Path("drift"),
    good: Annotated[
        Path | None,
        typer.Option(
            help="A table or folder like it, of a time when the cameras were good. Default: the "
            "first medians."
        ),
    ] = None,
    time: Annotated[str, typer.Option(help="The table's column of times, ISO 8601.")] = "time",
    value: Annotated[
        str, typer.Option(help="Its column of sharpness: any measure that grows with it.")
    ] = "mean_gradient",
    camera: Annotated[
        str | None, typer.Option(help="Its column that tells cameras apart. Default: one camera.")
    ] = None,
    median_of: Annotated[int, typer.Option(help="Images that make one median.")] = 50,
    baseline_medians: Annotated[
        int, typer.Option(help="First medians, taken while the camera was good.")
    ] = 40,
    wander: Annotated[
        float,
        typer.Option(help="How much a clean camera's level differs from day to day, as a share."),
    ] = 0.004,
    limit: Annotated[
        float | None,
        typer.Option(help="What a median must not fall below. Default: by the first medians."),
    ] = None,
) -> None:
    """Watch cameras gather dust: alarm, cleaning found, days left until the limit.

    Of a folder, the time of an image is that of its EXIF data or, without, of its file.

    Exit status: 0, or 1 if some images could not be read.

    Example: `defectseg monitor runs/demo/test --median-of 4 --baseline-medians 5 --output
    runs/drift` (after the demo)
    """
    raise typer.Exit(
        cameras.monitor(
            source,
            output,
            good=good,
            time=time,
            value=value,
            camera=camera,
            median_of=median_of,
            baseline_medians=baseline_medians,
            wander=wander,
            limit=limit,
        )
    )


def _parse_numbers(text: str | None, separator: str, count: int, option: str, example: str) -> Any:
    if text is None:
        return None
    numbers = text.split(separator)
    if len(numbers) != count or not all(number.strip().isdecimal() for number in numbers):
        raise ConfigError(f"{option} {text}: expected {count} whole numbers, such as {example}.")
    return tuple(map(int, numbers))
