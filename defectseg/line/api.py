"""The station's application: all its pages, and errors that are never mistaken for a PASS."""

import logging

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from defectseg import __version__
from defectseg.line import dashboard, kserve, v1
from defectseg.line.assembly import Line
from defectseg.line.guard import App, Guard
from defectseg.line.schemas import Problem
from defectseg.line.store import StoreError

log = logging.getLogger(__name__)

_REFUSALS = {
    400: "The request is no HTTP form or JSON that can be read",
    401: "The token is missing or wrong",
    403: "Not from this machine, or from a page of another site",
    408: "The body came too slowly",
    413: "The body or the image is too large",
    429: "Too many at once",
}


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
        "goes wrong, the outcome is never `PASS`.",
        redoc_url=None,
        responses={
            status: {"model": Problem, "description": text} for status, text in _REFUSALS.items()
        },
    )
    app.include_router(v1.make_routes(line))
    app.include_router(kserve.make_routes(line))
    app.include_router(dashboard.make_routes(line, token))
    _add_metrics(app, line)
    _add_errors(app)
    limits = line.setup.settings.limits
    return Guard(
        app,
        token=token,
        most_bytes=1e6 * limits.most_megabytes,
        receive_s=limits.receive_s,
    )


def _add_metrics(app: FastAPI, line: Line) -> None:
    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    def metrics() -> Response:
        return Response(line.metrics.render(), media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> Response:
        return _problem(request, error.status_code, [str(error.detail)], error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(request: Request, error: RequestValidationError) -> Response:
        reasons = [
            f"{'.'.join(str(part) for part in own['loc'])}: {own['msg']}"
            for own in jsonable_encoder(error.errors(), exclude={"input", "ctx"})
        ]
        log.warning("%s: 422, %s", request.url.path[:200], "; ".join(reasons)[:500])
        return _problem(request, 422, reasons)

    @app.exception_handler(StoreError)
    async def cannot_read(request: Request, error: StoreError) -> Response:
        return _problem(request, 503, [str(error)])

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return _problem(request, 500, [f"A fault in the station: {error!r}."])


def _problem(request: Request, status: int, reasons: list[str], headers: object = None) -> Response:
    if request.url.path.startswith("/v2"):
        return kserve.fault(status, " ".join(reasons))
    content = Problem(reasons=reasons).model_dump(mode="json")
    return JSONResponse(content, status, dict(headers) if isinstance(headers, dict) else None)
