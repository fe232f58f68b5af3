"""What happens on the line, told to all who listen."""

import asyncio
import threading
from dataclasses import dataclass

_MOST_LISTENERS = 50
_MOST_WAITING = 200  # of one listener, who is dropped if he does not keep up


class TooManyListenersError(Exception):
    """As many listen as may."""


@dataclass(frozen=True)
class Item:
    """A kind of news, and what it is about."""

    kind: str
    about: int | str


class News:
    """Passes news from threads to listeners in an event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[asyncio.Queue[Item | None], asyncio.AbstractEventLoop] = {}
        self._closed = False

    def tell(self, kind: str, about: int | str) -> None:
        """Tell all who listen; from any thread."""
        self._send(Item(kind, about))

    def listen(self) -> "asyncio.Queue[Item | None]":
        """Return a queue of what is told from now on; None is the end.

        Raises
        ------
        TooManyListenersError
        """
        own: asyncio.Queue[Item | None] = asyncio.Queue()
        with self._lock:
            if len(self._listeners) >= _MOST_LISTENERS:
                raise TooManyListenersError
            self._listeners[own] = asyncio.get_running_loop()
            if self._closed:
                own.put_nowait(None)
        return own

    def leave(self, own: "asyncio.Queue[Item | None]") -> None:
        """Listen no more."""
        with self._lock:
            self._listeners.pop(own, None)

    def close(self) -> None:
        """Tell all that this is the end."""
        self._closed = True
        self._send(None)

    def _send(self, item: Item | None) -> None:
        with self._lock:
            for own, loop in self._listeners.items():
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_put, own, item)


def _put(own: "asyncio.Queue[Item | None]", item: Item | None) -> None:
    if own.qsize() < _MOST_WAITING:
        own.put_nowait(item)
    elif own.qsize() == _MOST_WAITING:
        own.put_nowait(None)
