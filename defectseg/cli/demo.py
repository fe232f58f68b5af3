"""The demo and its options."""

from pathlib import Path
from typing import Annotated

import typer

from defectseg.cli.paths import complete_settings, find_settings

app = typer.Typer()


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Its last contents are replaced.")] = Path(
        "runs/demo"
    ),
    config: Annotated[
        Path,
        typer.Option(
            help="Settings of the training.",
            autocompletion=complete_settings,
            callback=find_settings,
        ),
    ] = Path("configs/demo.yaml"),
) -> None:
    """Walk the whole way on synthetic images: labels, masks, training, prediction, report.

    Example: `defectseg demo --output runs/demo`
    """
    from defectseg.demo import run_demo

    run_demo(output, config)
