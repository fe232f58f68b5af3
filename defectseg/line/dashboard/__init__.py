"""The station's page: how the line is, at a glance, and the images that wait for a person."""

import hmac
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException

from defectseg.line.assembly import Line
from defectseg.line.dashboard.status import Status, tell_status
from defectseg.line.guard import COOKIE, LOGIN, cookie_for
from defectseg.line.store import StoreError

_FOLDER = Path(__file__).parent
_FILES = {
    "line.css": "text/css",
    "line.js": "text/javascript",
    "charts.js": "text/javascript",
    "dom.js": "text/javascript",
    "images.js": "text/javascript",
    "reviews.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_MEANING = {
    "PASS": "no defect found",
    "FAIL": "a defect was found",
    "REVIEW": "a person decides",
    "RETAKE": "too poor to be believed",
    "ERROR": "not read, or not inspected",
}


def make_routes(line: Line, token: str | None) -> APIRouter:
    """Return the page, its style and scripts, what they show, and the login."""
    router = APIRouter(include_in_schema=False)
    environment = Environment(
        loader=PackageLoader("defectseg.line", "dashboard"), autoescape=True, trim_blocks=True
    )

    def render(template: str, status: int = 200, **values: object) -> HTMLResponse:
        text = environment.get_template(template).render(**values)
        return HTMLResponse(text, status, headers={"cache-control": "no-store"})

    @router.get("/")
    def page() -> HTMLResponse:
        return render("index.html.jinja", state=_look(line), meaning=_MEANING)

    @router.get("/dashboard/state")
    def state() -> dict[str, Any]:
        return _look(line)

    @router.get("/dashboard/{name}")
    def file(name: str) -> Response:
        if name not in _FILES:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(
            _FOLDER / name, media_type=_FILES[name], headers={"cache-control": "no-cache"}
        )

    @router.get(LOGIN)
    def login_page() -> Response:
        if token is None:
            return RedirectResponse("/", 303)
        return render("login.html.jinja", wrong=False)

    @router.post(LOGIN)
    def login(given: Annotated[str, Form(alias="token", max_length=1000)]) -> Response:
        if token is None or not hmac.compare_digest(given.strip().encode(), token.encode()):
            return render("login.html.jinja", 401, wrong=True)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, cookie_for(token), max_age=30 * 86_400, httponly=True, samesite="strict"
        )
        return answer

    return router


def _look(line: Line) -> dict[str, Any]:
    """Return the summary, the last inspection and the status in words.

    If the ledger cannot be read there is a status all the same: it says so.
    """
    try:
        summary = line.summarise()
        latest = line.ledger.latest(1)
    except StoreError as error:
        status = Status("bad", "The station cannot read its ledger.", (str(error),))
        return {"status": asdict(status), "last": None, "summary": None}
    last = latest[0] if latest else None
    return {
        "status": asdict(tell_status(summary, last)),
        "last": None
        if last is None
        else {
            "outcome": last.outcome,
            "part_id": last.part_id,
            "camera_id": last.camera_id,
            "received_at": last.received_at,
        },
        "summary": summary,
    }
