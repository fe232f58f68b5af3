"""Files and folders that are there whole, or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

# What files and folders are called, beside their place, until they are whole.
TEMPORARY = f".{'[0-9a-f]' * 32}.part"


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file under a temporary name beside it, then rename it into place.

    Parameters
    ----------
    path : Path
        Its folder is made if need be. An existing file is replaced.
    data : bytes or str
        Text is written as UTF-8.
    """
    with staged_file(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Yield the path of a new file that takes the place of `target` only if the block succeeds.

    Its folder is made if need be. On any error nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = _temporary_beside(target)
    try:
        yield stage
        stage.replace(target)
    except BaseException:
        stage.unlink(missing_ok=True)
        raise


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target` that takes its place only if the block succeeds.

    An existing `target` is replaced. On any error it stays as it was, and nothing is left behind.
    A kill between two renames, an instant, leaves its old content in a hidden folder beside it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = _temporary_beside(target)
    stage.mkdir()
    try:
        yield stage
        if target.exists():
            old = _temporary_beside(target)
            target.rename(old)
            try:
                stage.rename(target)
            except BaseException:
                old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            stage.rename(target)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


def _temporary_beside(path: Path) -> Path:
    # Not derived from the name, which may already be as long as the file system allows.
    return path.with_name(f".{uuid4().hex}.part")
