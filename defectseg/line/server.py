"""The station's HTTP server: uvicorn, with patience for few and slow clients only."""

import asyncio
import ipaddress
import json
import logging
import resource
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from defectseg.errors import ConfigError, DefectsegError
from defectseg.line.api import make_app
from defectseg.line.assembly import Line
from defectseg.line.guard import LOOPBACK
from defectseg.line.schemas import describe_problem, one_line
from defectseg.line.settings import Limits

log = logging.getLogger(__name__)

_SHORTEST_TOKEN = 16
_BACKLOG = 256  # connections that may be accepted at once, before those that are too many go
_SPARE_FILES = 128  # beside the connections
_LEAST_READ = 1 << 16  # bytes of an answer that are to be taken in within the time for a request
_END_S = 10
_IMAGE_THREADS = 8  # that images are handed on by; some may wait for a disk


def check_access(host: str, token: str | None) -> None:
    """Check that a station which others can reach asks them for a token.

    Raises
    ------
    ConfigError
    """
    if host not in LOOPBACK and token is None:
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
            f"http://{host}:{port} cannot be used: another program listens there, or {host} is no "
            "address of this machine. Name another port by --port, or another address by --host."
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
    _allow_files(limits.most_connections + _BACKLOG + _SPARE_FILES)
    config = uvicorn.Config(
        make_app(line, token),
        host=host,
        port=port,
        http=_make_protocol(limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
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
        asyncio.get_running_loop().set_default_executor(_start_threads(_IMAGE_THREADS))
        await super().startup(sockets)
        if self.started:
            name, port = self.servers[0].sockets[0].getsockname()[:2]
            if ipaddress.ip_address(name).is_unspecified:  # all of this machine's addresses
                name = "localhost"
            self._on_start(f"http://{f'[{name}]' if ':' in name else name}:{port}")

    async def shutdown(self, sockets: Any = None) -> None:
        self._line.news.close()
        try:
            await super().shutdown(sockets)
        finally:
            # Before uvicorn hands on the signal, which may end the process at once.
            await asyncio.to_thread(self._line.close)


def _start_threads(count: int) -> ThreadPoolExecutor:
    """Return a pool whose threads are all there: what they hold does not grow at work."""
    pool = ThreadPoolExecutor(count, "images")
    all_there = threading.Barrier(count)
    for _ in range(count):
        pool.submit(all_there.wait)
    return pool


def _allow_files(count: int) -> None:
    """Raise how many files this process may have open, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        with suppress(ValueError, OSError):
            limit = count if hard == resource.RLIM_INFINITY else min(count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _make_protocol(limits: Limits) -> type[H11Protocol]:
    class Protocol(H11Protocol):
        """Closes connections that are too many, or on which requests or answers do not move on."""

        _timer: asyncio.TimerHandle | None = None  # for a request to come
        _extended = False
        _reading: asyncio.TimerHandle | None = None  # for an answer to be read
        _unread = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(0)  # whatever is not read at once is watched
            if len(self.connections) > limits.most_connections:
                self._refuse(429, f"{limits.most_connections} connections are open already.")
                return
            self._arm()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._timer is None:
                self._arm()
            super().data_received(data)
            state = self.conn.their_state
            if state is h11.IDLE and not self.conn.trailing_data[0]:
                # The rest of a request that was answered before: the next one has its own time.
                self._disarm()
                self._arm()
            elif state is not h11.IDLE and state is not h11.SEND_BODY:
                self._disarm()  # a request is here, whole

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            self._stop_watching()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.transport.get_write_buffer_size()
            self._reading = self.loop.call_later(limits.receive_s, self._check_reading)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_watching()

        def shutdown(self) -> None:
            with suppress(h11.LocalProtocolError):  # of a connection that is broken already
                super().shutdown()

        def send_400_response(self, msg: str) -> None:
            """Answer what is no HTTP; uvicorn calls this while it handles the error."""
            error = sys.exception()
            if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
                self._refuse(431, "The headers are too long.")
            else:
                what, _, _ = str(error).partition(":")  # not what was sent: it may be secret
                self._refuse(400, f"This is no HTTP request: {what}.")

        def _unsupported_upgrade_warning(self) -> None:
            log.warning("a connection of %s asked for another protocol: not supported", self.client)

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
            self._refuse(408, f"No request came within {limits.receive_s:g} s.")

        def _refuse(self, status: int, reason: str) -> None:
            """Close the connection; say why, if nothing was answered yet."""
            log.warning("a connection of %s: %d, %s", self.client, status, one_line(reason))
            unanswered = self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
            if self.cycle is not None:
                self.cycle.disconnected = True  # what is still being answered goes nowhere
                self.cycle.message_event.set()
            if unanswered:
                body = json.dumps(describe_problem("", [reason])).encode()
                self.transport.write(
                    b"HTTP/1.1 %d \r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                    b"connection: close\r\n\r\n%s" % (status, len(body), body)
                )
            self.transport.close()

        def _check_reading(self) -> None:
            left = self.transport.get_write_buffer_size()
            if left > max(0, self._unread - _LEAST_READ):
                log.warning("a connection of %s: closed, its answer is not read", self.client)
                self.transport.abort()
                return
            self._unread = left
            self._reading = self.loop.call_later(limits.receive_s, self._check_reading)

        def _stop_watching(self) -> None:
            if self._reading is not None:
                self._reading.cancel()
                self._reading = None

    return Protocol
