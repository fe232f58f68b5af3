"""A thread that does something again and again."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Periodic:
    """Does something every so often, until it is closed.

    Parameters
    ----------
    task : callable
        What it raises is logged; it is tried again.
    every_s : float
        Between the end of one time and the start of the next.
    name : str
        Of the thread.
    """

    def __init__(self, task: Callable[[], object], every_s: float, name: str) -> None:
        self._task = task
        self._every_s = every_s
        self._wake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Do it now, rather than when its time has come."""
        self._wake.set()

    def close(self) -> None:
        """Let it end what it is doing, and end."""
        self._ending = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending:
            try:
                self._task()
            except Exception:
                log.exception("%s failed; it is tried again", self._thread.name)
            self._wake.wait(self._every_s)
            self._wake.clear()
