"""Paths on the command line: bundles and settings that the shell completes, and those installed."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rich.markup import escape

from defectseg.bundle import MODEL
from defectseg.config import INSTALLED
from defectseg.console import err

_DEPTH = 3  # runs/demo/bundle
_MOST_FOLDERS = 2000  # looked into: completion must not make anybody wait


def complete_bundles(incomplete: str) -> list[str]:
    """Return the folders with a network that begin so; none, and the shell completes paths."""
    # Relative as they are typed, and "runs/" is all below it.
    start = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    found = (str(folder) for folder in islice(_folders(start, _DEPTH), _MOST_FOLDERS))
    return sorted(own for own in found if own.startswith(incomplete) and Path(own, MODEL).is_file())


def _folders(start: Path, depth: int) -> Iterator[Path]:
    try:
        entries = [entry for entry in os.scandir(start) if entry.is_dir()]
    except OSError:
        return
    for entry in entries:
        if not entry.name.startswith("."):
            folder = start / entry.name
            yield folder
            if depth > 1:
                yield from _folders(folder, depth - 1)


def complete_settings(incomplete: str) -> list[str]:
    """Return the installed settings that begin so, by the names under which they are found."""
    names = (f"configs/{path.name}" for path in INSTALLED.glob("*.yaml"))
    return sorted(name for name in names if name.startswith(incomplete))


def find_settings(path: Path | None) -> Path | None:
    """Return a file of settings; one of ``configs/`` that is not here is the installed one.

    So that what the documentation says works with a checkout and without.
    """
    if path is None or path.exists() or path.parts[:1] != ("configs",):
        return path
    installed = INSTALLED.joinpath(*path.parts[1:])
    if not installed.exists():
        return path
    err.print(f"{path} is not here: that of defectseg itself is used, {escape(str(installed))}.")
    return installed
