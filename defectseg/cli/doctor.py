"""The examination of a machine, and its options."""

from pathlib import Path
from typing import Annotated

import typer

from defectseg.cli.paths import complete_bundles
from defectseg.commands import doctor as doctor_command

app = typer.Typer()


@app.command()
def doctor(
    model: Annotated[
        Path | None,
        typer.Option(help="A bundle to examine as well.", autocompletion=complete_bundles),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Tell what is installed, which devices and engines work, what is missing and how to get it.

    Every library is loaded, and every engine answers with a small network.

    Exit status: 0, or 1 if something that is required does not work.

    Example: `defectseg doctor`
    """
    raise typer.Exit(doctor_command.doctor(model, as_json=json))
