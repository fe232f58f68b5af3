"""The commands of defectseg and their options."""

import io
import os
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from rich.markup import escape

from defectseg import __version__, commands
from defectseg.bundle import CONFIG, EXPORT_FILES, MODEL
from defectseg.config import ExportFormat, load_config
from defectseg.console import err
from defectseg.errors import ConfigError, DefectsegError
from defectseg.line_cli import line_app

Split = Literal["test", "val", "train", "all"]
ExportFormats = StrEnum("ExportFormats", [(name, name) for name in EXPORT_FILES])  # type: ignore[misc]
Engine = Literal["auto", "int8", "float32", "keras"]
Layout = Literal["auto", "article", "competition", "table", "mask-pairs"]

INTERRUPTED = 130


class _Commands(typer.core.TyperGroup):
    """Turns errors of data, settings and files into one message and exit status 2."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        for stream in (sys.stdout, sys.stderr):
            # A file name that is not valid Unicode is shown escaped, not refused.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except (DefectsegError, OSError) as error:
            err.print(f"[bold red]Error[/] {escape(str(error))}")
            raise typer.Exit(commands.USAGE) from error
        except Exception as error:
            if isinstance(error, typer.Abort) or hasattr(error, "exit_code"):
                raise  # typer's own: wrong usage, or a wanted end
            # Not Python's 1, which says that all was done but for some images.
            err.print_exception()
            err.print("[bold red]This is a fault in defectseg[/], not in what it was given.")
            raise typer.Exit(commands.FAULT) from error
        except KeyboardInterrupt:
            err.print("Stopped.")
            if threading.active_count() > 1:
                # Python would wait for what they are doing, minutes for a large image.
                sys.stdout.flush()
                os._exit(INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Defect segmentation that can be trusted on an inspection line. "
    "Begin with `defectseg demo`.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"defectseg {__version__}")
        raise typer.Exit


@app.callback()
def _defectseg(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command()
def synth(
    output: Annotated[Path, typer.Option(help="A new or empty folder.")],
    good: Annotated[int, typer.Option(min=0, help="Good images a product.")] = 60,
    defective: Annotated[int, typer.Option(min=0, help="Defective images a product.")] = 30,
    product: Annotated[
        list[str] | None, typer.Option(help="Class1 to Class6; may be repeated. Default: all.")
    ] = None,
    size: Annotated[int, typer.Option(help="Height and width, in pixels.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same images.")] = 0,
) -> None:
    """Draw DAGM-like images with ellipse labels.

    Example: `defectseg synth --output data/raw/synthetic --product Class1`
    """
    from defectseg.dataset.synthetic import PRODUCTS

    commands.synth(
        output,
        good=good,
        defective=defective,
        products=product or PRODUCTS,
        size=size,
        seed=seed,
    )


@app.command()
def prepare(
    input: Annotated[Path, typer.Option(help="Folder of images and their labels.")],
    output: Annotated[Path, typer.Option(help="The prepared folder; replaced if it is one.")],
    layout: Annotated[
        Layout, typer.Option(help="By default told by what is in the folder.")
    ] = "auto",
    val: Annotated[float, typer.Option(min=0, max=0.9, help="Share for validation.")] = 0.15,
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Share kept for testing.")] = 0.15,
    leave_out_unmatched: Annotated[
        bool,
        typer.Option(
            "--leave-out-unmatched",
            help="Leave out rows without image and images without row, instead of stopping.",
        ),
    ] = False,
) -> None:
    """Turn labels into masks, a manifest and an audit sheet.

    Example: `defectseg prepare --input data/raw/synthetic --output data/prepared/synthetic`
    (after that of synth)
    """
    commands.prepare(
        input,
        output,
        layout=layout,
        val=val,
        test=test,
        leave_out_unmatched=leave_out_unmatched,
    )


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="Settings, YAML.")],
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
) -> None:
    """Train a U-Net and leave a bundle.

    Exit status: 0, or 1 if some images could not be read when its figures were measured.

    Example: `defectseg train --config configs/demo.yaml --run runs/again` (after the demo)
    """
    settings = load_config(config, set_ or (), data=data, run=run)
    raise typer.Exit(commands.train(settings, resume=resume))


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
    status = commands.predict(
        model,
        input,
        output,
        product=product,
        engine=engine,
        resume=resume,
        shown="json-lines" if json_lines else "nothing" if quiet else "progress",
    )
    raise typer.Exit(status)


@app.command()
def export(
    model: Annotated[Path, typer.Option(help="A bundle.")],
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
    raise typer.Exit(commands.export(model, data, formats=cast(list[ExportFormat], format_)))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(help="A bundle.")],
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
    raise typer.Exit(commands.evaluate(model, data, output, split=split, product=product))


@app.command()
def robustness(
    model: Annotated[Path, typer.Option(help="A bundle.")],
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

    Example: `defectseg robustness --model runs/demo/bundle --split test --output runs/robustness`
    (after the demo)
    """
    commands.robustness(model, data, output, split=split, images=images, product=product)


@app.command()
def calibrate(
    model: Annotated[Path, typer.Option(help="A bundle, or the folder of a training.")],
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
            f"{model} holds no {MODEL} with {CONFIG}; expected a folder that train.py left."
        )
    settings = load_config(model / CONFIG, set_ or (), run=model)
    raise typer.Exit(commands.calibrate(settings, data=data))


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
        commands.sharpness(
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
        commands.monitor(
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


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Its last contents are replaced.")] = Path(
        "runs/demo"
    ),
    config: Annotated[Path, typer.Option(help="Settings of the training.")] = Path(
        "configs/demo.yaml"
    ),
) -> None:
    """Walk the whole way on synthetic images: labels, masks, training, prediction, report.

    Example: `defectseg demo --output runs/demo`
    """
    from defectseg.demo import run_demo

    run_demo(output, config)


app.add_typer(line_app, name="line")


def main(command: str) -> None:
    """Run one command, with the rest of the command line as its options."""
    app([command, *sys.argv[1:]], prog_name="defectseg")
