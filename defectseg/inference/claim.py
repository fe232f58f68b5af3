"""Whether results can go to a folder, and a hold on it against other runs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from defectseg.atomic import TEMPORARY
from defectseg.errors import DataError
from defectseg.inference.results import RUN, OutputError
from defectseg.locks import locked

LOCK = ".run.lock"


@contextmanager
def claim_output(output: Path, source: Path, *, resume: bool = False) -> Iterator[None]:
    """Check that results can go to a folder, and keep other runs out of it for a block.

    It is made if need be; if nothing came to it in the end, it is gone again.

    Parameters
    ----------
    output : Path
        Where results are to go.
    source : Path
        The folder of the images.
    resume : bool
        Whether what is there is to be gone on with.

    Raises
    ------
    DataError
        If another run is writing to it. If it holds something, unless that is to be gone on with;
        is no folder; or lies within the folder of the images. The results are left as they are.
    OutputError
        If it cannot be written to.
    """
    if not (output / LOCK).exists():  # else it may be busy, which is the better answer
        _check_output(output, source, resume=resume)
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    with ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            output.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(output / LOCK))
        except BlockingIOError as error:
            raise DataError(
                f"Another run is writing to {output} at this moment; it is left as it is. Wait "
                "until it is done, or name another folder."
            ) from error
        except OSError as error:
            raise OutputError(
                f"{output} cannot be written to: {error.strerror or error}. Nothing was done: mend "
                "this, or name another folder."
            ) from error
        _check_output(output, source, resume=resume)  # another run may just have ended
        yield


def check_same_run(output: Path, run: Mapping[str, Any]) -> None:
    """Check that the results in a folder were made as they are to be made now."""
    if all(path.match(TEMPORARY) or path.name == LOCK for path in output.iterdir()):
        return  # it was killed before it began
    try:
        before = json.loads((output / RUN).read_bytes())
        # Of the bundle the hashes are enough, wherever it lies now.
        named = {name: value for name, value in run.items() if name != "bundle"}
        differing = [
            name
            for name, value in named.items()
            if (before.get(name) != value)
            and not (name == "input" and _are_one_folder(before.get(name), value))
        ]
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{output / RUN} does not tell how the results in {output} were made, so that they "
            "cannot be gone on with. Name another folder, without --resume."
        ) from error
    if differing:
        what = "; ".join(f"{name} was {before.get(name)}, now {run[name]}" for name in differing)
        raise DataError(
            f"{output} holds results that were made otherwise: {what}. Name another folder, "
            "without --resume."
        )


def _check_output(output: Path, source: Path, *, resume: bool) -> None:
    if output.exists() and (not output.is_dir() or (_holds_something(output) and not resume)):
        ours = any(output.glob("predictions.*"))
        what = "holds results of another run" if ours else "is not empty"
        go_on = ", or go on with that run by --resume" if ours else ""
        raise DataError(f"{output} {what}; it is left as it is. Name another folder{go_on}.")
    if output.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"{output} lies within {source}: its masks would be taken for images the next time. "
            "Name an output folder elsewhere."
        )


def _holds_something(folder: Path) -> bool:
    # A run that was killed leaves its lock file, which keeps nobody out.
    return any(path.name != LOCK for path in folder.iterdir())


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, the innermost first, as far as nothing is in them."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _are_one_folder(before: object, now: str) -> bool:
    return isinstance(before, str) and Path(before).resolve() == Path(now).resolve()
