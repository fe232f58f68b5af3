"""What stands before the station's pages: who may come in, with how much, and how slowly."""

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

COOKIE = "defectseg"
LOGIN = "/login"
# What may be asked without a token: nothing is told but whether the station is up.
_OPEN = frozenset({LOGIN, "/v2/health/live", "/v2/health/ready"})
_MOST_LOGGED = 200  # letters of a path
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; style-src 'self' "
    "'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
# The page of the documentation has its script within itself.
_DOCS_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)


class Refusal(HTTPException):
    """A request is refused, before the station sees it."""

    def __init__(self, scope: Scope, status: int, reason: str) -> None:
        super().__init__(status, reason)
        who = (scope.get("client") or ["?"])[0]
        path = scope["path"][:_MOST_LOGGED].encode("ascii", "backslashreplace").decode()
        log.warning("%s %s from %s: %d, %s", scope["method"], path, who, status, reason)


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
    receive_s : float
        For a body to arrive whole.
    """

    def __init__(self, app: App, *, token: str | None, most_bytes: float, receive_s: float) -> None:
        self._app = app
        self._token = token
        self._most_bytes = most_bytes
        self._receive_s = receive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *_headers_for(scope["path"])]
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, self._limit(scope, receive), send_safely)
        except Refusal as refusal:
            if not started:
                await _answer(send_safely, scope, refusal)

    def _check(self, scope: Scope) -> None:
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        host = headers.get("host", "")
        if self._token is None and _host_name(host) not in _LOOPBACK:
            # A page of another site could otherwise have its name point here.
            raise Refusal(scope, 403, f"The host {host[:100]!r} is not this machine's own name.")
        origin = headers.get("origin")
        if scope["method"] not in {"GET", "HEAD"} and origin and urlsplit(origin).netloc != host:
            raise Refusal(scope, 403, "Pages of other sites may change nothing here.")
        if scope["path"] not in _OPEN and not self._may_enter(headers):
            raise Refusal(scope, 401, "A token is needed: Authorization: Bearer TOKEN.")
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise Refusal(scope, 400, f"Content-Length is {length[:20]!r}; expected a number.")
        if int(length) > self._most_bytes:
            raise Refusal(scope, 413, self._too_large())

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

    def _limit(self, scope: Scope, receive: Receive) -> Receive:
        """Return a `receive` that refuses bodies which are too large, or take too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._receive_s
        seen = 0
        whole = False

        async def limited() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()  # waits for the end of the connection
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise Refusal(
                    scope, 408, f"The body did not arrive within {self._receive_s:g} s."
                ) from error
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > self._most_bytes:
                raise Refusal(scope, 413, self._too_large())
            return message

        return limited

    def _too_large(self) -> str:
        return (
            f"The body has more than the {self._most_bytes / 1e6:g} megabytes that are accepted "
            "(limits.most_megabytes)."
        )


def cookie_for(token: str) -> str:
    """Return the value of the cookie that stands for a token."""
    return hashlib.sha256(b"defectseg cookie " + token.encode()).hexdigest()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("latin-1", "replace"), expected.encode())


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


async def _answer(send: Send, scope: Scope, refusal: Refusal) -> None:
    headers = dict(scope["headers"])
    if refusal.status_code == 401 and b"text/html" in headers.get(b"accept", b""):
        await send(
            {
                "type": "http.response.start",
                "status": 303,
                "headers": [(b"location", LOGIN.encode())],
            }
        )
        await send({"type": "http.response.body", "body": b""})
        return
    body = json.dumps({"outcome": "ERROR", "reasons": [refusal.detail]}).encode()
    more = [(b"www-authenticate", b"Bearer")] if refusal.status_code == 401 else []
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status_code,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *more,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
