"""The commands of defectseg and their options."""

import sys

from defectseg.cli import (
    cameras,
    data,
    demo,
    doctor,
    line,
    measuring,
    prediction,
    training,
    weights,
)
from defectseg.cli.app import app

__all__ = ["app", "main"]

for _room in (demo, data, training, prediction, measuring, cameras, weights, doctor):
    app.add_typer(_room.app)
app.add_typer(line.app, name="line")


def main(command: str) -> None:
    """Run one command, with the rest of the command line as its options."""
    app([command, *sys.argv[1:]], prog_name="defectseg")
