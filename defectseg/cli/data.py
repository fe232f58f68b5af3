"""The commands of data and their options."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from defectseg.commands import data

app = typer.Typer()


Layout = Literal[
    "auto",
    "article",
    "competition",
    "table",
    "mask-pairs",
    "cvat",
    "coco",
    "label-studio",
    "via",
    "labelme",
]


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

    data.synth(
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
            help="Leave out rows without image and images without row, instead of stopping. Where "
            "images without row count as good (table, LabelMe), rows are not left out.",
        ),
    ] = False,
    defect_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Of drawn shapes, take those of this label alone for defects, and pass over "
            "others, of whatever form; may be repeated. Default: all.",
        ),
    ] = None,
) -> None:
    """Turn labels into masks, a manifest and an audit sheet.

    Example: `defectseg prepare --input runs/demo/raw --output runs/parts/prepared` (after the demo)
    """
    data.prepare(
        input,
        output,
        layout=layout,
        val=val,
        test=test,
        leave_out_unmatched=leave_out_unmatched,
        defect_labels=defect_label or (),
    )
