"""``/v1/inspections/.../image``, ``mask`` and ``overlay``: an inspection, to look at."""

import io
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response
from PIL import Image
from starlette.exceptions import HTTPException

from defectseg.errors import ImageReadError
from defectseg.image_io import FORMATS, decode_image, encode_picture
from defectseg.line.archive import IMAGE, MASK, OVERLAY
from defectseg.line.assembly import Line
from defectseg.line.records import Inspection
from defectseg.line.schemas import ABSENT, InspectionId

_MEDIA_TYPES = ("image/png", "image/jpeg", "image/bmp", "image/tiff", "application/octet-stream")
_OPTIONS: dict[str, Any] = {
    "response_class": Response,
    "responses": ABSENT | {200: {"content": {own: {} for own in _MEDIA_TYPES}}},
}
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

    def answer(number: int, file: str, width: int | None) -> Response:
        pictures = find_inspection(number).pictures
        try:
            data = line.archive.read(pictures, file)
            if width is None:
                return Response(data, media_type=_media_type(data))
            return Response(_shrink(data, width), media_type="image/jpeg")
        except OSError as error:
            problem = "This picture was not kept, or is kept no longer."
            raise HTTPException(404, problem) from error
        except ImageReadError as error:
            raise HTTPException(404, f"There is no picture to show: {error}") from error

    @router.get("/inspections/{number}/image", summary="The image as it came", **_OPTIONS)
    def get_image(number: InspectionId, width: Width = None) -> Response:
        return answer(number, IMAGE, width)

    @router.get("/inspections/{number}/mask", summary="Its mask: 255 on defects", **_OPTIONS)
    def get_mask(number: InspectionId, width: Width = None) -> Response:
        return answer(number, MASK, width)

    @router.get("/inspections/{number}/overlay", summary="Both, one over the other", **_OPTIONS)
    def get_overlay(number: InspectionId, width: Width = None) -> Response:
        return answer(number, OVERLAY, width)


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


def _shrink(data: bytes, width: int) -> bytes:
    """Return an image file in small, as a JPEG's bytes; its longer side is at most `width`."""
    picture = Image.fromarray(decode_image(data))
    picture.thumbnail((width, width), Image.Resampling.BOX)
    return encode_picture(np.asarray(picture))
