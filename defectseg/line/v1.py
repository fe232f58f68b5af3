"""``/v1``: inspection, what was recorded, people's decisions, models, cameras, and the news."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from PIL import Image
from starlette.exceptions import HTTPException

from defectseg.bundle import CALIBRATION
from defectseg.errors import DefectsegError, ImageReadError
from defectseg.image_io import FORMATS, encode_picture, read_thumbnail
from defectseg.line.archive import IMAGE, MASK, OVERLAY
from defectseg.line.assembly import Line
from defectseg.line.cameras import Camera
from defectseg.line.inspecting import (
    LONGEST_NAME,
    NAME_PATTERN,
    choose_product,
    http_status,
    inspect,
)
from defectseg.line.ledger import DecidedError
from defectseg.line.models import SwapRefusedError
from defectseg.line.news import TooManyListenersError
from defectseg.line.records import Inspection
from defectseg.line.schemas import (
    CameraAnswer,
    CameraEvent,
    CameraList,
    CameraPoint,
    DaysLeft,
    DecisionRequest,
    Difference,
    ModelAnswer,
    ModelList,
    ModelRequest,
    Outcome,
    Problem,
    Verdict,
    VerdictList,
    describe,
)
from defectseg.line.station import Source

_PICTURES = {"image": IMAGE, "mask": MASK, "overlay": OVERLAY}
_LARGEST_ID = 2**63 - 1  # of SQLite
_PING_S = 15.0

Name = Annotated[str, Form(min_length=1, max_length=LONGEST_NAME, pattern=NAME_PATTERN)]
Id = Annotated[int, "of an inspection"]


def make_routes(line: Line) -> APIRouter:
    """Return the pages below ``/v1``."""
    router = APIRouter(prefix="/v1")
    _add_inspection(router, line)
    _add_records(router, line)
    _add_pictures(router, line)
    _add_models(router, line)
    _add_state(router, line)
    return router


def _add_inspection(router: APIRouter, line: Line) -> None:
    @router.post(
        "/inspect",
        summary="Inspect an image",
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
        image: Annotated[UploadFile, File(description="a PNG, JPEG, BMP or TIFF file")],
        part_id: Name,
        camera_id: Name = "camera",
        product: Annotated[
            str | None,
            Form(
                min_length=1,
                max_length=LONGEST_NAME,
                pattern=NAME_PATTERN,
                description="needed where the model knows several",
            ),
        ] = None,
    ) -> Verdict:
        """Inspect an image; the verdict is recorded before it is answered.

        The same image of the same part, sent again, is answered by what was recorded. Whatever
        goes wrong, the answer's `outcome` is never `PASS`.
        """
        source = Source(
            part_id, camera_id, choose_product(line, product), "http", _plain(image.filename)
        )
        recorded = await inspect(line, await image.read(), source)
        answer = await run_in_threadpool(
            _describe, line, recorded.inspection, repeated=recorded.repeated
        )
        status = http_status(recorded)
        if status != 200:
            return JSONResponse(answer.model_dump(mode="json"), status)  # type: ignore[return-value]
        return answer


def _add_records(router: APIRouter, line: Line) -> None:
    @router.get("/inspections", summary="The last inspections")
    def list_inspections(
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: Annotated[
            int | None, Query(ge=1, le=_LARGEST_ID, description="only ids below this")
        ] = None,
        outcome: Annotated[Outcome | None, Query()] = None,
        camera_id: Annotated[str | None, Query(max_length=LONGEST_NAME)] = None,
        part_id: Annotated[str | None, Query(max_length=LONGEST_NAME)] = None,
        undecided: Annotated[bool, Query(description="only what waits for a person")] = False,
    ) -> VerdictList:
        """Return the last inspections, the newest first."""
        found = line.ledger.latest(
            limit,
            before=before,
            outcome=outcome,
            camera_id=camera_id,
            part_id=part_id,
            undecided=undecided,
        )
        decisions = line.ledger.decisions([own.id for own in found])
        return VerdictList(
            inspections=[describe(own, decisions.get(own.id), _kept(line, own)) for own in found]
        )

    @router.get("/inspections/{number}", summary="One inspection", responses=_ABSENT)
    def get_inspection(number: Id) -> Verdict:
        """Return one inspection, with its decision."""
        return _describe(line, _find(line, number))

    @router.post(
        "/inspections/{number}/decision",
        summary="Decide on an inspection that is REVIEW",
        responses=_ABSENT | {409: {"model": Problem, "description": "It waits for no decision"}},
    )
    def decide(number: Id, request: DecisionRequest) -> Verdict:
        """Record what a person decides: the first decision stands."""
        inspection = _find(line, number)
        try:
            line.ledger.decide(number, request.decision, request.name, request.note).result()
        except DecidedError as error:
            raise HTTPException(409, str(error)) from error
        line.news.tell("decision", number)
        return _describe(line, inspection)


def _add_pictures(router: APIRouter, line: Line) -> None:
    for name, file in _PICTURES.items():

        def get_picture(
            number: Id,
            width: Annotated[
                int | None, Query(ge=16, le=2048, description="made smaller, as a JPEG")
            ] = None,
            file: Annotated[str, Query(include_in_schema=False)] = file,
        ) -> Response:
            path = line.archive.path(_find(line, number).pictures, file)
            if path is None:
                raise HTTPException(404, "This picture was not kept, or is kept no longer.")
            if width is None:
                return FileResponse(path, media_type=_media_type(path))
            try:
                small = encode_picture(read_thumbnail(path, width))
            except (ImageReadError, ValueError) as error:
                raise HTTPException(404, f"There is no picture to show: {error}") from error
            return Response(small, media_type="image/jpeg")

        router.get(
            f"/inspections/{{number}}/{name}",
            summary=f"The {name} of an inspection",
            response_class=Response,
            responses=_ABSENT | {200: {"content": {"image/*": {}}}},
            operation_id=f"get_{name}",
        )(get_picture)


def _add_models(router: APIRouter, line: Line) -> None:
    root = line.setup.bundle.resolve().parent if line.setup.bundle else None

    @router.get("/models", summary="The model that judges")
    def list_models() -> ModelList:
        """Return the model that judges, and the bundles beside it that could."""
        model = line.models.current
        beside = sorted(root.iterdir()) if root and root.is_dir() else []
        return ModelList(
            current=model.name if model else None,
            sha256=model.sha256 if model else None,
            problem=line.models.problem,
            bundles=[own.name for own in beside if (own / CALIBRATION).is_file()],
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

        The one in use judges until then, and stays if anything is wrong.
        """
        folder = (root / request.bundle).resolve() if root else Path(request.bundle)
        if root is None or folder.parent != root or not folder.is_dir():
            raise HTTPException(
                409,
                f"There is no bundle {request.bundle[:100]!r} beside the one that the station was "
                "started with; expected the name of one of GET /v1/models.",
            )
        try:
            found = line.change_model(folder, insist=request.insist)
        except (SwapRefusedError, DefectsegError) as error:
            raise HTTPException(409, str(error)) from error
        return ModelAnswer(
            model=folder.name,
            sha256=line.models.current.sha256 if line.models.current else "",
            recent_images=found.images,
            judged_alike=found.same,
            differing=[
                Difference.model_validate({"id": number, "before": then, "now": now})
                for number, then, now in found.differing
            ],
        )


def _add_state(router: APIRouter, line: Line) -> None:
    @router.get("/summary", summary="How the line is")
    def summary() -> dict[str, Any]:
        """Return counts, yield, problems, the model, the queue and the last events."""
        return line.summarise()

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

        async def tell() -> AsyncIterator[str]:
            try:
                yield "retry: 2000\n\n"
                while True:
                    try:
                        item = await asyncio.wait_for(news.get(), _PING_S)
                    except TimeoutError:
                        yield ": still here\n\n"
                        continue
                    if item is None:
                        return
                    yield f"event: {item.kind}\ndata: {item.about}\n\n"
            finally:
                line.news.leave(news)

        return StreamingResponse(
            tell(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )


_ABSENT: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "Not there"}}


def _find(line: Line, number: int) -> Inspection:
    found = line.ledger.inspection(number) if 0 < number <= _LARGEST_ID else None
    if found is None:
        raise HTTPException(404, f"There is no inspection {number}.")
    return found


def _kept(line: Line, inspection: Inspection) -> dict[str, bool]:
    return {
        name: line.archive.path(inspection.pictures, file) is not None
        for name, file in _PICTURES.items()
    }


def _describe(line: Line, inspection: Inspection, *, repeated: bool = False) -> Verdict:
    decision = line.ledger.decision(inspection.id)
    return describe(inspection, decision, _kept(line, inspection), repeated=repeated)


def _describe_camera(camera: Camera) -> CameraAnswer:
    drift = camera.drift
    left = drift.days_left
    days = None
    if left is not None:
        days = DaysLeft(days=_finite(left.days), low=_finite(left.low), high=_finite(left.high))
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


def _finite(days: float) -> float | None:
    return days if days < float("inf") else None


def _media_type(path: Path) -> str:
    """Return what a browser may show the file as; its content came from a client."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return Image.MIME.get(picture.format or "", "application/octet-stream")
    except Exception:  # decoders raise almost anything
        return "application/octet-stream"


def _plain(name: str | None) -> str:
    """Return a file's name as it can be shown and recorded; nothing is opened by it."""
    text = (name or "").encode("utf-8", "backslashreplace").decode()
    return "".join(letter for letter in text if letter.isprintable())[:LONGEST_NAME]
