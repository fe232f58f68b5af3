"""``/v1/inspections/.../image``, ``mask`` and ``overlay``: an inspection, to look at."""

import asyncio
import io
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from PIL import Image
from starlette.exceptions import HTTPException

from defectseg.errors import ImageReadError
from defectseg.image_io import FORMATS, decode_image, encode_picture, read_thumbnail
from defectseg.line.archive import IMAGE, MASK, OVERLAY
from defectseg.line.assembly import Line
from defectseg.line.records import Inspection
from defectseg.line.schemas import ABSENT, InspectionId

_MEDIA_TYPES = ("image/png", "image/jpeg", "image/bmp", "image/tiff", "application/octet-stream")
_OPTIONS: dict[str, Any] = {
    "response_class": Response,
    "responses": ABSENT
    | {
        200: {"content": {own: {} for own in _MEDIA_TYPES}},
        304: {"description": "As it is known by the header If-None-Match"},
    },
}
# Pages are made by tens of threads at once; larger images one at a time, for the memory's sake.
_LARGE_PX = 4_000_000
Width = Annotated[int | None, Query(ge=16, le=2048, description="made smaller, as a JPEG")]


def add_pictures(
    router: APIRouter, line: Line, find_inspection: Callable[[int], Inspection]
) -> None:
    """Add the pages of pictures to those below ``/v1``.

    Parameters
    ----------
    router : APIRouter
    line : Line
    find_inspection : callable
        Returns an inspection by its id, or raises an HTTPException.
    """

    one_large = asyncio.Semaphore()

    def make(inspection: Inspection, file: str, width: int | None, known: str) -> Response:
        headers = {"cache-control": "private, no-cache", "etag": _tag(inspection)}
        try:
            if headers["etag"] in known and line.archive.kept(inspection.pictures)[file]:
                return Response(status_code=304, headers=headers)
            if width is not None:
                data = _shrink(line, inspection.pictures, file, width)
                return Response(data, media_type="image/jpeg", headers=headers)
            data = line.archive.read(inspection.pictures, file)
            return Response(data, media_type=_media_type(data), headers=headers)
        except OSError as error:
            problem = "This picture was not kept, or is kept no longer."
            raise HTTPException(404, problem) from error
        except ImageReadError as error:
            raise HTTPException(404, f"There is no picture to show: {error}") from error

    async def answer(request: Request, number: int, file: str, width: int | None) -> Response:
        inspection = await run_in_threadpool(find_inspection, number)
        known = request.headers.get("if-none-match", "")
        # Not within the threads: those that wait would keep other pages waiting.
        async with one_large if _is_large(inspection) else nullcontext():
            return await run_in_threadpool(make, inspection, file, width, known)

    @router.get("/inspections/{number}/image", summary="The image as it came", **_OPTIONS)
    async def get_image(request: Request, number: InspectionId, width: Width = None) -> Response:
        return await answer(request, number, IMAGE, width)

    @router.get("/inspections/{number}/mask", summary="Its mask: 255 on defects", **_OPTIONS)
    async def get_mask(request: Request, number: InspectionId, width: Width = None) -> Response:
        return await answer(request, number, MASK, width)

    @router.get("/inspections/{number}/overlay", summary="Both, one over the other", **_OPTIONS)
    async def get_overlay(request: Request, number: InspectionId, width: Width = None) -> Response:
        return await answer(request, number, OVERLAY, width)


def list_kept(line: Line, inspection: Inspection) -> dict[str, bool]:
    """Return which pictures of an inspection there are to be had, by the names of their pages."""
    there = line.archive.kept(inspection.pictures)
    return {"image": there[IMAGE], "mask": there[MASK], "overlay": there[OVERLAY]}


def _media_type(data: bytes) -> str:
    """Return what a browser may show a file as; its content came from a client."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            found = Image.MIME.get(picture.format or "", "")
    except Exception:  # decoders raise almost anything
        found = ""
    return found if found in _MEDIA_TYPES else _MEDIA_TYPES[-1]


def _is_large(inspection: Inspection) -> bool:
    """Return whether an image is large; one of no known size may be."""
    if inspection.width is None or inspection.height is None:
        return True
    return inspection.width * inspection.height > _LARGE_PX


def _tag(inspection: Inspection) -> str:
    """Return what tells the pictures of an inspection from all others at the same address.

    They never change; yet a browser is to ask each time whether what it has is right: another
    station at the same address has other pictures by the same ids, and people decide by them.
    """
    return f'"{inspection.image_sha256}-{inspection.recipe}"'


def _shrink(line: Line, pictures: str, file: str, width: int) -> bytes:
    """Return a picture in small, as a JPEG's bytes; its longer side is at most `width`."""
    path = line.archive.path(pictures, file)
    if file != IMAGE and path is not None:
        return encode_picture(read_thumbnail(path, width))
    if not line.archive.kept(pictures)[file]:
        raise FileNotFoundError(file)
    # The image is a client's: of any form. Without an overlay, nothing is drawn on it.
    picture = Image.fromarray(decode_image(line.archive.read(pictures, IMAGE)))
    picture.thumbnail((width, width), Image.Resampling.BOX)
    return encode_picture(np.asarray(picture))
