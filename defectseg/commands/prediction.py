"""What the commands of prediction do."""

from collections import Counter
from pathlib import Path
from typing import Literal

from rich.markup import escape

from defectseg.commands.status import OK, SOME_UNREADABLE
from defectseg.config import EngineKind
from defectseg.console import (
    bold,
    counting,
    err,
    inspecting,
    out,
    print_json,
    print_outcomes,
)


def predict(
    model: Path,
    source: Path,
    output: Path,
    *,
    product: str | None = None,
    engine: EngineKind | Literal["auto", "ray"] = "auto",
    table: Literal["csv", "parquet"] = "csv",
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
                table=table,
                resume=resume,
                on_image=on_image,
                on_wait=lambda why: None if shown == "nothing" else err.print(escape(why)),
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
        f"{bold(output / f'predictions.{table}')}."
    )
    return status


def preannotate(
    results: Path,
    output: Path,
    *,
    tool: Literal["cvat", "coco"],
    drawn_as: Literal["ellipse", "outline"],
    label: str,
) -> int:
    """Write what a prediction found as labels; return the exit status."""
    from defectseg.inference.preannotations import preannotate as write_labels
    from defectseg.inference.verdict import Outcome

    with counting("drawing") as tick:
        written = write_labels(
            results, output, tool=tool, drawn_as=drawn_as, label=label, on_image=tick
        )
    left_out = Counter(written.left_out.values())
    for image, outcome in written.left_out.items():
        if outcome is Outcome.ERROR:
            out.print(f"[red]{escape(image)}[/] was not inspected (ERROR), and is left out.")
    out.print(f"{written.images} images with {written.shapes} shapes are in {bold(output)}.")
    if tool == "cvat":
        out.print(
            f"CVAT drops shapes without a word unless the task has the label {escape(repr(label))} "
            "and the images under the same paths."
        )
    if left_out[Outcome.RETAKE]:
        out.print(
            f"{left_out[Outcome.RETAKE]} image(s) are left out as RETAKE, too poor to be believed. "
            "Keep them out of the task, too: without a shape they would come back as good parts."
        )
    return SOME_UNREADABLE if left_out[Outcome.ERROR] else OK
