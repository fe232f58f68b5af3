"""The commands that a reader is shown, by pages and by --help."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import typer

from defectseg.cli import app

_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_EXAMPLE = re.compile(r"Example: `([^`]+)`")


def page_commands(page: Path) -> list[str]:
    """The commands of the ``sh`` blocks of a page, without comments."""
    blocks = "".join(_BLOCK.findall(page.read_text(encoding="utf-8")))
    lines = blocks.replace("\\\n", " ").splitlines()
    shown = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines)
    return [command for command in shown if command]


def commands() -> list[str]:
    """The names of all commands, as ``line verify``."""
    return [name for name, _ in _walk(typer.main.get_command(app), "")]


def help_commands() -> list[str]:
    """The example of each command, in the order of the commands."""
    return [
        " ".join(example.split())
        for _, command in _walk(typer.main.get_command(app), "")
        for example in _EXAMPLE.findall(command.help or "")
    ]


def _walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if name:
        yield name, command
    for own, single in getattr(command, "commands", {}).items():
        yield from _walk(single, f"{name} {own}".strip())
