"""An image that came by HTTP: through the station, to a status that says whether it was judged."""

import asyncio
import logging

from starlette.exceptions import HTTPException

from defectseg.inference.verdict import Outcome
from defectseg.line.assembly import QUEUE_FULL, Line
from defectseg.line.job import Recorded, Source
from defectseg.line.ledger import SameImageError
from defectseg.line.schemas import one_line
from defectseg.line.station import NotInspectedError, QueueFullError, TooLargeError

log = logging.getLogger(__name__)


class NotTakenError(HTTPException):
    """An image is not taken on, as the log says already."""


async def inspect(line: Line, data: bytes, source: Source) -> Recorded:
    """Inspect an image, and wait until it is recorded.

    Raises
    ------
    NotTakenError
        409 if the same image was given as another part, 413 if it is too large, 503 if it was not
        inspected or not recorded, and may be sent again.
    """
    try:
        recorded = await _wait(line, data, source)
    except QueueFullError as error:
        raise await _refuse(line, error, 503, QUEUE_FULL, retry_s=1) from error
    except NotInspectedError as error:
        raise await _refuse(line, error, 503, "not_ready", retry_s=5) from error
    except SameImageError as error:
        raise await _refuse(line, error, 409, "same_image") from error
    except TooLargeError as error:
        raise await _refuse(line, error, 413, "too_large") from error
    if recorded.inspection.outcome == Outcome.ERROR:
        log.warning(
            "part %s of camera %s was not inspected: %s",
            one_line(source.part_id),
            one_line(source.camera_id),
            one_line(recorded.inspection.error, 500),
        )
    return recorded


# Not by the threads that other pages are made in: however many of those are busy, images go on.
in_thread = asyncio.to_thread


async def _wait(line: Line, data: bytes, source: Source) -> Recorded:
    timeout_s = line.station.limits.timeout_s
    job = await in_thread(line.station.submit, data, source, timeout_s=timeout_s)
    verdict = asyncio.shield(asyncio.wrap_future(job.verdict))
    try:
        # A little longer: a verdict that comes in time is recorded after that.
        return await asyncio.wait_for(verdict, timeout_s + 0.5)
    except TimeoutError:
        return await in_thread(line.station.give_up, job)


async def _refuse(
    line: Line, error: Exception, status: int, reason: str, retry_s: int | None = None
) -> NotTakenError:
    await in_thread(line.refuse, reason, str(error))  # its alarm may wait for a disk
    headers = None if retry_s is None else {"retry-after": str(retry_s)}
    return NotTakenError(status, str(error), headers)


def choose_product(line: Line, named: str | None) -> str:
    """Return the product of an image: that which is named, or the model's only one.

    Raises
    ------
    HTTPException
        422 if there is no telling; 503 if there is no model.
    """
    model = line.models.current
    if model is None:
        raise HTTPException(503, f"There is no model: {line.models.problem}")
    if named is None and len(model.products) == 1:
        return model.products[0]
    if named not in model.products:
        given = "No product is named" if named is None else f"The product {named!r} is not known"
        raise HTTPException(422, f"{given}; expected one of {', '.join(model.products)}.")
    return named


def http_status(recorded: Recorded) -> int:
    """Return 200 only for what was inspected: 422 for an unreadable image, 503 to send it again."""
    if recorded.inspection.outcome != Outcome.ERROR:
        return 200
    return 422 if recorded.inspection.final else 503
