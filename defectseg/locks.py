"""A place that one process at a time works in."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def open_locked(path: Path) -> IO[bytes]:
    """Return an open file that nobody else has until it is closed, or its process ends.

    Raises
    ------
    BlockingIOError
        If another has it.
    OSError
        If it cannot be opened, or its system has no such locks.
    """
    return _open(path, _lock)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file as `open_locked` does for a block, in whose end it is removed.

    On a system or a network's file system that has no such locks, nobody is kept out.
    """
    with _open(path, _lock_if_possible):
        try:
            yield
        finally:
            with suppress(OSError):  # what it keeps others from may be gone, or read-only
                path.unlink()


def _open(path: Path, lock: Callable[[IO[bytes]], None]) -> IO[bytes]:
    while True:
        file = path.open("ab")
        try:
            lock(file)
            # Whoever had it may have removed it meanwhile: its lock would keep nobody out.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: IO[bytes]) -> None:
    if fcntl is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_if_possible(file: IO[bytes]) -> None:
    try:
        _lock(file)
    except BlockingIOError:
        raise
    except OSError:
        pass
