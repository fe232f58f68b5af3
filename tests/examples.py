"""The commands that a reader is shown, by pages and by --help."""

import re
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
    commands = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines)
    return [command for command in commands if command]


def help_commands() -> list[str]:
    """The example of each command, in the order of the commands."""
    return [
        " ".join(example.split())
        for help_ in _helps(typer.main.get_command(app))
        for example in _EXAMPLE.findall(help_)
    ]


def _helps(command: click.Command) -> list[str]:
    own = getattr(command, "commands", {}).values()
    return [command.help or "", *(text for single in own for text in _helps(single))]
