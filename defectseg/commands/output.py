"""The checks of a folder before a command writes to it."""

from pathlib import Path

from defectseg.errors import DataError


def check_replaceable(output: Path, own_names: set[str], source: Path | None) -> None:
    """Check that a folder is free, or holds what the same command left before and nothing else."""
    if not output.is_dir() or {path.name for path in output.iterdir()} - own_names:
        check_free(output)
    if source is not None and output.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"{output} lies within {source}: its pictures would be taken for images the next "
            "time. Name another folder by --output."
        )


def check_free(output: Path) -> None:
    """Check that a folder is not there, or empty."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} is not empty; it is left as it is. Name another folder.")
