"""The station's HTTP server: uvicorn, with patience for few and slow clients only."""

import asyncio
import logging
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from defectseg.errors import ConfigError, DefectsegError
from defectseg.line.api import make_app
from defectseg.line.assembly import Line
from defectseg.line.settings import Limits

log = logging.getLogger(__name__)

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SHORTEST_TOKEN = 16
_SPARE_FILES = 128  # beside the connections
_END_S = 10


def check_access(host: str, token: str | None) -> None:
    """Check that a station which others can reach asks them for a token.

    Raises
    ------
    ConfigError
    """
    if host not in _LOOPBACK and token is None:
        raise ConfigError(
            f"--host {host} lets other machines in; then a token is required: write one of "
            f"{_SHORTEST_TOKEN} letters or more into a file and name it by --token-file, or put it "
            "into the environment as DEFECTSEG_TOKEN."
        )
    if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii()):
        raise ConfigError(
            f"The token has {len(token)} letters; expected {_SHORTEST_TOKEN} or more, all ASCII."
        )


def read_token(file: Path | None, environment: str | None) -> str | None:
    """Return the token that a file holds or, without one, the environment; None if neither.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    if file is None:
        return environment or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {file} cannot be read: {error}.") from error


def serve(
    line: Line,
    *,
    host: str,
    port: int,
    token: str | None,
    on_start: Callable[[str], None] = lambda address: None,
) -> None:
    """Answer requests until a signal ends it; see `make_server`.

    Raises
    ------
    DefectsegError
        If the address cannot be used.
    """
    try:
        make_server(line, host=host, port=port, token=token, on_start=on_start).run()
    except SystemExit as error:  # uvicorn's, after it has logged why
        raise DefectsegError(
            f"http://{host}:{port} cannot be used: another program may listen there. Name another "
            "port by --port."
        ) from error


def make_server(
    line: Line,
    *,
    host: str,
    port: int,
    token: str | None,
    on_start: Callable[[str], None],
) -> uvicorn.Server:
    """Return the server of a line, which it closes at its end, once what waits is recorded.

    Parameters
    ----------
    line : Line
    host : str
    port : int
        0: any that is free.
    token : str or None
        See `api.make_app`.
    on_start : callable
        Told the address.
    """
    limits = line.setup.settings.limits
    _allow_files(limits.most_connections + _SPARE_FILES)
    config = uvicorn.Config(
        make_app(line, token),
        host=host,
        port=port,
        http=_make_protocol(limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_END_S,
    )
    return _Server(config, line, on_start)


class _Server(uvicorn.Server):
    """Ends the streams of news first: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, line: Line, on_start: Callable[[str], None]) -> None:
        super().__init__(config)
        self._line = line
        self._on_start = on_start

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            name, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_start(f"http://{f'[{name}]' if ':' in name else name}:{port}")

    async def shutdown(self, sockets: Any = None) -> None:
        await super().shutdown(sockets)
        # Before uvicorn hands on the signal, which may end the process at once.
        await asyncio.to_thread(self._line.close)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._line.news.close()
        super().handle_exit(sig, frame)


def _allow_files(count: int) -> None:
    """Raise how many files this process may have open, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        with suppress(ValueError, OSError):
            limit = count if hard == resource.RLIM_INFINITY else min(count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _make_protocol(limits: Limits) -> type[H11Protocol]:
    class Protocol(H11Protocol):
        """Closes connections that are too many, or on which a request does not come to its end."""

        _timer: asyncio.TimerHandle | None = None
        _extended = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.most_connections:
                log.warning(
                    "a connection of %s: 429, %d are open", self.client, limits.most_connections
                )
                self._refuse(429, b"Too many connections.")
                return
            self._arm()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._timer is None:
                self._arm()
            super().data_received(data)
            if self.conn.their_state is not h11.SEND_BODY and self.conn.their_state is not h11.IDLE:
                self._disarm()  # a request is here, whole

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def _arm(self) -> None:
            self._timer = self.loop.call_later(limits.receive_s, self._expire)

        def _disarm(self) -> None:
            self._extended = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _expire(self) -> None:
            self._timer = None
            if self.transport.is_closing():
                return
            if self.conn.their_state is h11.SEND_BODY and not self._extended:
                self._extended = True  # the headers are here: the body has its own time
                self._timer = self.loop.call_later(limits.receive_s + 1, self._expire)
                return
            log.warning(
                "a connection of %s: 408, no request within %g s", self.client, limits.receive_s
            )
            self._refuse(408, b"No request came in time.")

        def _refuse(self, status: int, text: bytes) -> None:
            if self.conn.our_state is h11.IDLE:
                body = b'{"outcome": "ERROR", "reasons": ["' + text + b'"]}'
                self.transport.write(
                    b"HTTP/1.1 %d \r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                    b"connection: close\r\n\r\n%s" % (status, len(body), body)
                )
            self.transport.close()

    return Protocol
