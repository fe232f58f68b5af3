"""A place that one process at a time works in."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TRIES = 100


def open_locked(path: Path) -> IO[bytes]:
    """Return an open file that nobody else has until it is closed, or its process ends.

    Raises
    ------
    BlockingIOError
        If another has it.
    OSError
        If it cannot be opened, or its system has no such locks.
    """
    for _ in range(_TRIES):
        file = path.open("ab")
        try:
            _lock(file)
            # Whoever had it may have removed it meanwhile: its lock would keep nobody out.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()
    # A file system on which an open file is never the one of its name.
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file as `open_locked` does for a block, in whose end it is removed.

    On a system or a network's file system that has no such locks, nobody is kept out.
    """
    try:
        file = open_locked(path)
    except BlockingIOError:
        raise
    except OSError:
        file = path.open("ab")
    with file:
        try:
            yield
        finally:
            with suppress(OSError):  # what it keeps others from may be gone, or read-only
                path.unlink()


def _lock(file: IO[bytes]) -> None:
    if fcntl is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # so some file systems of a network say that another has it
        raise BlockingIOError(*error.args) from error
