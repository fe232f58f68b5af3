"""``/v1``: inspection, what was recorded, people's decisions, models, cameras, and the news."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from defectseg.bundle import CALIBRATION
from defectseg.errors import DefectsegError
from defectseg.line.assembly import Line
from defectseg.line.cameras import Camera
from defectseg.line.inspecting import choose_product, http_status, in_thread, inspect
from defectseg.line.job import Recorded, Source, finite
from defectseg.line.ledger import DecidedError
from defectseg.line.news import Item, News, TooManyListenersError
from defectseg.line.pictures import add_pictures, list_kept
from defectseg.line.records import Inspection
from defectseg.line.schemas import (
    ABSENT,
    LARGEST_ID,
    LONGEST_NAME,
    CameraAnswer,
    CameraEvent,
    CameraList,
    CameraPoint,
    DaysLeft,
    DecisionRequest,
    Difference,
    InspectForm,
    InspectionId,
    ModelAnswer,
    ModelList,
    ModelRequest,
    Outcome,
    Problem,
    Summary,
    Verdict,
    VerdictList,
    describe,
)

_PING_S = 15.0
_WAIT_S = 10.0  # for a disk


def make_routes(line: Line) -> APIRouter:
    """Return the pages below ``/v1``."""
    router = APIRouter(prefix="/v1")
    _add_inspection(router, line)
    _add_records(router, line)
    add_pictures(router, line, lambda number: _find(line, number))
    _add_models(router, line)
    _add_state(router, line)
    return router


def _add_inspection(router: APIRouter, line: Line) -> None:
    @router.post(
        "/inspect",
        summary="Inspect an image",
        dependencies=[Depends(_check_form)],
        responses={
            409: {"model": Problem, "description": "The same image was given as another part"},
            422: {
                "model": Verdict | Problem,
                "description": "The image cannot be read (recorded), or a field is wrong",
            },
            503: {
                "model": Verdict | Problem,
                "description": "Not inspected in time, or not at all: send it again",
            },
        },
    )
    async def inspect_image(
        form: Annotated[InspectForm, Form(media_type="multipart/form-data")],
    ) -> Verdict:
        """Inspect an image; the verdict is recorded before it is answered.

        The same image of the same part, sent again, is answered by what was recorded. Whatever
        goes wrong, the answer's `outcome` is never `PASS`.
        """
        source = Source(
            form.part_id,
            form.camera_id,
            choose_product(line, form.product),
            "http",
            form.image.filename or "",
        )
        recorded = await inspect(line, await form.image.read(), source)
        answer = await in_thread(_answer, line, recorded)
        status = http_status(recorded)
        if status != 200:
            return JSONResponse(answer.model_dump(mode="json"), status)  # type: ignore[return-value]
        return answer


def _add_records(router: APIRouter, line: Line) -> None:
    @router.get("/inspections", summary="The last inspections")
    def list_inspections(
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: Annotated[
            int | None, Query(ge=1, le=LARGEST_ID, description="only ids below this")
        ] = None,
        after: Annotated[
            int | None,
            Query(ge=0, le=LARGEST_ID, description="only ids above this, the oldest first"),
        ] = None,
        outcome: Annotated[Outcome | None, Query()] = None,
        camera_id: Annotated[str | None, Query(max_length=LONGEST_NAME)] = None,
        part_id: Annotated[str | None, Query(max_length=LONGEST_NAME)] = None,
        undecided: Annotated[bool, Query(description="only what waits for a person")] = False,
    ) -> VerdictList:
        """Return the last inspections, the newest first; with `after`, the first after one."""
        found = line.ledger.latest(
            limit,
            before=before,
            after=after,
            outcome=outcome,
            camera_id=camera_id,
            part_id=part_id,
            undecided=undecided,
        )
        decisions = line.ledger.decisions([own.id for own in found])
        return VerdictList(
            inspections=[
                describe(own, decisions.get(own.id), list_kept(line, own)) for own in found
            ]
        )

    @router.get("/inspections/{number}", summary="One inspection", responses=ABSENT)
    def get_inspection(number: InspectionId) -> Verdict:
        """Return one inspection, with its decision."""
        return _describe(line, _find(line, number))

    @router.post(
        "/inspections/{number}/decision",
        summary="Decide on an inspection that is REVIEW",
        responses=ABSENT | {409: {"model": Problem, "description": "It waits for no decision"}},
    )
    def decide(number: InspectionId, request: DecisionRequest) -> Verdict:
        """Record what a person decides: the first decision stands."""
        inspection = _find(line, number)
        try:
            line.ledger.decide(number, request.decision, request.name, request.note).result(_WAIT_S)
        except DecidedError as error:
            raise HTTPException(409, str(error)) from error
        except TimeoutError as error:
            raise HTTPException(
                503, "The decision is not on disk yet; look whether it is there before long."
            ) from error
        line.news.tell("decision", number)
        return _describe(line, inspection)


def _add_models(router: APIRouter, line: Line) -> None:
    changing = threading.Lock()

    def find_bundles() -> dict[str, Path]:
        """Return the bundles beside the one that the station was started with, by name."""
        if line.setup.bundle is None:
            return {}
        root = line.setup.bundle.resolve().parent
        beside = {name: _follow(root / name) for name in sorted(_list(root))}
        # A link may lead to another of them, but not elsewhere.
        return {
            name: folder
            for name, folder in beside.items()
            if folder and folder.parent == root and (folder / CALIBRATION).is_file()
        }

    @router.get("/models", summary="The model that judges")
    def list_models() -> ModelList:
        """Return the model that judges, and the bundles beside it that could."""
        model = line.models.current
        return ModelList(
            current=model.name if model else None,
            sha256=model.sha256 if model else None,
            problem=line.models.problem,
            bundles=list(find_bundles()),
        )

    @router.post(
        "/models",
        summary="Let another model judge",
        responses={
            409: {"model": Problem, "description": "It cannot be used, or judges otherwise"}
        },
    )
    def change_model(request: ModelRequest) -> ModelAnswer:
        """Check another bundle, warm it up, compare it on recent images, and let it judge.

        The one in use judges until then, and stays if anything is wrong: if an image that was
        FAIL or REVIEW would PASS, one cannot be judged, or too many are judged otherwise.
        """
        folder = find_bundles().get(request.bundle)
        if folder is None:
            raise HTTPException(
                409,
                f"There is no bundle {request.bundle!r} beside the one that the station was "
                "started with; expected the name of one of GET /v1/models.",
            )
        if not changing.acquire(blocking=False):
            raise HTTPException(409, "Another model is being looked at; try again later.")
        try:
            found = line.change_model(folder, insist=request.insist)
        except DefectsegError as error:
            raise HTTPException(409, str(error)) from error
        finally:
            changing.release()
        return ModelAnswer(
            model=folder.name,
            sha256=line.models.current.sha256 if line.models.current else "",
            recent_images=found.images,
            judged_alike=found.same,
            differing=[
                Difference.model_validate({"id": number, "before": then, "now": now})
                for number, then, now in found.differing
            ],
            comparison=found.describe(),
        )


def _add_state(router: APIRouter, line: Line) -> None:
    @router.get("/summary", summary="How the line is")
    def summary() -> Summary:
        """Return counts, yield, problems, the model, the queue and the last events."""
        return Summary.model_validate(line.summarise())

    @router.get("/cameras", summary="How the cameras are")
    def cameras() -> CameraList:
        """Return the sharpness of each camera over time, its limit and its events."""
        return CameraList(cameras=[_describe_camera(own) for own in line.cameras.list()])

    @router.get(
        "/stream",
        summary="What happens, as it happens",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def stream() -> StreamingResponse:
        """Return server-sent events: what is new, not its content."""
        try:
            news = line.news.listen()
        except TooManyListenersError as error:
            raise HTTPException(429, "Too many pages listen already.") from error

        return _Stream(line.news, news)


class _Stream(StreamingResponse):
    """Tells one listener the news, until he leaves or the station ends."""

    def __init__(self, news: News, own: "asyncio.Queue[Item | None]") -> None:
        super().__init__(
            _tell(own), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )
        self._news = news
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # also if the client had left before the first word
            self._news.leave(self._own)


async def _tell(own: "asyncio.Queue[Item | None]") -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    while True:
        try:
            item = await asyncio.wait_for(own.get(), _PING_S)
        except TimeoutError:
            yield ": still here\n\n"
            continue
        if item is None:
            return
        yield f"event: {item.kind}\ndata: {item.about}\n\n"


def _list(folder: Path) -> list[str]:
    """Return the names in a folder; none if it cannot be listed."""
    try:
        return [own.name for own in folder.iterdir()]
    except OSError:
        return []


def _follow(path: Path) -> Path | None:
    """Return where links lead; None if nowhere."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):  # the latter of links in a circle
        return None


def _find(line: Line, number: int) -> Inspection:
    found = line.ledger.inspection(number)
    if found is None:
        raise HTTPException(404, f"There is no inspection {number}.")
    return found


def _answer(line: Line, recorded: Recorded) -> Verdict:
    own = recorded.inspection
    if recorded.repeated:
        return _describe(line, own, repeated=True)
    return describe(own, None, list_kept(line, own))  # nobody can have decided on it yet


def _describe(line: Line, inspection: Inspection, *, repeated: bool = False) -> Verdict:
    decision = line.ledger.decision(inspection.id)
    return describe(inspection, decision, list_kept(line, inspection), repeated=repeated)


def _describe_camera(camera: Camera) -> CameraAnswer:
    drift = camera.drift
    left = drift.days_left
    days = None
    if left is not None:
        days = DaysLeft(days=finite(left.days), low=finite(left.low), high=finite(left.high))
    return CameraAnswer(
        camera_id=camera.camera_id,
        product=camera.product,
        status=drift.status.value,
        reason=drift.reason,
        limit=drift.limit if camera.limit is None else camera.limit,
        days_left=days,
        latest=list(camera.latest),
        points=[
            CameraPoint(
                time=f"{own.time.isoformat()}+00:00",
                median=own.median,
                ewma=own.ewma,
                limit=own.limit,
            )
            for own in drift.points[-500:]
        ],
        events=[
            CameraEvent(
                time=f"{own.time.isoformat()}+00:00", kind=own.kind.value, message=own.message
            )
            for own in drift.events[-50:]
        ],
    )


async def _check_form(request: Request) -> None:
    """Refuse what would be passed over in silence: empty fields, and those that come twice."""
    items = (await request.form()).multi_items()
    twice = [name for name, count in Counter(name for name, _ in items).items() if count > 1]
    if twice:
        raise HTTPException(422, f"There is more than one field {', '.join(twice)}; expected one.")
    empty = [name for name, value in items if value == ""]
    if empty:
        raise HTTPException(422, f"The field {', '.join(empty)} is empty; leave it out.")
