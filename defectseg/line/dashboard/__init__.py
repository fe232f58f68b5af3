"""The station's page: how the line is, at a glance, and the images that wait for a person."""

import hmac
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException

from defectseg.line.assembly import Line
from defectseg.line.guard import COOKIE, LOGIN, cookie_for

_FOLDER = Path(__file__).parent
_FILES = {"line.css": "text/css", "line.js": "text/javascript", "icon.svg": "image/svg+xml"}


def make_routes(line: Line, token: str | None) -> APIRouter:
    """Return the page, its style and script, and its login."""
    router = APIRouter(include_in_schema=False)
    environment = Environment(
        loader=PackageLoader("defectseg.line", "dashboard"), autoescape=True, trim_blocks=True
    )

    @router.get("/")
    def page() -> HTMLResponse:
        summary = line.summarise()
        template = environment.get_template("index.html.jinja")
        return HTMLResponse(
            template.render(summary=summary, images=any(summary["totals"].values()))
        )

    @router.get("/dashboard/{name}")
    def file(name: str) -> Response:
        if name not in _FILES:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(
            _FOLDER / name, media_type=_FILES[name], headers={"cache-control": "no-cache"}
        )

    @router.get(LOGIN)
    def login_page() -> HTMLResponse:
        return HTMLResponse(environment.get_template("login.html.jinja").render(wrong=False))

    @router.post(LOGIN)
    def login(given: Annotated[str, Form(alias="token", max_length=1000)]) -> Response:
        if token is None or not hmac.compare_digest(given.strip().encode(), token.encode()):
            text = environment.get_template("login.html.jinja").render(wrong=True)
            return HTMLResponse(text, 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, cookie_for(token), max_age=30 * 86_400, httponly=True, samesite="strict"
        )
        return answer

    return router
