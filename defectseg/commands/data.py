"""What the commands of data do: draw, prepare."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from defectseg.atomic import staged_folder
from defectseg.commands.output import check_free
from defectseg.console import (
    bold,
    counting,
    err,
    out,
    print_table,
)

if TYPE_CHECKING:
    from defectseg.dataset.prepare import ProductSummary


def synth(
    output: Path, *, good: int, defective: int, products: Sequence[str], size: int, seed: int
) -> None:
    """Write synthetic images and labels."""
    from defectseg.dataset.synthetic import write_dataset

    check_free(output)
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
    source: Path,
    output: Path,
    *,
    layout: str,
    val: float,
    test: float,
    leave_out_unmatched: bool,
    defect_labels: Sequence[str],
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
            defect_labels=defect_labels,
            on_image=tick,
        )
    out.print(
        f"{escape(str(source))} has the layout [bold]{layout}[/]: {READERS[layout].DESCRIPTION}."
    )
    # Products side by side: they are few, and what is counted of each is much.
    columns = {product.product: asdict(product) for product in summary}
    left_out = {"product", "good_as_unnamed", "shapes"}
    counted = [field.name for field in fields(summary[0]) if field.name not in left_out]
    rows = [
        {"images": name.replace("_", " ")} | {p: column[name] for p, column in columns.items()}
        for name in counted
    ]
    for label in sorted({label for product in summary for label in product.shapes}):
        used = not defect_labels or label in defect_labels
        name = f"shapes of {escape(label)}" + ("" if used else ", not a defect label")
        rows.append({"images": name} | {own.product: own.shapes.get(label, 0) for own in summary})
    print_table("What was prepared", rows)
    unnamed = sum(product.good_as_unnamed for product in summary)
    if unnamed:
        out.print(f"{unnamed} image(s) were taken for good because no label names them.")
    _warn_of_empty_splits(summary, {"val": val, "test": test})
    out.print(
        f"Masks and manifest.csv are in {bold(output)}. Look at {bold(output / 'audit.png')}"
        ": each red line should lie around its defect."
    )


def _warn_of_empty_splits(summary: "Sequence[ProductSummary]", shares: Mapping[str, float]) -> None:
    """Say which products have no images of a split that should have some."""
    uses = {"val": "to choose its thresholds by", "test": "to measure it with"}
    for name, use in uses.items():
        empty = [
            own.product for own in summary if own.train and shares[name] and not asdict(own)[name]
        ]
        if empty:
            products = escape(", ".join(empty))
            err.print(f"[yellow]No {name} images of {products}[/]: there are none {use}.")
