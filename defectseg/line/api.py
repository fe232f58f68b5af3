"""The station's application: all its pages, and errors that are never mistaken for a PASS."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.routing import Match

from defectseg import __version__
from defectseg.line import dashboard, kserve, v1
from defectseg.line.assembly import Line
from defectseg.line.guard import App, Guard, log_refusal
from defectseg.line.inspecting import NotTakenError
from defectseg.line.schemas import NAME_PATTERN, REFUSALS, Problem, describe_problem
from defectseg.line.store import StoreError

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_METRICS = "text/plain; version=0.0.4"


def make_app(line: Line, token: str | None) -> App:
    """Return the ASGI application of a line.

    Parameters
    ----------
    line : Line
    token : str or None
        That requests must bring; None: only this machine's own requests are answered.
    """
    app = FastAPIOffline(
        title="defectseg line",
        version=__version__,
        description="Inspects images, and records every verdict before it is answered. Whatever "
        "goes wrong, the outcome is never `PASS`. A station with a token expects it with every "
        "request, as `Authorization: Bearer TOKEN`.",
        redoc_url=None,
        redirect_slashes=False,
        responses={
            status: {"model": Problem, "description": text} for status, text in REFUSALS.items()
        },
    )
    app.include_router(v1.make_routes(line))
    app.include_router(kserve.make_routes(line))
    app.include_router(dashboard.make_routes(line, token))
    _add_metrics(app, line)
    _add_errors(app)
    limits = line.setup.settings.limits
    most_bytes = 1e6 * limits.most_megabytes
    # Images wait in memory, not in a temporary file: a full disk is no fault of the request.
    MultiPartParser.spool_max_size = int(most_bytes) + 1
    return Guard(
        app,
        token=token,
        most_bytes=most_bytes,
        most_bytes_at_once=limits.queue * most_bytes,
        receive_s=limits.receive_s,
    )


def _add_metrics(app: FastAPI, line: Line) -> None:
    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def metrics() -> Response:
        return Response(line.metrics.render(), media_type=_METRICS)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> Response:
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405:
            headers["allow"] = ", ".join(_list_methods(app, request))
        if not isinstance(error, NotTakenError):
            log_refusal(request.scope, error.status_code, str(error.detail))
        return _problem(request, error.status_code, [str(error.detail)], headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(request: Request, error: RequestValidationError) -> Response:
        reasons = [_explain(own) for own in error.errors()]
        log_refusal(request.scope, 422, "; ".join(reasons[:5]))
        return _problem(request, 422, reasons)

    @app.exception_handler(StoreError)
    async def cannot_read(request: Request, error: StoreError) -> Response:
        log_refusal(request.scope, 503, str(error))
        return _problem(request, 503, [str(error)])

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return _problem(request, 500, ["A fault in the station; its log says more."])


def _explain(problem: Mapping[str, Any]) -> str:
    message = problem["msg"]
    if problem.get("ctx", {}).get("pattern") == NAME_PATTERN:
        message = "expected one line that is not blank, without hidden signs or two dots in a row"
    return f"{'.'.join(str(part) for part in problem['loc'])}: {message}"


def _list_methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that an address knows, which several routes may share."""
    scope = dict(request.scope)
    known = [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]
    return known or ["GET", "HEAD"]  # files


def _problem(
    request: Request, status: int, reasons: Sequence[str], headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(describe_problem(request.scope["path"], reasons), status, headers)
