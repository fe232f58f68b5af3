"""What stands before the station's pages: who may come in, with how much, and how slowly."""

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException

from defectseg.line.schemas import describe_problem, one_line

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

COOKIE = "defectseg"
LOGIN = "/login"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})  # this machine's own names
# What may be asked without a token: nothing is told but whether the station is up.
_OPEN = frozenset({LOGIN, "/v2/health/live", "/v2/health/ready"})
_MOST_OPEN_BYTES = 10_000  # of a body that anybody may send
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; style-src 'self' "
    "'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    # With none at all, browsers hide from us, too, which site a form is of: it would be refused.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
# The page of the documentation has its script within itself.
_DOCS_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)


class Refusal(HTTPException):
    """A request is refused, before the station sees it."""


class _Body:
    """The body of a request, on its way: its size so far, and whether all of it is here."""

    def __init__(self, receive: Receive, headers: dict[str, str], receive_s: float) -> None:
        self._receive = receive
        self._receive_s = receive_s
        self._deadline = asyncio.get_running_loop().time() + receive_s
        self.size = 0
        self.whole = not headers.keys() & {"content-length", "transfer-encoding"}

    async def receive(self) -> Message:
        """Return what comes next; after the whole body, the end of the connection."""
        if self.whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise Refusal(408, f"The body did not come within {self._receive_s:g} s.") from error
        self.size += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        return message

    async def skip(self) -> None:
        """Read what is still coming, and forget it.

        A client may look for its answer only after it has sent all, and would lose it if the
        connection was closed before.
        """
        with suppress(Refusal):
            while not self.whole:
                await self.receive()
                self.size = 0


class Guard:
    """An ASGI application before another.

    Parameters
    ----------
    app : callable
    token : str or None
        That each request must bring, as ``Authorization: Bearer`` or by the cookie of the login.
        None: only requests to this very machine's own names are answered.
    most_bytes : float
        Of a body.
    most_bytes_at_once : float
        Of the bodies of all requests that are being answered.
    receive_s : float
        For a body to arrive whole.
    """

    def __init__(
        self,
        app: App,
        *,
        token: str | None,
        most_bytes: float,
        most_bytes_at_once: float,
        receive_s: float,
    ) -> None:
        self._app = app
        self._token = token
        self._most_bytes = most_bytes
        self._most_bytes_at_once = most_bytes_at_once
        self._receive_s = receive_s
        self._bodies: set[_Body] = set()  # of the requests that are being answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        body = _Body(receive, headers, self._receive_s)
        started = False

        async def receive_safely() -> Message:
            try:
                message = await body.receive()
                if message.get("body"):
                    self._check_size(scope, body.size)
            except Refusal:
                if started:
                    return {"type": "http.disconnect"}
                raise
            return message

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *_headers_for(scope["path"])]
            elif not body.whole and not message.get("more_body", False):
                await send({**message, "more_body": True})
                message = {"type": "http.response.body"}
                await body.skip()
            await send(message)

        self._bodies.add(body)
        try:
            self._check(scope, headers)
            await self._app(scope, receive_safely, send_safely)
        except Refusal as refusal:
            if not started:
                await _answer(send_safely, scope, headers, refusal)
        finally:
            self._bodies.remove(body)

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if self._token is None and _host_name(host) not in LOOPBACK:
            # A page of another site could otherwise have its name point here.
            raise Refusal(403, f"The host {host[:100]!r} is not this machine's own name.")
        origin = headers.get("origin")
        if scope["method"] not in {"GET", "HEAD"} and origin and _netloc(origin) != host:
            raise Refusal(403, "Pages of other sites may change nothing here.")
        if scope["path"] not in _OPEN and not self._may_enter(headers):
            raise Refusal(401, "A token is needed: Authorization: Bearer TOKEN.")
        _, options = parse_options_header(headers.get("content-type"))
        charset = options.get(b"charset", b"utf-8").lower().decode("latin-1")
        if charset not in _CHARSETS:  # some of those that Python knows are no mere encodings
            raise Refusal(415, f"The charset is {charset[:20]!r}; expected utf-8.")
        if headers.keys() >= {"content-length", "transfer-encoding"}:
            raise Refusal(400, "There are Content-Length and Transfer-Encoding; expected one.")
        self._check_size(scope, int(headers.get("content-length", 0)))  # h11 lets only such pass

    def _check_size(self, scope: Scope, own: int) -> None:
        most = min(self._most_bytes, _MOST_OPEN_BYTES if scope["path"] in _OPEN else float("inf"))
        if own > most:
            raise Refusal(
                413,
                f"The body has more than the {most / 1e6:g} megabytes that are accepted "
                "(limits.most_megabytes).",
            )
        if own and sum(body.size for body in self._bodies) > self._most_bytes_at_once:
            raise Refusal(429, "Too much is being sent at once; send it again later.")

    def _may_enter(self, headers: dict[str, str]) -> bool:
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), self._token):
            return True
        cookies = (own.strip().partition("=") for own in headers.get("cookie", "").split(";"))
        return any(
            name == COOKIE and _same(value, cookie_for(self._token)) for name, _, value in cookies
        )


def cookie_for(token: str) -> str:
    """Return the value of the cookie that stands for a token."""
    return hashlib.sha256(b"defectseg cookie " + token.encode()).hexdigest()


def log_refusal(scope: Scope, status: int, reasons: str) -> None:
    """Write a line into the log for a request that is refused; nothing of it makes another line."""
    who = (scope.get("client") or ["?"])[0]
    log.warning(
        "%s %s from %s: %d, %s",
        one_line(scope["method"], 20),
        one_line(scope["path"]),
        who,
        status,
        one_line(reasons, 500),
    )


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("latin-1", "replace"), expected.encode())


def _netloc(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _headers_for(path: str) -> list[tuple[bytes, bytes]]:
    headers = dict(_HEADERS)
    if path == "/docs":
        headers["content-security-policy"] = _DOCS_POLICY
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _answer(send: Send, scope: Scope, headers: dict[str, str], refusal: Refusal) -> None:
    log_refusal(scope, refusal.status_code, refusal.detail)
    status = refusal.status_code
    body = json.dumps(describe_problem(scope["path"], [refusal.detail])).encode()
    more = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401 and "text/html" in headers.get("accept", ""):
        status, body = 303, b""
        more = [(b"location", LOGIN.encode()), (b"content-length", b"0")]
    elif status == 401:
        more.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": more})
    await send({"type": "http.response.body", "body": body})
