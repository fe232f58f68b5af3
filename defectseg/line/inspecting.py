"""An image that came by HTTP: through the station, to a status that says whether it was judged."""

import asyncio

from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from defectseg.inference.verdict import Outcome
from defectseg.line.assembly import QUEUE_FULL, Line
from defectseg.line.ledger import SameImageError
from defectseg.line.station import (
    NotInspectedError,
    QueueFullError,
    Recorded,
    Source,
    TooLargeError,
)

# What a name that a client sends may be; it is shown and recorded, and names no file.
NAME_PATTERN = r"^[^\x00-\x1f\x7f]+$"
LONGEST_NAME = 200


async def inspect(line: Line, data: bytes, source: Source) -> Recorded:
    """Inspect an image, and wait until it is recorded.

    Raises
    ------
    HTTPException
        409 if the same image was given as another part, 413 if it is too large, 503 if it was not
        inspected or not recorded, and may be sent again.
    """
    try:
        job = await run_in_threadpool(
            line.station.submit, data, source, timeout_s=line.station.limits.timeout_s
        )
        verdict = asyncio.shield(asyncio.wrap_future(job.verdict))
        try:
            # A little longer: a verdict that comes in time is recorded after that.
            return await asyncio.wait_for(verdict, line.station.limits.timeout_s + 0.5)
        except TimeoutError:
            return await run_in_threadpool(line.station.give_up, job)
    except QueueFullError as error:
        line.refuse(QUEUE_FULL, str(error))
        raise HTTPException(503, str(error), {"retry-after": "1"}) from error
    except NotInspectedError as error:
        line.refuse("not_ready", str(error))
        raise HTTPException(503, str(error), {"retry-after": "5"}) from error
    except SameImageError as error:
        line.refuse("same_image", str(error))
        raise HTTPException(409, str(error)) from error
    except TooLargeError as error:
        line.refuse("too_large", str(error))
        raise HTTPException(413, str(error)) from error


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
